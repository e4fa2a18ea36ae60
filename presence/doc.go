// Package presence says whether a node is online, and why.
//
// It owns the rules that turn evidence into a state, the rule that distinguishes two machines with
// one identity from one that reconnects, and the figures that sum up a history of states. It does
// not own the evidence (package store), nor when the history is written (package
// appliance/tracker).
//
// Enter at [Project]; [Uptime] and [Flaps] for a history, [TwoMachines] for an identity.
//
// Invariants:
//   - Every function is pure: no clock, no I/O.
//   - No other code decides whether a node is online.
package presence
