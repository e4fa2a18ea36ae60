package rollout

import (
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// apply stages a config for each node and begins a rollout that pushes it, in waves of two, also to nodes
// that are away. The last nodes have waves of their own.
func (f *fixture) apply(last int, ids ...string) string {
	f.t.Helper()
	return f.applyAs(store.Rollout{Last: last}, ids...)
}

// applyAs is apply with more of the rollout chosen.
func (f *fixture) applyAs(r store.Rollout, ids ...string) string {
	f.t.Helper()
	for _, id := range ids {
		f.update(func(tx *store.Tx) error {
			s, err := tx.SetDesired(id, "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n", store.ConfVersion{Author: "admin"})
			if err == nil {
				_, err = tx.Stage(id, s.Desired, "wg")
			}
			return err
		})
	}
	r.ConfigID, r.Action, r.RequestedBy, r.Staged, r.Later = "cfg_a", protocol.ActionPush, "admin", true, true
	r.WaveSize, r.MaxFailures = 2, 1
	ro, err := f.Begin(f.t.Context(), r, ids)
	if err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
	return ro.ID
}

// away has commands to the nodes wait.
func (f *fixture) away(ids ...string) {
	f.t.Helper()
	f.ledger.tell(func(l *ledger) {
		for _, id := range ids {
			l.state[id] = store.CommandQueued
		}
	})
	for _, id := range ids {
		f.leave(id)
	}
}

// command is the node's newest command.
func (f *fixture) command(id string) (cmd store.Command) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) error {
		newest, err := tx.Commands(id, 0, 1)
		if len(newest) == 1 {
			cmd = newest[0]
		}
		return err
	}); err != nil {
		f.t.Fatal(err)
	}
	return cmd
}

func TestTheLastNodesBeginOnceAllOthersAreDecided(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		id := f.apply(2, "a", "b", "c", "d", "e")
		f.want(id, "running", "sent sent waiting waiting waiting")
		f.end(store.CommandApplied, "a", "b")
		f.want(id, "running", "done done sent waiting waiting")
		f.restart(0)
		f.connect("c", true)
		f.end(store.CommandApplied, "c")
		f.want(id, "running", "done done done sent sent")
		if ro, _ := f.look(id); ro.Waves != 3 || ro.Wave != 3 {
			t.Errorf("wave %d of %d", ro.Wave, ro.Waves)
		}
		f.end(store.CommandApplied, "d", "e")
		f.want(id, "done", "done done done done done")
		f.wantOrder("a b c d e")
	})
}

func TestAPushWaitsForANodeThatIsAwayAtItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.away("a")
		id := f.apply(0, "a", "b", "c")
		f.want(id, "running", "later sent waiting")
		f.wantDetail(id, 1, "once it is back")
		if cmd := f.command("a"); !cmd.Lapses || cmd.State != store.CommandQueued {
			t.Errorf("%+v", cmd)
		}
		if f.command("b").Lapses {
			t.Error("the push of a node that is online lapses")
		}
		f.end(store.CommandApplied, "b")
		f.end(store.CommandApplied, "c")
		f.want(id, "done", "later done done")
		pass(time.Hour)
		if cmd := f.command("a"); cmd.State != store.CommandQueued {
			t.Errorf("a rollout that is done has ended the push that waits: %+v", cmd)
		}
	})
}

func TestANodeThatGoesAwayBeforeItsPushIsSentGetsItLater(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.state["a"] = store.CommandQueued })
		id := f.apply(0, "a", "b", "c")
		f.end(store.CommandApplied, "b")
		pass(queueLimit - time.Nanosecond)
		f.want(id, "running", "sent done waiting")
		pass(time.Nanosecond)
		f.want(id, "running", "later done sent")
		if cmd := f.command("a"); !cmd.Lapses || cmd.State != store.CommandQueued {
			t.Errorf("%+v", cmd)
		}
	})
}

func TestARolloutThatStopsWithdrawsThePushesThatWait(t *testing.T) {
	for name, stop := range map[string]func(f *fixture, id string){
		"failure": func(f *fixture, _ string) { f.end(store.CommandFailed, "c") },
		"cancel": func(f *fixture, id string) {
			if _, err := f.Cancel(f.t.Context(), id, "admin"); err != nil {
				f.t.Error(err)
			}
			synctest.Wait()
			f.end(store.CommandFailed, "c")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.away("a", "b")
				id := f.apply(0, "a", "b", "c")
				f.want(id, "running", "later later sent")
				f.connect("b", true) // its push was sent
				f.update(func(tx *store.Tx) error {
					cmd := f.command("b")
					cmd.State, cmd.Attempts = store.CommandSent, 1
					return tx.PutCommand(cmd)
				})
				stop(f, id)
				if cmd := f.command("a"); cmd.State != store.CommandCancelled {
					t.Errorf("%+v", cmd)
				}
				if cmd := f.command("b"); cmd.State != store.CommandSent {
					t.Errorf("a push that was sent is not withdrawn: %+v", cmd)
				}
				if ro, _ := f.look(id); ro.State.Active() || ro.FinishedAt.IsZero() {
					t.Errorf("%+v", ro)
				}
			})
		})
	}
}

// A kill between the stop and the withdrawal must not let the pushes out.
func TestPushesThatWaitAreWithdrawnAfterAKill(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.away("a")
		id := f.apply(0, "a", "b", "c")
		f.ledger.tell(func(l *ledger) { l.uncancelled = store.ErrFull })
		f.end(store.CommandFailed, "b")
		if ro, _ := f.look(id); ro.State != store.RolloutStopped || !ro.FinishedAt.IsZero() {
			t.Errorf("%+v", ro)
		}
		f.ledger.tell(func(l *ledger) { l.uncancelled = nil })
		f.restart(0)
		if cmd := f.command("a"); cmd.State != store.CommandCancelled {
			t.Errorf("%+v", cmd)
		}
		f.want(id, "stopped", "later failed cancelled")
	})
}

func TestANodeIsDoneOnceItsTunnelIsStarted(t *testing.T) {
	start := func(f *fixture, ids ...string) {
		for _, id := range ids {
			if _, err := f.ledger.Issue(t.Context(), id, protocol.ActionStart, "wanted state", false); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	bubble(t, func(_ *testing.T, f *fixture) {
		id := f.applyAs(store.Rollout{Starts: true}, "a", "b", "c")
		f.end(store.CommandApplied, "a", "b")
		f.want(id, "running", "confirming confirming waiting")
		f.wantDetail(id, 1, "is being started")
		start(f, "a", "b")
		f.want(id, "running", "confirming confirming waiting")
		f.restart(0)
		f.connect("a", true)
		f.connect("b", true)
		f.connect("c", true)
		f.end(store.CommandApplied, "a")
		f.want(id, "running", "done confirming waiting")
		f.end(store.CommandFailed, "b")
		f.want(id, "stopped", "done failed cancelled")
		f.wantDetail(id, 2, "its tunnel was not started: failed: so it went")
	})
	bubble(t, func(_ *testing.T, f *fixture) { // no start comes
		id := f.applyAs(store.Rollout{Starts: true}, "a")
		f.end(store.CommandApplied, "a")
		pass(comeBack - time.Nanosecond)
		f.want(id, "running", "confirming")
		pass(time.Nanosecond)
		f.want(id, "stopped", "failed")
	})
}
