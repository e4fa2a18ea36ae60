package events

import (
	"time"

	"wfm/web/view"
	"wfm/web/wire"
)

type rolloutPayload struct {
	configRef
	Rollout view.Rollout `json:"rollout"`
}

type configRef struct {
	ConfigID string `json:"config_id"`
}

type nodeRef struct {
	ConfigID string `json:"config_id"`
	NodeID   string `json:"node_id"`
}

type statusPayload struct {
	nodeRef
	Status *view.EndpointStatus `json:"status"` // null: read it again
}

// nodesChangedPayload says that the nodes of a config were changed, but not the config itself.
type nodesChangedPayload struct {
	configRef
	NodesChanged bool `json:"nodes_changed"`
}

type logPayload struct {
	nodeRef
	Log view.Log `json:"log"`
}

// clockPayload has the time, under the names of two generations of clients.
type clockPayload struct {
	Now       *time.Time `json:"now"`
	Timestamp *time.Time `json:"timestamp"`
	Timezone  string     `json:"timezone"`
}

func clockEvent() event {
	now := wire.When(time.Now())
	return event{eventClock, clockPayload{now, now, view.Timezone}}
}

type resyncPayload struct {
	Reason string `json:"reason"`
}
