// Package agenttest stands in for an agent that is deployed in the field, for tests. It is written
// from the description of the wire alone, uses none of this repository's own types, and is as strict
// as such agents are:
//
//   - A bind fails when a member is missing or of another type, desired_conf above all, which is a
//     string; it is written over what was stored, also when it is empty.
//   - tunnel_protocol amneziawg_2 means the AmneziaWG tools, anything else those of WireGuard.
//   - It reports nothing that is an extension: no capabilities, no hashes, no accepted.
//   - Members it does not know are tolerated; a command that lacks one it needs fails, and is noted
//     in [Client.Violations].
//   - It connects with MQTT 5, keep-alive 60 s, clean start false and no session expiry, with a new
//     boot and session id every time, executes one command after the other, and each as often as it
//     arrives.
//
// The tunnel is not real: starting one fails when it runs already, when the text has lines that the
// tools do not know, or a PostUp that is false.
//
// Enter at [Bind].
package agenttest
