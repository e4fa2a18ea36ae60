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
		before := runtime.NumGoroutine()
		for range 10_000 {
			f.NodeReady("node_a", time.Now())
		}
		if n := runtime.NumGoroutine() - before; n > 1 {
			t.Errorf("%d goroutines more", n)
		}
		unlock()
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 0 || len(f.ready) != 0 {
			t.Errorf("%d goroutines and %d nodes are left", n, len(f.ready))
		}
	})
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
		time.Sleep(timeLimit(protocol.ActionDetect, false)) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		got, err := f.read(detect.RequestID)
		if err != nil || got.State != store.CommandExpired || !strings.Contains(got.Detail, "does not listen for detect") {
			t.Errorf("the other is %s: %q (%v)", got.State, got.Detail, err)
		}
	})
}
