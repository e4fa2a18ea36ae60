// Package command keeps the ledger of commands, with the state of each, and sends them.
//
// It owns the states of a command and every change between them, time limits, expiry, repetition
// after a reconnect or a restart, and the matching of ACKs. It does not own how a message gets to
// the node ([Publisher]), nor what an ACK says about the node's presence.
//
// Enter at [New] and [Ledger.Start]; [Ledger.Issue], [Ledger.Push], [Ledger.Wait] and
// [Ledger.Cancel] to give and follow commands; [Ledger.Ack], [Ledger.Output] and [Ledger.NodeReady]
// for messages and events of the node.
//
// Invariants:
//   - A command is on disk before it is sent, and on disk as sent before it can be answered.
//   - Publishing does not end a command. Only an ACK with the same request_id, from the node it was
//     sent to, on the ACK topic of its kind does. Any other ACK changes no state and leaves a note.
//   - Every open command has a time at which it ends by itself, so none is open for ever. A command
//     that was sent and not answered ends as unknown, never as failed.
//   - After a restart every open command goes on.
//   - A node has at most one open push. Its text, which holds a private key, is never in the
//     ledger. An applied ACK confirms the version that was pushed, never the one staged by then.
package command
