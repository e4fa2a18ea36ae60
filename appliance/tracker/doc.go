// Package tracker keeps the history of each node's presence and asks nodes how they are.
//
// It owns the transitions in the store, and when a node is probed. It does not own the rule that
// turns evidence into a state (package presence), nor the evidence (package store).
//
// Enter at [New] for the history, at [NewProber] for the probes.
//
// Invariants:
//   - A change of state is in the history in the transaction that made it ([Witness]). The changes
//     that time alone makes follow at their moment ([Tracker]).
//   - The tracker looks at a node when its evidence changes and at the moment time alone changes
//     its state. It never goes through all nodes to see whether something is due.
//   - Nodes are probed only while somebody watches ([Prober.Watch]).
package tracker
