package tracker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/storetest"
	"wfm/presence"
	"wfm/store"
)

func (f *fixture) hear(id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(id, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
}

func TestANodeWhoseMomentMovesHoldsUpNoOther(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.hear("node_a")
		pass(time.Minute)
		f.hear("node_b")
		pass(29 * time.Minute)
		f.hear("node_a") // it was the first to be due, and is the last now
		pass(61*time.Minute + time.Second)
		f.want("node_a", begin, "offline@0", "online@0")
		f.want("node_b", begin, "offline@0", "online@60", "dropped@5460")
		pass(29 * time.Minute)
		f.want("node_a", begin, "offline@0", "online@0", "dropped@7200")
	})
}

func TestANodeWhoseStateTimeDoesNotChangeIsNotAmongThoseThatAreDue(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.hear("node_a")
		f.hear("node_b")
		for range 3 {
			f.connect("node_a", 1)
			pass(time.Second)
			f.connect("node_a", 0)
			pass(time.Second)
		}
		f.connect("node_a", 1)
		f.Stop()
		if len(f.due) != 1 || f.due[0].nodeID != "node_b" {
			t.Errorf("due: %d, the first %+v; want node_b only", len(f.due), f.due[0])
		}
	})
}

func TestAHistoryThatCannotBeWrittenIsTriedAgainAfterFiveSeconds(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a", 1)
		f.Stop()
		storetest.Ballast(t, f.db)
		if err := f.db.Close(); err != nil {
			t.Fatal(err)
		}
		f.open(store.Options{MaxSize: storetest.MaxSize})
		tries := 0
		f.Tracker = New(Options{Store: f.db, Logger: slog.New(&counting{f: func() {
			if tries++; tries == 100 {
				t.Error("it tries again at once")
				f.stopOnce.Do(func() { close(f.stopping) })
			}
		}})})
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		f.connect("node_a", 0)
		release := storetest.Fill(t, f.db, "node_b")
		pass(30*time.Second + 10*time.Second) // dropped at 30, tried at 30, 35 and 40
		if tries != 3 {
			t.Errorf("tried %d times in 10 s", tries)
		}
		release()
		pass(5 * time.Second)
		_ = f.db.View(func(tx *store.Tx) error {
			last, err := tx.Transitions("node_a", 0, 1)
			if err != nil || len(last) != 1 || last[0].To != string(presence.Dropped) || last[0].At.Sub(begin) != 30*time.Second {
				t.Errorf("last transition: %+v (%v)", last, err)
			}
			return nil
		})
	})
}

// counting is a log that calls f for every error.
type counting struct {
	slog.Handler

	f func()
}

func (c *counting) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (c *counting) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "cannot keep the history of nodes; trying again" {
		c.f()
	}
	return nil
}

func TestAConfigWhoseNodesCannotBeReadHasAllNodesLookedAtLater(t *testing.T) {
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	tr := New(Options{Store: db, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	tr.note(store.Change{Kind: store.ChangeConfig, ConfigID: "cfg_a"})
	if !tr.lost || !bytes.Contains(log.Bytes(), []byte("cfg_a")) {
		t.Errorf("look at all: %v; log: %s", tr.lost, log.String())
	}
	if _, err := tr.step(time.Now()); !errors.Is(err, store.ErrClosed) || !tr.lost {
		t.Errorf("step: %v; look at all still: %v", err, tr.lost)
	}
	if err := tr.Start(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Start: %v, want ErrClosed", err)
	}
}

func TestAStatusIsNotTakenFromARecordThatCannotBeRead(t *testing.T) {
	for _, begin := range []string{`{"node_id":"node_a"`, `{"id":"cfg_a"`} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a", 1)
			f.Stop()
			if err := f.db.Close(); err != nil {
				t.Fatal(err)
			}
			f.open(store.Options{}) // its writer has read no record yet
			storetest.Damage(t, f.dir, begin)
			witness := Witness(presence.DefaultTimes())
			for what, in := range map[string]func(func(*store.Tx) error) error{"View": f.db.View, "Update": f.db.Update} {
				err := in(func(tx *store.Tx) error {
					n, err := tx.Node("node_a")
					if err != nil {
						t.Fatal(err)
					}
					return witness(tx, n)
				})
				if !errors.Is(err, store.ErrDamaged) {
					t.Errorf("%s with %s damaged: %v", what, begin, err)
				}
			}
		})
	}
}

func TestNodesThatCouldNotBeReadAreProbedOnceTheyCan(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.bindMany(240)
		a := &answers{asked: make(map[string][]time.Time), answer: make(chan struct{})}
		close(a.answer)
		p := NewProber(ProberOptions{Store: f.db, Commands: a})
		defer func() { _ = p.Stop(context.WithoutCancel(t.Context())) }()
		pass(time.Until(time.Now().Truncate(DefaultInterval).Add(DefaultInterval + 500*time.Millisecond))) // an interval has just begun
		repair := storetest.Damage(t, f.dir, `{"id":"cfg_a"`)
		defer p.Watch()()
		pass(3 * time.Second)
		if n := a.count(); n != 0 {
			t.Errorf("%d probes of nodes that cannot be read", n)
		}
		repair()
		pass(110 * time.Second)
		if n := a.count(); n < 200 {
			t.Errorf("only %d of 242 nodes were probed in the rest of the interval", n)
		}
		synctest.Wait()
	})
}

func TestATrackerDoesNotStartOverRecordsThatCannotBeRead(t *testing.T) {
	for _, begin := range []string{`{"id":"cfg_a"`, `{"id":"node_a"`} {
		bubble(t, func(t *testing.T, f *fixture) {
			storetest.Damage(t, f.dir, begin)
			before := storetest.Subscriptions(f.db)
			if err := New(Options{Store: f.db}).Start(); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("with %s damaged: %v, want ErrDamaged", begin, err)
			}
			if got := storetest.Subscriptions(f.db); got != before {
				t.Errorf("%d subscriptions are left", got-before)
			}
		})
	}
}
