// Package wgconf reads the configs that are pushed to nodes: the files of wg-quick(8), and those of
// awg-quick with the keys of AmneziaWG.
//
// It owns the grammar, the errors that say what is wrong with a config and where, and the warnings
// about what a config will do to the node that runs it. It does not own the text: nothing is
// rewritten, and what was accepted is pushed byte for byte. It resolves no names, reads no files and
// runs no tools.
//
// Enter at [Parse], then [Config.Warnings]. docs/configs.md has it for operators.
//
// Invariants:
//   - What Parse accepts, the tools accept, as far as the text alone tells: a routing table or a
//     version of AmneziaWG may still be missing on the node. A key that is [KeptOnNode] has to be put in first. Parse is stricter where the tools take
//     the last of two lines that contradict each other, or what only looks like it works. Each such
//     place is in the list of a test that asks the real tools (differences_test.go).
//   - An error names every fault, with its line.
//   - No error, warning or Config holds a private key, a preshared key, or anything that looks like
//     one, whichever line it stands on; nor the text of a hook, or of what follows a #.
//   - Warnings err on the side of warning: the routes and rules the node has already are not known
//     here.
package wgconf
