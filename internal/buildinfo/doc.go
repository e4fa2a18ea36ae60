// Package buildinfo identifies this build.
//
// It owns the version string that `version` prints and that agents report at bind. It does not own
// compatibility decisions: those rest on reported capabilities, never on version numbers.
package buildinfo
