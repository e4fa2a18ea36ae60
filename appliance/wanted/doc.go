// Package wanted makes tunnels run that are to run, where the node's agent does not: agents that do
// not know the wanted state, and agents that were not told of it.
//
// It owns the decision when the appliance sends a start by itself, and its limits. It does not own
// the wanted state (package store) nor how a command gets to the node (package control).
//
// Enter at [New].
//
// Invariants:
//   - A start is sent only while the operator's last word is that the tunnel runs, the node is online
//     and reported it stopped, later than that word, the node's connection and the last such start.
//   - No start is sent while a start, stop or push of the node is open, so never two at once.
//   - The pauses between starts of one node grow from 30 seconds to 10 minutes. After eight in a row each
//     further one needs a new connection of the node. The count is in the store, so a restart of the
//     appliance gives no new ones; an operator's start or stop, or a tunnel that has run for ten minutes, does.
package wanted
