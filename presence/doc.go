// Package presence says whether a node is online, and why.
//
// It owns the rules that turn evidence into a state, the rule that tells two machines with one
// identity from one that reconnects, and what a history of states says in figures. It does not own
// the evidence (package store), nor the history and the moments at which it is written (package
// appliance/tracker).
//
// Enter at [Project]; [Uptime] and [Flaps] for a history, [TwoMachines] for an identity.
//
// Invariants:
//   - Every function is pure: no clock, no I/O.
//   - Nothing else in the program decides whether a node is online.
package presence
