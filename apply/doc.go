// Package apply takes a mesh from wanted to running: it says which nodes do not have their desired tunnel
// config, what would happen to them, and does it as one rollout.
//
// It owns the plan ([Applier.Plan]), the reasons for which a mesh or a node is not applied, the order of
// the nodes, and the check of a mesh that is kept until the mesh changes ([Applier.Topology]). It does not
// own the rules about a tunnel config (package tunnel), what is made from a mesh and its faults (package
// mesh), whether a node is online (package presence), nor the life of a rollout (appliance/rollout).
//
// Enter at [New], [Applier.Plan] and [Applier.Apply].
//
// Invariants:
//   - Only versions that the plan showed are staged, and the rollout pushes the staged ones. If the mesh
//     has changed since the plan, nothing is done.
//   - A mesh that is not valid is not applied, and neither is a tunnel config that would cut its node off,
//     unless the operator wants that nevertheless.
//   - Nothing is sent to a node that has the text already.
package apply
