package rollout

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

func TestWaveBeginsWhenTheOneBeforeIsDecided(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		id := f.begin(2, 1, "c", "a", "b", "d", "e")
		f.want(id, "running", "sent sent waiting waiting waiting")
		f.end(store.CommandApplied, "c")
		f.want(id, "running", "done sent waiting waiting waiting")
		f.wantOrder("c a")
		f.end(store.CommandApplied, "a")
		f.want(id, "running", "done done sent sent waiting")
		f.end(store.CommandApplied, "d", "b")
		f.end(store.CommandApplied, "e")
		f.want(id, "done", "done done done done done")
		f.wantOrder("c a b d e")
		ro, all := f.look(id)
		if n := all[0]; n.Name != "node c" || n.RequestID == "" || n.SentAt.IsZero() || n.AppliedAt.IsZero() || n.DecidedAt.IsZero() || n.Wave != 1 {
			t.Errorf("node: %+v", n)
		}
		if ro.Reason == "" || ro.Wave != 3 || ro.Waves != 3 {
			t.Errorf("rollout: %+v", ro)
		}
		_ = f.db.View(func(tx *store.Tx) error {
			cmd, err := tx.Command(all[0].RequestID)
			if err != nil || cmd.NodeID != "c" || cmd.Action != protocol.ActionStart || cmd.RequestedBy != "rollout "+id {
				t.Errorf("command: %+v, %v", cmd, err)
			}
			return nil
		})
		synctest.Wait()
		if len(f.workers) != 0 {
			t.Error("a finished rollout still has a worker")
		}
	})
}

func TestRolloutStopsWhenAsManyFailedAsMayAndFollowsWhatIsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		id := f.begin(3, 2, "a", "b", "c", "d", "e", "f")
		f.end(store.CommandFailed, "b")
		f.want(id, "running", "sent failed sent waiting waiting waiting")
		f.wantDetail(id, 2, "so it went")
		pass(time.Second)
		f.end(store.CommandUnknown, "a")
		f.want(id, "stopped", "failed failed sent cancelled cancelled cancelled")
		ro, _ := f.look(id)
		if !strings.Contains(ro.Reason, "2 failed") || !strings.Contains(ro.Reason, "node a") {
			t.Errorf("reason: %q", ro.Reason)
		}
		f.end(store.CommandApplied, "c")
		f.want(id, "stopped", "failed failed done cancelled cancelled cancelled")
		f.wantOrder("a b c")
	})
}

func TestNoCommandIsGivenAfterTheLastFailureEvenWithinAWave(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.refuse["b"] = tunnel.ErrNoStagedConfig })
		id := f.begin(6, 1, nodes...)
		f.want(id, "stopped", "sent failed cancelled cancelled cancelled cancelled")
		f.wantDetail(id, 2, tunnel.ErrNoStagedConfig.Error())
		f.wantOrder("a")
	})
}

func TestEveryEndOfACommandButAppliedIsAFailure(t *testing.T) {
	for _, state := range []store.CommandState{
		store.CommandFailed, store.CommandExpired, store.CommandSuperseded, store.CommandCancelled, store.CommandUnknown,
	} {
		t.Run(string(state), func(t *testing.T) {
			bubble(t, func(_ *testing.T, f *fixture) {
				id := f.begin(1, 2, "a", "b")
				f.end(state, "a")
				f.want(id, "running", "failed sent")
				f.wantDetail(id, 1, string(state)+": so it went")
			})
		})
	}
}

func TestNodeIsDoneOnlyOnceItIsOnlineAfterItsCommand(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		id := f.begin(2, 2, "a", "b", "c")
		f.leave("a")
		f.leave("b")
		f.end(store.CommandApplied, "a", "b")
		f.want(id, "running", "confirming confirming waiting")
		pass(30 * time.Second)
		f.connect("b", true)
		f.want(id, "running", "confirming done waiting")
		pass(comeBack - 31*time.Second)
		f.want(id, "running", "confirming done waiting")
		pass(time.Second)
		f.want(id, "running", "failed done sent")
		f.wantDetail(id, 1, "it left")
	})
}

func TestNodeThatIsAwayAtItsTurnIsSkippedAndGetsNothing(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.leave("a")
		f.update(func(tx *store.Tx) error { return tx.ResetClient("b") })
		id := f.begin(1, 1, "a", "b", "c", "d")
		f.want(id, "running", "skipped skipped sent waiting")
		f.wantDetail(id, 1, "it left")
		f.wantDetail(id, 2, "no agent is bound")
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("d") })
		f.end(store.CommandApplied, "c")
		f.want(id, "done", "skipped skipped done skipped")
		f.wantDetail(id, 4, "deleted")
		f.wantOrder("c")
	})
}

func TestNodeWhoseConnectionJustBrokeIsWaitedFor(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		for _, n := range []string{"a", "b"} {
			f.connect(n, false) // online by the grace of presence
			f.ledger.tell(func(l *ledger) { l.refuse[n] = refusal.ErrNodeOffline })
		}
		id := f.begin(3, 1, "a", "b", "c")
		f.want(id, "running", "waiting waiting sent")
		pass(10 * time.Second)
		f.ledger.tell(func(l *ledger) { delete(l.refuse, "a") })
		f.connect("a", true)
		pass(retryRefused)
		f.want(id, "running", "sent waiting sent")
		pass(20 * time.Second) // the grace is over
		f.want(id, "running", "sent skipped sent")
		f.wantOrder("c a")
	})
}

func TestNodeThatSeemsOnlineButCannotBeReachedIsSkippedInTheEnd(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.refuse["a"] = refusal.ErrNodeOffline })
		id := f.begin(1, 1, "a", "b")
		pass(comeBack - time.Second)
		f.want(id, "running", "waiting waiting")
		pass(retryRefused)
		f.want(id, "running", "skipped sent")
		f.wantDetail(id, 1, "not connected")
	})
}

func TestTimeInAPauseCountsForNoNode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.refuse["a"] = refusal.ErrNodeOffline })
		id := f.begin(1, 1, "a")
		if _, err := f.Pause(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if _, err := f.Resume(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
		pass(comeBack - 2*retryRefused)
		f.want(id, "running", "waiting")
		f.ledger.tell(func(l *ledger) { delete(l.refuse, "a") })
		pass(retryRefused)
		f.want(id, "running", "sent")
	})
}

func TestCommandThatCannotBeSentIsTakenBackAndTheNodeSkipped(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.state["a"] = store.CommandQueued })
		id := f.begin(1, 1, "a", "b")
		pass(queueLimit - time.Second)
		f.want(id, "running", "sent waiting")
		pass(time.Second)
		f.want(id, "running", "skipped sent")
		f.wantDetail(id, 1, "could not be sent")
		pass(openLimit - time.Second) // b never ends by itself
		f.want(id, "running", "skipped sent")
		pass(time.Second)
		f.want(id, "stopped", "skipped failed")
		f.wantDetail(id, 2, "did not end within")
	})
}

func TestNodeThatMayNoLongerHaveItsCommandFails(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		id := f.begin(6, 6, nodes...)
		f.update(func(tx *store.Tx) error { return tx.ResetClient("a") })
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("b") })
		f.update(func(tx *store.Tx) error {
			n, err := tx.Node("c")
			if err != nil {
				return err
			}
			n.Enabled = false
			return tx.PutNode(&n)
		})
		f.want(id, "running", "failed failed failed sent sent sent")
		f.wantDetail(id, 1, "client reset")
		f.wantDetail(id, 2, "deleted")
		f.wantDetail(id, 3, "node was disabled")
	})
}

func TestPausedRolloutFinishesWhatIsUnderWayAndGoesOnWhenResumed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		id := f.begin(2, 1, "a", "b", "c")
		for range 2 { // the second changes nothing
			if ro, err := f.Pause(t.Context(), id, "admin"); err != nil || ro.State != store.RolloutPaused || ro.Reason != "paused by admin" {
				t.Fatalf("%+v, %v", ro, err)
			}
		}
		f.end(store.CommandApplied, "a", "b")
		pass(time.Hour)
		f.want(id, "paused", "done done waiting")
		f.restart(time.Hour)
		f.want(id, "paused", "done done waiting")
		if ro, err := f.Resume(t.Context(), id, "admin"); err != nil || ro.State != store.RolloutRunning {
			t.Fatalf("%+v, %v", ro, err)
		}
		synctest.Wait()
		f.want(id, "running", "done done sent")
		if _, err := f.Pause(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.end(store.CommandApplied, "c")
		f.want(id, "done", "done done done") // there is nothing to resume
		f.wantOrder("a b c")
	})
}

func TestPausedRolloutStopsAtItsFailuresToo(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		id := f.begin(1, 1, "a", "b")
		if _, err := f.Pause(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
		f.end(store.CommandFailed, "a")
		f.want(id, "stopped", "failed cancelled")
		if _, err := f.Resume(t.Context(), id, "admin"); !errors.Is(err, refusal.ErrRolloutEnded) {
			t.Errorf("resuming it: %v", err)
		}
	})
}

func TestCancelTakesBackWhatIsNotSentAndFollowsTheRest(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.ledger.tell(func(l *ledger) { l.state["b"] = store.CommandQueued })
		id := f.begin(2, 1, "a", "b", "c", "d")
		if ro, err := f.Cancel(t.Context(), id, "admin"); err != nil || ro.Reason != "cancelled by admin" {
			t.Fatalf("%+v, %v", ro, err)
		}
		synctest.Wait()
		f.want(id, "cancelled", "sent cancelled cancelled cancelled")
		f.restart(time.Second) // is followed nevertheless
		f.end(store.CommandFailed, "a")
		f.want(id, "cancelled", "failed cancelled cancelled cancelled")
		for what, call := range map[string]func() (store.Rollout, error){
			"pause": func() (store.Rollout, error) { return f.Pause(t.Context(), id, "admin") },
			"none":  func() (store.Rollout, error) { return f.Cancel(t.Context(), "rol_none", "admin") },
		} {
			want := map[string]error{"pause": refusal.ErrRolloutEnded, "none": store.ErrRolloutNotFound}[what]
			if _, err := call(); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		f.wantOrder("a b")
	})
}

func TestPauseIsAnsweredAfterTheCommandThatIsBeingGivenAndNoneFollows(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		giving, goOn := make(chan struct{}), make(chan struct{})
		f.ledger.tell(func(l *ledger) {
			l.before = func(string, protocol.Action) { close(giving); <-goOn }
		})
		ro, err := f.Begin(t.Context(), store.Rollout{ConfigID: "cfg_a", Action: protocol.ActionStop, WaveSize: 6, MaxFailures: 1}, nodes)
		if err != nil {
			t.Fatal(err)
		}
		<-giving
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, err = f.Pause(t.Context(), ro.ID, "admin")
		}()
		synctest.Wait()
		select {
		case <-answered:
			t.Error("the pause was answered while a command was being given")
		default:
		}
		close(goOn)
		<-answered
		synctest.Wait()
		if err != nil {
			t.Error(err)
		}
		f.want(ro.ID, "paused", "sent waiting waiting waiting waiting waiting")
	})
}

func TestDeletedConfigEndsItsRollout(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.begin(1, 1, "a", "b")
		f.update(func(tx *store.Tx) error { return tx.DeleteConfig("cfg_a") })
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.workers) != 0 {
			t.Error("the worker outlives its rollout")
		}
		f.wantOrder("a")
	})
}

// While an external broker is out of sight every node seems to be away, and perhaps is not.
func TestNobodyIsPassedOverWhileTheBrokerIsOutOfSight(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		var up atomic.Bool
		f.reachable = up.Load
		f.connect("a", false)
		f.connect("b", false)
		id := f.begin(2, 1, "a", "b")
		pass(5 * time.Minute)
		f.want(id, "running", "waiting waiting")
		up.Store(true)
		pass(comeBack / 2)
		f.want(id, "running", "waiting waiting")
		f.connect("a", true)
		f.want(id, "running", "sent waiting")
		pass(comeBack)
		f.want(id, "running", "sent skipped")
	})
}
