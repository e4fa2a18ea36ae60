// Package connlimit limits how many connections a listener has open, in total and from one address,
// and the duration of writes that the server does not know about.
//
// It owns counting, refusing and making room, and the deadlines of writes that TLS makes by itself.
// It does not own other time limits within a connection, nor the activity of a connection: the
// server reports that by [State]. Enter at [New] or [BoundWrites]. Invariants: a connection over a
// limit costs nothing; a connection being served is never closed for another; the place of a
// connection that ends is released once.
package connlimit
