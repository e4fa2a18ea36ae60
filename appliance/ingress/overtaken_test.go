package ingress

import (
	"slices"
	"testing"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

// at is a message that the session sent so many seconds after noon, by the node's clock.
func at(seconds int, sessionID, payload string) []byte {
	sent := time.Date(2026, 1, 1, 12, 0, seconds, 0, time.UTC).Format(time.RFC3339)
	return []byte(`{"boot_id":"b","session_id":"` + sessionID + `","sent_at":"` + sent + `","payload":` + payload + `}`)
}

const (
	runs  = `{"client_online":true,"wg_online":true,"client_version":"2","capabilities":["new"]}`
	stops = `{"client_online":true,"wg_online":false,"client_version":"1","capabilities":["old"]}`
)

func TestOlderHeartbeatOfTheSameSessionBehindAnExternalBrokerChangesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		message []byte
		ours    bool // comes over the embedded broker
		pause   time.Duration
		counts  bool
	}{
		"older":                           {message: at(5, "x", stops)},
		"as old":                          {message: at(10, "x", stops), counts: true},
		"newer":                           {message: at(11, "x", stops), counts: true},
		"older, of another session":       {message: at(5, "y", stops), counts: true},
		"older, of no session":            {message: at(5, "", stops), counts: true},
		"without a time":                  {message: from("x", stops), counts: true},
		"older, over the embedded broker": {message: at(5, "x", stops), ours: true, counts: true},
		"older, but long after the newer": {message: at(5, "x", stops), pause: overtakenFor, counts: true}, // the node's clock was set back
	} {
		t.Run(name, func(t *testing.T) {
			ingressTest(t, func(t *testing.T, f *fixture) {
				f.opened(1000)
				f.takes(protocol.KindHeartbeat, f.through(), at(10, "x", runs))
				before := f.evidence()
				<-time.After(tc.pause)
				s := f.through()
				if tc.ours {
					s = f.session(1000)
				}
				f.takes(protocol.KindHeartbeat, s, tc.message)
				e, can := f.evidence(), f.node().Client.Capabilities
				want := "new"
				if tc.counts {
					want = "old"
				}
				if *e.TunnelRunning == tc.counts || e.HeartbeatAt.After(before.HeartbeatAt) != tc.counts || !slices.Equal(can, []string{want}) {
					t.Errorf("tunnel runs %v, heartbeat at %s after %s, capabilities %v", *e.TunnelRunning, e.HeartbeatAt, before.HeartbeatAt, can)
				}
				f.takes(protocol.KindHeartbeat, f.through(), at(20, "x", runs))
				if e := f.evidence(); !*e.TunnelRunning {
					t.Error("the next heartbeat does not count")
				}
			})
		})
	}
}

func TestOlderEventOfTheSameSessionIsRecordedButSaysNothingOfThePresent(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindEvent, f.through(), at(10, "x", `{"event":"second","message":"m"}`))
		f.takes(protocol.KindEvent, f.through(), at(5, "x", `{"event":"first","message":"m"}`))
		if e := f.evidence(); e.LastEvent != "second" {
			t.Errorf("the last event is %q", e.LastEvent)
		}
		if !slices.ContainsFunc(f.journal(), func(j store.JournalEntry) bool { return j.Event == "first" }) {
			t.Error("the older event is not in the journal")
		}
	})
}

// A will is written when its session begins: its time says nothing.
func TestOfflineEventCountsHoweverOldAndNoOlderHeartbeatTakesItBack(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindHeartbeat, f.through(), at(10, "x", runs))
		f.Disconnected(f.session(1000), "connection lost")
		f.takes(protocol.KindEvent, f.through(), at(0, "x", offline))
		if s := f.presence(); s != presence.Offline {
			t.Errorf("%s: the will does not count", s)
		}
		f.takes(protocol.KindHeartbeat, f.through(), at(8, "x", runs))
		if s := f.presence(); s != presence.Offline {
			t.Errorf("%s: an older heartbeat takes the will back", s)
		}
	})
}
