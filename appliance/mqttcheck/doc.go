// Package mqttcheck does once what an agent does after bind: it resolves the host, connects, trusts
// the CA it was given and nothing else, logs in as a node and subscribes. It tells in words what
// went wrong and what to do about it.
//
// It owns the steps and their words. It does not own the account it logs in with, nor where agents
// are sent: both are given to it.
//
// Enter at [Run].
//
// Invariants:
//   - The whole of it ends within [Timeout]; what the other side sends is bounded.
//   - Where it can be known which broker is meant, the account's password goes to no other in the clear.
//   - It sends nothing but CONNECT, SUBSCRIBE and DISCONNECT.
package mqttcheck
