// Package importconf has the API's call that brings existing wg-quick files into a mesh.
//
// It owns the form of the request and of the answer. It does not own the plan (mesh/importconf) nor the
// records (store).
//
// Enter at [API.Routes].
//
// Invariants:
//   - All nodes and links are made in one store transaction, with its audit entry, or none.
//   - No answer, audit entry or log has a key of the files.
package importconf
