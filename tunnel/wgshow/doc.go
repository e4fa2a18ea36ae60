// Package wgshow reads what `wg show` and `awg show` print for people.
//
// It owns the shape of that text and nothing else: no command is run here and no state follows from
// it, since the output is a diagnosis and never evidence. Enter at [Parse].
//
// The text comes from a node, so it may be anything: what is not understood is left out, nothing
// fails, and nothing is read beyond the bounds. Whoever shows a parsed output shows the text too.
package wgshow
