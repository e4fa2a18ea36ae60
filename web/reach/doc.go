// Package reach knows the addresses of the appliance and its broker for agents.
//
// It owns the host, port and trust anchors given to an agent ([Directory.InForce],
// [Directory.TargetFor]), the address in a bind command ([Directory.WayForAgents]), and that the
// certificate covers it. It does not own the settings in the store, the certificates, nor the bind
// itself.
//
// Enter at [Directory].
//
// Invariants:
//   - Overrides win over the flags of the start, and those over the host of the request.
//   - The certificate covers a host before the host is handed out.
package reach
