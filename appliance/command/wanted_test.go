package command

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

func (f *fixture) wanted(nodeID string) (w store.Wanted) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { w, err = tx.Wanted(nodeID); return err }); err != nil {
		f.t.Fatal(err)
	}
	return w
}

func (f *fixture) wantWanted(what string, state protocol.WantedState) {
	f.t.Helper()
	if got := f.wanted("node_a").State; got != state {
		f.t.Errorf("%s: wanted %s, want %s", what, got, state)
	}
}

func TestStartAndStopAreTheOperatorsWord(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.wantWanted("never started", protocol.WantedNone)
		f.connect("node_a")
		f.answer(f.issue("node_a", protocol.ActionStart, false), protocol.AckApplied)
		f.wantWanted("started", protocol.WantedRunning)
		for _, a := range []protocol.Action{protocol.ActionDetect, protocol.ActionWGShow} {
			f.answer(f.issue("node_a", a, false), protocol.AckFailed)
		}
		f.wantWanted("after probes", protocol.WantedRunning)
		f.answer(f.issue("node_a", protocol.ActionStop, false), protocol.AckFailed)
		f.wantWanted("a stop that failed", protocol.WantedStopped)
		f.answer(f.issue("node_a", protocol.ActionStart, false), protocol.AckFailed)
		f.wantWanted("a start that failed", protocol.WantedNone)
		f.disconnect("node_a")
		if _, err := f.Issue(f.t.Context(), "node_a", protocol.ActionStart, "admin", false); !errors.Is(err, refusal.ErrNodeOffline) {
			f.t.Error(err)
		}
		f.wantWanted("a start that was refused", protocol.WantedNone)
		f.issue("node_a", protocol.ActionStart, true)
		f.wantWanted("a start that is queued", protocol.WantedRunning)
		f.restart(time.Second, true)
		f.wantWanted("after a restart", protocol.WantedRunning)
		pass(2 * protocol.ActionStart.Spec().QueueTime)
		f.wantWanted("a start that has expired", protocol.WantedRunning)
	})
}

func TestWordGoesWithItsCommandAlone(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cancel := func(cmd store.Command) {
			t.Helper()
			if _, err := f.Cancel(t.Context(), cmd.RequestID, "admin"); err != nil {
				t.Fatal(err)
			}
		}
		f.answer(f.issue("node_a", protocol.ActionStop, false), protocol.AckApplied)
		cancel(f.issue("node_a", protocol.ActionStart, false))
		f.wantWanted("a start that is cancelled", protocol.WantedStopped)

		first, second := f.issue("node_a", protocol.ActionStart, false), f.issue("node_a", protocol.ActionStart, false)
		f.answer(first, protocol.AckFailed)
		f.wantWanted("an older start that failed", protocol.WantedRunning)
		cancel(second)
		f.wantWanted("and the newer one is cancelled", protocol.WantedNone)

		f.answer(f.issue("node_a", protocol.ActionStart, false), protocol.AckApplied)
		again := f.issue("node_a", protocol.ActionStart, false)
		f.ackOn("node_a", protocol.KindControlAck, again.RequestID, protocol.Ack{Status: protocol.AckFailed, Action: protocol.ActionStart, WGOnline: new(true)})
		f.wantWanted("a start that failed over a tunnel that runs", protocol.WantedRunning)

		late := f.issue("node_a", protocol.ActionStart, false)
		f.ackOn("node_a", protocol.KindInfoAck, late.RequestID, protocol.Ack{Status: protocol.AckFailed})
		f.wantWanted("a start with an ACK that does not fit", protocol.WantedRunning)
		pass(5 * time.Minute)
		f.answer(f.command(late.RequestID), protocol.AckApplied)
		f.wantWanted("a start that was carried out, as comes late", protocol.WantedRunning)
		f.ackOn("node_a", protocol.KindInfoAck, late.RequestID, protocol.Ack{Status: protocol.AckFailed})
		f.wantWanted("a start with a late ACK that does not fit", protocol.WantedRunning)
		f.wantWanted("a start without an answer", protocol.WantedRunning)
		f.answer(f.command(late.RequestID), protocol.AckFailed)
		f.wantWanted("a start whose failure comes late", protocol.WantedNone)
	})
}

// Deployed agents fail a start of a tunnel that already runs.
func TestWordStaysWhereADeployedAgentRunsTheTunnelAlready(t *testing.T) {
	for found, want := range map[*bool]protocol.WantedState{new(true): protocol.WantedRunning, new(false): protocol.WantedNone, nil: protocol.WantedNone} {
		bubble(t, func(_ *testing.T, f *fixture) {
			f.bind("node_a")
			f.connect("node_a")
			f.update(func(tx *store.Tx) error {
				return tx.UpdateEvidence("node_a", func(e *store.Evidence) { e.TunnelRunning = found })
			})
			f.answer(f.issue("node_a", protocol.ActionStart, false), protocol.AckFailed)
			f.wantWanted("a start that failed", want)
		})
	}
}

func TestWordEndsWithWhatTakesTheNodeAway(t *testing.T) {
	for name, end := range map[string]func(*store.Tx) error{
		"reset":         func(tx *store.Tx) error { return tx.ResetClient("node_a") },
		"disabled":      changeNode(func(n *store.Node) { n.Enabled = false }),
		"turned static": changeNode(func(n *store.Node) { n.Type = store.NodeStatic }),
		"mesh disabled": func(tx *store.Tx) error {
			c, err := tx.Config("cfg_a")
			c.Enabled = false
			return errors.Join(err, tx.PutConfig(&c))
		},
		"deleted": func(tx *store.Tx) error { return tx.DeleteNode("node_a") },
	} {
		bubble(t, func(_ *testing.T, f *fixture) {
			f.connect("node_a")
			f.issue("node_a", protocol.ActionStart, false)
			f.update(end)
			f.wantWanted(name, protocol.WantedNone)
		})
		// Applying a mesh starts tunnels without a word, so a stopped one of a node that was disabled for a
		// while needs to keep it.
		want := protocol.WantedNone
		if strings.HasSuffix(name, "disabled") {
			want = protocol.WantedStopped
		}
		bubble(t, func(_ *testing.T, f *fixture) {
			f.bind("node_a")
			f.connect("node_a")
			f.answer(f.issue("node_a", protocol.ActionStop, false), protocol.AckApplied)
			f.update(end)
			f.wantWanted("stopped, then "+name, want)
		})
	}
}

func changeNode(change func(*store.Node)) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		n, err := tx.Node("node_a")
		if err != nil {
			return err
		}
		change(&n)
		return tx.PutNode(&n)
	}
}

func TestWantedStateIsToldToAgentsThatKeepIt(t *testing.T) {
	for capability, want := range map[string]bool{protocol.CapabilityWantedState: true, protocol.CapabilityDedupe: false} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.bind("node_a", capability)
			f.connect("node_a")
			for action, word := range map[protocol.Action]string{protocol.ActionStart: "running", protocol.ActionStop: "stopped"} {
				f.issue("node_a", action, false)
				if payload := string(f.pub.sent[len(f.pub.sent)-1].env.Payload); strings.Contains(payload, `"wanted_state":"`+word+`"`) != want {
					t.Errorf("%s to an agent with %s: %s", action, capability, payload)
				}
			}
		})
	}
}

func TestStartByTheApplianceIsNoWord(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.answer(f.issue("node_a", protocol.ActionStart, false), protocol.AckApplied)
		before := f.wanted("node_a")
		cmd, err := f.StartWanted("node_a", func(*store.Tx) error { return nil })
		if err != nil || cmd.RequestedBy != ByWantedState || cmd.State != store.CommandSent {
			t.Fatal(cmd, err)
		}
		f.answer(cmd, protocol.AckFailed)
		if after := f.wanted("node_a"); after != before {
			t.Errorf("%+v, before %+v", after, before)
		}
		refused, given := errors.New("not now"), len(f.commands("node_a"))
		if _, err := f.StartWanted("node_a", func(*store.Tx) error { return refused }); !errors.Is(err, refused) || len(f.commands("node_a")) != given {
			t.Error(err)
		}
	})
}

func TestAPushStartsATunnelThatNobodyStopped(t *testing.T) {
	runs := true
	for name, c := range map[string]struct {
		before  protocol.Action // the operator's
		runs    *bool
		starts  bool
		follows bool // a start
		wanted  protocol.WantedState
	}{
		"never started":                   {starts: true, follows: true, wanted: protocol.WantedRunning},
		"it runs":                         {starts: true, runs: &runs, wanted: protocol.WantedRunning},
		"started, and not running":        {before: protocol.ActionStart, starts: true, follows: true, wanted: protocol.WantedRunning},
		"stopped":                         {before: protocol.ActionStop, starts: true, wanted: protocol.WantedStopped},
		"never started, not asked to run": {wanted: protocol.WantedNone},
	} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a")
			if c.before != "" {
				f.answer(f.issue("node_a", c.before, false), protocol.AckApplied)
			}
			f.stage("node_a", "x")
			push, _, err := f.Push(t.Context(), "node_a", tunnel.Order{Staged: true, Starts: c.starts}, "rollout")
			if err != nil {
				t.Fatal(err)
			}
			f.wantWanted(name+": a push that is open", c.before.Leaves())
			f.ackOn("node_a", protocol.KindPushAck, push.RequestID, protocol.Ack{Status: protocol.AckApplied, WGOnline: c.runs})
			f.wantWanted(name, c.wanted)
			all := f.commands("node_a")
			last := all[len(all)-1]
			if follows := last.Action == protocol.ActionStart && last.Seq > push.Seq; follows != c.follows || f.command(push.RequestID).Starts != c.follows {
				t.Errorf("%s: a start follows: %v, want %v", name, follows, c.follows)
			}
			if c.follows {
				f.answer(last, protocol.AckFailed)
				f.wantWanted(name+", and the start failed", protocol.WantedNone)
			}
		})
	}
}

func TestAPushThatFailedStartsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.stage("node_a", "x")
		push, _, err := f.Push(t.Context(), "node_a", tunnel.Order{Staged: true, Starts: true}, "rollout")
		if err != nil {
			t.Fatal(err)
		}
		f.answer(push, protocol.AckFailed)
		f.wantWanted("a push that failed", protocol.WantedNone)
	})
}
