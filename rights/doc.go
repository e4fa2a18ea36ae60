// Package rights decides who may log in to the MQTT broker and which topics a session may use.
//
// It owns these verdicts for every door: the embedded broker's hook and the answers to EMQX's
// questions. It does not own the grants (package store), the form of topics (package protocol), or
// the words and codes in which a door refuses.
//
// Enter at [Admit], [MayPublish] and [MaySubscribe].
//
// Invariants:
//   - Every function is pure: no clock, no I/O.
//   - A session has rights only while the grant that it logged in with is the current one.
//   - The time that [Admit] takes does not depend on whether the user exists.
package rights
