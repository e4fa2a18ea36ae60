// Package web is the HTTP side of the appliance: the API for administrators and scripts, the bind
// exchange for agents, the answers to an external broker's questions about nodes, the health checks
// and the admin page.
//
// It owns the HTTP servers, the order of the wrappers around a handler, and Start and Stop. The
// rooms below it have everything that it serves, and it alone joins them:
//
//   - wire: the language of the API: decoding, answers, errors and the type of a route; below it,
//     openapi describes the routes.
//   - access: logins and limits; the audit log.
//   - view: the values that both the API and the page show.
//   - reach: the addresses of the appliance and its broker for agents.
//   - events: the event stream.
//   - page, with ui for its look: the admin page.
//   - api: the calls, a package for each group of resources, a file for each resource with its
//     routes and handlers.
//
// It does not own the records and their invariants (store), the delivery of commands, presence, the
// course of a rollout, or the broker: the rooms declare the small interfaces they need, and package
// appliance supplies them in [Options].
//
// Enter at [New]. [FirstAdmin] creates the account without a request.
//
// Invariants:
//   - A write is validated first, then made in one store transaction that reads the records it
//     changes. Live sessions are ended after the commit, never before it.
//   - An error that [wire.Translate] does not know is logged once.
//   - Every change by a login has an entry in the audit log, in whichever handler it is made: the
//     wrappers see to that. See package access for the order.
//   - The description of the API agrees with the code: every answer in the tests is checked against
//     it.
//   - Passwords, tokens, request bodies and query strings are never logged.
//   - A client without a login learns only whether set-up is needed, whether the appliance serves,
//     and which CA to trust.
package web
