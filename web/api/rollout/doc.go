// Package rollout has the API's calls about rollouts: one action for many nodes, wave after wave.
//
// It owns the form of these requests and the selection of nodes. It does not own the course of a
// rollout, which it takes as [Rollouts] (package rollout of the appliance).
//
// Enter at [API.Routes].
package rollout
