// Package importconf brings existing files of wg-quick and awg-quick into a mesh.
//
// It owns the plan ([Make]): the nodes and links that follow from the files, the settings that the mesh
// takes from them, and the words about each part that does not fit. It does not own the grammar of the
// files (tunnel/wgconf), the rules of a mesh (package mesh), or the records (package store).
//
// Enter at [Make], which is pure, and at [Plan.Apply], which carries a plan out.
//
// Invariants:
//   - A node's tunnel config is made from the mesh only if it then means the same as the file. Otherwise
//     it stays the file's text, byte for byte.
//   - The same meaning leaves out comments, the order of peers and networks, and the hooks by which the
//     appliance switches forwarding on.
//   - A plan with problems cannot be carried out.
//   - No problem, note or reason has a key, or the text of a hook, in its words. Node.Text and the
//     settings of nodes and links do.
package importconf
