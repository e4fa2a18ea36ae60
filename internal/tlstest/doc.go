// Package tlstest is a TLS client for tests that can do something the standard library's client
// never does: ask the server for new keys.
//
// It owns the records that such a client sends after the handshake, in TLS 1.3. The standard
// library's connection does the reading. Enter at [Over], with a connection of [Listen] if a test
// must notice at once that the client does not read.
package tlstest
