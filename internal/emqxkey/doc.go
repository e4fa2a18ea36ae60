// Package emqxkey holds the secret that EMQX presents when it asks the appliance, and derives
// accounts from it: with such an account a check logs in to EMQX without a node of its own.
//
// It owns the comparison and the form of those accounts. It does not own the origin of the secret
// or its storage.
//
// Enter at [New] and [Parse].
//
// Invariants:
//   - Comparisons take constant time for every input.
//   - A check's account works for a few minutes, for topics that no node has.
package emqxkey
