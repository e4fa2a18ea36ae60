// Package presence says whether a node is online, and why.
//
// It owns the rules that turn evidence into a state. It does not own the evidence (package store)
// nor when to look again.
//
// Enter at [Project]. Invariant: it is a pure function of its arguments; no clock, no I/O. Nothing
// else in the program decides whether a node is online.
package presence
