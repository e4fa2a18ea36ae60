// Package connlimit bounds how many connections a listener has open, in all and of one address, and
// how long a write hangs that the server does not know of.
//
// It owns counting and refusing, and the time of writes that TLS makes by itself. It does not own
// other time limits within a connection; those are the server's. Enter at [New] or [BoundWrites].
// Invariant: a connection over a limit is closed at once and costs nothing after that; the place of
// one that ends is given back once.
package connlimit
