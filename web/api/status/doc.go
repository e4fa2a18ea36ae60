// Package status has the API's calls about the nodes' state and history. They change nothing.
//
// It owns the pages of the log, the events and the history. It does not own the facts about a node
// (package view).
//
// Enter at [API.Routes].
package status
