package ingress

import (
	"strings"
	"testing"
	"time"

	"wfm/presence"
	"wfm/store"
)

// fight has two machines take node_a's session over in turn, n times.
func (f *fixture) fight(n int, addresses ...string) {
	f.t.Helper()
	const pause = 5 * time.Second
	for i := range n {
		s := f.session(uint64(100 + i))
		s.Remote = addresses[i%len(addresses)] + ":4000"
		if i > 0 {
			s.Replaced = &Replaced{Remote: addresses[(i-1)%len(addresses)] + ":4000", Since: time.Now().Add(-pause)}
			f.Disconnected(Session{ID: uint64(99 + i), NodeID: "node_a", ConfigID: "cfg_a", Generation: s.Generation}, "session takeover")
		}
		f.Connected(s)
		<-time.After(pause)
	}
}

func (f *fixture) conflictNow() (c *store.IdentityConflict, events []string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		e, err := tx.Evidence("node_a")
		if err != nil {
			return err
		}
		c = presence.Conflict(e, tx.Now())
		entries, err := tx.Journal("node_a", 0, 100)
		for _, e := range entries {
			if strings.HasPrefix(e.Event, "identity_conflict") {
				events = append(events, e.Event)
			}
		}
		return err
	})
	return c, events
}

func TestAnIdentityConflictIsToldOnceAndEndsByItself(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.fight(3, "192.0.2.1", "192.0.2.2")
		if c, _ := f.conflictNow(); c != nil {
			t.Fatal("told after two takeovers")
		}
		f.fight(20, "192.0.2.1", "192.0.2.2")
		c, events := f.conflictNow()
		if c == nil || len(c.Addresses) != 2 || len(events) != 1 {
			t.Fatalf("conflict %+v, events %v", c, events)
		}
		<-time.After(presence.ConflictEnds + time.Second)
		if c, events = f.conflictNow(); c != nil || len(events) != 2 || events[0] != "identity_conflict_ended" {
			t.Fatalf("after ten minutes: conflict %+v, events %v", c, events)
		}
		f.fight(20, "192.0.2.1")
		if c, _ = f.conflictNow(); c != nil {
			t.Errorf("one machine that reconnects is told as two: %+v", c)
		}
		f.identities.stop()
	})
}

func TestABindEndsAnIdentityConflict(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.fight(6, "192.0.2.1", "192.0.2.2")
		if c, _ := f.conflictNow(); c == nil {
			t.Fatal("no conflict")
		}
		f.bind("node_a")
		f.fight(2, "192.0.2.1", "192.0.2.2")
		if c, _ := f.conflictNow(); c != nil {
			t.Errorf("the new binding inherits the conflict: %+v", c)
		}
		f.identities.stop()
	})
}
