// Package broker is the embedded MQTT broker: mochi-mqtt behind a listener of our own.
//
// It owns the sockets and their limits, the broker's settings, starting and stopping it, and the
// delivery of a command to a live session. It does not own who may do what, nor what messages
// mean; that is package hooks and what stands behind its Ingress.
//
// Enter at [New], then [Broker.Start], [Broker.Publish], [Broker.Stop].
//
// Invariants:
//   - A right that ends, ends its session: before the Update of the store that ended it returns.
//   - Without TLS and with it, sessions, limits and rules are the same: only the socket differs.
//   - A panic while serving one connection ends that connection only.
//   - A connection that has not sent a whole CONNECT in time is closed; before that it costs a few
//     bytes of memory, and one address cannot have many of them.
//   - A refusal has the code of its own version of MQTT, one for good where it is for good; MQTT 5
//     clients are told by DISCONNECT why their session ends, older ones never get that packet.
//   - A packet of very many filters or properties ends its connection before it is decoded.
//   - No write waits longer than the write deadline for a client that does not read.
//   - Stop returns within its bound, whatever clients do.
package broker
