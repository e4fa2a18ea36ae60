// Package tunnel has the rules about a node's tunnel config (its wg-quick text): how it is read,
// how it would affect the node, and how far it has come on its way from the operator to the node.
//
// It owns one predicate for each question, which every door (API, page, rollout, bind) uses:
//   - [Read]: is the text a config that can be pushed?
//   - [CutsOff]: would it keep the node's agent from reaching the broker?
//   - [StagedNow]: is the desired config frozen for delivery, for the tools the node is to use?
//   - [Confirmed], [Drifted], [Sync]: does the node have it?
//   - [Has]: does the node certainly run it, so that pushing it again would restart it for nothing?
//   - [Fits]: is a push that waited still right for the node?
//   - [HandOut]: which text does a newly bound agent get?
//
// [Door] joins them: every config is saved, staged and pushed through it.
//
// It does not own the records (package store), the grammar (tunnel/wgconf), or the life of a
// command (appliance/command).
//
// Invariants:
//   - A decision that depends on the store is made in the transaction that acts on it. A check that
//     is too slow for a transaction is made before, and repeated if its input has changed.
//   - Only a version that was read for the node's tools is staged, and only a staged version is
//     pushed.
package tunnel
