// Package page is the admin page: its routes and the values of its templates.
//
// It owns the set of pages and the values that each reads. It does not own the look (package ui),
// the facts (package view), nor any change: the browser makes the API's calls for those.
//
// Enter at [Pages.Routes].
//
// Invariants:
//   - A page only reads, in one transaction. The findings about a mesh are read before it: they are kept
//     until the mesh changes (apply.Applier.Topology).
//   - A page that needs a login sends other clients to the log-in, and back.
package page
