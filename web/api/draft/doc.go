// Package draft has the API's calls that propose values for a form: keys, addresses in the tunnel,
// and values of AmneziaWG.
//
// It owns the form of these requests. It does not own the rules (package mesh), and it stores nothing.
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - No call changes anything, so none of them is in the audit log.
//   - A call that makes a key is a POST, which requires the scope write.
package draft
