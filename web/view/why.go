package view

import (
	"fmt"
	"time"

	"wfm/store"
	"wfm/web/ui"
)

// why explains the node's state in one sentence: the reason, the newest signal and its age, and its
// session.
func (f Facts) why(now time.Time) string {
	text := string(f.Presence.State)
	if f.Presence.Reason != "" {
		text += " because " + f.Presence.Reason
	}
	if what, at := f.NewestSignal(); what != "" {
		text += fmt.Sprintf("; last signal: %s %s ago", what, ui.Duration(max(0, now.Sub(at))))
		if f.Evidence.SessionID != "" {
			text += ", session " + f.Evidence.SessionID
		}
	}
	return text
}

// NewestSignal returns the newest signal of the node. Of simultaneous signals, the most specific
// one comes first.
func (f Facts) NewestSignal() (what string, at time.Time) {
	e := f.Evidence
	event := "event"
	if e.LastEvent != "" {
		event += " " + e.LastEvent
	}
	offline := "offline"
	if e.OfflineReason != "" {
		offline += " (" + e.OfflineReason + ")"
	}
	for _, s := range []struct {
		what string
		at   time.Time
	}{
		{"heartbeat", e.HeartbeatAt},
		{"failed check", failedAck(e)},
		{"answer to a check", e.DetectAckAt},
		{"last will", e.WillAt},
		{event, e.EventAt},
		{"answer to a command", e.ReachableAt}, // no other signal makes a node reachable
		{offline, e.OfflineAt},
		{"connection opened", e.ConnectedAt},
		{"connection closed", e.DisconnectedAt},
		{"check without an answer", e.ProbeFailedAt},
	} {
		if s.at.After(at) {
			what, at = s.what, s.at
		}
	}
	return what, at
}

// failedAck returns the time of the last detect ACK if it reported a failure.
func failedAck(e store.Evidence) time.Time {
	if e.ProbeFailedAt.Equal(e.DetectAckAt) {
		return e.DetectAckAt
	}
	return time.Time{}
}
