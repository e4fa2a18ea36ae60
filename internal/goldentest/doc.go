// Package goldentest holds, for tests, real messages of the other side: messages that WG Free
// Mesh's client and backend exchanged over a broker, and a bind. A test that compares with these
// bytes cannot be wrong in the same way as the code.
//
// testdata/messages.tsv has one message per line, in the order seen: direction ("from node", "to
// node"), topic, payload. The client is 1.0.0-rc.1 with the real wg-quick; all names, keys and
// passwords are invented. testdata/bind.json has the client's bind request, and an answer it
// accepts. The bytes are never edited: if our code disagrees with them, our code is wrong.
//
// Enter at [Messages] and [ReadBind]; [Differs] compares our bytes with theirs.
package goldentest
