package appliance

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wfm/hooks"
	"wfm/store"
)

func TestWhatTheBrokerSawIsMendedOnceTheStoreTakesItAgain(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *ingressFixture) {
		live := uint64(7)
		f.live = func(string) uint64 { return live }
		fail := func(*store.Tx) error { return errors.New("no space") }
		f.record(hooks.Session{NodeID: "node_a"}, "connection", fail)
		time.Sleep(mendAfter + time.Second) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if e := f.evidence(); e.ConnectionID != 7 || e.ConnectedAt.IsZero() {
			t.Errorf("a connection that is open: %+v", e)
		}
		live = 0
		f.record(hooks.Session{NodeID: "node_a"}, "end of connection", fail)
		time.Sleep(mendAfter + time.Second) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if e := f.evidence(); e.ConnectionID != 0 || e.DisconnectedAt.IsZero() {
			t.Errorf("a connection that ended: %+v", e)
		}
		f.record(hooks.Session{NodeID: "node_a"}, "connection", fail)
		f.stop()
	})
}
