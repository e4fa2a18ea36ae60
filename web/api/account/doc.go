// Package account has the calls of the API about the one account: set-up, log-in, password, sessions, API tokens, and the audit log.
//
// It owns the form of these requests. It does not own the limits of attempts, the hashes or the
// entries (package access).
//
// Enter at [API.Routes].
//
// Invariants:
//   - Only a session may make these calls, except for set-up, log-in and reading the audit log.
//   - When a login ends, its event streams end.
package account
