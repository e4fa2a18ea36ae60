// Package keyring keeps the key pairs of a node's tunnel in a file, for nodes whose private keys never
// leave them.
//
// It owns the file of each profile's pairs, and how pairs are made. It does not own which pair a tunnel
// config needs, nor what the server is told (package agent).
//
// Enter at [New].
//
// Invariants:
//   - The newest pair of a profile is the one that the server is told. Older ones stay until [Ring.Prune].
//   - The file is replaced as a whole, and readable by its owner only.
//   - No error, and no formatted [Pair], shows a private key.
package keyring
