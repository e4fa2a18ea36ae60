// Package protocol is the wire language between the appliance and the agents on the nodes:
// identities, topics, the JSON envelope, every payload, and the HTTP bind exchange.
//
// It owns what a message looks like and which message is well formed. It does not own what a
// message means for the state of a node or a command; that is the appliance's business.
//
// Enter at [ParseTopic] and [Decode] for what comes in, at [Envelope.Encode] for what goes out.
//
// Invariants:
//   - It imports the standard library only, so that both ends can share it.
//   - Agents are deployed in the field: names of topics and fields never change. Reading is
//     lenient (fields may be absent, unknown or of an odd type), writing is strict.
//   - Nothing here panics on any input; the fuzz tests hold that.
package protocol
