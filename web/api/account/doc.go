// Package account has the calls of the API about the one account: set-up, log-in, password, sessions, API tokens, and the audit log.
//
// It owns what these requests look like. It does not own the limits of attempts, the hashes and the entries (package access).
//
// Enter at [API.Routes].
//
// Invariants:
//   - Only a session reaches these calls, but for set-up, log-in and reading the audit log.
//   - When a login ends, its event streams end.
package account
