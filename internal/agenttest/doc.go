// Package agenttest stands in for a deployed agent in tests. It is written only from the
// description of the wire, uses no types of this repository, and is as strict as such agents are:
//
//   - A bind fails if a member is missing or of another type. In particular desired_conf must be a
//     string; it replaces the stored config, even if it is empty.
//   - tunnel_protocol amneziawg_2 means the AmneziaWG tools, anything else those of WireGuard.
//   - It reports no extension: no capabilities, no hashes, no accepted.
//   - Unknown members are tolerated. A command without a member it needs fails, and is recorded in
//     [Client.Violations].
//   - It connects with MQTT 5, keep-alive 60 s, clean start false and no session expiry, with a new
//     boot and session id every time. It executes one command after the other, and each as often as
//     it arrives.
//
// The tunnel is not real: starting it fails if it already runs, if the text has lines that the
// tools do not know, or if a PostUp is false.
//
// Enter at [Bind].
package agenttest
