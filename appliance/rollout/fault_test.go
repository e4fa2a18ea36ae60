package rollout

import (
	"errors"
	"testing"
	"time"

	"wfm/internal/storetest"
	"wfm/protocol"
	"wfm/store"
)

func TestANodeWhoseCommandCouldNotBeNotedGetsNoSecondOne(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		storetest.Ballast(f.t, f.db)
		f.limit = storetest.MaxSize
		f.restart(0)
		release := func() {}
		f.ledger.tell(func(l *ledger) {
			l.after = func(string) {
				release, l.after = storetest.Fill(f.t, f.db, "f"), nil
				l.before = func(string, protocol.Action) { release() } // a second command is not refused
			}
		})
		id := f.begin(2, 1, "a", "b")
		f.want(id, "running", "waiting waiting")
		f.wantOrder("a")
		release()
		pass(5*time.Second - time.Nanosecond)
		f.want(id, "running", "waiting waiting")
		pass(time.Nanosecond)
		f.want(id, "running", "sent sent")
		f.wantOrder("a b")
		f.end(store.CommandApplied, "a", "b")
		f.want(id, "done", "done done")
	})
}

// A record that cannot be read ends the writing, and with it the rollout until the next start: no node
// gets a command on a guess.
func TestARecordThatCannotBeReadEndsTheRollout(t *testing.T) {
	waits := func(f *fixture) { f.ledger.tell(func(l *ledger) { l.refuse["b"] = store.ErrFull }) }
	evidence := func(*fixture) string { return `{"node_id":"b",` }
	for name, tc := range map[string]struct {
		before, begun, after func(f *fixture) // before the rollout, after its first commands, and once the record is damaged
		record               func(f *fixture) string
		order                string
	}{
		"evidence of the node whose turn it is": {before: waits, record: evidence, order: "a"},
		"command of a node that may have another": {
			before: waits, begun: func(f *fixture) { f.otherCommand("b") },
			record: func(f *fixture) string { return f.newest("b") }, order: "a",
		},
		"command under way": {record: func(f *fixture) string { return f.newest("b") }, order: "a b"},
		"evidence of a node that has carried its command out": {
			begun: func(f *fixture) { f.leave("b") }, record: evidence,
			after: func(f *fixture) { f.end(store.CommandApplied, "b") }, order: "a b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				do := func(fn func(*fixture)) {
					if fn != nil {
						fn(f)
					}
				}
				do(tc.before)
				id := f.begin(2, 1, "a", "b", "c")
				do(tc.begun)
				record := tc.record(f)
				f.ledger.tell(func(l *ledger) { clear(l.refuse) })
				f.close()
				f.openStore() // its writer has read no record yet
				storetest.Damage(t, f.dir, record)
				f.start()
				do(tc.after)
				pass(time.Hour)
				if err := f.db.WriteError(); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("WriteError: %v, want ErrDamaged", err)
				}
				if ro, _ := f.look(id); ro.State != store.RolloutRunning {
					t.Errorf("the rollout is %s", ro.State)
				}
				f.wantOrder(tc.order)
			})
		})
	}
}

func TestWhetherARefusedCommandWasWrittenIsNotGuessed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.otherCommand("b")
		record, given := f.newest("b"), 0
		f.ledger.tell(func(l *ledger) {
			l.refuse["b"] = errors.New("odd")
			l.before = func(nodeID string, _ protocol.Action) {
				if nodeID != "b" {
					return
				}
				if given++; given == 1 {
					storetest.Damage(t, f.dir, record)
					return
				}
				delete(l.refuse, "b")
			}
		})
		id := f.begin(2, 1, "a", "b")
		pass(time.Hour)
		if err := f.db.WriteError(); !errors.Is(err, store.ErrDamaged) || given != 1 {
			t.Errorf("WriteError: %v, want ErrDamaged; node b had %d turns", err, given)
		}
		f.want(id, "running", "sent waiting")
	})
}

// otherCommand gives the node a command that is not the rollout's.
func (f *fixture) otherCommand(id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.AddCommand(&store.Command{RequestID: protocol.NewID("req"), ConfigID: "cfg_a", NodeID: id, State: store.CommandSent, Payload: []byte("{}")})
	})
}

// newest is how the record of the node's newest command begins.
func (f *fixture) newest(id string) string {
	f.t.Helper()
	newest, err := store.Read(f.db, func(tx *store.Tx) ([]store.Command, error) { return tx.Commands(id, 0, 1) })
	if err != nil || len(newest) != 1 {
		f.t.Fatalf("node %s has no command (%v)", id, err)
	}
	return `{"request_id":"` + newest[0].RequestID + `"`
}

func TestEachRolloutHasOneSubscriptionWhileItRuns(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		want := func(when string, n int) {
			t.Helper()
			if got := storetest.Subscriptions(f.db); got != n {
				t.Errorf("%s: %d subscriptions, want %d", when, got, n)
			}
		}
		f.begin(2, 1, "a", "b", "c")
		want("begun", 1)
		f.end(store.CommandApplied, "a")
		f.leave("c")
		want("under way", 1)
		f.update(func(tx *store.Tx) error {
			for range 2*feedBuffer + 2 { // more than the feed holds
				tx.Emit(store.Change{Kind: store.ChangeJournal})
			}
			return tx.Note("a", store.JournalEntry{})
		})
		want("after it has lagged behind", 1)
		f.end(store.CommandApplied, "b")
		want("done", 0)
	})
}
