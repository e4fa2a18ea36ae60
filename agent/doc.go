// Package agent is the node's side of the control channel: it binds the node to a server, keeps
// an MQTT session per profile, and runs the tunnel's tools when a command says so.
//
// It owns the profile files, the stored tunnel configs, the journal of executed commands and the
// processes of wg, wg-quick and their awg counterparts. It does not own what a message looks like
// (package protocol), the flags and texts of the command line, or the decision which config a node
// should have: that arrives by message and is never computed here.
//
// Enter at [Bind] to become a node, at [Run] to serve, at [ListProfiles] and [RemoveProfile] to
// look after profiles. Inside: a session receives, its executor decides and runs, its outbox
// delivers.
//
// On disk, below one folder:
//
//	profiles/<profile_id>.json  credentials, one file per node this machine is
//	tunnels/<interface>.conf    the stored config, with its version beside it in <interface>.json
//	state/<profile_id>.json     the journal
//	agent.lock                  held while an agent runs
//
// Invariants:
//   - A request_id that changes the node is executed at most once, also across a crash: it is
//     journaled before it starts, and what was cut short is answered as failed, never repeated.
//   - The message handler of the session never blocks: whatever runs a process or touches the disk
//     does so in a lane of the executor.
//   - No value of a message reaches a command line or a path before package protocol called it
//     valid, and no shell is involved.
//   - The tunnel protocol is never taken from the profile: every command carries it.
//   - No payload, password, token, key or config text is logged.
package agent
