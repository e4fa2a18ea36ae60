// Package rollout has the calls of the API about rollouts: one action on many nodes, wave after wave.
//
// It owns what such a request may look like and which nodes it means. It does not own how a rollout goes on (package rollout of the
// appliance), which it takes as [Rollouts].
//
// Enter at [API.Routes].
package rollout
