// Package system has the calls of the API about the appliance itself: health, status, metrics, backup, certificates, where agents are sent, and
// the description of the API.
//
// It owns what these requests look like. It does not own the certificates, which it takes as [Certificates], nor the settings (store).
//
// Enter at [API.Routes].
//
// Invariants:
//   - The health checks answer anybody, and tell nothing but whether the appliance serves.
package system
