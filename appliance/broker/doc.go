// Package broker is the embedded MQTT broker: mochi-mqtt behind a listener of our own.
//
// It owns the sockets and their limits, the broker's settings, its start and stop, and the delivery
// of a command to a live session. It does not own rights or the meaning of messages: see package
// hooks and the port in appliance/ingress.
//
// Enter at [New], then [Broker.Start], [Broker.Publish], [Broker.Stop].
//
// Invariants:
//   - If a right ends, its session ends too, before the Update of the store that ended the right
//     returns.
//   - With and without TLS, sessions, limits and rules are the same: only the socket differs.
//   - A panic while serving one connection ends that connection only.
//   - A connection that has not sent a whole CONNECT in time is closed. Before that it costs a few
//     bytes of memory, and their number per address is limited.
//   - A refusal has the code of its own version of MQTT, and a permanent one if it is permanent.
//     MQTT 5 clients get the reason for the end of their session in a DISCONNECT; older clients
//     never get that packet.
//   - A packet with very many filters or properties ends its connection before it is decoded.
//   - No write waits longer than the write deadline for a client that does not read.
//   - Stop returns within its bound, however clients behave.
package broker
