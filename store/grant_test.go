package store

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// rebound binds the node, which replaces its right.
func rebound(nodeID string) func(*Tx) error {
	return func(tx *Tx) error {
		token, _, err := tx.IssueBindToken(nodeID, time.Minute)
		if err != nil {
			return err
		}
		_, err = tx.Bind(token, Client{})
		return err
	}
}

func TestUpdateReturnsAfterThoseWhoWatchGrantsHaveSeenTheChange(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	var seen []string
	stop := db.WatchGrants(func(ids []string) {
		for _, id := range ids {
			state := " lost"
			if _, ok := db.Grant(id); ok {
				state = " has"
			}
			seen = append(seen, id+state)
		}
		if err := db.Update(func(tx *Tx) error { return tx.Note(ids[0], JournalEntry{Message: "seen"}) }); err != nil {
			t.Errorf("a watcher cannot write: %v", err)
		}
	})
	change := func(fn func(*Node)) func(*Tx) error {
		return func(tx *Tx) error {
			n, err := tx.Node("node_1")
			if err != nil {
				return err
			}
			fn(&n)
			return tx.PutNode(&n)
		}
	}
	odd := errors.New("odd")
	for _, step := range []struct {
		name string
		fn   func(*Tx) error
		want []string
	}{
		{"bound", rebound("node_1"), []string{"node_1 has"}},
		{"bound again", rebound("node_1"), []string{"node_1 has"}},
		{"renamed", change(func(n *Node) { n.Name = "other" }), nil},
		{"failed after it took the right", func(tx *Tx) error { return errors.Join(tx.ResetClient("node_1"), odd) }, nil},
		{"disabled", change(func(n *Node) { n.Enabled = false }), []string{"node_1 lost"}},
		{"disabled again", change(func(n *Node) { n.Enabled = false }), nil},
		{"enabled", change(func(n *Node) { n.Enabled = true }), []string{"node_1 has"}},
		{"another bound", rebound("node_2"), []string{"node_2 has"}},
		{"deleted", func(tx *Tx) error { return tx.DeleteNode("node_1") }, []string{"node_1 lost"}},
	} {
		seen = nil
		if err := db.Update(step.fn); err != nil && !errors.Is(err, odd) {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !slices.Equal(seen, step.want) {
			t.Errorf("%s: the watcher saw %q, want %q", step.name, seen, step.want)
		}
	}
	stop()
	seen = nil
	if err := db.Update(func(tx *Tx) error { return tx.ResetClient("node_2") }); err != nil || seen != nil {
		t.Errorf("after stop: %v, the watcher saw %q", err, seen)
	}
}

// Updates that share a commit wait for their own changes only.
func TestAWatcherHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	hang := make(chan struct{})
	entered := make(chan struct{})
	db.WatchGrants(func(ids []string) {
		if slices.Contains(ids, "node_1") {
			close(entered)
			<-hang
		}
	})
	done := make(chan error)
	go func() { done <- db.Update(rebound("node_1")) }()
	<-entered
	if err := db.Update(rebound("node_2")); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		t.Fatalf("the Update returned before the watcher: %v", err)
	default:
	}
	close(hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
