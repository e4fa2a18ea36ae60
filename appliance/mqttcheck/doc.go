// Package mqttcheck connects to the broker once as an agent does after bind: it resolves the host,
// connects, trusts only the given CA, logs in as a node and subscribes. If that fails, its error
// has the cause and the remedy.
//
// It owns the steps and their messages. It does not own the account it logs in with, nor the
// broker's address: it is given both.
//
// Enter at [Run].
//
// Invariants:
//   - A whole check ends within [Timeout]. The size of the other side's packets is bounded.
//   - If the intended broker can be recognized, the account's password is sent to no other in the
//     clear.
//   - It sends nothing but CONNECT, SUBSCRIBE and DISCONNECT.
package mqttcheck
