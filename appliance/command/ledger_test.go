package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

var limits = map[protocol.Action]time.Duration{
	protocol.ActionDetect:   10 * time.Second,
	protocol.ActionStart:    30 * time.Second,
	protocol.ActionStop:     30 * time.Second,
	protocol.ActionWGShow:   30 * time.Second,
	protocol.ActionDescribe: 30 * time.Second,
}

func TestACommandIsOnDiskAsSentBeforeItIsPublished(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		for action := range limits {
			looked := false
			f.pub.look = func(p published) { looked = true; f.mustBeOnDiskAsSent(p) }
			cmd := f.issue("node_a", action, false)
			if !looked || cmd.State != store.CommandSent || cmd.Attempts != 1 || cmd.RequestedBy != "admin" {
				t.Errorf("%s: looked %v, then %+v", action, looked, cmd)
			}
		}
	})
}

func TestThePayloadSaysWhatTheNodeNeeds(t *testing.T) {
	for _, spelling := range []string{protocol.TunnelAmneziaWG, protocol.TunnelAmneziaWG2} {
		bubble(t, func(t *testing.T, f *fixture) {
			protocolIs := func(tunnel, version string) {
				f.update(func(tx *store.Tx) error {
					return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: tunnel, AWGVersion: version})
				})
			}
			f.connect("node_a")
			want := func(fields map[protocol.Action]string) {
				t.Helper()
				for action, want := range fields {
					f.issue("node_a", action, false)
					if got := string(f.pub.sent[len(f.pub.sent)-1].env.Payload); got != want {
						t.Errorf("%s: payload %s, want %s", action, got, want)
					}
				}
			}
			protocolIs(spelling, "2.0") // it was wireguard
			want(map[protocol.Action]string{
				protocol.ActionStart: `{"action":"start","tunnel_protocol":"amneziawg_2","previous_tunnel_protocol":"wireguard","interface_name":"wg0",` +
					`"awg_version":"2.0"}`,
				protocol.ActionWGShow: `{"action":"wg_show","tunnel_protocol":"amneziawg_2","interface_name":"wg0","awg_version":"2.0"}`,
				protocol.ActionDetect: `{"tunnel_protocol":"amneziawg_2","interface_name":"wg0","awg_version":"2.0"}`,
			})
			protocolIs(protocol.TunnelAmneziaWG, "") // the same, perhaps in its other spelling
			protocolIs(protocol.TunnelAmneziaWG2, "")
			want(map[protocol.Action]string{
				protocol.ActionStart: `{"action":"start","tunnel_protocol":"amneziawg_2","previous_tunnel_protocol":"wireguard","interface_name":"wg0","awg_version":null}`,
			})
			protocolIs(protocol.TunnelWireGuard, "")
			want(map[protocol.Action]string{
				protocol.ActionStop: `{"action":"stop","tunnel_protocol":"wireguard","previous_tunnel_protocol":"amneziawg_2","interface_name":"wg0","awg_version":null}`,
			})
		})
	}
}

func TestACommandThatCouldNotBePublishedWaitsForTheNodeToComeBack(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.pub.fails = 1
		cmd := f.issue("node_a", protocol.ActionStart, false)
		if f.want(cmd.RequestID, store.CommandQueued, "waits"); !cmd.DeadlineAt.IsZero() {
			t.Errorf("it has the deadline %s though it was not sent", cmd.DeadlineAt)
		}
		pass(5 * time.Second)
		f.connect("node_a")
		if cmd = f.want(cmd.RequestID, store.CommandSent, ""); f.pub.count(cmd.RequestID) != 1 {
			t.Errorf("handed over %d times", f.pub.count(cmd.RequestID))
		}
		f.answer(cmd, protocol.AckApplied)
		f.want(cmd.RequestID, store.CommandApplied, "the node says")
	})
}

func TestWhatIsBehindACommandThatCouldNotBePublishedWaitsToo(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		var want []string
		for range 3 {
			want = append(want, f.issue("node_a", protocol.ActionStart, true).RequestID)
		}
		f.pub.fails = 1
		f.connect("node_a")
		if got := f.pub.ids("node_a"); len(got) != 0 {
			t.Fatalf("published past the first: %v", got)
		}
		f.connect("node_a")
		if got := f.pub.ids("node_a"); !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	})
}

func TestWithoutAnAnswerACommandIsUnknownAfterItsTimeLimitAndNeverFailed(t *testing.T) {
	for action, limit := range limits {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a")
			cmd := f.issue("node_a", action, false)
			pass(limit - time.Nanosecond)
			f.want(cmd.RequestID, store.CommandSent, "")
			pass(time.Nanosecond)
			cmd = f.want(cmd.RequestID, store.CommandUnknown, "the outcome is unknown")
			if !strings.Contains(cmd.Detail, limit.String()) {
				t.Errorf("%s: detail %q does not name the limit %s", action, cmd.Detail, limit)
			}
		})
	}
}

func TestACommandToANodeThatHasNotSubscribedYetWaitsForThatAsLongAsItsTimeLimit(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.pub.session("node_a", true)
		f.pub.session("node_b", true, protocol.KindDetect)
		soon, never := f.issue("node_a", protocol.ActionStart, false), f.issue("node_b", protocol.ActionStart, false)
		pass(29 * time.Second)
		f.want(soon.RequestID, store.CommandQueued, "")
		f.connect("node_a")
		f.want(soon.RequestID, store.CommandSent, "")
		pass(time.Second)
		f.want(never.RequestID, store.CommandExpired, "never sent")
	})
}

func TestACommandWaitsAnHourForANodeThatIsAwayThenExpires(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start, stop := f.issue("node_a", protocol.ActionStart, true), f.issue("node_b", protocol.ActionStop, true)
		f.want(start.RequestID, store.CommandQueued, "waits")
		pass(time.Hour - time.Second)
		f.want(start.RequestID, store.CommandQueued, "waits")
		f.connect("node_b")
		f.want(stop.RequestID, store.CommandSent, "")
		pass(time.Second)
		f.want(start.RequestID, store.CommandExpired, "never sent")
		f.want(stop.RequestID, store.CommandSent, "") // its time limit runs from the sending
		f.connect("node_a")
		if got := f.pub.ids("node_a"); len(got) != 0 {
			t.Errorf("published after it expired: %v", got)
		}
		pass(30 * time.Second)
		f.want(stop.RequestID, store.CommandUnknown, "unknown")
	})
}

func TestCommandsThatCannotBeGivenAreRefusedAndNothingIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.update(func(tx *store.Tx) error {
			off := store.Config{ID: "cfg_off", Name: "off", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			if err := tx.PutConfig(&off); err != nil {
				return err
			}
			for _, n := range []store.Node{
				{ID: "node_static", ConfigID: "cfg_a", Type: store.NodeStatic, Enabled: true},
				{ID: "node_new", ConfigID: "cfg_a", Type: store.NodeDynamic, Enabled: true},
				{ID: "node_off", ConfigID: "cfg_a", Type: store.NodeDynamic},
				{ID: "node_cfg", ConfigID: "cfg_off", Type: store.NodeDynamic, Enabled: true},
			} {
				n.Name = n.ID
				if err := tx.PutNode(&n); err != nil {
					return err
				}
			}
			off.Enabled = false
			return tx.PutConfig(&off)
		})
		f.connect("node_b")
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("node_b") })
		f.connect("node_old")
		for name, tc := range map[string]struct {
			node   string
			action protocol.Action
			queue  bool
			want   error
		}{
			"unknown action":     {"node_old", "explode", false, protocol.ErrInvalidAction},
			"no action":          {"node_old", "", false, protocol.ErrInvalidAction},
			"push, none staged":  {"node_old", protocol.ActionPush, true, tunnel.ErrNoStagedConfig},
			"no such node":       {"node_none", protocol.ActionStart, true, store.ErrNodeNotFound},
			"deleted node":       {"node_b", protocol.ActionStart, true, store.ErrNodeNotFound},
			"static node":        {"node_static", protocol.ActionStart, true, store.ErrNodeStatic},
			"unbound node":       {"node_new", protocol.ActionStart, true, refusal.ErrNotInitialized},
			"disabled node":      {"node_off", protocol.ActionStart, true, store.ErrNodeDisabled},
			"disabled config":    {"node_cfg", protocol.ActionStart, true, store.ErrNodeDisabled},
			"away, not queued":   {"node_a", protocol.ActionStart, false, refusal.ErrNodeOffline},
			"away, a detect":     {"node_a", protocol.ActionDetect, true, refusal.ErrNodeOffline},
			"away, a wg_show":    {"node_a", protocol.ActionWGShow, true, refusal.ErrNodeOffline},
			"away, a describe":   {"node_a", protocol.ActionDescribe, true, refusal.ErrNodeOffline},
			"away, a plain stop": {"node_a", protocol.ActionStop, false, refusal.ErrNodeOffline},
		} {
			if cmd, err := f.Issue(t.Context(), tc.node, tc.action, "admin", tc.queue); !errors.Is(err, tc.want) || cmd.RequestID != "" {
				t.Errorf("%s: %v (%+v), want %v", name, err, cmd, tc.want)
			}
			if got := f.commands(tc.node); len(got) != 0 {
				t.Errorf("%s: %d commands were written", name, len(got))
			}
		}
		if len(f.pub.sent) != 0 {
			t.Errorf("published: %v", f.pub.sent)
		}
	})
}

func TestADeployedAgentIsNotAskedForWhatItWouldAnswerWithSomethingElse(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		bare := func(nodeID string, capabilities ...string) { // without a config to begin with
			f.bind(nodeID)
			f.update(func(tx *store.Tx) error {
				if err := tx.NoteHandedOut(nodeID, store.ConfRef{}); err != nil {
					return err
				}
				return tx.UpdateClient(nodeID, func(c *store.Client) { c.Capabilities = capabilities })
			})
			f.connect(nodeID)
		}
		refused := func(nodeID string, action protocol.Action, want error) {
			t.Helper()
			if cmd, err := f.Issue(t.Context(), nodeID, action, "admin", true); !errors.Is(err, want) || cmd.RequestID != "" {
				t.Errorf("%s of %s: %v (%+v), want %v", action, nodeID, err, cmd, want)
			}
		}
		bare("node_bare")
		refused("node_bare", protocol.ActionDescribe, protocol.ErrCannotDescribe)
		refused("node_bare", protocol.ActionStart, tunnel.ErrNothingToStart)
		stop := f.issue("node_bare", protocol.ActionStop, false) // takes nothing up
		f.answer(stop, protocol.AckApplied)
		push, _ := f.pushed("node_bare", "text")
		start := f.issue("node_bare", protocol.ActionStart, false) // a push goes before it
		f.answer(push, protocol.AckFailed)
		f.answer(start, protocol.AckFailed)
		refused("node_bare", protocol.ActionStart, tunnel.ErrNothingToStart)
		push, _ = f.pushed("node_bare", "text")
		f.answer(push, protocol.AckApplied)
		f.issue("node_bare", protocol.ActionStart, false)

		bare("node_says", protocol.CapabilityDedupe, protocol.CapabilityDescribe)
		f.issue("node_says", protocol.ActionStart, false) // it says itself that it has none
		f.issue("node_says", protocol.ActionDescribe, false)
	})
}

func TestAStartThatWaitsComesAfterThePushItNeedsOrNotAtAll(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		waiting := func(nodeID string) (start store.Command) {
			f.bind(nodeID)
			f.update(func(tx *store.Tx) error { return tx.NoteHandedOut(nodeID, store.ConfRef{}) })
			f.pushed(nodeID, "one")
			return f.issue(nodeID, protocol.ActionStart, true)
		}
		start := waiting("node_twice")
		push, _ := f.pushed("node_twice", "two") // takes the place of the one that the start waits for
		f.connect("node_twice")
		if got := f.pub.ids("node_twice"); !slices.Equal(got, []string{push.RequestID, start.RequestID}) {
			t.Errorf("sent %v, want the push %s, then the start %s", got, push.RequestID, start.RequestID)
		}

		start = waiting("node_none")
		for _, cmd := range f.commands("node_none") {
			if cmd.Action == protocol.ActionPush {
				if _, err := f.Cancel(t.Context(), cmd.RequestID, "admin"); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.connect("node_none")
		f.want(start.RequestID, store.CommandCancelled, "no tunnel config to start")
		if got := f.pub.ids("node_none"); len(got) != 0 {
			t.Errorf("sent %v", got)
		}

		stop := f.issue("node_a", protocol.ActionStop, true)
		f.update(func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			n.InterfaceName = "wg7"
			return errors.Join(err, tx.PutNode(&n))
		})
		f.connect("node_a")
		f.want(stop.RequestID, store.CommandCancelled, "interface was changed")
	})
}

func TestAFailedChangeIsFollowedByADetectUnlessTheAgentTellsByItself(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.bind("node_says", protocol.CapabilityDedupe, protocol.CapabilityCommitConfirm)
		for node, wanted := range map[string]bool{"node_old": true, "node_a": false, "node_says": false} {
			f.connect(node)
			follows := func(cmd store.Command, status protocol.AckStatus, want bool) {
				t.Helper()
				before := len(f.commands(node))
				f.answer(cmd, status)
				synctest.Wait()
				all := f.commands(node)
				if len(all)-before != map[bool]int{true: 1}[want] {
					t.Errorf("%s, %s of %s: %d commands follow, want a detect: %v", node, status, cmd.Action, len(all)-before, want)
					return
				}
				if detect := all[len(all)-1]; want && (detect.Action != protocol.ActionDetect || detect.State != store.CommandSent || detect.RequestedBy != "system") {
					t.Errorf("%s of %s is followed by %+v", status, cmd.Action, detect)
				} else if want {
					known := len(all)
					f.answer(detect, protocol.AckFailed) // which is not followed by another one
					synctest.Wait()
					if len(f.commands(node)) != known {
						t.Errorf("a detect that failed is followed by a command")
					}
				}
			}
			push := func() store.Command { cmd, _ := f.pushed(node, "text"); return cmd }
			follows(f.issue(node, protocol.ActionStart, false), protocol.AckFailed, wanted)
			follows(f.issue(node, protocol.ActionStop, false), protocol.AckFailed, wanted)
			follows(push(), protocol.AckFailed, wanted)
			follows(push(), protocol.AckApplied, false)
			follows(f.issue(node, protocol.ActionStart, false), protocol.AckApplied, false)
			follows(f.issue(node, protocol.ActionWGShow, false), protocol.AckFailed, false)
		}
	})
}

func TestANodeHasAtMost64OpenCommands(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		first := f.issue("node_a", protocol.ActionStart, true)
		for range 63 {
			f.issue("node_a", protocol.ActionStart, true)
		}
		if _, err := f.Issue(t.Context(), "node_a", protocol.ActionStart, "admin", true); !errors.Is(err, refusal.ErrTooManyCommands) {
			t.Fatalf("the 65th: %v", err)
		}
		f.issue("node_b", protocol.ActionStart, true) // another node has its own
		if _, err := f.Cancel(t.Context(), first.RequestID, "admin"); err != nil {
			t.Fatal(err)
		}
		f.issue("node_a", protocol.ActionStart, true)
	})
}

func TestCancelEndsAnOpenCommandAndSaysWhetherItMayHaveBeenCarriedOut(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		const sent = "it had been sent"
		waiting := f.issue("node_a", protocol.ActionStart, true)
		again := f.issue("node_b", protocol.ActionStart, true)
		f.connect("node_b")
		f.connect("node_old")
		out := f.issue("node_old", protocol.ActionStart, false)
		probe := f.issue("node_old", protocol.ActionDetect, false)
		for id, wantSent := range map[string]bool{waiting.RequestID: false, out.RequestID: true, again.RequestID: true, probe.RequestID: true} {
			cmd, err := f.Cancel(t.Context(), id, "somebody")
			if err != nil || cmd.State != store.CommandCancelled || strings.Contains(cmd.Detail, sent) != wantSent {
				t.Errorf("cancel of one that was sent=%v: %v, %s %q", wantSent, err, cmd.State, cmd.Detail)
			}
			f.want(id, store.CommandCancelled, "cancelled by somebody")
			if _, err := f.Cancel(t.Context(), id, "somebody"); !errors.Is(err, store.ErrCommandEnded) {
				t.Errorf("cancelled twice: %v", err)
			}
		}
		if _, err := f.Cancel(t.Context(), "req_none", "somebody"); !errors.Is(err, store.ErrCommandNotFound) {
			t.Errorf("unknown command: %v", err)
		}
		if e := f.evidence("node_old"); !e.ProbeFailedAt.IsZero() {
			t.Error("a detect that an admin cancelled counts as one the node failed")
		}
		f.connect("node_a")
		if got := f.pub.ids("node_a"); len(got) != 0 {
			t.Errorf("published after it was cancelled: %v", got)
		}
		pass(2 * time.Hour)
		f.want(out.RequestID, store.CommandCancelled, "cancelled by somebody")
	})
}

func TestCancelOfACommandThatWaitsToBeSentAgainSaysThatItHadBeenSent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionStart, false)
		pass(time.Millisecond)
		f.pub.session("node_a", true, protocol.KindInfo) // not the one that would take it
		f.NodeReady("node_a", time.Now())
		synctest.Wait()
		f.want(cmd.RequestID, store.CommandQueued, "sent again")
		if cmd, err := f.Cancel(t.Context(), cmd.RequestID, "admin"); err != nil || !strings.Contains(cmd.Detail, "had been sent") {
			t.Errorf("%v, detail %q", err, cmd.Detail)
		}
	})
}

func TestWaitReturnsWhenTheCommandEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(*fixture, store.Command)
		want store.CommandState
	}{
		"answered": {func(f *fixture, c store.Command) { f.answer(c, protocol.AckFailed) }, store.CommandFailed},
		"too late": {func(*fixture, store.Command) { pass(30 * time.Second) }, store.CommandUnknown},
		"reset": {func(f *fixture, _ store.Command) {
			f.update(func(tx *store.Tx) error { return tx.ResetClient("node_a") })
		}, store.CommandCancelled},
		"after more changes at once than the feed holds": {func(f *fixture, c store.Command) {
			f.update(func(tx *store.Tx) error {
				for range 1000 {
					tx.Emit(store.Change{})
				}
				return nil
			})
			synctest.Wait()
			f.answer(c, protocol.AckApplied)
		}, store.CommandApplied},
		"its context": {func(*fixture, store.Command) { pass(20 * time.Second) }, store.CommandSent},
		"the control": {func(f *fixture, _ store.Command) { f.Stop() }, store.CommandSent},
	} {
		bubble(t, func(t *testing.T, f *fixture) {
			f.connect("node_a")
			cmd := f.issue("node_a", protocol.ActionStart, false)
			ctx := t.Context()
			if name == "its context" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 20*time.Second)
				defer cancel()
			}
			type result struct {
				cmd store.Command
				err error
			}
			got := make(chan result, 1)
			go func() {
				cmd, err := f.Wait(ctx, cmd.RequestID)
				got <- result{cmd, err}
			}()
			synctest.Wait()
			if len(got) != 0 {
				t.Fatalf("%s: returned before the end", name)
			}
			f.answer(cmd, "odd") // a change that is no end
			if len(got) != 0 {
				t.Fatalf("%s: returned before the end", name)
			}
			tc.end(f, cmd)
			synctest.Wait()
			if len(got) == 0 {
				t.Fatalf("%s: still waits", name)
			}
			if r := <-got; r.err != nil || r.cmd.State != tc.want || r.cmd.RequestID != cmd.RequestID {
				t.Errorf("%s: %v, %+v, want state %s", name, r.err, r.cmd, tc.want)
			}
		})
	}
}

func TestWaitForACommandThatIsNotThereOrOverReturnsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		if _, err := f.Wait(t.Context(), "req_none"); !errors.Is(err, store.ErrCommandNotFound) {
			t.Errorf("unknown: %v", err)
		}
		cmd := f.issue("node_a", protocol.ActionStart, true)
		if _, err := f.Cancel(t.Context(), cmd.RequestID, "admin"); err != nil {
			t.Fatal(err)
		}
		if cmd, err := f.Wait(t.Context(), cmd.RequestID); err != nil || cmd.State != store.CommandCancelled {
			t.Errorf("ended: %v, %s", err, cmd.State)
		}
		gone := f.issue("node_a", protocol.ActionStart, true)
		waited := make(chan error, 1)
		go func() { _, err := f.Wait(t.Context(), gone.RequestID); waited <- err }()
		synctest.Wait()
		f.update(func(tx *store.Tx) error { return tx.DeleteNode("node_a") })
		if err := <-waited; !errors.Is(err, store.ErrCommandNotFound) {
			t.Errorf("its node is deleted: %v", err)
		}
	})
}

func TestStopMayBeCalledAgainAndLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) { // the bubble reports goroutines that are left
		f.connect("node_a")
		out, waiting := f.issue("node_a", protocol.ActionStart, false), f.issue("node_b", protocol.ActionStart, true)
		f.NodeReady("node_a", time.Now()) // at work while it stops
		f.Stop()
		f.Stop()
		f.NodeReady("node_a", time.Now())
		pass(2 * time.Hour)
		f.want(out.RequestID, store.CommandSent, "")
		f.want(waiting.RequestID, store.CommandQueued, "")
		if _, err := f.Issue(t.Context(), "node_a", protocol.ActionStop, "admin", true); err != nil {
			t.Errorf("issue after Stop: %v", err)
		}
		if n := len(f.pub.sent); n != 1 {
			t.Errorf("%d messages, want only the one from before Stop", n)
		}
	})
}

func TestCommandsIssuedAtOnceAllGoOutInTheOrderOfTheirNumbers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.connect("node_old")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 8 {
					for _, node := range []string{"node_a", "node_old"} {
						if _, err := f.Issue(t.Context(), node, protocol.ActionStart, "admin", false); err != nil {
							t.Error(err)
						}
					}
				}
				f.NodeReady("node_a", time.Time{})
			})
		}
		wg.Wait()
		synctest.Wait()
		for _, node := range []string{"node_a", "node_old"} {
			var want []string
			for _, cmd := range f.commands(node) {
				want = append(want, cmd.RequestID)
			}
			if got := f.pub.ids(node); len(got) != 64 || !slices.Equal(got, want) {
				t.Errorf("%s: %d published, not in the order of their numbers", node, len(got))
			}
		}
	})
}

func TestAnEndThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	bubble(t, func(_ *testing.T, f *fixture) {
		f.limitSize()
		f.connect("node_a")
		cmd := f.issue("node_a", protocol.ActionDetect, false)
		release := f.fill()
		pass(time.Minute)
		f.want(cmd.RequestID, store.CommandSent, "")
		release()
		pass(5 * time.Second) // at most: it is tried again that often
		f.want(cmd.RequestID, store.CommandUnknown, "unknown")
	})
}

func TestACommandThatCouldNotBeWrittenAsSentIsNotPublished(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.limitSize()
		cmd := f.issue("node_a", protocol.ActionStart, true)
		release := f.fill()
		f.connect("node_a")
		if len(f.pub.sent) != 0 {
			t.Error("published, though not on disk as sent")
		}
		if _, err := f.Issue(t.Context(), "node_a", protocol.ActionStart, "admin", false); !errors.Is(err, store.ErrFull) {
			t.Errorf("issue: %v, want ErrFull", err)
		}
		release()
		f.connect("node_a")
		f.want(cmd.RequestID, store.CommandSent, "")
	})
}
