package command

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// confOf is a config whose text differs by the comment, a line.
func confOf(comment string) string {
	return "# " + comment + "\n[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
}

// stage makes text the node's desired and staged config. A text that is none is the comment of one.
func (f *fixture) stage(nodeID, text string) (ref store.ConfRef) {
	f.t.Helper()
	if !strings.Contains(text, "[Interface]") {
		text = confOf(text)
	}
	f.update(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err != nil {
			return err
		}
		cfg, err := tx.Config(n.ConfigID)
		if err != nil {
			return err
		}
		s, err := tx.SetDesired(nodeID, text, store.ConfVersion{Author: "admin"})
		if err != nil {
			return err
		}
		s, err = tx.Stage(nodeID, s.Desired, protocol.ToolFamily(cfg.TunnelProtocol))
		ref = s.Staged
		return err
	})
	return ref
}

func (f *fixture) conf(nodeID string) (s store.ConfState) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { s, err = tx.ConfState(nodeID); return err }); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// pushed stages text and pushes it to the node.
func (f *fixture) pushed(nodeID, text string) (store.Command, store.ConfRef) {
	f.t.Helper()
	ref := f.stage(nodeID, text)
	return f.issue(nodeID, protocol.ActionPush, false), ref
}

func (f *fixture) wantConfirmed(nodeID string, want store.ConfRef) {
	f.t.Helper()
	if got := f.conf(nodeID).Confirmed; got != want {
		f.t.Errorf("confirmed is version %d, want %d", got.Version, want.Version)
	}
}

func (f *fixture) wantReported(nodeID, sha string, known bool) {
	f.t.Helper()
	if s := f.conf(nodeID); s.Reported.SHA256 != sha || s.ReportedAt.IsZero() == known {
		f.t.Errorf("reported is %q at %s, want %q, known: %v", s.Reported.SHA256, s.ReportedAt, sha, known)
	}
}

func (f *fixture) bindConfirming() {
	f.t.Helper()
	f.bind("node_c", protocol.CapabilityDedupe, protocol.CapabilityCommitConfirm)
}

func TestAPushCarriesTheStagedTextAndTheLedgerNeverHoldsIt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.update(func(tx *store.Tx) error { // the protocol changed once
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelAmneziaWG, AWGVersion: "2.0"})
		})
		f.connect("node_a")
		const secret = "<&> \u2028\r"
		cmd, ref := f.pushed("node_a", secret)
		var got protocol.Push
		if err := json.Unmarshal(f.pub.sent[0].env.Payload, &got); err != nil {
			t.Fatal(err)
		}
		want := protocol.Push{
			Action: "push_config", TunnelProtocol: "amneziawg_2", PreviousTunnelProtocol: "wireguard", InterfaceName: "wg0",
			ConfigVersion: 1, ConfigSHA256: ref.SHA256, ConfigText: confOf(secret), AWGVersion: "2.0",
		}
		if got != want || f.pub.sent[0].topic.Kind != protocol.KindPush {
			t.Errorf("published %+v on %s", got, f.pub.sent[0].topic.Kind)
		}
		f.answer(cmd, protocol.AckApplied)
		raw, err := json.Marshal([]any{f.commands("node_a"), f.journal("node_a")})
		if err != nil || strings.Contains(string(raw), "PrivateKey") || strings.Contains(string(raw), "config_text") {
			t.Errorf("the ledger or the journal holds the text (%v)", err)
		}
	})
}

func TestAPushNeedsAConfigStagedForTheTunnelProtocol(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		push := func(node string) error {
			_, _, err := f.Push(t.Context(), node, tunnel.Order{Staged: true}, "admin")
			return err
		}
		if err := push("node_a"); !errors.Is(err, tunnel.ErrNoStagedConfig) {
			t.Errorf("nothing staged: %v", err)
		}
		f.stage("node_a", "text")
		waits := f.issue("node_a", protocol.ActionPush, false)
		f.update(func(tx *store.Tx) error {
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelAmneziaWG})
		})
		if err := push("node_a"); !errors.Is(err, tunnel.ErrStagedOutdated) {
			t.Errorf("staged for the other tools: %v", err)
		}
		f.want(waits.RequestID, store.CommandQueued, "") // a push that is refused supersedes nothing
		f.connect("node_a")
		f.want(waits.RequestID, store.CommandCancelled, "push again")
		if len(f.pub.sent) != 0 {
			t.Error("a push for the former tunnel protocol was sent")
		}
		f.update(func(tx *store.Tx) error {
			return tx.PutNode(&store.Node{ID: "node_s", ConfigID: "cfg_a", Name: "s", Enabled: true, Type: store.NodeStatic})
		})
		f.stage("node_s", "text")
		if err := push("node_s"); !errors.Is(err, store.ErrNodeStatic) {
			t.Errorf("static: %v", err)
		}
	})
}

func TestAPushThatWaitedWhileTheInterfaceWasRenamedIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		cmd, _ := f.pushed("node_a", "text")
		f.update(func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			if err != nil {
				return err
			}
			n.InterfaceName = "wg1"
			return tx.PutNode(&n)
		})
		f.connect("node_a")
		if f.want(cmd.RequestID, store.CommandCancelled, "push again"); len(f.pub.sent) != 0 {
			t.Error("sent")
		}
	})
}

func TestAPushWaitsThirtyDaysForANodeThatIsAwayWithoutBeingAskedTo(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		back, _ := f.pushed("node_a", "text")
		never, _ := f.pushed("node_b", "text")
		f.want(back.RequestID, store.CommandQueued, "waits for the node")
		f.restart(24*time.Hour, true)
		pass(28 * 24 * time.Hour)
		f.connect("node_a")
		f.want(back.RequestID, store.CommandSent, "")
		pass(24*time.Hour - 2*time.Millisecond)
		f.want(never.RequestID, store.CommandQueued, "")
		pass(2 * time.Millisecond)
		f.want(never.RequestID, store.CommandExpired, "never sent")
	})
}

func TestANewerPushSupersedesTheOpenOne(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		queued, _ := f.pushed("node_a", "text 1")
		sent, _ := f.pushed("node_a", "text 2")
		if detail := f.want(queued.RequestID, store.CommandSuperseded, "").Detail; detail != "superseded by "+sent.RequestID {
			t.Errorf("one that was never sent says %q", detail)
		}
		f.connect("node_a")
		accepted, _ := f.pushed("node_a", "text 3")
		f.want(sent.RequestID, store.CommandSuperseded, accepted.RequestID+"; it had been sent")
		f.answer(accepted, protocol.AckAccepted)
		other := f.issue("node_a", protocol.ActionStart, false)
		newest, ref := f.pushed("node_a", "text 4")
		f.want(accepted.RequestID, store.CommandSuperseded, newest.RequestID)
		f.want(other.RequestID, store.CommandSent, "")
		f.answer(newest, protocol.AckApplied)
		f.wantConfirmed("node_a", ref)
		if len(f.timers) != 1 { // of the start
			t.Errorf("%d timers", len(f.timers))
		}
	})
}

func TestAnAckConfirmsWhatWasPushedAndNotWhatIsStagedByThen(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, ref := f.pushed("node_a", "text 1")
		f.stage("node_a", "text 2")
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigVersion: 1, ConfigSHA256: strings.ToUpper(ref.SHA256)})
		f.want(cmd.RequestID, store.CommandApplied, "")
		f.wantConfirmed("node_a", ref)
		f.wantReported("node_a", ref.SHA256, true)
		s := f.conf("node_a")
		if s.ConfirmedSeq != cmd.Seq || tunnel.Sync(s, store.NodeDynamic, "wg") != store.SyncPending {
			t.Errorf("%+v", s)
		}
	})
}

func TestADeployedAgentConfirmsWithoutAHash(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_old")
		cmd, ref := f.pushed("node_old", "text")
		f.answer(cmd, protocol.AckApplied)
		f.wantConfirmed("node_old", ref)
		f.wantReported("node_old", "", false)
	})
}

func TestAPushOfAVersionThatIsNotStagedAnyMoreIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.stage("node_a", "text 1")
		push := func(version int) (store.Command, error) {
			cmd, _, err := f.Push(t.Context(), "node_a", tunnel.Order{Staged: true, Version: version}, "admin")
			return cmd, err
		}
		open, err := push(1)
		if err != nil {
			t.Fatal(err)
		}
		f.stage("node_a", "text 2")
		if _, err := push(1); !errors.Is(err, tunnel.ErrStagedChanged) {
			t.Errorf("a push of version 1 while version 2 is staged: %v", err)
		}
		f.want(open.RequestID, store.CommandQueued, "") // a refused push supersedes none
		if _, err := push(2); err != nil {
			t.Error(err)
		}
		f.want(open.RequestID, store.CommandSuperseded, "")
	})
}

func TestANodeThatStoredAnotherTextConfirmsNothing(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, _ := f.pushed("node_a", "text")
		other := strings.Repeat("ab", 32)
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: other, Message: "stored"})
		f.want(cmd.RequestID, store.CommandFailed, "another text")
		f.wantConfirmed("node_a", store.ConfRef{})
		f.wantReported("node_a", other, true)
	})
}

func TestAPushThatWasRolledBackSaysSoInTheNodesWords(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, first := f.pushed("node_a", "text 1")
		f.answer(cmd, protocol.AckApplied)
		cmd, _ = f.pushed("node_a", "text 2")
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{
			Status: protocol.AckFailed, RolledBack: true, Message: "the tool said no", ConfigVersion: 1, ConfigSHA256: first.SHA256,
		})
		f.want(cmd.RequestID, store.CommandFailed, "rolled back: the tool said no")
		f.wantConfirmed("node_a", first)
		f.wantReported("node_a", first.SHA256, true)
		cmd, _ = f.pushed("node_a", "text 3")
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckFailed, RolledBack: true})
		if detail := f.want(cmd.RequestID, store.CommandFailed, "").Detail; detail != "rolled back" {
			t.Errorf("without a word of the node: %q", detail)
		}
	})
}

func TestALateWordOfTheNodeIsTrueAllTheSame(t *testing.T) {
	for name, tc := range map[string]struct {
		end   func(*fixture, store.Command)
		state store.CommandState
	}{
		"unknown":    {func(*fixture, store.Command) { pass(time.Minute) }, store.CommandUnknown},
		"superseded": {func(f *fixture, _ store.Command) { f.pushed("node_a", "text 2") }, store.CommandSuperseded},
		"cancelled": {func(f *fixture, c store.Command) {
			_, _ = f.Cancel(f.t.Context(), c.RequestID, "admin")
		}, store.CommandCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(_ *testing.T, f *fixture) {
				f.connect("node_a")
				cmd, ref := f.pushed("node_a", "text 1")
				tc.end(f, cmd)
				f.answer(cmd, protocol.AckAccepted) // says nothing yet
				f.wantConfirmed("node_a", store.ConfRef{})
				f.answer(cmd, protocol.AckApplied)
				f.want(cmd.RequestID, tc.state, "counts as confirmed")
				f.wantConfirmed("node_a", ref)
				f.answer(cmd, protocol.AckApplied)
				f.want(cmd.RequestID, tc.state, "ignored a late ACK")
			})
		})
	}
}

func TestALateWordDoesNotOutdoALaterPush(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		old, _ := f.pushed("node_a", "text 1")
		cmd, ref := f.pushed("node_a", "text 2")
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: ref.SHA256})
		for _, status := range []protocol.AckStatus{protocol.AckApplied, protocol.AckFailed} {
			f.ackOn("node_a", protocol.KindPushAck, old.RequestID, protocol.Ack{Status: status, ConfigSHA256: strings.Repeat("ab", 32)})
			f.want(old.RequestID, store.CommandSuperseded, "ignored a late ACK")
		}
		f.wantConfirmed("node_a", ref)
		f.wantReported("node_a", ref.SHA256, true)
	})
}

func TestALateFailureSaysWhatIsOnTheDisk(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, _ := f.pushed("node_a", "text")
		pass(time.Minute)
		other := strings.Repeat("ab", 32)
		f.ackOn("node_a", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckFailed, RolledBack: true, Message: "cut off", ConfigSHA256: other})
		f.want(cmd.RequestID, store.CommandUnknown, "rolled back: cut off")
		f.wantConfirmed("node_a", store.ConfRef{})
		f.wantReported("node_a", other, true)
	})
}

func TestAWordThatDoesNotFitConfirmsNothing(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, _ := f.pushed("node_a", "text")
		waits, _ := f.pushed("node_b", "text")
		for _, late := range []bool{false, true} {
			f.ackOn("node_b", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied})
			f.ackOn("node_a", protocol.KindControlAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied})
			f.ackOn("node_b", protocol.KindPushAck, waits.RequestID, protocol.Ack{Status: protocol.AckApplied}) // never sent
			f.wantConfirmed("node_a", store.ConfRef{})
			f.wantConfirmed("node_b", store.ConfRef{})
			if !late {
				pass(time.Minute)
				f.pushed("node_b", "text 2")
			}
		}
		f.want(cmd.RequestID, store.CommandUnknown, "expects a config/push/ack")
	})
}

func TestAnAgentThatConfirmsHasTheTimeForIt(t *testing.T) {
	for action, limit := range map[protocol.Action]time.Duration{
		protocol.ActionPush: 180 * time.Second, protocol.ActionStart: 120 * time.Second, protocol.ActionStop: 30 * time.Second,
	} {
		bubble(t, func(_ *testing.T, f *fixture) {
			f.bindConfirming()
			f.connect("node_c")
			f.stage("node_c", "text")
			cmd := f.issue("node_c", action, false)
			pass(limit - time.Second)
			f.want(cmd.RequestID, store.CommandSent, "")
			f.answer(cmd, protocol.AckAccepted)
			pass(limit - time.Nanosecond)
			f.want(cmd.RequestID, store.CommandAccepted, "")
			pass(time.Nanosecond)
			f.want(cmd.RequestID, store.CommandUnknown, "unknown")
		})
	}
}

// The agent's tools get more time for long texts, and its answer is waited for as long.
func TestALongTextIsGivenTheTimeItNeeds(t *testing.T) {
	long := confOf("long") + "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n" +
		"AllowedIPs = 10.0.0.0/24" + strings.Repeat(", 10.0.0.0/24", 1500) + "\n"
	extra := wgconf.ExtraTime(long)
	if extra < time.Minute {
		t.Fatalf("only %s", extra)
	}
	bubble(t, func(_ *testing.T, f *fixture) {
		f.bindConfirming()
		f.connect("node_c")
		for _, tt := range []struct {
			text   string
			action protocol.Action
			limit  time.Duration
		}{
			{long, protocol.ActionPush, 180*time.Second + 2*extra},
			{"", protocol.ActionStart, 120*time.Second + 2*extra},
			{"", protocol.ActionStop, 30*time.Second + extra},
			{"text", protocol.ActionPush, 180*time.Second + 2*extra}, // it may have to bring the long one back
			{"text 2", protocol.ActionPush, 180 * time.Second},
			{"", protocol.ActionStop, 30 * time.Second},
		} {
			if tt.text != "" {
				f.stage("node_c", tt.text)
			}
			cmd := f.issue("node_c", tt.action, false)
			if got := f.want(cmd.RequestID, store.CommandSent, ""); got.DeadlineAt.Sub(got.SentAt) != tt.limit {
				t.Errorf("%s of %.6q: %s, want %s", tt.action, tt.text, got.DeadlineAt.Sub(got.SentAt), tt.limit)
			}
			pass(tt.limit - time.Second)
			f.answer(cmd, protocol.AckApplied)
			f.want(cmd.RequestID, store.CommandApplied, "")
		}
	})
}

func TestAStopBehindAPushThatIsBeingConfirmedHasTheTimeForBoth(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.bindConfirming()
		f.connect("node_c")
		f.stage("node_c", "text")
		push := f.issue("node_c", protocol.ActionPush, false)
		f.answer(push, protocol.AckAccepted)
		stop := f.issue("node_c", protocol.ActionStop, false)
		pass(31 * time.Second)
		f.want(stop.RequestID, store.CommandSent, "")
		pass(29 * time.Second)
		f.answer(push, protocol.AckApplied)
		f.answer(stop, protocol.AckApplied)
		f.want(stop.RequestID, store.CommandApplied, "")
		alone := f.issue("node_c", protocol.ActionStop, false)
		pass(31 * time.Second)
		f.want(alone.RequestID, store.CommandUnknown, "no answer within 30s")
	})
}

func TestAStartThatChangesTheProtocolHasTheTimeOfAPush(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.bindConfirming()
		f.connect("node_c")
		f.update(func(tx *store.Tx) error {
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelAmneziaWG})
		})
		cmd := f.issue("node_c", protocol.ActionStart, false)
		pass(179 * time.Second)
		f.want(cmd.RequestID, store.CommandSent, "")
		pass(time.Second)
		f.want(cmd.RequestID, store.CommandUnknown, "")
		f.ackOn("node_c", protocol.KindControlAck, cmd.RequestID, protocol.Ack{Status: protocol.AckFailed, Message: "the tool said no"})
		f.want(cmd.RequestID, store.CommandUnknown, "the node said: the tool said no")
	})
}

func TestAnAgentThatSaysAcceptedHasTheTimeOfOneThatConfirms(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, _ := f.pushed("node_a", "text")
		pass(59 * time.Second)
		f.answer(cmd, protocol.AckAccepted)
		pass(179 * time.Second)
		f.want(cmd.RequestID, store.CommandAccepted, "")
	})
}

// The agent loses its link while it confirms; the appliance may even be started anew meanwhile.
func TestAPushSurvivesTheLinkThatItBreaks(t *testing.T) {
	for name, tc := range map[string]struct {
		accepted bool
		away     func(*fixture)
	}{
		"sent, away for two minutes":         {false, func(*fixture) { pass(2 * time.Minute) }},
		"accepted, away for two minutes":     {true, func(*fixture) { pass(2 * time.Minute) }},
		"sent, the appliance restarts":       {false, func(f *fixture) { f.restart(4*time.Minute, true); pass(2 * time.Minute) }},
		"accepted, the appliance restarts":   {true, func(f *fixture) { f.restart(4*time.Minute, true); pass(2 * time.Minute) }},
		"accepted, it comes back twice":      {true, func(f *fixture) { f.connect("node_c"); f.disconnect("node_c"); pass(2 * time.Minute) }},
		"accepted, back at once after start": {true, func(f *fixture) { f.restart(time.Second, true) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.bindConfirming()
				f.connect("node_c")
				cmd, ref := f.pushed("node_c", "text")
				if tc.accepted {
					f.answer(cmd, protocol.AckAccepted)
				}
				f.disconnect("node_c")
				tc.away(f)
				f.connect("node_c")
				f.want(cmd.RequestID, store.CommandSent, "sent again")
				if n := f.pub.count(cmd.RequestID); n < 2 {
					t.Errorf("sent %d times", n)
				}
				pass(2 * time.Minute)
				f.ackOn("node_c", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: ref.SHA256})
				f.want(cmd.RequestID, store.CommandApplied, "")
				f.wantConfirmed("node_c", ref)
			})
		})
	}
}

func TestAPushToAnAgentThatDoesNotKnowRequestIDsIsSentAgainAfterADetect(t *testing.T) {
	for name, running := range map[string]*bool{"running": new(true), "stopped": new(false), "does not say": nil} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.stage("node_old", "text")
			cmd, detect := f.lost(protocol.ActionPush)
			if n := f.pub.count(cmd.RequestID); n != 1 {
				t.Errorf("%s: sent %d times before the detect was answered", name, n)
			}
			f.tells(detect, running)
			f.want(cmd.RequestID, store.CommandSent, "sent again")
			if n := f.pub.count(cmd.RequestID); n != 2 {
				t.Errorf("%s: sent %d times", name, n)
			}
			f.answer(cmd, protocol.AckApplied)
			f.want(cmd.RequestID, store.CommandApplied, "")
		})
	}
}

func TestADetectOrDescribeSaysWhatIsOnTheDisk(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		node   string
		action protocol.Action
		ack    protocol.Ack
		sha    string
		known  bool
	}{
		"a hash": {
			"node_a", protocol.ActionDetect,
			protocol.Ack{Status: protocol.AckApplied, ConfigVersion: -7, ConfigSHA256: hash},
			hash,
			true,
		},
		"a hash in a failure":       {"node_a", protocol.ActionDetect, protocol.Ack{Status: protocol.AckFailed, ConfigSHA256: hash}, hash, true},
		"a hash of a describe":      {"node_a", protocol.ActionDescribe, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: hash}, hash, true},
		"none of an agent of old":   {"node_a", protocol.ActionDetect, protocol.Ack{Status: protocol.AckApplied}, "", false},
		"none of one that confirms": {"node_c", protocol.ActionDetect, protocol.Ack{Status: protocol.AckApplied}, "", true},
		"none of it in a failure":   {"node_c", protocol.ActionDetect, protocol.Ack{Status: protocol.AckFailed}, "", false},
		"none of one that now confirms": {
			"node_a", protocol.ActionDescribe,
			protocol.Ack{Status: protocol.AckApplied, Capabilities: []string{"commit_confirm"}},
			"", true,
		},
		"none of one that does not more":  {"node_c", protocol.ActionDescribe, protocol.Ack{Status: protocol.AckApplied}, "", false},
		"what is no hash":                 {"node_a", protocol.ActionDetect, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: hash + "0"}, "", false},
		"a command that asks for it not":  {"node_a", protocol.ActionStart, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: hash}, "", false},
		"an info that asks for something": {"node_a", protocol.ActionWGShow, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: hash}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.bindConfirming()
				f.connect(tc.node)
				cmd := f.issue(tc.node, tc.action, false)
				f.ackOn(tc.node, cmd.Kind.Ack(), cmd.RequestID, tc.ack)
				f.wantReported(tc.node, tc.sha, tc.known)
				if v := f.conf(tc.node).Reported.Version; v != 0 {
					t.Errorf("version %d", v)
				}
				f.ackOn(tc.node, cmd.Kind.Ack(), cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: strings.Repeat("cd", 32)})
				f.wantReported(tc.node, tc.sha, tc.known) // a repetition says nothing
			})
		})
	}
}

func TestADetectAmidAPushDoesNotCallItDrift(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.bindConfirming()
		f.connect("node_c")
		cmd, first := f.pushed("node_c", "text 1")
		f.ackOn("node_c", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: first.SHA256})
		cmd, second := f.pushed("node_c", "text 2")
		f.answer(cmd, protocol.AckAccepted)
		detects := func(sha string) {
			detect := f.issue("node_c", protocol.ActionDetect, false)
			f.ackOn("node_c", protocol.KindDetectAck, detect.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: sha})
		}
		detects(second.SHA256)
		f.wantReported("node_c", first.SHA256, true)
		f.ackOn("node_c", protocol.KindPushAck, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied, ConfigSHA256: second.SHA256})
		f.wantReported("node_c", second.SHA256, true)
		other := strings.Repeat("ab", 32)
		detects(other)
		if s := f.conf("node_c"); s.Reported.SHA256 != other || tunnel.Sync(s, store.NodeDynamic, "wg") != store.SyncDrifted {
			t.Errorf("%+v", s)
		}
	})
}

func TestAfterARebindALateWordOfTheFormerAgentConfirmsNothing(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.connect("node_a")
		cmd, _ := f.pushed("node_a", "text")
		f.bind("node_a", protocol.CapabilityDedupe)
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandCancelled, "ignored a late ACK")
		f.wantConfirmed("node_a", store.ConfRef{})
	})
}

func TestAnOpenPushAlwaysFindsItsTextHoweverMuchIsSavedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		cmd, _ := f.pushed("node_a", "text to push")
		for i := range 150 {
			f.stage("node_a", fmt.Sprint("text ", i))
		}
		f.connect("node_a")
		f.want(cmd.RequestID, store.CommandSent, "")
		synctest.Wait()
		if raw := string(f.pub.sent[0].env.Payload); !strings.Contains(raw, "text to push") {
			t.Error("another text was sent")
		}
	})
}

func TestAPushedTextMakesTheConfigsOfThePeersAnew(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		own, err := mesh.NewKeys(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		f.update(func(tx *store.Tx) error {
			c := store.Config{ID: "cfg_m", Name: "m", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			c.VirtualSubnet = netip.MustParsePrefix("10.66.0.0/24")
			_, err := mesh.Change(tx, c.ID, "admin", rand.Reader, func(e *mesh.Edit) error {
				if err := e.PutConfig(&c); err != nil {
					return err
				}
				for _, id := range []string{"hub", "leaf"} {
					n, err := e.NewNode(id)
					if err != nil {
						return err
					}
					n.Name, n.Type, n.IPv4Address = id, store.NodeDynamic, "192.0.2.1"
					if err := e.PutNode(&n); err != nil {
						return err
					}
				}
				_, err := e.Quick(mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "hub"}, func() string { return protocol.NewID("link") })
				return err
			})
			if err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken("leaf", time.Minute)
			if err != nil {
				return err
			}
			_, err = tx.Bind(token, store.Client{})
			return err
		})
		if _, _, err := f.Push(t.Context(), "leaf", tunnel.Order{Wish: &tunnel.Wish{
			Text: "[Interface]\nPrivateKey = " + own.Private + "\nAddress = 10.66.0.77/24\n", Author: "admin", Source: store.ConfEdited,
		}}, "admin"); err != nil {
			t.Fatal(err)
		}
		desired := f.conf("hub").Desired
		hub, err := store.Read(f.db, func(tx *store.Tx) (string, error) { return tx.ConfText("hub", desired.SHA256) })
		if err != nil || !strings.Contains(hub, own.Public) {
			t.Errorf("the hub does not have the key of the text (%v):\n%s", err, hub)
		}
	})
}

func TestAPushThatWaitedIsNotSentOnceAnotherVersionIsDesiredIfItLapses(t *testing.T) {
	for lapses, want := range map[bool]store.CommandState{true: store.CommandCancelled, false: store.CommandSent} {
		bubble(t, func(t *testing.T, f *fixture) {
			push := func() store.Command {
				cmd, _, err := f.Push(t.Context(), "node_a", tunnel.Order{Staged: true, Lapses: lapses}, "rollout")
				if err != nil {
					t.Fatal(err)
				}
				return cmd
			}
			f.stage("node_a", "first")
			first := push()
			f.restart(time.Hour, true)
			f.update(func(tx *store.Tx) error {
				_, err := tx.SetDesired("node_a", confOf("second"), store.ConfVersion{Author: "admin"})
				return err
			})
			f.connect("node_a")
			got := f.want(first.RequestID, want, "")
			if lapses && !strings.Contains(got.Detail, "while version 1 waited for the node; it was never sent: apply version 2") {
				t.Errorf("%q", got.Detail)
			}
			f.disconnect("node_a")
			f.stage("node_a", "third")
			third := push()
			f.connect("node_a")
			f.want(third.RequestID, store.CommandSent, "")
		})
	}
}
