// Package web is the HTTP side of the appliance: the API for administrators and scripts, the bind
// exchange for agents, what an external broker asks about nodes, the health checks and a plain page
// at /.
//
// It owns what a request may look like, who may send it, and how every outcome is answered. It
// does not own the records and their invariants (store), how a command reaches a node, when a
// node counts as online, or the broker: for those it declares the small interfaces [Commands] and
// [Broker] and takes a function, and whoever composes the appliance supplies them.
//
// Enter at [New]; routes.go lists every path. [SetUpAdmin] makes the account without a request.
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
