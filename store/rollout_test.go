package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// addRollout makes a rollout of waves of two over the nodes.
func addRollout(tb testing.TB, db *DB, id string, nodes ...string) {
	tb.Helper()
	r := Rollout{ID: id, ConfigID: "cfg_a", Action: "start", WaveSize: 2, MaxFailures: 1}
	update(tb, db, func(tx *Tx) error { return tx.AddRollout(&r, nodes) })
}

// finish decides all its nodes.
func finish(tb testing.TB, db *DB, id string) {
	tb.Helper()
	update(tb, db, func(tx *Tx) error {
		r, err := tx.Rollout(id)
		if err != nil {
			return err
		}
		nodes, err := tx.RolloutNodes(id, 0, 0)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			n.Outcome = RolloutNodeDone
			if err := tx.PutRolloutNode(&r, &n); err != nil {
				return err
			}
		}
		r.State, r.FinishedAt = RolloutDone, tx.Now()
		return tx.PutRollout(r)
	})
}

func TestRolloutKeepsItsNodesInOrderAndWaves(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"node_1", "node_2", "node_3"} {
		addNode(t, db, id)
	}
	changes := db.Subscribe(16)
	addRollout(t, db, "rol_1", "node_3", "node_1", "node_2")
	if c := <-changes.C; c.Kind != ChangeRollout || c.RolloutID != "rol_1" || c.ConfigID != "cfg_a" || !c.Created {
		t.Errorf("change: %+v", c)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(tx *Tx) error {
		r, err := tx.Rollout("rol_1")
		if err != nil || r.State != RolloutRunning || r.Wave != 1 || r.Waves != 2 || r.Counts[RolloutNodeWaiting] != 3 || r.Seq != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		nodes, err := tx.RolloutNodes("rol_1", 0, 0)
		got := ""
		for _, n := range nodes {
			got += fmt.Sprintf(" %d:%s/%d", n.Position, n.Name, n.Wave)
		}
		if want := " 1:node_3/1 2:node_1/1 3:node_2/2"; got != want || err != nil {
			t.Errorf("nodes%s, want%s (%v)", got, want, err)
		}
		if rest, _ := tx.RolloutNodes("rol_1", 1, 1); len(rest) != 1 || rest[0].Position != 2 {
			t.Errorf("a page: %+v", rest)
		}
		return nil
	})
}

func TestNodeOfARolloutIsDecidedOnceAndCounted(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	addRollout(t, db, "rol_1", "node_1", "node_2")
	set := func(position uint64, outcome RolloutOutcome) error {
		return db.Update(func(tx *Tx) error {
			r, err := tx.Rollout("rol_1")
			if err != nil {
				return err
			}
			n, err := tx.RolloutNode("rol_1", position)
			if err != nil {
				return err
			}
			n.Outcome = outcome
			if err := tx.PutRolloutNode(&r, &n); err != nil {
				return err
			}
			return tx.PutRollout(r)
		})
	}
	for _, o := range []RolloutOutcome{RolloutNodeSent, RolloutNodeConfirming, RolloutNodeFailed} {
		if err := set(1, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := set(1, RolloutNodeDone); !errors.Is(err, ErrRolloutNodeDecided) {
		t.Errorf("a second decision: %v", err)
	}
	if err := set(3, RolloutNodeDone); !errors.Is(err, ErrRolloutNotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
	_ = db.View(func(tx *Tx) error {
		r, _ := tx.Rollout("rol_1")
		n, _ := tx.RolloutNode("rol_1", 1)
		if r.Counts[RolloutNodeFailed] != 1 || r.Counts[RolloutNodeWaiting] != 1 || r.Counts[RolloutNodeSent] != 0 || n.DecidedAt.IsZero() {
			t.Errorf("%+v %+v", r, n)
		}
		return nil
	})
}

func TestConfigHasOneActiveRolloutOverItsOwnNodes(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error { return tx.PutConfig(&Config{ID: "cfg_b", Name: "b", Enabled: true}) })
	add := func(id, config string, nodes ...string) error {
		return db.Update(func(tx *Tx) error {
			return tx.AddRollout(&Rollout{ID: id, ConfigID: config, WaveSize: 1, MaxFailures: 1}, nodes)
		})
	}
	if err := add("rol_x", "cfg_none", "node_1"); !errors.Is(err, ErrConfigNotFound) {
		t.Errorf("without a config: %v", err)
	}
	if err := add("rol_x", "cfg_b", "node_1"); !errors.Is(err, ErrNodeNotFound) {
		t.Errorf("over another config's node: %v", err)
	}
	if err := add("rol_x", "cfg_a", "node_1", "node_none"); !errors.Is(err, ErrNodeNotFound) {
		t.Errorf("over a node that is not there: %v", err)
	}
	addRollout(t, db, "rol_1", "node_1")
	var active *RolloutActiveError
	if err := add("rol_2", "cfg_a", "node_1"); !errors.As(err, &active) || active.ID != "rol_1" {
		t.Errorf("beside an active one: %v", err)
	}
	finish(t, db, "rol_1")
	addRollout(t, db, "rol_2", "node_1")
	_ = db.View(func(tx *Tx) error {
		if open, err := tx.UnfinishedRollouts(); err != nil || len(open) != 1 || open[0].ID != "rol_2" {
			t.Errorf("unfinished: %+v, %v", open, err)
		}
		return nil
	})
}

func TestFinishedRolloutsAreBoundedAndEndWithTheirConfig(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addRollout(t, db, "rol_stopped", "node_1")
	update(t, db, func(tx *Tx) error { // stopped, but a node is under way
		r, err := tx.Rollout("rol_stopped")
		if err != nil {
			return err
		}
		r.State = RolloutStopped
		return tx.PutRollout(r)
	})
	for i := range rolloutsKept + 3 {
		id := fmt.Sprintf("rol_%d", i)
		addRollout(t, db, id, "node_1")
		finish(t, db, id)
	}
	_ = db.View(func(tx *Tx) error {
		all, err := tx.Rollouts("cfg_a", 0, 1000)
		if err != nil || len(all) != rolloutsKept || all[0].ID != fmt.Sprintf("rol_%d", rolloutsKept+2) || all[len(all)-1].ID != "rol_stopped" {
			t.Errorf("%d kept (%v)", len(all), err)
		}
		if nodes, _ := tx.RolloutNodes("rol_0", 0, 0); len(nodes) != 0 {
			t.Error("the nodes of a rollout that made room are still there")
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.DeleteConfig("cfg_a") })
	_ = db.View(func(tx *Tx) error {
		for _, bucket := range [][]byte{bucketRollouts, bucketRolloutsByConfig, bucketRolloutNodes} {
			if k, _ := tx.cursor(bucket).First(); k != nil {
				t.Errorf("%s after the config was deleted: %q", bucket, k)
			}
		}
		return nil
	})
}

func TestFileOfTheFormerSchemaGetsRollouts(t *testing.T) {
	dir := t.TempDir()
	former, err := bbolt.Open(filepath.Join(dir, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(former, migrations[:3]); err != nil {
		t.Fatal(err)
	}
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	addNode(t, db, "node_1")
	addRollout(t, db, "rol_1", "node_1")
}
