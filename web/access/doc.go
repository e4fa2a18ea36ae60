// Package access decides who may make a request, and records who changed something.
//
// It owns logins by session and by API token, the password of the one account, the limits of failed attempts and the queue of
// logins, the check of Host and Origin, the trust in proxies, the way to HTTPS, and the audit log's entries with their budget.
// It does not own any call, nor the records of sessions, tokens and entries (store).
//
// Enter at [NewGuard] and [NewAuditor]; package web puts their handlers around every route. [SetUpAdmin] makes the account
// without a request.
//
// Invariants:
//   - Every audited request has an entry, written with its change or before it, and nobody can push entries out of the log by
//     doing much more: see auditBudget.
//   - An API token never exceeds its scope: see permits.
//   - A client can write headers; they count only where a trusted proxy sent them.
//   - Where HTTPS is served, no session is used without it.
//   - Passwords and tokens are never logged.
package access
