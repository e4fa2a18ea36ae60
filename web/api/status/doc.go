// Package status has the calls of the API that tell how nodes are and what happened with them. They change nothing.
//
// It owns the pages of the log, the events and the history. It does not own what is known of a node (package view).
//
// Enter at [API.Routes].
package status
