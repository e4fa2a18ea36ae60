// Package bind has the calls of the API that bind agents to nodes: the bind commands that an administrator asks for, the exchange in
// which an agent spends a token, and the reset.
//
// It owns the form of these requests and the words of their refusals for the person at the node. It
// owns neither the tokens and credentials (store) nor the addresses that are handed out (package
// reach).
//
// Enter at [API.Routes].
//
// Invariants:
//   - A bind that is refused spends no token and ends no session.
//   - A token and a password are each in one answer, and in no log.
package bind
