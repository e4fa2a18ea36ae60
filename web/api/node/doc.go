// Package node has the API's calls about one node: its tunnel config with its versions, staging,
// and commands.
//
// It owns the form of these requests and of their answers. It does not own the rules of a tunnel
// config (package tunnel), nor the delivery of a command, which it takes as [Commands] (package
// command of the appliance).
//
// Enter at [API.Routes].
//
// Invariants:
//   - Only logins with write access get the text of a tunnel config, and each reading is in the
//     audit log.
package node
