package tracker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/store"
)

type fixture struct {
	t   *testing.T
	dir string
	db  *store.DB
	*Tracker
}

// bubble runs test with a tracker over a real store with the bound nodes node_a and node_b.
func bubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, dir: t.TempDir()}
		f.open(store.Options{})
		f.update(func(tx *store.Tx) error {
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true})
		})
		f.bind("node_a")
		f.bind("node_b")
		f.start()
		t.Cleanup(func() {
			f.Stop()
			if err := f.db.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, f)
	})
}

func (f *fixture) open(o store.Options) {
	f.t.Helper()
	db, err := store.Open(f.dir, o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.db = db
}

// Stop stops the tracker, also in a clean-up.
func (f *fixture) Stop() {
	f.t.Helper()
	if err := f.Tracker.Stop(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) start() {
	f.t.Helper()
	f.Tracker = New(Options{Store: f.db})
	if err := f.Start(); err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
}

func (f *fixture) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(fn); err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
}

func (f *fixture) bind(id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error { return bindIn(tx, id) })
}

// bindMany binds node_0 to node_n-1.
func (f *fixture) bindMany(n int) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		for i := range n {
			if err := bindIn(tx, fmt.Sprintf("node_%d", i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func bindIn(tx *store.Tx, id string) error {
	if err := tx.PutNode(&store.Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: store.NodeDynamic}); err != nil {
		return err
	}
	token, _, err := tx.IssueBindToken(id, time.Minute)
	if err != nil {
		return err
	}
	_, err = tx.Bind(token, store.Client{})
	return err
}

func (f *fixture) connect(id string, connection uint64) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(id, func(e *store.Evidence) {
			if connection == 0 {
				e.DisconnectedAt = tx.Now()
			} else {
				e.ConnectedAt = tx.Now()
			}
			e.ConnectionID = connection
		})
	})
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// want checks the node's whole history, oldest first, each with its moment in seconds after begin.
func (f *fixture) want(id string, begin time.Time, want ...string) {
	f.t.Helper()
	_ = f.db.View(func(tx *store.Tx) error {
		all, err := tx.Transitions(id, 0, 100)
		if err != nil {
			f.t.Fatal(err)
		}
		var got []string
		for _, t := range all {
			got = append([]string{fmt.Sprintf("%s@%d", t.To, int(t.At.Sub(begin).Seconds()))}, got...)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			f.t.Errorf("history of %s: %v, want %v", id, got, want)
		}
		return nil
	})
}

func TestTransitionsAreRecordedAtTheMomentTheyHappen(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.connect("node_a", 1)
		pass(100 * time.Second)
		f.connect("node_a", 0)
		pass(10 * time.Second)
		f.connect("node_a", 2) // back within the grace
		pass(100 * time.Second)
		f.want("node_a", begin, "offline@0", "online@0")
		f.connect("node_a", 0) // at 210
		pass(29 * time.Second)
		f.want("node_a", begin, "offline@0", "online@0")
		pass(time.Second)
		f.want("node_a", begin, "offline@0", "online@0", "dropped@240")
		f.want("node_b", begin, "offline@0")
	})
}

func TestWhatMayNotBeThereIsOfflineAtOnce(t *testing.T) {
	for name, change := range map[string]func(tx *store.Tx) error{
		"reset": func(tx *store.Tx) error { return tx.ResetClient("node_a") },
		"node disabled": func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			n.Enabled = false
			return errors.Join(err, tx.PutNode(&n))
		},
		"config disabled": func(tx *store.Tx) error {
			c, err := tx.Config("cfg_a")
			c.Enabled = false
			return errors.Join(err, tx.PutConfig(&c))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(_ *testing.T, f *fixture) {
				begin := time.Now()
				f.connect("node_a", 1)
				pass(50 * time.Second)
				f.update(change)
				f.want("node_a", begin, "offline@0", "online@0", "offline@50")
			})
		})
	}
}

func TestRestartShowsNobodyOnlineOnOldEvidenceAndMakesNobodyFlap(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.connect("node_a", 1)
		f.connect("node_b", 2)
		f.Stop()
		pass(100 * time.Second)
		f.update(func(tx *store.Tx) error { return tx.CloseAllConnections(tx.Now()) })
		f.start()
		pass(20 * time.Second)
		f.connect("node_b", 1) // comes back in time; node_a does not
		pass(time.Hour)
		f.want("node_a", begin, "offline@0", "online@0", "dropped@130")
		f.want("node_b", begin, "offline@0", "online@0")
	})
}

func TestWhatChangedWhileNobodyLookedIsInTheHistory(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.connect("node_a", 1)
		f.Stop()
		pass(10 * time.Second)
		f.connect("node_a", 0)
		pass(time.Hour)
		f.start()
		f.want("node_a", begin, "offline@0", "online@0", "dropped@40")
	})
}

func TestDeletedNodesAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a", 1)
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("node_a") })
		f.Stop()
		if _, ok := f.known["node_a"]; ok {
			t.Error("a deleted node is still known")
		}
	})
}

func TestManyNodesChangeEachAtItsMoment(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.bindMany(300)
		f.update(func(tx *store.Tx) error {
			for i := range 300 {
				err := tx.UpdateEvidence(fmt.Sprintf("node_%d", i), func(e *store.Evidence) {
					e.ConnectedAt = tx.Now()
					e.DisconnectedAt = tx.Now().Add(time.Duration(i) * time.Second)
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		pass(time.Millisecond)
		for i := range 299 {
			f.want(fmt.Sprintf("node_%d", i+1), begin, "offline@0", "online@0")
		}
		pass(330 * time.Second)
		for i := range 300 {
			f.want(fmt.Sprintf("node_%d", i), begin, "offline@0", "online@0", fmt.Sprintf("dropped@%d", i+30))
		}
	})
}

func TestANodeThatIsHeardOfAgainAndAgainStandsOnceAmongThoseThatAreDue(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		begin := time.Now()
		for range 50 {
			f.update(func(tx *store.Tx) error {
				return tx.UpdateEvidence("node_a", func(e *store.Evidence) { e.ReachableAt = tx.Now() })
			})
			pass(time.Minute)
		}
		f.Stop()
		if len(f.due) != 1 {
			t.Errorf("%d entries are due for one node", len(f.due))
		}
		f.start()
		pass(2 * time.Hour)
		f.want("node_a", begin, "offline@0", "online@0", fmt.Sprintf("dropped@%d", (49+90)*60))
	})
}

func TestMissedChangesAreMadeUpFor(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		begin := time.Now()
		f.update(func(tx *store.Tx) error {
			for range 30 * feedBuffer { // more than may wait: the feed lets the tracker go
				tx.Emit(store.Change{Kind: store.ChangeJournal})
			}
			return tx.UpdateEvidence("node_a", func(e *store.Evidence) { e.ConnectionID, e.ConnectedAt = 1, tx.Now() })
		})
		f.want("node_a", begin, "offline@0", "online@0")
	})
}
