// Package page is the admin page: its routes and what its templates show.
//
// It owns which pages there are and what each reads. It does not own the looks (package ui), the facts (package view), nor any change:
// the browser makes the API's calls for those.
//
// Enter at [Pages.Routes].
//
// Invariants:
//   - A page only reads, in one transaction.
//   - A page for those who are logged in sends others to the log-in, and back.
package page
