// Package mesh has the API's calls about meshes, their nodes and their tags.
//
// It owns the form of these requests and their changes. It does not own the records (store) nor
// their presentation (package view).
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - A change is made in one store transaction that reads the records it changes, with its audit
//     entry.
//   - A call about many nodes is carried out for all of them, or for none and then names every
//     fault.
package mesh
