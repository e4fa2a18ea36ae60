// Package mesh has the rules of a mesh: from a subnet, nodes and links that say what should be true,
// it makes the tunnel config of each node.
//
// It owns addresses ([NextAddress], [OfferSubnet]), keys ([NewKeys]), links and their drafts
// ([Mesh.Draft]), the hooks that the appliance adds to a config, and the texts ([Mesh.Text]). It does
// not own the records (package store), what a tunnel config may say (tunnel/wgconf), or how a text gets
// to its node (package tunnel). It reads no clock, file or network; randomness comes from the caller.
package mesh
