// Package callback answers an EMQX's questions about logins and topics. They are not part of the
// described API: their answers have no envelope.
//
// It owns the counts of questions and the appliance's own account. It does not own the rules
// (package rights), nor the form of questions and answers (package emqxcall).
//
// Enter at [API.Routes].
//
// Invariants:
//   - A question without the shared key gets no answer.
//   - A question that cannot be read is denied.
package callback
