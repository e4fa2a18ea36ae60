// Package wanted starts tunnels that should run if the node's agent does not: because the agent
// does not know the wanted state, or has not received it.
//
// It owns the decision when the appliance sends a start on its own, and its limits. It does not own
// the wanted state (package store) nor how a command gets to the node (package command).
//
// Enter at [New].
//
// Invariants:
//   - A start is sent only if the operator's last order is that the tunnel runs, the node is
//     online, and it reported the tunnel stopped later than that order, than its connection and
//     than the last such start.
//   - No start is sent while a start, stop or push of the node is open, so there are never two at
//     once.
//   - The pauses between starts of one node grow from 30 seconds to 10 minutes. After eight in a
//     row, each further one needs a new connection of the node. The count is in the store, so a
//     restart of the appliance does not reset it; an operator's start or stop does, and so does a
//     tunnel that has run for ten minutes.
package wanted
