// Package reach knows where agents find the appliance and its broker.
//
// It owns which host, port and trust anchors an agent is given ([Directory.InForce], [Directory.TargetFor]), which address a bind
// command names ([Directory.WayForAgents]), and that the certificate is for it. It does not own the settings in the store, the
// certificates, nor the bind itself.
//
// Enter at [Directory].
//
// Invariants:
//   - What was set over the API wins over the flags of the start, and those over the host of the request.
//   - The certificate is for a host before anybody is told of the host.
package reach
