// Package nodekey gives the public key that a node's agent reports to the node's peers, if the node
// holds its key: the agent may have made a new pair on request, been restored from an older copy, or
// lost its files.
//
// It owns the moment at which that happens. It does not own what the agent reported (ingress keeps
// it), nor the rule which key counts and for whom (package mesh).
//
// Enter at [New].
//
// Invariants:
//   - A key is only taken from the node itself, and never one that another node of the mesh has.
//   - A node that reports new keys without end changes its peers' tunnel configs a bounded number of times.
//   - It makes new versions of tunnel configs, and stages and sends nothing.
//   - A message of a node is stored even if its key cannot be taken: the key is taken in a transaction of
//     its own.
package nodekey
