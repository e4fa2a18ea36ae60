// Package mesh has the calls of the API about meshes, their nodes and their tags.
//
// It owns what such a request may look like and what it changes. It does not own the records (store) nor how they are shown (package view).
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - A change is made in one store transaction that reads what it changes, with its audit entry.
//   - A call about many nodes is carried out for all of them, or for none and names every fault.
package mesh
