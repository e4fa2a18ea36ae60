package command

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
	"wfm/store"
)

func TestAfterARestartOpenCommandsGoOnAndGetTheGraceThenEnd(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		bubble(t, func(_ *testing.T, f *fixture) {
			f.connect("node_a")
			answered, silent := f.issue("node_a", protocol.ActionStart, false), f.issue("node_a", protocol.ActionStop, false)
			f.pub.session("node_a", true, protocol.KindDetect)
			waits := f.issue("node_b", protocol.ActionStart, true)
			pass(10 * time.Second)
			accepted := f.issue("node_a", protocol.ActionDetect, false)
			f.answer(accepted, protocol.AckAccepted)
			f.restart(20*time.Minute, reopen)
			pass(60*time.Second - time.Nanosecond)
			f.want(answered.RequestID, store.CommandSent, "")
			f.want(silent.RequestID, store.CommandSent, "")
			f.want(accepted.RequestID, store.CommandAccepted, "")
			f.answer(answered, protocol.AckApplied)
			pass(time.Nanosecond)
			f.want(answered.RequestID, store.CommandApplied, "")
			f.want(silent.RequestID, store.CommandUnknown, "unknown")
			f.want(accepted.RequestID, store.CommandUnknown, "unknown")
			left := time.Until(waits.ExpiresAt)
			pass(left - time.Nanosecond)
			f.want(waits.RequestID, store.CommandQueued, "")
			pass(time.Nanosecond)
			f.want(waits.RequestID, store.CommandExpired, "never sent")
		})
	}
}

func TestWhatExpiredWhileTheApplianceWasDownEndsAtTheStart(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		cmd := f.issue("node_a", protocol.ActionStart, true)
		f.restart(2*time.Hour, true)
		f.want(cmd.RequestID, store.CommandExpired, "never sent")
	})
}

func TestACommandThatWaitsToBeSentAgainGetsTheGraceOfARestartToo(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		pass(time.Millisecond)
		f.pub.session("node_a", true)
		f.NodeReady("node_a", time.Now())
		synctest.Wait()
		f.want(cmd.RequestID, store.CommandQueued, "sent again")
		f.restart(time.Minute, true)
		pass(60*time.Second - time.Second)
		f.connect("node_a")
		f.want(cmd.RequestID, store.CommandSent, "")
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandApplied, "")
	})
}

func TestAfterARestartTheNodeGetsItsCommandsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		first := f.issue("node_a", protocol.ActionStart, false)
		f.disconnect("node_a")
		second := f.issue("node_a", protocol.ActionStop, true)
		f.restart(5*time.Second, true)
		f.connect("node_a")
		if got, want := f.pub.ids("node_a"), []string{first.RequestID, first.RequestID, second.RequestID}; !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	})
}

func TestAnAgentThatKnowsRequestIDsGetsWhatItDidNotAnswerAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		var want []string
		for _, action := range []protocol.Action{protocol.ActionStart, protocol.ActionWGShow, protocol.ActionStop} {
			want = append(want, f.issue("node_a", action, false).RequestID)
		}
		f.answer(f.command(want[2]), protocol.AckAccepted)
		answered := f.issue("node_a", protocol.ActionDescribe, false)
		f.answer(answered, protocol.AckApplied)
		pass(29 * time.Second)
		f.connect("node_a")
		if got := f.pub.ids("node_a")[4:]; !slices.Equal(got, want) {
			t.Fatalf("sent again: %v, want %v", got, want)
		}
		pass(29 * time.Second) // each has a fresh time limit
		for _, id := range want {
			f.want(id, store.CommandSent, "sent again")
		}
		pass(time.Second)
		f.want(want[0], store.CommandUnknown, "")
	})
}

func TestSubscriptionsOneByOneInOneSessionSendNothingTwice(t *testing.T) {
	for _, node := range []string{"node_a", "node_old"} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect(node)
			lost := f.issue(node, protocol.ActionStart, false)
			pass(time.Second)
			f.disconnect(node)
			waits := f.issue(node, protocol.ActionStop, true)
			since := time.Now()
			for i := range protocol.CommandKinds() { // and time passes between them, or not
				f.pub.session(node, true, protocol.CommandKinds()[:i+1]...)
				f.NodeReady(node, since)
				if i%2 == 0 {
					pass(time.Millisecond)
				}
			}
			for range 4 {
				f.NodeReady(node, since)
			}
			synctest.Wait()
			detects := 0
			for _, cmd := range f.commands(node) {
				if cmd.Action == protocol.ActionDetect {
					detects++
				}
			}
			if node == "node_a" && (f.pub.count(lost.RequestID) != 2 || detects != 0) {
				t.Errorf("the lost one was sent %d times, and %d detects", f.pub.count(lost.RequestID), detects)
			}
			if node == "node_old" && (f.pub.count(lost.RequestID) != 1 || detects != 1) {
				t.Errorf("the lost one was sent %d times, and %d detects", f.pub.count(lost.RequestID), detects)
			}
			if f.pub.count(waits.RequestID) != 1 {
				t.Errorf("the waiting one was sent %d times", f.pub.count(waits.RequestID))
			}
		})
	}
}

func TestAnAgentThatDoesNotKnowRequestIDsGetsOnlyRepeatableActionsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_old")
		for action := range limits {
			cmd := f.issue("node_old", action, false)
			f.connect("node_old")
			want := 2
			if action == protocol.ActionStart || action == protocol.ActionStop {
				want = 1
			}
			if got := f.pub.count(cmd.RequestID); got != want {
				t.Errorf("%s was sent %d times, want %d", action, got, want)
			}
			for _, cmd := range f.commands("node_old") {
				if !cmd.State.Ended() {
					f.answer(cmd, protocol.AckApplied)
				}
			}
		}
	})
}

// lost is a command that the node without the capability did not answer, and the detect that the
// node was sent after it came back.
func (f *fixture) lost(action protocol.Action) (cmd, detect store.Command) {
	f.t.Helper()
	f.connect("node_old")
	cmd = f.issue("node_old", action, false)
	f.connect("node_old")
	all := f.commands("node_old")
	detect = all[len(all)-1]
	if detect.Action != protocol.ActionDetect || detect.State != store.CommandSent || detect.RequestedBy != "system" ||
		f.command(cmd.RequestID).ResolveBy != detect.RequestID {
		f.t.Fatalf("no detect was sent: %+v", detect)
	}
	if wait := detect.ExpiresAt.Sub(detect.CreatedAt); wait != 10*time.Second {
		f.t.Errorf("the detect may wait %s to be sent", wait)
	}
	f.want(cmd.RequestID, store.CommandSent, "")
	return f.command(cmd.RequestID), detect
}

func (f *fixture) tells(detect store.Command, running *bool) {
	f.t.Helper()
	f.ackOn(detect.NodeID, protocol.KindDetectAck, detect.RequestID, protocol.Ack{Status: protocol.AckApplied, WGOnline: running})
}

func TestADetectTellsWhatBecameOfACommandThatCannotBeSentAgain(t *testing.T) {
	for action, asked := range map[protocol.Action]bool{protocol.ActionStart: true, protocol.ActionStop: false} {
		bubble(t, func(t *testing.T, f *fixture) {
			cmd, detect := f.lost(action)
			f.tells(detect, &asked)
			f.want(cmd.RequestID, store.CommandUnknown, "as asked")

			other := !asked
			cmd, detect = f.lost(action)
			f.tells(detect, &other)
			again := f.want(cmd.RequestID, store.CommandSent, "not carried out; sent again")
			if f.pub.count(cmd.RequestID) != 2 || again.ResolveBy != "" {
				t.Errorf("%s: sent %d times, resolved by %q", action, f.pub.count(cmd.RequestID), again.ResolveBy)
			}
			f.answer(cmd, protocol.AckApplied)
			f.want(cmd.RequestID, store.CommandApplied, "")
		})
	}
}

func TestADetectThatDoesNotTellLeavesTheCommandUnknown(t *testing.T) {
	for name, answer := range map[string]func(*fixture, store.Command){
		"no answer": func(*fixture, store.Command) {},
		"failed": func(f *fixture, d store.Command) {
			f.ackOn(d.NodeID, protocol.KindDetectAck, d.RequestID, protocol.Ack{Status: protocol.AckFailed, WGOnline: new(false)})
		},
		"does not say":  func(f *fixture, d store.Command) { f.tells(d, nil) },
		"other session": func(f *fixture, _ store.Command) { f.connect("node_old"); f.connect("node_old") },
	} {
		bubble(t, func(t *testing.T, f *fixture) {
			cmd, detect := f.lost(protocol.ActionStart)
			answer(f, detect)
			pass(30 * time.Second)
			f.want(cmd.RequestID, store.CommandSent, "") // it still may answer by itself
			pass(10 * time.Second)
			f.want(cmd.RequestID, store.CommandUnknown, "")
			if n := f.pub.count(cmd.RequestID); n != 1 {
				t.Errorf("%s: sent %d times", name, n)
			}
		})
	}
}

func TestADetectThatTellsNothingOfTheLostCommandDoesNotResolveIt(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		cmd, detect := f.lost(protocol.ActionStart)
		other := f.issue("node_old", protocol.ActionDetect, false)
		running := true
		f.tells(other, &running)
		f.want(cmd.RequestID, store.CommandSent, "")
		f.answer(cmd, protocol.AckApplied) // its own answer came after all
		f.tells(detect, &running)
		f.want(cmd.RequestID, store.CommandApplied, "")
	})
}

func TestALostCommandIsNotSentAgainBehindALaterOne(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start, detect := f.lost(protocol.ActionStart)
		stop := f.issue("node_old", protocol.ActionStop, false)
		f.answer(stop, protocol.AckApplied)
		running := false // since it was stopped
		f.tells(detect, &running)
		f.want(start.RequestID, store.CommandUnknown, "")
		if n := f.pub.count(start.RequestID); n != 1 {
			t.Errorf("the start was sent %d times: the tunnel runs against the last wish", n)
		}
	})
}

func TestALostCommandIsSentAgainBeforeALaterOneThatStillWaits(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start, detect := f.lost(protocol.ActionStart)
		f.pub.session("node_old", true, protocol.KindDetect)
		stop := f.issue("node_old", protocol.ActionStop, false)
		f.tells(detect, new(false))
		f.want(start.RequestID, store.CommandQueued, "sent again")
		f.connect("node_old")
		want := []string{start.RequestID, detect.RequestID, start.RequestID, stop.RequestID}
		if got := f.pub.ids("node_old"); !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	})
}

func TestADetectIsToTellOnlyOfWhatAnEarlierSessionWasSent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_old")
		lost := f.issue("node_old", protocol.ActionStop, false)
		pass(time.Second)
		since := time.Now()
		pass(time.Millisecond)
		fresh := f.issue("node_old", protocol.ActionStart, false)
		f.NodeReady("node_old", since)
		synctest.Wait()
		if lost, fresh := f.command(lost.RequestID), f.command(fresh.RequestID); lost.ResolveBy == "" || fresh.ResolveBy != "" {
			t.Errorf("the lost one waits for detect %q, that of this session for %q", lost.ResolveBy, fresh.ResolveBy)
		}
	})
}

func TestACommandThatIsToBeSentAgainHasAFreshTimeLimitForThat(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		pass(29 * time.Second)
		f.pub.session("node_a", true)
		f.NodeReady("node_a", time.Now())
		pass(29 * time.Second)
		f.want(cmd.RequestID, store.CommandQueued, "sent again")
		f.connect("node_a")
		f.want(cmd.RequestID, store.CommandSent, "")
	})
}

func TestACommandIsSentAtMostTenTimes(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		for range 15 {
			f.connect("node_a")
		}
		f.want(cmd.RequestID, store.CommandUnknown, "sent 10 times without an answer")
		if n := f.pub.count(cmd.RequestID); n != maxAttempts {
			t.Errorf("sent %d times", n)
		}
		f.issue("node_a", protocol.ActionStart, false) // the next one is not held up
	})
}

func TestNothingIsSentToANodeThatWasResetOrDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		reset, gone := f.issue("node_a", protocol.ActionStart, true), f.issue("node_b", protocol.ActionStart, true)
		f.update(func(tx *store.Tx) error { return tx.ResetClient("node_a") })
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("node_b") })
		f.connect("node_a")
		f.connect("node_b")
		pass(2 * time.Hour)
		f.want(reset.RequestID, store.CommandCancelled, "reset")
		if _, err := f.read(gone.RequestID); err == nil {
			t.Error("a command of a deleted node is left")
		}
		if len(f.pub.sent) != 0 || len(f.timers) != 0 {
			t.Errorf("%d messages, %d timers", len(f.pub.sent), len(f.timers))
		}
	})
}

// TestWhateverHappensAnEndIsForGoodAndEveryCommandEnds runs random sequences of all events. The
// fixture checks that every published command is on disk as sent.
func TestWhateverHappensAnEndIsForGoodAndEveryCommandEnds(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T, f *fixture) {
			r := rand.New(rand.NewPCG(seed, 1))
			ended := make(map[string]store.CommandState)
			for step := range 80 {
				f.randomStep(r)
				f.endsAreForGood(ended)
				if t.Failed() {
					t.Fatalf("seed %d, step %d", seed, step)
				}
			}
			pass(protocol.ActionPush.Spec().QueueTime + 2*time.Hour)
			f.endsAreForGood(ended)
			if err := f.db.View(func(tx *store.Tx) error {
				if open, err := tx.OpenCommands(""); err != nil || len(open) != 0 {
					t.Errorf("seed %d: open for ever: %v, %+v", seed, err, open)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(f.timers) != 0 {
				t.Errorf("seed %d: %d timers are left", seed, len(f.timers))
			}
		})
	}
}

func (f *fixture) endsAreForGood(ended map[string]store.CommandState) {
	f.t.Helper()
	for _, node := range []string{"node_a", "node_old"} {
		open := 0
		for _, cmd := range f.commands(node) {
			if was, ok := ended[cmd.RequestID]; ok && was != cmd.State {
				f.t.Errorf("%s %s was %s and is %s", cmd.Action, cmd.RequestID, was, cmd.State)
			}
			if cmd.State.Ended() {
				ended[cmd.RequestID] = cmd.State
			}
			if cmd.Attempts > maxAttempts || f.pub.count(cmd.RequestID) > cmd.Attempts {
				f.t.Errorf("%s: %d attempts, sent %d times", cmd.RequestID, cmd.Attempts, f.pub.count(cmd.RequestID))
			}
			if (cmd.State == store.CommandApplied || cmd.State == store.CommandFailed) && cmd.Ack == nil {
				f.t.Errorf("%s is %s without an ACK", cmd.RequestID, cmd.State)
			}
			if cmd.State == store.CommandExpired && cmd.Attempts > 0 {
				f.t.Errorf("%s is expired and was sent", cmd.RequestID)
			}
			if cmd.Action == protocol.ActionPush && !cmd.State.Ended() {
				open++
			}
		}
		if open > 1 {
			f.t.Errorf("%d pushes of %s are open", open, node)
		}
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (f *fixture) randomStep(r *rand.Rand) {
	f.t.Helper()
	node := pick(r, "node_a", "node_old")
	all := append(f.commands("node_a"), f.commands("node_old")...)
	switch r.IntN(10) {
	case 0, 1:
		action := pick(r, protocol.ActionStart, protocol.ActionStop, protocol.ActionDetect, protocol.ActionWGShow, protocol.ActionDescribe, protocol.ActionPush)
		if action == protocol.ActionPush {
			f.stage(node, pick(r, "text 1", "text 2", "text 3"))
		}
		_, _ = f.Issue(f.t.Context(), node, action, "admin", r.IntN(2) == 0)
	case 2, 3, 4:
		if len(all) == 0 {
			return
		}
		cmd := all[max(0, len(all)-1-r.IntN(10))]
		kind := cmd.Kind.Ack()
		if r.IntN(4) == 0 {
			kind = pick(r, protocol.KindControlAck, protocol.KindDetectAck, protocol.KindInfoAck, protocol.KindPushAck)
		}
		sender := cmd.NodeID
		if r.IntN(4) == 0 {
			sender = node
		}
		running := r.IntN(2) == 0
		f.ackOn(sender, kind, cmd.RequestID, protocol.Ack{
			Status: pick(r, protocol.AckAccepted, protocol.AckApplied, protocol.AckFailed, "odd"), WGOnline: pick(r, nil, &running),
		})
	case 5:
		if len(all) > 0 {
			_, _ = f.Cancel(f.t.Context(), pick(r, all...).RequestID, "admin")
		}
	case 6:
		f.disconnect(node)
	case 7:
		f.pub.mu.Lock()
		f.pub.fails = r.IntN(3)
		f.pub.mu.Unlock()
		f.connect(node)
	case 8:
		pass(pick(r, time.Millisecond, time.Second, 9*time.Second, 25*time.Second, 10*time.Minute))
	case 9:
		if r.IntN(3) == 0 {
			f.restart(pick(r, time.Second, 5*time.Minute), r.IntN(2) == 0)
		}
	}
}

func TestOpenCommandsGoOnOnceTheDiskTakesWritesAgain(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.limitSize()
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		f.Stop()
		release := f.fill()
		f.start() // no error
		pass(10 * time.Minute)
		f.want(cmd.RequestID, store.CommandSent, "")
		release()
		pass(retryWrite + time.Second) // its time to answer begins now
		f.want(cmd.RequestID, store.CommandSent, "")
		pass(restartGrace)
		f.want(cmd.RequestID, store.CommandUnknown, "")
	})
}
