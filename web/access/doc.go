// Package access decides whether a client may make a request, and records the authors of changes.
//
// It owns logins by session and by API token, the password of the one account, the limits of failed
// attempts and the queue of logins, the check of Host and Origin, the trust in proxies, the
// redirect to HTTPS, and the entries of the audit log with their budget. It does not own any call,
// nor the records of sessions, tokens and entries (store).
//
// Enter at [NewGuard] and [NewAuditor]; package web wraps every route in their handlers.
// [SetUpAdmin] creates the account without a request.
//
// Invariants:
//   - A change by a login is in the audit log before it is made, or in the same transaction. A
//     bind, a login and the set-up are recorded afterwards, before their answer is sent. No flood
//     of requests pushes entries out: see auditBudget.
//   - An API token gives access only to the routes of its scope: see permits.
//   - Headers about the client's address, which a client can write, count only from a trusted
//     proxy.
//   - Where HTTPS is served, no session can be used without it.
//   - Passwords and tokens are never logged.
package access
