// Package connlimit bounds how many connections a listener has open, in all and of one address.
//
// It owns counting and refusing. It does not own time limits within a connection; those are the
// server's. Enter at [New]. Invariant: a connection over a limit is closed at once and costs
// nothing after that; the place of one that ends is given back once.
package connlimit
