// Package goldentest holds what the other side of the wire really sent and took, for tests: messages
// that WG Free Mesh's client and backend exchanged over a broker, and a bind. A test that compares
// with these bytes cannot be wrong in the same way as the code.
//
// testdata/messages.tsv has one message a line, in the order seen: direction ("from node", "to
// node"), topic, payload. The client is 1.0.0-rc.1 with the real wg-quick; all names, keys and
// passwords are invented. testdata/bind.json has what the client posts to bind, and an answer it
// takes. The bytes are never edited: a change of ours that does not agree with them is wrong.
//
// Enter at [Messages] and [ReadBind]; [Differs] compares what is ours with what is theirs.
package goldentest
