// Package tracker keeps the history of each node's presence, and of when the appliance ran, and probes
// nodes.
//
// It owns the transitions in the store, the marks that the appliance runs, and when a node is probed.
// It does not own the rule that turns evidence into a state (package presence), nor the evidence
// (package store).
//
// Enter at [New] for the history, at [NewProber] for the probes.
//
// Invariants:
//   - A change of state is in the history in the transaction that made it ([Witness]). Changes
//     caused by time alone follow when they happen ([Tracker]).
//   - The tracker looks at a node when its evidence changes and when time alone changes its state.
//     It never reads all nodes to find those that are due.
//   - Nodes are probed only while somebody watches ([Prober.Watch]).
package tracker
