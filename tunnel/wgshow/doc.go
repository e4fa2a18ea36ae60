// Package wgshow reads the output of `wg show` and `awg show` for people.
//
// It owns only the form of that text: it runs no command, and no state follows from the output,
// which is a diagnosis and never evidence. Enter at [Parse].
//
// The text comes from a node, so it may be anything: unknown parts are left out, nothing fails, and
// nothing is read beyond the limits. A page that shows a parsed output also shows the text.
package wgshow
