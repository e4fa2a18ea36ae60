// Package plaintext makes text from elsewhere, such as what a node says of itself, fit to be shown
// among our own: nothing in it breaks a line, turns the writing direction or cannot be seen.
//
// It owns which characters those are. It does not own what is too long for whom, nor the escaping
// that HTML, JSON or a terminal need besides.
//
// Enter at [Line] and [Unseen].
package plaintext
