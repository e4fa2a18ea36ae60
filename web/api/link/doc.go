// Package link has the API's calls about the links of a mesh and what follows from them: drafts, quick
// meshes, port forwards, the findings about the mesh, and previews of tunnel configs.
//
// It owns the form of these requests and their changes. It does not own the rules (package mesh) nor
// the records (store).
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - A change is made in one store transaction, with its audit entry and the tunnel configs that
//     follow from it.
//   - Keys are shown to those who may write.
package link
