// Package system has the calls of the API about the appliance itself: health, status, metrics,
// backup, certificates, the address of the broker for agents, and the description of the API.
//
// It owns the form of these requests. It owns neither the certificates, which it uses as
// [Certificates], nor the settings (store).
//
// Enter at [API.Routes].
//
// Invariants:
//   - The health checks need no login, and tell only whether the appliance is ready.
package system
