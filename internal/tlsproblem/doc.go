// Package tlsproblem has the errors that say why agents cannot use TLS with the appliance.
//
// It owns the errors that package certs returns and that package web, which may not import certs,
// turns into answers. It does not own certificates. Enter at [ErrNotReady] and [Error]. Invariant: no
// error has a secret in its text.
package tlsproblem
