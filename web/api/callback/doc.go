// Package callback answers what an EMQX asks: who may log in, and who may use a topic. It is no part of the described API: the answers
// are bare.
//
// It owns the counts of questions and the appliance's own account. It does not own the rules (package rights), nor the form of questions
// and answers (package emqxcall).
//
// Enter at [API.Routes].
//
// Invariants:
//   - Without the shared key there is no answer.
//   - A question that cannot be read is denied.
package callback
