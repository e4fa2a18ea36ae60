// Package openapi describes the API for programs, in OpenAPI 3.0.
//
// It owns how a route, the members of its body and the types of its answers become a description. It does not own the words about
// a call, which stand with its route (package wire).
//
// Enter at [Describe].
//
// Invariants:
//   - What the description says of a body and of errors follows from the fields that handlers and tests use too.
//   - No two types are described under one name.
package openapi
