// Package web is the HTTP side of the appliance: the API for administrators and scripts, the bind
// exchange for agents, the health checks and the admin page.
//
// It owns what a request may look like, who may send it, and how every outcome is answered. It
// does not own the records and their invariants (store), how a command reaches a node, when a
// node counts as online, how a rollout goes on, or the broker: for those it declares the small
// interfaces [Commands], [Rollouts] and [Broker] and takes a function, and whoever composes the
// appliance supplies them.
//
// The page's handlers (page*.go) only read; package ui shows what they find, and the browser makes
// the API's calls for whatever changes something.
//
// Enter at [New]; routes.go lists every path but those of the page, which are in page.go. [SetUpAdmin] makes the account without a request.
//
// Invariants:
//   - A write is validated first, then made in one store transaction that reads what it changes;
//     live sessions are ended after the commit, never before it.
//   - translate, in errors.go, is the only place where an error becomes a status, a code and a
//     sentence. What it does not know is answered INTERNAL_ERROR and logged once; its text never
//     leaves the appliance.
//   - Passwords, tokens, request bodies and query strings are never logged.
//   - Whoever asks without a session learns nothing but whether set-up is needed and whether the
//     appliance serves.
package web
