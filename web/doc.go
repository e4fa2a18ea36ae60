// Package web is the HTTP side of the appliance: the API for administrators and scripts, the bind
// exchange for agents, what an external broker asks about nodes, the health checks and the admin page.
//
// It owns what a request may look like, who may send it, and how every outcome is answered. It
// does not own the records and their invariants (store), how a command reaches a node, when a
// node counts as online, how a rollout goes on, or the broker: for those it declares the small
// interfaces [Commands], [Rollouts], [Broker] and [Certificates] and takes a function, and whoever
// composes the appliance supplies them.
//
// The page's handlers (page*.go) only read; package ui shows what they find, and the browser makes
// the API's calls for whatever changes something.
//
// Enter at [Listen], [New] and [Server.Start]; a route of the API stands, with what the description says of it, in the file of its handler;
// page.go lists those of the page. [SetUpAdmin] and [FirstAdmin] make the account without a request.
//
// Invariants:
//   - A write is validated first, then made in one store transaction that reads what it changes;
//     live sessions are ended after the commit, never before it.
//   - An error is answered as [wire.Translate] says, and one that it does not know is logged once.
//   - Who changes something is in the audit log before it is done, whichever handler does it, and
//     nobody can push that out by doing much more: see auditBudget.
//   - An API token never reaches what it was not made for: see permits.
//   - The description of the API is what the code does: every answer of every test is held to it.
//   - Passwords, tokens, request bodies and query strings are never logged.
//   - Whoever asks without a session learns nothing but whether set-up is needed, whether the
//     appliance serves, and which CA to trust.
//   - Where HTTPS is served, no session is used without it.
package web
