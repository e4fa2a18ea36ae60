package presence

import (
	"testing"
	"time"

	"wfm/store"
)

func TestReasonSaysHowTheConnectionEnded(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	broken := func(since time.Duration, reason string) store.Evidence {
		return store.Evidence{ConnectedAt: ago(time.Hour), DisconnectedAt: ago(since), DisconnectReason: reason}
	}
	for want, e := range map[string]store.Evidence{
		"its MQTT connection ended a moment ago and may come back":                   broken(time.Second, ""),
		"its MQTT connection ended (connection lost) a moment ago and may come back": broken(time.Second, "connection lost"),
		"its MQTT connection ended and did not come back":                            broken(time.Minute, ""),
		"its MQTT connection ended (connection lost) and did not come back":          broken(time.Minute, "connection lost"),
		"its MQTT connection is open":                                                {ConnectionID: 1, ConnectedAt: ago(time.Hour)},
		"it was heard of lately": {
			ReachableAt: ago(time.Minute), DisconnectedAt: ago(time.Hour),
			DisconnectReason: "connection lost",
		},
		"nothing was heard for too long":     {ReachableAt: ago(3 * time.Hour)},
		"it did not answer the last check":   {ReachableAt: ago(time.Hour), ProbeFailedAt: ago(time.Minute)},
		"it sent nothing since it was bound": {},
		"it was shut down": {
			ReachableAt: ago(time.Hour), OfflineAt: ago(time.Minute),
			OfflineReason: "it was shut down",
		},
	} {
		if got := project(e, now).Reason; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
