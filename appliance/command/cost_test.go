package command

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

func TestSubscribingOverAndOverCostsOneGoroutineANode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		unlock, ok := f.lockSender("node_a")
		if !ok {
			t.Fatal("stopped")
		}
		for range 10_000 {
			f.NodeReady("node_a", time.Now())
		}
		if n := goroutinesOf("NodeReady"); n > 1 { // none, if it has not begun yet
			t.Errorf("%d goroutines", n)
		}
		unlock()
		synctest.Wait()
		if n := goroutinesOf("NodeReady"); n > 0 || len(f.ready) != 0 {
			t.Errorf("%d goroutines and %d nodes are left", n, len(f.ready))
		}
	})
}

// goroutinesOf is how many goroutines the method of Ledger has started that still run.
func goroutinesOf(method string) int {
	stacks := make([]byte, 8<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "command.(*Ledger)."+method+".func1(")
}

func TestCommandTheNodeDoesNotListenForHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.pub.session("node_a", true, protocol.KindControl)
		detect, err := f.Issue(t.Context(), "node_a", protocol.ActionDetect, "admin", false)
		if err != nil {
			t.Fatal(err)
		}
		stop, err := f.Issue(t.Context(), "node_a", protocol.ActionStop, "admin", false)
		if err != nil || stop.State != store.CommandSent {
			t.Errorf("the command it listens for is %s (%v)", stop.State, err)
		}
		time.Sleep(protocol.ActionDetect.Spec().AnswerTime) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		got, err := f.read(detect.RequestID)
		if err != nil || got.State != store.CommandExpired || !strings.Contains(got.Detail, "has not subscribed to detect") {
			t.Errorf("the other is %s: %q (%v)", got.State, got.Detail, err)
		}
	})
}

// TestACommandToANodeThatIsThereIsOneWriteToTheDisk includes the writes that the caller adds.
func TestACommandToANodeThatIsThereIsOneWriteToTheDisk(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.connect("node_a")
		f.stage("node_a", "one")
		joined, sent := 0, 0
		ctx := store.WithUpdate(t.Context(), func(fn func(*store.Tx) error) error {
			return f.db.Update(func(tx *store.Tx) error {
				joined++
				if len(f.pub.ids("node_a")) > sent {
					t.Error("published before the commit")
				}
				return fn(tx)
			})
		})
		for _, give := range map[string]func() (store.Command, error){
			"detect": func() (store.Command, error) { return f.Issue(ctx, "node_a", protocol.ActionDetect, "admin", false) },
			"stop":   func() (store.Command, error) { return f.Issue(ctx, "node_a", protocol.ActionStop, "admin", false) },
			"push": func() (store.Command, error) {
				cmd, _, err := f.Push(ctx, "node_a", tunnel.Order{}, "admin")
				return cmd, err
			},
		} {
			joined = 0
			before := f.db.Commits()
			cmd, err := give()
			if err != nil || cmd.State != store.CommandSent || joined != 1 {
				t.Errorf("%s is %q, %d transactions are joined (%v)", cmd.Action, cmd.State, joined, err)
			}
			if n := f.db.Commits() - before; n != 1 {
				t.Errorf("%s: %d commits", cmd.Action, n)
			}
			if sent++; len(f.pub.ids("node_a")) != sent || f.pub.count(cmd.RequestID) != 1 {
				t.Errorf("%s: published %v", cmd.Action, f.pub.ids("node_a"))
			}
		}
	})
}

func TestACommandWaitsForThoseBeforeItOnItsTopic(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.pub.session("node_a", true) // connected, and not subscribed yet
		first := f.issue("node_a", protocol.ActionStop, true)
		f.pub.session("node_a", true, protocol.CommandKinds()...)
		second := f.issue("node_a", protocol.ActionStop, true)
		if sent := f.pub.ids("node_a"); !slices.Equal(sent, []string{first.RequestID, second.RequestID}) {
			t.Errorf("published %v, want %s and then %s", sent, first.RequestID, second.RequestID)
		}
	})
}
