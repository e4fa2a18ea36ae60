// Package bind has the calls of the API that bind agents to nodes: the bind commands that an administrator asks for, the exchange in
// which an agent spends a token, and the reset.
//
// It owns what these requests look like and how their refusals are worded for the person at the node. It does not own the tokens and
// credentials (store), nor the addresses that are handed out (package reach).
//
// Enter at [API.Routes].
//
// Invariants:
//   - A bind that is refused spends no token and ends no session.
//   - A token and a password stand in one answer each, and in no log.
package bind
