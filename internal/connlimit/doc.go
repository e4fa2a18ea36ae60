// Package connlimit bounds how many connections a listener has open, in all and of one address.
//
// It owns counting, refusing, and making room. It does not own time limits within a connection, nor
// what a connection does: the server tells that by [State]. Enter at [New]. Invariants: a connection
// over a limit costs nothing; one that is being served is never closed for another; the place of one
// that ends is given back once.
package connlimit
