// Package connlimit bounds how many connections a listener has open, in all and of one address, and
// how long a write hangs that the server does not know of.
//
// It owns counting, refusing and making room, and the time of writes that TLS makes by itself. It does
// not own other time limits within a connection, nor what a connection does: the server tells that by
// [State]. Enter at [New] or [BoundWrites]. Invariants: a connection over a limit costs nothing; one
// that is being served is never closed for another; the place of one that ends is given back once.
package connlimit
