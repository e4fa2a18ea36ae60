// Package node has the calls of the API about what one node should do: its tunnel config, the versions of it, staging, and commands.
//
// It owns what these requests look like and how their outcomes are answered. It does not own the rules of a tunnel config (package
// tunnel), nor how a command reaches the node (package command of the appliance), which it takes as [Commands].
//
// Enter at [API.Routes].
//
// Invariants:
//   - The text of a tunnel config is answered to those who may write, and each reading of it is in the audit log.
package node
