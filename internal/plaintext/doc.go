// Package plaintext makes text from outside, such as a node's description of itself, fit to be
// shown among our own: nothing in it breaks a line, turns the writing direction or is invisible.
//
// It owns the set of those characters. It does not own length limits, nor the escaping that HTML,
// JSON or a terminal need in addition.
//
// Enter at [Line] and [Unseen].
package plaintext
