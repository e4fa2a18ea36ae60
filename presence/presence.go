package presence

import (
	"cmp"
	"time"

	"wfm/internal/latest"
	"wfm/store"
)

// State says whether a node is online.
type State string

// The states.
const (
	Online  State = "online"
	Dropped State = "dropped" // was online, and every sign of it has expired
	Offline State = "offline" // said so itself, or must not be online
)

// Tunnel is the state of the node's tunnel as last reported.
type Tunnel string

// The tunnel states. A node that is not online has an unknown tunnel.
const (
	TunnelUnknown Tunnel = "unknown"
	TunnelRunning Tunnel = "running"
	TunnelStopped Tunnel = "stopped"
)

// Times are the rules' durations.
type Times struct {
	// TTL is how long a message proves that its sender is online.
	TTL time.Duration
	// Grace is how long a node may take to restore a broken connection.
	Grace time.Duration
}

// DefaultTimes are for agents with a heartbeat of 30 minutes.
func DefaultTimes() Times { return Times{TTL: 90 * time.Minute, Grace: 30 * time.Second} }

// OrDefault returns t with defaults for durations that are zero.
func (t Times) OrDefault() Times {
	defaults := DefaultTimes()
	return Times{TTL: cmp.Or(t.TTL, defaults.TTL), Grace: cmp.Or(t.Grace, defaults.Grace)}
}

// Status is the result for a node's evidence.
type Status struct {
	State  State
	Reason string // for people
	Tunnel Tunnel
	// Since is when the state began according to the evidence; zero if it does not say.
	Since time.Time
	// NextChange is when the state changes without new evidence; zero for never.
	NextChange time.Time
}

// Project returns the node's status at now. configEnabled says whether its config is enabled.
func Project(n store.Node, configEnabled bool, e store.Evidence, now time.Time, t Times) Status {
	s := state(n, configEnabled, e, now, t)
	s.Tunnel = TunnelUnknown
	if s.State == Online && e.TunnelRunning != nil {
		s.Tunnel = TunnelStopped
		if *e.TunnelRunning {
			s.Tunnel = TunnelRunning
		}
	}
	return s
}

func state(n store.Node, configEnabled bool, e store.Evidence, now time.Time, t Times) Status {
	switch {
	case n.Type == store.NodeStatic:
		return Status{State: Offline, Reason: "it is static: it has no agent", Since: e.OfflineAt}
	case n.Client == nil:
		return Status{State: Offline, Reason: "no agent is bound", Since: e.OfflineAt}
	case !n.Enabled:
		return Status{State: Offline, Reason: "the node is disabled", Since: e.OfflineAt}
	case !configEnabled:
		return Status{State: Offline, Reason: "the mesh is disabled", Since: e.OfflineAt}
	}
	signal := latest.Of(e.ReachableAt, e.ConnectedAt)
	// Of two signals with the same time, offline wins: signals stored together share their time,
	// and an agent reports offline last. But a connection opened at that time and still open came
	// after it, since the store records the end of an older one with it.
	reopened := e.ConnectionOpen() && e.ConnectedAt.Equal(e.OfflineAt)
	if !e.OfflineAt.IsZero() && !signal.After(e.OfflineAt) && !reopened {
		return Status{State: Offline, Reason: e.OfflineReason, Since: e.OfflineAt}
	}
	if e.ConnectionOpen() {
		since := e.ConnectedAt
		if since.Before(e.OfflineAt) { // a message over the same connection withdrew the offline signal
			since = e.ReachableAt
		}
		return Status{State: Online, Reason: "its MQTT connection is open", Since: since}
	}
	if signal.IsZero() {
		return Status{State: Offline, Reason: "it sent nothing since it was bound"}
	}
	expires, lives, lapsed := signal.Add(t.TTL), "it was heard of lately", "nothing was heard for too long"
	// A signal after the break outweighs it: a message by another path, or a connection that may or
	// may not still be open, since an external broker is out of sight. Until the break, the open
	// connection was proof enough, however old the last message was.
	if !e.DisconnectedAt.IsZero() && !e.DisconnectedAt.Before(signal) {
		ended := "its MQTT connection ended"
		if e.DisconnectReason != "" {
			ended += " (" + e.DisconnectReason + ")"
		}
		expires, lives, lapsed = e.DisconnectedAt.Add(t.Grace), ended+" a moment ago and may come back", ended+" and did not come back"
	}
	switch {
	case e.ProbeFailedAt.After(signal):
		// While the connection was open, the failed probe did not count.
		return Status{State: Dropped, Reason: "it did not answer the last check", Since: latest.Of(e.ProbeFailedAt, e.DisconnectedAt)}
	case !now.Before(expires):
		return Status{State: Dropped, Reason: lapsed, Since: expires}
	}
	return Status{State: Online, Reason: lives, Since: signal, NextChange: expires}
}
