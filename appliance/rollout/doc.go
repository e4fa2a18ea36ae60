// Package rollout carries one action out on many nodes in waves, and stops by itself when too many
// fail.
//
// It owns when each node has its turn and what its outcome is. It does not own the life of a
// command ([Commands]), nor whether a node is online (package presence), nor the records (package
// store).
//
// Enter at [New], [Runner.Start] and [Runner.Stop]; [Runner.Begin], [Runner.Pause],
// [Runner.Resume] and [Runner.Cancel] for who wants a rollout.
//
// Invariants:
//   - The command itself, whose author is the rollout, is the record that a node had its turn.
//     Whenever it may be that one was given and not noted (a kill, a full disk), it is looked for
//     before any other is given, so no node gets a second one.
//   - A wave begins when every node of the one before is decided. A node is done when its command
//     is applied and it is online since.
//   - As soon as max_failures nodes have failed, a pause is answered or a cancel is, no further
//     command is given; what was sent is followed to its end all the same.
//   - Every node that had its turn is decided within a bounded time, whatever it does.
package rollout
