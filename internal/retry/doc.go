// Package retry computes the pauses between attempts that fail.
//
// It owns how a pause grows. It does not own random parts, nor when a series of attempts begins anew:
// those differ by user. Enter at [Pause].
package retry
