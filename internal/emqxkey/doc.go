// Package emqxkey is the secret that EMQX shows when it asks the appliance, and what can be made of
// it: the account with which a check logs in to EMQX without any node being there for it.
//
// It owns the comparison and the form of those accounts. It does not own where the secret comes
// from or is kept.
//
// Enter at [New] and [Parse].
//
// Invariants:
//   - Comparisons take the same time whatever is given.
//   - A check's account works for a few minutes, for topics that no node has.
package emqxkey
