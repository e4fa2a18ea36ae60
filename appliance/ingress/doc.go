// Package ingress stores the messages of nodes, and the broker's sightings of them, before anything
// is acknowledged.
//
// It owns the port that both brokers call ([Port], [Session]), the effect of each message on the
// store, the meaning of a last will and of the end of a connection, and sightings that wait for a
// full disk. It does not own the life of a command (package command), the rule of presence (package
// presence), or the transport of messages (packages hooks and emqx).
//
// Enter at [New]; [Ingress.Receive] for one message.
//
// Invariants:
//   - One message of a node is one transaction: evidence, ACK and journal together, or nothing.
//   - Nothing is stored for a session that has lost its right, except that it has ended.
//   - A sighting that could not be stored is shown at once ([Ingress.Evidence]) and stored later,
//     with its own times.
package ingress
