// Package openapi describes the API for programs, in OpenAPI 3.0.
//
// It owns the translation of a route, the members of its body and the types of its answers into a
// description. It does not own the words about a call, which are in its route (package wire).
//
// Enter at [Describe].
//
// Invariants:
//   - The description of a body and of errors is derived from the fields that handlers and tests
//     use too.
//   - No two types have the same name in the description.
package openapi
