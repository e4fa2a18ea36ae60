package control

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
	"wfm/store"
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

// goroutinesOf is how many goroutines the method of Control has started that still run.
func goroutinesOf(method string) int {
	stacks := make([]byte, 8<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "control.(*Control)."+method+".func1(")
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
		time.Sleep(DefaultDetectLimit) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		got, err := f.read(detect.RequestID)
		if err != nil || got.State != store.CommandExpired || !strings.Contains(got.Detail, "does not listen for detect") {
			t.Errorf("the other is %s: %q (%v)", got.State, got.Detail, err)
		}
	})
}
