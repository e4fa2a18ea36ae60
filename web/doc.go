// Package web is the HTTP side of the appliance: the API for administrators and scripts, the bind
// exchange for agents, the callbacks of an external broker, the health checks and the admin page.
//
// It owns the HTTP servers, the order of what stands around a handler, and Start and Stop. What it serves stands in the rooms
// below it, which it alone puts together:
//
//   - wire: the language of the API: decoding, answers, errors, routes and their description.
//   - access: who may make a request; the audit log.
//   - view: what both the API and the page show.
//   - reach: where agents find the appliance and its broker.
//   - events: the event stream.
//   - page, with ui for the looks: the admin page.
//   - api: the calls, a package for each group of resources, a file for each resource with its routes and handlers.
//
// It does not own the records and their invariants (store), how a command reaches a node, when a node counts as online, how a
// rollout goes on, or the broker: the rooms declare the small interfaces they need, and whoever composes the appliance supplies
// them in [Options].
//
// Enter at [New]. [FirstAdmin] makes the account without a request.
//
// Invariants:
//   - A write is validated, then made in one store transaction that also reads the records it
//     changes. Live sessions are ended after the commit, never before it.
//   - An error that [wire.Translate] does not know is logged once.
//   - Who changes something is in the audit log, whichever handler does it: what stands around it sees to that.
//   - The description of the API matches the code: every answer in every test is checked against
//     it.
//   - Passwords, tokens, request bodies and query strings are never logged.
//   - A request without a session learns only whether set-up is needed, whether the appliance is
//     ready, and which CA to trust.
package web
