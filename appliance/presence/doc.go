// Package presence says whether a node is online, and why.
//
// It owns the rules that turn evidence into a state, the history of each node's states, and what
// the history says in figures. It does not own the evidence (package store).
//
// Enter at [Project]; [NewTracker] for the history.
//
// Invariants:
//   - Project is a pure function of its arguments; no clock, no I/O. Nothing else in the program
//     decides whether a node is online.
//   - A change of state is in the history in the transaction that made it ([Witness]); those that
//     time alone makes follow at their moment ([Tracker]).
//   - The tracker looks at a node when its evidence changes and at the moment time alone changes
//     its state; it never goes through all nodes to see whether something is due.
package presence
