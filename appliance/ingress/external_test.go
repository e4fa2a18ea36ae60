package ingress

import (
	"errors"
	"slices"
	"testing"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

// through is a message's session as an external broker gives it: which of the node's it is, is not
// known.
func (f *fixture) through() Session {
	s := f.session(0)
	s.Since = time.Time{}
	return s
}

func (f *fixture) opened(id uint64) {
	f.t.Helper()
	<-time.After(time.Second)
	f.Connected(f.session(id))
}

func from(sessionID, payload string) []byte {
	return []byte(`{"boot_id":"b","session_id":"` + sessionID + `","payload":` + payload + `}`)
}

func (f *fixture) takes(kind protocol.Kind, s Session, message []byte) {
	f.t.Helper()
	<-time.After(time.Second)
	if err := f.Receive(s, topicOf(kind), message); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) presence() presence.State {
	f.t.Helper()
	var n store.Node
	if err := f.db.View(func(tx *store.Tx) (err error) { n, err = tx.Node("node_a"); return err }); err != nil {
		f.t.Fatal(err)
	}
	return presence.Project(n, true, f.evidence(), time.Now(), presence.DefaultTimes()).State
}

const (
	beats   = `{"client_online":true}`
	offline = `{"level":"info","event":"offline","message":"connection lost"}`
)

func TestWillThroughAnExternalBrokerIsOfItsOwnSessionOnly(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindHeartbeat, f.through(), from("x", beats))
		f.opened(2000) // y has taken over, and says nothing yet
		f.takes(protocol.KindEvent, f.through(), from("x", offline))
		if s := f.presence(); s != presence.Online {
			t.Errorf("%s: the will of x says nothing about y", s)
		}
		f.takes(protocol.KindHeartbeat, f.through(), from("y", beats))
		f.takes(protocol.KindEvent, f.through(), from("x", offline))
		if s := f.presence(); s != presence.Online {
			t.Errorf("%s: the will of x says nothing about y, which was heard", s)
		}
		f.takes(protocol.KindEvent, f.through(), from("y", offline))
		if s := f.presence(); s != presence.Offline {
			t.Errorf("%s: that of y does", s)
		}
	})
}

func TestWillOfAConnectionThatSaidNothingCountsOnceItHasEnded(t *testing.T) {
	for name, test := range map[string]struct {
		replaced *Replaced
		beats    bool
		want     presence.State
	}{
		"its own will":            {want: presence.Offline},
		"that of the one before":  {replaced: &Replaced{}, want: presence.Online}, // until its grace is over
		"of one that spoke since": {beats: true, want: presence.Online},
	} {
		t.Run(name, func(t *testing.T) {
			ingressTest(t, func(t *testing.T, f *fixture) {
				f.opened(1000)
				f.takes(protocol.KindEvent, f.through(), from("x", offline))
				if s := f.presence(); s != presence.Online {
					t.Errorf("%s while the connection is open", s)
				}
				if test.beats {
					f.takes(protocol.KindHeartbeat, f.through(), from("y", beats))
				}
				s := f.session(1000)
				s.Replaced = test.replaced
				f.Disconnected(s, "connection lost")
				if s := f.presence(); s != test.want {
					t.Errorf("%s, want %s", s, test.want)
				}
			})
		})
	}
}

func TestWillThatComesAfterTheEndOfTheConnectionCounts(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.Disconnected(f.session(1000), "connection lost")
		f.takes(protocol.KindEvent, f.through(), from("x", offline))
		if s := f.presence(); s != presence.Offline {
			t.Errorf("%s", s)
		}
	})
}

func TestConnectionThatLastedThroughAnOutageIsTheSame(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindHeartbeat, f.through(), from("x", beats))
		before := f.evidence()
		f.update((*store.Tx).ForgetConnections)
		if e := f.evidence(); e.ConnectionOpen() || !e.DisconnectedAt.IsZero() || f.presence() != presence.Online {
			t.Errorf("out of sight: %+v", e)
		}
		f.opened(1000)
		if e := f.evidence(); !e.ConnectedAt.Equal(before.ConnectedAt) || !e.ConnectionOpen() || e.LostConnectionID != 0 {
			t.Errorf("in sight again: %+v", e)
		}
		f.takes(protocol.KindEvent, f.through(), from("x", offline))
		if s := f.presence(); s != presence.Offline {
			t.Errorf("%s: its will is its own still", s)
		}
	})
}

func TestConnectionsThatEndedDuringAnOutageAreEndedOnceItIsKnown(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.update((*store.Tx).ForgetConnections)
		f.update(func(tx *store.Tx) error { return tx.EndLostConnections(map[string]bool{"node_a": true}) })
		if e := f.evidence(); e.LostConnectionID != 1000 {
			t.Errorf("it may be open still: %+v", e)
		}
		f.update(func(tx *store.Tx) error { return tx.EndLostConnections(nil) })
		if e := f.evidence(); e.LostConnectionID != 0 || e.DisconnectedAt.IsZero() {
			t.Errorf("%+v", e)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		if s := f.presence(); s != presence.Dropped {
			t.Errorf("%s", s)
		}
	})
}

func TestNodeThatCameBackAndIsSilentIsNotDroppedBecauseEMQXIsOutOfSight(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindHeartbeat, f.through(), from("x", beats))
		f.Disconnected(f.session(1000), "connection lost")
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		f.opened(2000)          // an agent of the field says nothing for half an hour
		f.update((*store.Tx).ForgetConnections)
		if s := f.presence(); s != presence.Online {
			t.Errorf("%s: its last connection did not end", s)
		}
	})
}

func TestProbeWithoutAnAnswerSaysNothingOfTheNodeWhileEMQXIsOutOfSight(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000)
		f.takes(protocol.KindHeartbeat, f.through(), from("x", beats))
		cmd := f.issue(protocol.ActionDetect)
		f.update((*store.Tx).ForgetConnections)
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		if c := f.command(cmd.RequestID); c.State != store.CommandUnknown {
			t.Fatalf("the detect is %s", c.State)
		}
		if s := f.presence(); s != presence.Online {
			t.Errorf("%s", s)
		}
	})
}

func TestConnectionOfWhichTheLossWasNotStoredIsEndedWithTheOthers(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.opened(1000) // and the disk is full when EMQX goes out of sight
		f.update(func(tx *store.Tx) error { return tx.EndLostConnections(map[string]bool{"node_a": true}) })
		if !f.evidence().ConnectionOpen() {
			t.Error("it is open")
		}
		f.update(func(tx *store.Tx) error { return tx.EndLostConnections(nil) })
		if e := f.evidence(); e.ConnectionOpen() || e.DisconnectedAt.IsZero() || e.DisconnectReason == "" {
			t.Errorf("%+v", e)
		}
	})
}

func TestLateMessageIsStoredButIsNoSignOfLife(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		late := f.through()
		late.Late = true
		cmd := f.issue(protocol.ActionStart)
		f.takes(protocol.KindHeartbeat, late, from("x", beats))
		<-time.After(time.Second)
		if err := f.Receive(late, topicOf(protocol.KindControlAck), message(cmd.RequestID, `{"status":"applied"}`)); err != nil {
			t.Fatal(err)
		}
		if e := f.evidence(); !e.ReachableAt.IsZero() || !e.HeartbeatAt.IsZero() {
			t.Errorf("%+v", e)
		}
		if cmd = f.command(cmd.RequestID); cmd.State != store.CommandApplied {
			t.Errorf("the ACK is lost: %s", cmd.State)
		}
	})
}

func TestNothingOfASessionIsInheritedThroughAnExternalBroker(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		f.takes(protocol.KindHeartbeat, f.through(), from("x", beats))
		f.update(func(tx *store.Tx) error { return tx.ResetClient("node_a") })
		f.bind("node_a")
		if err := f.Receive(f.through(), topicOf(protocol.KindHeartbeat), from("x", beats)); !errors.Is(err, ErrRefused) {
			t.Errorf("what EMQX still had of the former session: %v", err)
		}
		if e := f.evidence(); !e.ReachableAt.IsZero() {
			t.Errorf("%+v", e)
		}
		f.takes(protocol.KindHeartbeat, f.through(), from("y", beats))
	})
}

func TestMessageThatFailsHoldsBackTheLaterOnesOfItsNodeOnly(t *testing.T) {
	boom := errors.New("boom")
	for name, first := range map[string]error{"fails": boom, "is refused": ErrRefused, "has no right": errRevoked, "is taken": nil} {
		t.Run(name, func(t *testing.T) {
			var taken []int
			db, err := store.Open(t.TempDir(), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			messages := make([]Message, 4)
			takes := make([]func(*store.Tx) error, len(messages))
			for i := range messages {
				messages[i].Topic.NodeID = []string{"node_a", "node_a", "node_b", "node_a"}[i]
				takes[i] = func(*store.Tx) error {
					if i == 0 {
						return first
					}
					taken = append(taken, i)
					return nil
				}
			}
			inOrder(messages, takes)
			errs := db.UpdateAll(takes)
			want := []int{1, 2, 3}
			if errors.Is(first, boom) {
				want = []int{2}
			}
			if !slices.Equal(taken, want) || !errors.Is(errs[0], first) || errs[2] != nil || (errs[3] == nil) != (len(want) == 3) {
				t.Errorf("took %v, want %v: %v", taken, want, errs)
			}
		})
	}
}
