package rollout

import (
	"errors"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// errKilled stands for the appliance being killed after a command was written and before the
// rollout noted it.
var errKilled = errors.New("killed")

func TestNodeWhoseCommandWasWrittenBeforeAKillIsNotCommandedTwice(t *testing.T) {
	for _, state := range []store.RolloutState{store.RolloutRunning, store.RolloutPaused, store.RolloutCancelled} {
		t.Run(string(state), func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.ledger.tell(func(l *ledger) {
					l.before = func(nodeID string, action protocol.Action) {
						if nodeID != "b" {
							return
						}
						// The killed process left the command, and a rollout that does not know it.
						f.stop()
						open, err := f.unfinished()
						if err == nil {
							err = f.db.Update(func(tx *store.Tx) error {
								open.State = state
								if err := tx.PutRollout(open); err != nil {
									return err
								}
								return tx.AddCommand(&store.Command{
									RequestID: "req_b", ConfigID: "cfg_a", NodeID: "b", Action: action, Kind: action.Kind(),
									RequestedBy: author(open.ID), State: store.CommandSent, Attempts: 1,
								})
							})
						}
						if err != nil {
							t.Error(err)
						}
						l.refuse["b"] = store.ErrClosed // the worker gets no further
						l.before = nil
					}
				})
				id := f.begin(3, 1, "a", "b", "c")
				f.ledger.tell(func(l *ledger) { delete(l.refuse, "b") })
				f.want(id, state, "sent waiting waiting")
				f.restart(time.Second)
				want := map[store.RolloutState]string{
					store.RolloutRunning: "sent sent sent", store.RolloutPaused: "sent sent waiting", store.RolloutCancelled: "sent sent cancelled",
				}[state]
				f.want(id, state, want)
				f.end(store.CommandApplied, "a", "b")
				if _, all := f.look(id); all[1].RequestID != "req_b" || all[1].Outcome != store.RolloutNodeDone {
					t.Errorf("node b: %+v", all[1])
				}
				if order := f.ledger.order(); order != "a" && order != "a c" {
					t.Errorf("commands went to %s", order)
				}
			})
		})
	}
}

// unfinished is the one rollout that is not finished.
func (f *fixture) unfinished() (ro store.Rollout, err error) {
	err = f.db.View(func(tx *store.Tx) error {
		open, err := tx.UnfinishedRollouts()
		if err == nil {
			ro = open[0]
		}
		return err
	})
	return ro, err
}

func TestCommandThatWasWrittenThoughIssueFailedIsFollowed(t *testing.T) {
	for name, err := range map[string]error{"for its own reasons": errKilled, "for the disk's": store.ErrFull} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(_ *testing.T, f *fixture) {
				f.ledger.tell(func(l *ledger) { l.lose["a"] = err })
				id := f.begin(1, 1, "a", "b")
				pass(retryWrite)
				f.want(id, "running", "sent waiting")
				f.end(store.CommandApplied, "a")
				f.want(id, "running", "done sent")
				f.wantOrder("a b")
			})
		})
	}
}

func TestFullDiskPutsATurnOffAndFailsNobody(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.refuse["a"] = store.ErrFull })
		id := f.begin(1, 1, "a")
		pass(time.Hour)
		f.want(id, "running", "waiting")
		f.ledger.tell(func(l *ledger) { delete(l.refuse, "a") })
		pass(retryWrite)
		f.want(id, "running", "sent")
	})
}

func TestRestartTakesUpRolloutsAndGivesNodesTimeToComeBack(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		id := f.begin(2, 1, nodes...)
		f.end(store.CommandApplied, "a")
		for _, n := range nodes {
			f.leave(n)
		}
		f.end(store.CommandApplied, "b")
		f.want(id, "running", "done confirming waiting waiting waiting waiting")
		f.restart(24 * time.Hour)
		f.want(id, "running", "done confirming waiting waiting waiting waiting") // no node is back yet
		pass(comeBack - 10*time.Second)
		f.connect("b", true)
		f.want(id, "running", "done done waiting waiting waiting waiting")
		f.connect("d", true)
		f.want(id, "running", "done done waiting sent waiting waiting")
		pass(10 * time.Second)
		f.want(id, "running", "done done skipped sent waiting waiting")
		f.end(store.CommandApplied, "d")
		f.want(id, "done", "done done skipped done skipped skipped")
		f.wantOrder("a b d")
	})
}

func TestCommandThatWasTakenBackBeforeAKillIsNoFailure(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.state["a"] = store.CommandQueued })
		id := f.begin(1, 1, "a", "b")
		f.Stop()
		f.update(func(tx *store.Tx) error { // as the killed process left it
			ro, err := tx.Rollout(id)
			if err != nil {
				return err
			}
			n, err := tx.RolloutNode(id, 1)
			if err != nil {
				return err
			}
			n.Withdrawn, n.Detail = true, "it went away"
			if err := tx.PutRolloutNode(&ro, &n); err != nil {
				return err
			}
			return tx.PutRollout(ro)
		})
		f.start() // the command was not cancelled yet
		f.want(id, "running", "skipped sent")
	})
}

func TestWorkerThatLagsBehindTheFeedMissesNothing(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) {
			l.before = func(nodeID string, _ protocol.Action) {
				if nodeID != "b" {
					return
				}
				err := f.db.Update(func(tx *store.Tx) error {
					for range feedBuffer + 1 { // more than the feed holds while the worker is here
						tx.Emit(store.Change{Kind: store.ChangeJournal})
					}
					return tx.Note("a", store.JournalEntry{})
				})
				if err != nil {
					f.t.Error(err)
				}
			}
		})
		id := f.begin(2, 1, "a", "b")
		f.end(store.CommandApplied, "a", "b")
		f.want(id, "done", "done done")
	})
}

func TestRolloutBegunWhileStoppingWaitsForTheNextStart(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.Stop()
		id := f.begin(1, 1, "a")
		f.want(id, "running", "waiting")
		f.start()
		f.want(id, "running", "sent")
	})
}
