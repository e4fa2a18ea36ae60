package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/storetest"
	"wfm/protocol"
	"wfm/store"
)

// spoil gives the command a payload that is JSON and cannot be read. It returns the former one.
func (f *fixture) spoil(requestID string) (payload json.RawMessage) {
	f.t.Helper()
	payload = f.command(requestID).Payload
	f.setPayload(requestID, json.RawMessage(`"damaged"`))
	return payload
}

func (f *fixture) setPayload(requestID string, payload json.RawMessage) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		cmd, err := tx.Command(requestID)
		if err != nil {
			return err
		}
		cmd.Payload = payload
		return tx.PutCommand(cmd)
	})
}

func TestACommandThatCannotBeReadIsNotSentAndNoneOvertakesIt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start, stop := f.issue("node_a", protocol.ActionStart, true), f.issue("node_a", protocol.ActionStop, true)
		payload := f.spoil(start.RequestID)
		f.connect("node_a")
		if got := f.pub.ids("node_a"); len(got) != 0 {
			t.Errorf("published %v", got)
		}
		f.setPayload(start.RequestID, payload)
		pass(5*time.Second - time.Nanosecond)
		f.want(start.RequestID, store.CommandQueued, "")
		pass(time.Nanosecond) // it is tried again
		if got := f.pub.ids("node_a"); !slices.Equal(got, []string{start.RequestID, stop.RequestID}) {
			t.Errorf("published %v, want the start, then the stop", got)
		}
	})
}

func TestACommandThatCannotBeReadIsNotSentAgainAndNoneOvertakesIt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		start, stop := f.issue("node_a", protocol.ActionStart, false), f.issue("node_a", protocol.ActionStop, false)
		push, _ := f.pushed("node_a", "text")
		f.spoil(start.RequestID)
		f.spoil(push.RequestID)
		f.disconnect("node_a")
		f.connect("node_a")
		for _, cmd := range []store.Command{start, stop, push} {
			if got := f.want(cmd.RequestID, store.CommandQueued, "sent again"); f.pub.count(cmd.RequestID) != 1 || got.Attempts != 1 {
				t.Errorf("%s is sent %d times (attempts %d)", cmd.Action, f.pub.count(cmd.RequestID), got.Attempts)
			}
		}
	})
}

func TestTheAckOfACommandThatCannotBeReadIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.bindConfirming()
		f.connect("node_c")
		cmd, _ := f.pushed("node_c", "text")
		f.spoil(cmd.RequestID)
		topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_c", Kind: protocol.KindPushAck}
		for _, status := range []protocol.AckStatus{protocol.AckAccepted, protocol.AckApplied} {
			if err := f.acks(topic, cmd, protocol.Ack{Status: status}); err == nil {
				t.Errorf("%s: no error", status)
			}
		}
		if got := f.want(cmd.RequestID, store.CommandSent, ""); got.Ack != nil {
			t.Errorf("the ACK is kept: %+v", got.Ack)
		}
		if _, err := f.Cancel(t.Context(), cmd.RequestID, "admin"); err != nil {
			t.Fatal(err)
		}
		err := f.acks(topic, cmd, protocol.Ack{Status: protocol.AckApplied})
		if err == nil || len(f.command(cmd.RequestID).Notes) != 0 {
			t.Errorf("a late word: %v, notes %+v", err, f.command(cmd.RequestID).Notes)
		}
	})
}

func TestADamagedRecordEndsTheWriting(t *testing.T) {
	for name, tc := range map[string]struct {
		begin string // of the record, or that of the stop
		after func(*fixture, store.Command)
	}{
		"evidence, at the end of a detect":           {`{"node_id":"node_a"`, func(*fixture, store.Command) { pass(time.Minute) }},
		"another open command, at a detect's answer": {"", func(f *fixture, detect store.Command) { f.tellsHash(detect) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.connect("node_a")
				detect, stop := f.issue("node_a", protocol.ActionDetect, false), f.issue("node_a", protocol.ActionStop, false)
				f.reopen() // the writer knows no record any more
				storetest.Damage(t, f.dir, cmp.Or(tc.begin, `{"request_id":"`+stop.RequestID))
				tc.after(f, detect)
				if err := f.db.WriteError(); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("WriteError: %v, want ErrDamaged", err)
				}
				f.want(detect.RequestID, store.CommandSent, "")
			})
		})
	}
}

// tellsHash makes the node answer the detect with the hash of the config on its disk.
func (f *fixture) tellsHash(detect store.Command) {
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_a", Kind: protocol.KindDetectAck}
	ack := protocol.Ack{Status: protocol.AckFailed, ConfigSHA256: strings.Repeat("ab", 32)}
	_ = f.acks(topic, detect, ack)
	synctest.Wait()
}

func (f *fixture) acks(topic protocol.Topic, cmd store.Command, ack protocol.Ack) error {
	return f.db.Update(func(tx *store.Tx) error {
		_, err := f.Ack(tx, topic, protocol.Envelope{RequestID: cmd.RequestID}, ack)
		return err
	})
}

func TestStopWaitsForWhatIsBeingSent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.issue("node_a", protocol.ActionStart, true)
		release := make(chan struct{})
		f.pub.look = func(published) { <-release }
		f.connect("node_a")
		stopped := make(chan struct{})
		go func() { f.Stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("Stop returned while a command was being sent")
		default:
		}
		close(release)
		<-stopped
	})
}

func TestADetectTellsOfAllCommandsThatWereLostOrOfNone(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.bind("node_x", protocol.CapabilityCommitConfirm) // and does not know request ids
		f.connect("node_x")
		start := f.issue("node_x", protocol.ActionStart, false)
		push, _ := f.pushed("node_x", "text")
		f.spoil(push.RequestID)
		f.disconnect("node_x")
		f.connect("node_x")
		for _, cmd := range []store.Command{start, push} {
			if by := f.want(cmd.RequestID, store.CommandSent, "").ResolveBy; by != "" {
				t.Errorf("%s waits for the detect %s", cmd.Action, by)
			}
		}
	})
}

// onReady is a Publisher that calls a function when it is asked whether a node is ready.
type onReady struct {
	*scripted
	call func(protocol.Topic)
}

func (p onReady) Ready(topic protocol.Topic) bool {
	p.call(topic)
	return p.scripted.Ready(topic)
}

func TestACommandThatEndsAsItsTurnComesIsNotSentAndHoldsUpNone(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start, stop := f.issue("node_a", protocol.ActionStart, true), f.issue("node_a", protocol.ActionStop, true)
		asked := 0
		f.publisher = onReady{f.pub, func(protocol.Topic) {
			if asked++; asked > 1 {
				return
			}
			if _, err := f.Cancel(t.Context(), start.RequestID, "admin"); err != nil {
				t.Error(err)
			}
		}}
		f.connect("node_a")
		if got := f.pub.ids("node_a"); !slices.Equal(got, []string{stop.RequestID}) {
			t.Errorf("published %v, want the stop only", got)
		}
		f.want(start.RequestID, store.CommandCancelled, "cancelled by admin")
	})
}

func TestACommandThatCouldNotBeWrittenAsSentIsTriedAgainAfterFiveSeconds(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.limitSize()
		start, stop := f.issue("node_a", protocol.ActionStart, true), f.issue("node_a", protocol.ActionStop, true)
		release := f.fill()
		f.connect("node_a")
		release()
		pass(5*time.Second - time.Nanosecond)
		if got := f.pub.ids("node_a"); len(got) != 0 {
			t.Errorf("published before it was due: %v", got)
		}
		pass(time.Nanosecond)
		if got := f.pub.ids("node_a"); !slices.Equal(got, []string{start.RequestID, stop.RequestID}) {
			t.Errorf("published %v, want the start, then the stop", got)
		}
	})
}

func TestWaitLeavesNoSubscriptionBehind(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		before := storetest.Subscriptions(f.db)
		wait := func(what string, ctx context.Context, requestID string, end func()) {
			t.Helper()
			done := make(chan struct{})
			go func() { defer close(done); _, _ = f.Wait(ctx, requestID) }()
			synctest.Wait()
			end()
			<-done
			if got := storetest.Subscriptions(f.db); got != before {
				t.Errorf("%s: %d subscriptions are left", what, got-before)
			}
		}
		cmd := f.issue("node_a", protocol.ActionStart, false)
		wait("no such command", t.Context(), "req_none", func() {})
		ctx, cancel := context.WithCancel(t.Context())
		wait("its context ends", ctx, cmd.RequestID, cancel)
		wait("answered", t.Context(), cmd.RequestID, func() { f.answer(cmd, protocol.AckApplied) })
		wait("ended before", t.Context(), cmd.RequestID, func() {})
		cmd = f.issue("node_a", protocol.ActionStart, false)
		wait("the ledger stops", t.Context(), cmd.RequestID, f.Stop)
	})
}
