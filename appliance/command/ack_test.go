package command

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
)

func TestOnlyTheAnswerEndsACommand(t *testing.T) {
	for status, want := range map[protocol.AckStatus]store.CommandState{
		protocol.AckApplied: store.CommandApplied, protocol.AckFailed: store.CommandFailed,
	} {
		for action := range limits {
			bubble(t, func(t *testing.T, f *fixture) {
				f.connect("node_a")
				cmd := f.issue("node_a", action, false)
				pass(3 * time.Second)
				f.answer(cmd, status)
				cmd = f.want(cmd.RequestID, want, "the node says "+string(status))
				if cmd.Ack == nil || cmd.Ack.Status != status || time.Since(cmd.AckAt) != 0 {
					t.Errorf("%s: ACK %+v at %s", action, cmd.Ack, cmd.AckAt)
				}
				pass(2 * time.Hour)
				f.want(cmd.RequestID, want, "the node says "+string(status))
			})
		}
	}
}

func TestAcceptedExtendsTheTimeLimitOnceAndIsFollowedByTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		done, silent := f.issue("node_a", protocol.ActionStart, false), f.issue("node_a", protocol.ActionStop, false)
		pass(20 * time.Second)
		f.answer(done, protocol.AckAccepted)
		if v := f.answer(silent, protocol.AckAccepted); !v.Counts(protocol.AckAccepted) || v.Command.State != store.CommandAccepted {
			t.Errorf("verdict on the first accepted: %+v", v)
		}
		f.want(done.RequestID, store.CommandAccepted, "the node says accepted")
		pass(20 * time.Second)
		f.answer(done, protocol.AckApplied)
		f.want(done.RequestID, store.CommandApplied, "")
		if v := f.answer(silent, protocol.AckAccepted); v.Refused == "" || v.Counts(protocol.AckAccepted) { // again: it buys no more time
			t.Errorf("verdict on the second accepted: %+v", v)
		}
		f.want(silent.RequestID, store.CommandAccepted, "repeated")
		pass(10 * time.Second)
		f.want(silent.RequestID, store.CommandUnknown, "")
		f.answer(silent, protocol.AckApplied)
		f.want(silent.RequestID, store.CommandUnknown, "ignored a late ACK (applied): the command was already unknown")
	})
}

func TestAnAckThatDoesNotFitChangesNoStateAndLeavesANote(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*fixture, store.Command)
		kind    protocol.Kind
		status  protocol.AckStatus
		note    string
	}{
		"wrong kind":     {kind: protocol.KindInfoAck, status: protocol.AckApplied, note: "expects a control/ack"},
		"status unknown": {status: "done", note: `unknown status "done"`},
		"no status":      {note: `unknown status ""`},
		"late, after unknown": {
			func(*fixture, store.Command) { pass(30 * time.Second) }, "", protocol.AckApplied,
			"late ACK (applied): the command was already unknown",
		},
		"late, after cancelled": {func(f *fixture, c store.Command) {
			_, _ = f.Cancel(f.t.Context(), c.RequestID, "admin")
		}, "", protocol.AckFailed, "late ACK (failed): the command was already cancelled"},
		"repeated":              {func(f *fixture, c store.Command) { f.answer(c, protocol.AckApplied) }, "", protocol.AckApplied, "repeated ACK (applied)"},
		"another after the end": {func(f *fixture, c store.Command) { f.answer(c, protocol.AckFailed) }, "", protocol.AckApplied, "repeated ACK (applied)"},
		"accepted after the end": {func(f *fixture, c store.Command) {
			f.answer(c, protocol.AckApplied)
		}, "", protocol.AckAccepted, "repeated ACK (accepted)"},
	} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a")
			cmd := f.issue("node_a", protocol.ActionStart, false)
			if tc.prepare != nil {
				tc.prepare(f, cmd)
			}
			before := f.command(cmd.RequestID)
			kind := tc.kind
			if kind == "" {
				kind = protocol.KindControlAck
			}
			if v := f.ackOn("node_a", kind, cmd.RequestID, protocol.Ack{Status: tc.status, Message: "changed"}); !strings.Contains(v.Refused, tc.note) ||
				v.Command.RequestID != "" {
				t.Errorf("%s: verdict %+v", name, v)
			}
			after := f.want(cmd.RequestID, before.State, tc.note)
			if after.Detail != before.Detail || !after.AckAt.Equal(before.AckAt) || len(after.Notes) != len(before.Notes)+1 ||
				!after.DeadlineAt.Equal(before.DeadlineAt) {
				t.Errorf("%s: changed from\n%+v to\n%+v", name, before, after)
			}
		})
	}
}

func TestAnAckThatComesBeforeTheCommandWasSentIsIgnored(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		cmd := f.issue("node_a", protocol.ActionStart, true)
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandQueued, "came before the command was sent")
		f.connect("node_a")
		f.want(cmd.RequestID, store.CommandSent, "")
	})
}

func TestTheAnswerToACommandThatWasNotHandedOverCountsAllTheSame(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.pub.fails = 1
		cmd := f.issue("node_a", protocol.ActionStart, false)
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandApplied, "")
		f.connect("node_a")
		if n := f.pub.count(cmd.RequestID); n != 0 {
			t.Errorf("sent %d times after its end", n)
		}
	})
}

func TestAnAnswerThatComesWhileTheCommandIsStillBeingHandedOverIsKept(t *testing.T) {
	for status, want := range map[protocol.AckStatus]store.CommandState{
		protocol.AckApplied: store.CommandApplied, protocol.AckAccepted: store.CommandAccepted,
	} {
		bubble(t, func(_ *testing.T, f *fixture) {
			f.connect("node_a")
			f.pub.fails = 1 // although the node got it
			f.pub.look = func(p published) {
				f.ackOn("node_a", p.topic.Kind.Ack(), p.env.RequestID, protocol.Ack{Status: status})
			}
			cmd := f.issue("node_a", protocol.ActionStart, false)
			f.want(cmd.RequestID, want, "")
		})
	}
}

func TestAnAckForACommandOfAnotherNodeOrOfNobodyIsOnlyInTheSendersJournal(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		journals := len(f.journal("node_a"))
		for _, id := range []string{cmd.RequestID, "req_none"} {
			v := f.ackOn("node_b", protocol.KindControlAck, id, protocol.Ack{Status: protocol.AckApplied, Message: "stranger"})
			if v.Refused == "" || v.Counts(protocol.AckApplied) || v.Command.RequestID != "" {
				t.Errorf("verdict %+v", v)
			}
			if after := f.command(cmd.RequestID); after.State != store.CommandSent || len(after.Notes) != 0 || after.Ack != nil ||
				!after.UpdatedAt.Equal(cmd.UpdatedAt) {
				t.Errorf("the command was touched: %+v", after)
			}
			e := f.journal("node_b")[0]
			if e.Event != "ack_unmatched" || e.Level != "warning" || e.RequestID != id || e.SessionID != "session_1" || strings.Contains(e.Message, "stranger") {
				t.Errorf("journal of the sender: %+v", e)
			}
		}
		if got := len(f.journal("node_a")); got != journals {
			t.Errorf("%d lines in the journal of the node it was not about", got-journals)
		}
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandApplied, "")
	})
}

func TestWhatIsKeptOfAnAckIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		long := strings.Repeat("ü", 10<<10)
		many := make([]string, 100)
		tools := map[string]string{long: "1", "wg": long}
		for i := range many {
			many[i] = long
		}
		cmd := f.issue("node_a", protocol.ActionDescribe, false)
		verdict := f.ackOn("node_a", protocol.KindInfoAck, cmd.RequestID, protocol.Ack{
			Status: protocol.AckApplied, Message: long, Action: protocol.Action(long), Platform: long, ClientVersion: long,
			Arch: long, ConfigSHA256: long, Capabilities: many, Toolchain: tools,
		})
		a := f.want(cmd.RequestID, store.CommandApplied, "ü…").Ack
		if !verdict.Counts(protocol.AckApplied) || !reflect.DeepEqual(verdict.Command.Ack, a) {
			t.Errorf("the verdict has another ACK than is kept: %+v", verdict)
		}
		for _, s := range append(a.Capabilities, string(a.Action), a.Platform, a.ClientVersion, a.Arch, a.ConfigSHA256, a.Toolchain["wg"]) {
			if len(s) == 0 || len(s) > 128 || strings.ContainsRune(s, '\uFFFD') {
				t.Errorf("%d bytes are kept: %q", len(s), s)
			}
		}
		if len(a.Message) > 4096 || len(a.Capabilities) != 32 || len(a.Toolchain) != 1 {
			t.Errorf("kept: message %d, capabilities %d, toolchain %d", len(a.Message), len(a.Capabilities), len(a.Toolchain))
		}
		strange := f.issue("node_a", protocol.ActionStart, false)
		f.ackOn("node_a", protocol.KindControlAck, strange.RequestID, protocol.Ack{Status: protocol.AckStatus(long)})
		if note := f.want(strange.RequestID, store.CommandSent, "unknown status").Notes[0].Text; len(note) > 2*128 {
			t.Errorf("a note of %d bytes", len(note))
		}
	})
}

func TestWhatIsAsLongAsMayBeIsKeptWholeAndOneMoreIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		kept := func(more int) protocol.Ack {
			ack := protocol.Ack{
				Status: protocol.AckApplied, Message: strings.Repeat("m", 4096+more), Platform: strings.Repeat("p", 128+more),
				Capabilities: make([]string, 32+more), Toolchain: map[string]string{strings.Repeat("t", 128+more): "1"},
			}
			cmd := f.issue("node_a", protocol.ActionDescribe, false)
			f.ackOn("node_a", protocol.KindInfoAck, cmd.RequestID, ack)
			return *f.want(cmd.RequestID, store.CommandApplied, "").Ack
		}
		a := kept(0)
		if len(a.Message) != 4096 || strings.Trim(a.Message, "m") != "" || strings.Trim(a.Platform, "p") != "" || len(a.Capabilities) != 32 || len(a.Toolchain) != 1 {
			t.Errorf("cut: message %d, platform %q, capabilities %d, toolchain %v", len(a.Message), a.Platform, len(a.Capabilities), a.Toolchain)
		}
		a = kept(1)
		if !strings.HasSuffix(a.Message, "m…") || !strings.HasSuffix(a.Platform, "p…") || len(a.Capabilities) != 32 || len(a.Toolchain) != 0 {
			t.Errorf("not cut: message %d, platform %q, capabilities %d, toolchain %v", len(a.Message), a.Platform, len(a.Capabilities), a.Toolchain)
		}
		for tools, want := range map[int]int{32: 32, 33: 0} {
			chain := make(map[string]string)
			for i := range tools {
				chain[fmt.Sprint("tool ", i)] = "1"
			}
			cmd := f.issue("node_a", protocol.ActionDescribe, false)
			f.ackOn("node_a", protocol.KindInfoAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, Toolchain: chain})
			if got := len(f.command(cmd.RequestID).Ack.Toolchain); got != want {
				t.Errorf("of %d tools %d are kept, want %d", tools, got, want)
			}
		}
	})
}

func TestADetectThatFailedOrWasNotAnsweredIsEvidence(t *testing.T) {
	for name, tc := range map[string]struct {
		end    func(*fixture, store.Command)
		failed bool
	}{
		"applied":      {func(f *fixture, c store.Command) { f.answer(c, protocol.AckApplied) }, false},
		"failed":       {func(f *fixture, c store.Command) { f.answer(c, protocol.AckFailed) }, true},
		"not answered": {func(*fixture, store.Command) { pass(10 * time.Second) }, true},
		"never sent":   {func(*fixture, store.Command) { pass(10 * time.Second) }, false},
		"a start":      {func(*fixture, store.Command) { pass(30 * time.Second) }, false},
	} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a")
			action := protocol.ActionDetect
			switch name {
			case "never sent":
				f.pub.session("node_a", true)
			case "a start":
				action = protocol.ActionStart
			}
			cmd := f.issue("node_a", action, false)
			if sent := action == protocol.ActionDetect && name != "never sent"; f.evidence("node_a").ProbeSentAt.IsZero() == sent {
				t.Errorf("%s: probe sent at %s", name, f.evidence("node_a").ProbeSentAt)
			}
			pass(time.Nanosecond)
			tc.end(f, cmd)
			if at := f.evidence("node_a").ProbeFailedAt; at.IsZero() == tc.failed || tc.failed && time.Since(at) > time.Second {
				t.Errorf("%s: probe failed at %s", name, at)
			}
		})
	}
}

func (f *fixture) output(nodeID, requestID, stream, text string) {
	f.t.Helper()
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: nodeID, Kind: protocol.KindEvent}
	env := protocol.Envelope{Type: topic.Kind, ConfigID: "cfg_a", NodeID: nodeID, SessionID: "session_1"}
	ev := protocol.Event{Event: protocol.EventCommandOutput, RequestID: requestID, Stream: stream, Message: strings.Repeat("m", 5000), Output: text}
	f.update(func(tx *store.Tx) error { return f.Output(tx, topic, env, ev) })
}

func (f *fixture) outputs(requestID string) (out []store.Output) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { out, err = tx.Output(requestID); return err }); err != nil {
		f.t.Fatal(err)
	}
	return out
}

func TestOutputOfARunningCommandIsKeptInOrderAndBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionWGShow, false)
		f.output("node_a", cmd.RequestID, "stdout", "first")
		f.output("node_a", cmd.RequestID, "stderr", "second")
		got := f.outputs(cmd.RequestID)
		if len(got) != 2 || got[0].Output != "first" || got[0].Stream != "stdout" || got[1].Output != "second" || got[1].Stream != "stderr" ||
			len(got[0].Message) > 4096 {
			t.Fatalf("kept: %+v", got)
		}
		for range 30 {
			f.output("node_a", cmd.RequestID, "stdout", strings.Repeat("x", 200<<10))
		}
		size := 0
		for _, o := range f.outputs(cmd.RequestID) {
			size += len(o.Output)
		}
		if size > 1<<20 || len(f.command(cmd.RequestID).Notes) != 1 {
			t.Errorf("%d bytes and %d notes are kept", size, len(f.command(cmd.RequestID).Notes))
		}
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandApplied, "more output came than is kept")
	})
}

func TestOutputThatBelongsToNoRunningCommandOfTheNodeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		show, start, ended := f.issue("node_a", protocol.ActionWGShow, false), f.issue("node_a", protocol.ActionStart, false), f.issue("node_a",
			protocol.ActionWGShow, false)
		f.answer(ended, protocol.AckApplied)
		f.pub.session("node_a", true) // takes nothing
		waiting := f.issue("node_a", protocol.ActionWGShow, false)
		for name, tc := range map[string]struct{ node, id, stream, why string }{
			"another node's":   {"node_b", show.RequestID, "stdout", "never sent"},
			"unknown":          {"node_a", "req_" + strings.Repeat("x", 1000), "stdout", "never sent"},
			"none":             {"node_a", "", "stdout", "never sent"},
			"of another kind":  {"node_a", start.RequestID, "stdout", "has none"},
			"not sent yet":     {"node_a", waiting.RequestID, "stdout", "has none"},
			"a strange stream": {"node_a", show.RequestID, "stdin", "unknown stream"},
		} {
			f.output(tc.node, tc.id, tc.stream, "secret")
			e := f.journal(tc.node)[0]
			if e.Event != "output_unmatched" || !strings.Contains(e.Message, tc.why) || strings.Contains(e.Message, "secret") || len(e.RequestID) > 128 {
				t.Errorf("%s: journal %+v", name, e)
			}
		}
		f.output("node_a", ended.RequestID, "stdout", "secret")
		f.want(ended.RequestID, store.CommandApplied, "after the end")
		for _, cmd := range f.commands("node_a") {
			if got := f.outputs(cmd.RequestID); len(got) != 0 {
				t.Errorf("%s (%s) has output: %+v", cmd.Action, cmd.State, got)
			}
			if cmd.RequestID != ended.RequestID && len(cmd.Notes) != 0 {
				t.Errorf("%s (%s) was touched: %+v", cmd.Action, cmd.State, cmd.Notes)
			}
		}
	})
}
