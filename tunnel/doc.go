// Package tunnel has the rules about a node's tunnel config (its wg-quick text): how it is read, what
// it would do to the node, and how far it has come on its way from the operator to the node.
//
// It owns one predicate for each question, used by every door (API, page, rollout, bind) alike:
//   - [Read]: is the text a config that can be pushed?
//   - [CutsOff]: would it keep the node's agent from reaching the broker?
//   - [StagedNow]: is what is desired frozen for delivery, for the tools the node is to use?
//   - [Confirmed], [Drifted], [Sync]: does the node have it?
//   - [Has]: does the node certainly run it, so that pushing it again would restart it for nothing?
//   - [Fits]: is a push that waited still right for the node?
//   - [HandOut]: which text does a newly bound agent get?
//
// [Door] joins them: what is saved, staged or pushed goes through it, whoever asks.
//
// It does not own the records (package store), the grammar (tunnel/wgconf), or the life of a
// command (appliance/command).
//
// Invariants:
//   - What depends on the store is decided in the transaction that acts on it. A check that is too
//     slow for a transaction is made before, and made again if what it looked at has changed.
//   - Only a version that was read for the node's tools is staged, and only what is staged is pushed.
package tunnel
