// Package hooks is what the embedded MQTT broker asks us and tells us: the adapters between
// mochi-mqtt and the store.
//
// It owns authentication, the exact-topic ACL, the rules every session is held to (no broker
// sessions, no retain, no QoS 2, no aliases), the registry of live sessions, and the rule that a
// message is stored before it is acknowledged. It does not own what a message means: that is
// behind [ingress.Port]. Nor sockets: the broker's listener hands over each connection.
//
// Enter at [New], which gives the one [Hook] for the broker, and its [Registry].
//
// Invariants:
//   - There is exactly one hook: mochi ORs the answers of several.
//   - A session lives only while the grant it logged in with is the present one.
//   - At most one session per client id is between establishing and ended, takeovers included.
//   - Nothing a node publishes is acknowledged before [ingress.Port.Receive] returned nil for it, and
//     nothing a node publishes ever reaches another client.
//   - A hook never returns a wrapped packets.Code: the broker panics on it.
package hooks
