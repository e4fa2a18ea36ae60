// Package rollout applies one action to many nodes in waves, and stops by itself if too many fail.
//
// It owns when each node has its turn, and its outcome. It does not own the life of a command
// ([Commands]), nor whether a node is online (package presence), nor the records (package store).
//
// Enter at [New], [Runner.Start] and [Runner.Stop]; [Runner.Begin], [Runner.Pause], [Runner.Resume]
// and [Runner.Cancel] for the operator.
//
// Invariants:
//   - The command itself, whose author is the rollout, is the record that a node had its turn. If a
//     command may have been given and not noted (after a kill, with a full disk), it is looked for
//     before any other is given, so no node gets a second one.
//   - A wave begins once every node of the wave before is decided. A node is done once its command
//     is applied and it has been online since.
//   - Once max_failures nodes have failed, or a pause or cancel has returned, no further command is
//     given. Commands already sent are still followed to their end.
//   - Every node that had its turn is decided within a bounded time, whatever it does.
package rollout
