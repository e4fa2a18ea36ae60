// Package ingress stores what nodes send and what the broker sees of them, before anything is
// acknowledged.
//
// It owns the port that both brokers call ([Port], [Session]), what each message does to the store,
// what a last will and the end of a connection say about a node, and sightings that wait for a full
// disk. It does not own the life of a command (package command), the rule of who is online (package
// presence), or how a message got here (packages hooks and emqx).
//
// Enter at [New]; [Ingress.Receive] for one message.
//
// Invariants:
//   - One message of a node is one transaction: evidence, ACK and journal together, or nothing.
//   - Nothing is stored for a session that has lost its right, except that it has ended.
//   - What the broker saw and could not be stored is shown at once ([Ingress.Evidence]) and stored
//     later with its own moments.
package ingress
