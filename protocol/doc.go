// Package protocol is the wire language between the appliance and the agents on the nodes:
// identities, topics, the JSON envelope, every payload, the table of actions, and the HTTP bind
// exchange.
//
// It owns the form of messages and decides which message is well formed. It does not own the effect
// of a message on a node or a command; that belongs to the appliance.
//
// Enter at [ParseTopic] and [Decode] to read a message, at [Envelope.Encode] to write one, at
// [ActionSpec] to add an action.
//
// Invariants:
//   - It imports the standard library only, so that both ends can share it.
//   - Agents are deployed in the field: names of topics and fields never change. Reading is lenient
//     (fields may be absent, unknown or of an unexpected type), writing is strict.
//   - Nothing here panics on any input; the fuzz tests hold that.
package protocol
