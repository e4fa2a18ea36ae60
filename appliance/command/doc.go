// Package command is the life of commands: the ledger that says what every command is up to, and
// the sender that makes it so.
//
// It owns the states of a command and every change between them, time limits, expiry, sending
// again after a reconnect or a restart, and matching ACKs. It does not own how a message gets to
// the node ([Publisher]), nor what an ACK says about the node's presence.
//
// Enter at [New] and [Ledger.Start]; [Ledger.Issue], [Ledger.Wait] and [Ledger.Cancel] for who
// wants something done; [Ledger.Ack], [Ledger.Output] and [Ledger.NodeReady] for what comes from
// the node.
//
// Invariants:
//   - A command is on disk before it is sent, and on disk as sent before it can be answered.
//   - Publishing closes nothing. Only an ACK with the same request_id, from the node it was sent
//     to, on the ACK topic of its kind does; any other ACK changes no state and leaves a note.
//   - Every open command has a moment at which it ends by itself, so none is open for ever. What
//     was sent and not answered ends as unknown, never as failed: nobody knows.
//   - After a restart every open command goes on.
//   - A node has at most one open push, and its text, which holds a private key, is never in the
//     ledger. An applied ACK confirms what was pushed, never what is staged by then.
package command
