package ingress

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

// full has every write fail until the returned function is called.
func (f *fixture) full() (free func()) {
	f.isFull.Store(true)
	return func() { f.isFull.Store(false) }
}

// state is the node's state as shown to readers.
func (f *fixture) state() presence.State {
	e := f.Evidence(f.evidence())
	return presence.Project(f.node(), true, e, f.db.Now(), presence.DefaultTimes()).State
}

func (f *fixture) transitions(since time.Time) string {
	f.t.Helper()
	var got []string
	_ = f.db.View(func(tx *store.Tx) error {
		all, err := tx.Transitions("node_a", 0, 100)
		for _, t := range all {
			got = append([]string{fmt.Sprintf("%s@%d", t.To, int(t.At.Sub(since).Seconds()))}, got...)
		}
		return err
	})
	return strings.Join(got, " ")
}

func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestWhatTheBrokerSawWhileTheDiskWasFullIsToldAtOnceAndStoredWithItsMoments(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		begin := time.Now()
		first := f.session(1)
		f.Connected(first)
		wait(10 * time.Second)
		free := f.full()
		f.Will(first, nil, WillClosed)
		f.Disconnected(first, "gone")
		if s := f.state(); s != presence.Offline {
			t.Errorf("while the disk is full, a dead node is %s", s)
		}
		wait(10 * time.Second)
		second := f.session(2)
		f.Connected(second)
		if s := f.state(); s != presence.Online {
			t.Errorf("while the disk is full, a node that came back is %s", s)
		}
		wait(10 * time.Second)
		f.Disconnected(second, "link lost")
		wait(31 * time.Second)
		if s := f.state(); s != presence.Dropped {
			t.Errorf("while the disk is full, a node that left is %s", s)
		}
		if e := f.evidence(); e.ConnectionID != 1 {
			t.Errorf("something was stored: %+v", e)
		}
		free()
		wait(storeAgainAfter)
		if e := f.evidence(); e != f.Evidence(e) || e.ConnectionID != 0 || e.DisconnectedAt.Sub(begin) != 30*time.Second ||
			e.OfflineAt.Sub(begin) != 10*time.Second || e.DisconnectReason != "link lost" {
			t.Errorf("stored afterwards: %+v", e)
		}
		// Sightings between the first and the last are not kept; the last is, with its time.
		if got := f.transitions(begin); got != "offline@0 online@0 dropped@60" {
			t.Error(got)
		}
		if j := f.journal(); j[0].Event != "disconnected" || j[2].Event != "last_will" {
			t.Errorf("journal: %+v", j[:3])
		}
		if len(f.unstored.nodes) != 0 || f.unstored.again != nil {
			t.Error("something still waits")
		}
	})
}

func TestEveryChangeOfStateIsInTheHistoryHoweverFastTheyCome(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		f.Connected(s)
		for i := range 100 {
			<-time.After(time.Millisecond)
			kind, payload := protocol.KindEvent, `{"event":"offline"}`
			if i%2 == 1 {
				kind, payload = protocol.KindHeartbeat, `{}`
			}
			if err := f.Receive(s, topicOf(kind), message("", payload)); err != nil {
				t.Fatal(err)
			}
		}
		_ = f.db.View(func(tx *store.Tx) error {
			all, err := tx.Transitions("node_a", 0, 200)
			if n := presence.Flaps(all, time.Hour, f.db.Now()); err != nil || len(all) != 102 || n != 50 {
				t.Errorf("%d transitions, %d flaps (%v)", len(all), n, err)
			}
			for i := range len(all) - 1 { // newest first
				if !all[i].At.After(all[i+1].At) && i < 100 {
					t.Errorf("%+v came after %+v", all[i], all[i+1])
				}
			}
			return nil
		})
	})
}

func TestWhatWaitsToBeStoredComesBeforeWhatIsNew(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		first, second := f.session(1), f.session(2)
		f.Connected(first)
		free := f.full()
		f.Disconnected(first, "gone")
		free()
		wait(time.Second)
		f.Connected(second)
		wait(time.Minute)
		if e := f.evidence(); e.ConnectionID != 2 || e.DisconnectReason != "gone" {
			t.Errorf("%+v", e)
		}
	})
}

func TestOfASessionThatLostItsRightMeanwhileOnlyTheEndIsStored(t *testing.T) {
	for name, revoke := range map[string]func(*store.Tx) error{
		"disabled": func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			if err != nil {
				return err
			}
			n.Enabled = false
			return tx.PutNode(&n)
		},
		"reset":   func(tx *store.Tx) error { return tx.ResetClient("node_a") },
		"deleted": func(tx *store.Tx) error { return tx.DeleteNode("node_a") },
	} {
		t.Run(name, func(t *testing.T) {
			ingressTest(t, func(t *testing.T, f *fixture) {
				s := f.session(1)
				f.Connected(s)
				free := f.full()
				f.Will(s, nil, WillClosed)
				f.Disconnected(s, "gone")
				free()
				f.update(revoke)
				before := f.evidence()
				wait(storeAgainAfter)
				e := f.evidence()
				if e.ConnectionID != 0 || !e.WillAt.IsZero() || !e.OfflineAt.Equal(before.OfflineAt) || e.OfflineReason != before.OfflineReason {
					t.Errorf("%+v", e)
				}
				if len(f.unstored.nodes) != 0 {
					t.Error("it still waits")
				}
			})
		})
	}
}

func TestNothingIsTriedAgainAfterStop(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		free := f.full()
		f.Connected(s)
		if err := f.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		free()
		wait(time.Minute)
		if e := f.evidence(); e.ConnectionID != 0 {
			t.Errorf("%+v", e)
		}
	})
}

func TestConnectionThatLastedThroughAnOutageIsTheSameAlsoWhenItCannotBeStored(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.Connected(f.session(1000))
		before := f.evidence()
		wait(time.Minute)
		f.update((*store.Tx).ForgetConnections)
		free := f.full()
		f.Connected(f.session(1000))
		if e := f.Evidence(f.evidence()); e.ConnectionID != 1000 || e.LostConnectionID != 0 || !e.ConnectedAt.Equal(before.ConnectedAt) {
			t.Errorf("told: %+v", e)
		}
		free()
		wait(storeAgainAfter)
		if e := f.evidence(); e.ConnectionID != 1000 || e.LostConnectionID != 0 || !e.ConnectedAt.Equal(before.ConnectedAt) {
			t.Errorf("stored: %+v", e)
		}
	})
}

// The API answers from the transaction that makes a change, in the store's only writing goroutine.
func TestEvidenceIsReadInATransactionForWhichTheStoringOfASightingWaits(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		free := f.full()
		f.Connected(f.session(1))
		free()
		f.update(func(tx *store.Tx) error {
			wait(storeAgainAfter) // the sighting is in the store's queue now
			e, err := tx.Evidence("node_a")
			if got := f.Evidence(e); got.ConnectionID != 1 {
				t.Errorf("the sighting is not shown: %+v", got)
			}
			return err
		})
		synctest.Wait()
		if e := f.evidence(); e.ConnectionID != 1 || len(f.unstored.nodes) != 0 {
			t.Errorf("stored afterwards: %+v, waiting: %d", e, len(f.unstored.nodes))
		}
	})
}
