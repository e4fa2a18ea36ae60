// Package wgconf reads the configs that are pushed to nodes: the files of wg-quick(8), and those of
// awg-quick with the keys of AmneziaWG.
//
// It owns the grammar, the errors that name each fault of a config and its line, and the warnings
// about the effects of a config on its node, and the mark of a private key that only the node has
// ([KeptOnNode]). It does not own the text: an accepted text is pushed byte for byte. It resolves no
// names, reads no files and runs no tools.
//
// Enter at [Parse], then [Config.Warnings]. docs/configs.md explains both for operators.
//
// Invariants:
//   - The tools accept every text that Parse accepts, as far as the text alone shows: the node may
//     still lack a routing table or a version of AmneziaWG, and a key that is [KeptOnNode] has to
//     be inserted first. Parse is stricter where the tools take the last of two contradicting
//     lines, or accept a text that only seems to work. A test that runs the real tools lists all
//     such cases (differences_test.go).
//   - An error names every fault, with its line.
//   - No error, warning or Config holds a private key, a preshared key, or anything that looks like
//     one, on whichever line it is; nor the text of a hook or of a comment.
//   - In doubt, Parse warns: the node's existing routes and rules are not known here.
package wgconf
