// Package emqxcall is the contract of the questions that EMQX asks the appliance over HTTP: who may
// log in, and who may use a topic.
//
// It owns the paths, the header, the fields and the form of the answers, the comparison of the secret
// that EMQX presents, and the accounts derived from it: with such an account a check logs in to EMQX
// without a node of its own. It does not own the decisions (package rights), nor the origin of the
// secret or its storage.
//
// Enter at [NewKey] and [ParseKey], [Question] and [Answer].
//
// Invariants:
//   - The contract does not change: it stands in the configuration of every EMQX in the field.
//   - Comparisons of the secret take constant time for every input.
//   - A check's account works for a few minutes, for topics that no node has.
package emqxcall
