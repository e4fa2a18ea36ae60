// Package mesh has the rules of a mesh: from a subnet, nodes and links that say what should be true,
// it makes the tunnel config of each node.
//
// It owns addresses ([NextAddress], [OfferSubnet]), keys ([NewKeys], [Edit.RotateKey], and those of agents:
// [TakeKeys]), links and their drafts ([Mesh.Draft]), the quick mesh ([Mesh.Quick]), the hooks that the appliance adds to a config, the
// values of AmneziaWG ([NewAWG]), the findings about a mesh ([Mesh.Validate]), and the texts
// ([Mesh.Text]). [Change] changes a mesh in the store, and makes the texts that this touches in the same
// transaction.
//
// It does not own the records (package store), the grammar of a tunnel config (tunnel/wgconf), or the
// way of a text to its node (package tunnel). It reads no clock, file or network; randomness comes from
// the caller.
//
// Enter at [New] for the rules, and at [Change] for a mesh in the store.
//
// Invariants:
//   - The same mesh gives the same bytes, in whichever order its nodes and links are given.
//   - Each text of a mesh in which [Mesh.Validate] finds no error can be parsed and pushed.
//   - A new name of a node changes comments only.
//   - The text of a node depends on the settings of the mesh, the node, its links, its peers, the nodes
//     that have routes, and the services to which it forwards ports; see [TouchedByNode].
//   - Who changes a mesh, node, link or port forward in the store does it in [Change]: the desired configs
//     then are always those of the mesh. [Change] stages nothing.
//   - No error, finding or plan has a private or preshared key in its words.
package mesh
