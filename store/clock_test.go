package store

import (
	"testing"
	"time"
)

func TestTheClockFollowsLeapsForwardAndNeverGoesBack(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var wall, steady time.Duration
	c := &clock{system: func() (time.Time, time.Duration) { return begin.Add(wall), steady }}
	for _, step := range []struct{ wall, steady, want time.Duration }{
		{0, 0, 0},
		{time.Second, time.Second, time.Second},
		{10 * time.Hour, 2 * time.Second, 10 * time.Hour},                            // set forward
		{time.Hour, 3 * time.Second, 10*time.Hour + time.Second},                     // set back
		{time.Hour + time.Minute, 63 * time.Second, 10*time.Hour + 61*time.Second},   // goes on from where it was
		{11 * time.Hour, 64 * time.Second, 11 * time.Hour},                           // and is right again
		{11*time.Hour + time.Second, 65 * time.Second, 11*time.Hour + 1*time.Second}, // as ever
	} {
		if wall, steady = step.wall, step.steady; !c.now().Equal(begin.Add(step.want)) {
			t.Errorf("at %s, %s steadily: not %s", step.wall, step.steady, step.want)
		}
	}
}

func TestEvidenceOfAFutureThatIsNoneKeepsItsOrderAndEndsNow(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	ahead := time.Now().Add(time.Hour).UTC()
	update(t, db, func(tx *Tx) error {
		if err := tx.UpdateEvidence("node_2", func(e *Evidence) { e.ReachableAt = ahead.Add(-10 * time.Minute) }); err != nil {
			return err
		}
		return tx.UpdateEvidence("node_1", func(e *Evidence) {
			e.ReachableAt, e.OfflineAt, e.ConnectedAt = ahead.Add(-time.Minute), ahead, ahead.Add(-2*time.Minute)
		})
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	db, err = Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	after := time.Now()
	_ = db.View(func(tx *Tx) error {
		a, _ := tx.Evidence("node_1")
		b, _ := tx.Evidence("node_2")
		if a.OfflineAt.Before(before) || a.OfflineAt.After(after) {
			t.Errorf("the newest is of %s, and it is %s", a.OfflineAt, after)
		}
		if a.OfflineAt.Sub(a.ReachableAt) != time.Minute || a.OfflineAt.Sub(a.ConnectedAt) != 2*time.Minute ||
			a.OfflineAt.Sub(b.ReachableAt) != 10*time.Minute || !a.HeartbeatAt.IsZero() {
			t.Errorf("moved apart: %+v, %+v", a, b)
		}
		return nil
	})
}
