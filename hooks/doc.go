// Package hooks connects the embedded MQTT broker (mochi-mqtt) with the store: it answers the
// broker's questions and handles its events.
//
// It owns authentication, the exact-topic ACL, the rules for every MQTT session (no broker
// sessions, no retain, no QoS 2, no aliases), the registry of live sessions, and the rule that a
// message is stored before it is acknowledged. It does not own the meaning of messages: that is
// behind [ingress.Port]. Nor does it own sockets: the broker's listener hands over each connection.
//
// Enter at [New], which returns the one [Hook] for the broker, and at its [Registry].
//
// Invariants:
//   - There is exactly one hook: mochi ORs the answers of several.
//   - A session lives only while the grant it logged in with is the current one.
//   - At most one session per client id is between establishing and ended, takeovers included.
//   - No message from a node is acknowledged before [ingress.Port.Receive] has returned nil for it,
//     and none ever reaches another client.
//   - A hook never returns a wrapped packets.Code: the broker panics on it.
package hooks
