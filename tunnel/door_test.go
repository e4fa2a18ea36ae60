package tunnel

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// meanwhile returns a door whose check is delayed by the lookup of the broker's name. During the
// lookup, change is called. A lookup asks for both kinds of addresses at once, so one of them
// waits.
func (d *desk) meanwhile(change func()) Door {
	var mu sync.Mutex
	return Door{Store: d.db, Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		change()
		return nil, errors.New("no network")
	}}}
}

// once calls change at the first call only.
func once(change func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			change()
		}
	}
}

func (d *desk) stage(ref store.ConfRef) {
	d.t.Helper()
	d.update(func(tx *store.Tx) error { _, err := tx.Stage("node_a", ref, "wg"); return err })
}

func (d *desk) state() (s store.ConfState) {
	d.t.Helper()
	d.update(func(tx *store.Tx) (err error) { s, err = tx.ConfState("node_a"); return err })
	return s
}

func (d *desk) mesh(tunnelProtocol string) {
	d.update(func(tx *store.Tx) error {
		return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: tunnelProtocol})
	})
}

// push returns the queued version.
func push(t *testing.T, door Door, o Order) (queued int, err error) {
	t.Helper()
	o.Host = "broker.test"
	_, err = door.Push(t.Context(), "node_a", o, func(tx *store.Tx, taken Taken) error {
		queued = taken.Ref.Version
		s, err := tx.ConfState("node_a")
		if s.Staged != taken.Ref || s.StagedFor != Family(taken.Config) {
			t.Errorf("version %d is queued while version %d is staged", queued, s.Staged.Version)
		}
		return err
	})
	return queued, err
}

func TestAPushTakesWhatIsDesiredWhenItIsQueued(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.desire(text(1), false)
	queued, err := push(t, d.meanwhile(once(func() { d.desire(text(2), false) })), Order{})
	if queued != 2 || err != nil {
		t.Errorf("version %d was queued (%v)", queued, err)
	}
}

func TestATextSavedWhileAPushIsCheckedIsCheckedToo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.desire(text(1), false)
	queued, err := push(t, d.meanwhile(once(func() { d.desire(swallows(2), false) })), Order{})
	var cutOff *CutOffError
	if queued != 0 || !errors.As(err, &cutOff) || cutOff.Undone != "pushed" {
		t.Errorf("version %d was queued (%v)", queued, err)
	}
	if s := d.state(); s.Staged.Version != 0 {
		t.Errorf("a refused config is staged: %+v", s)
	}
}

func TestAVersionStagedWhileThePushOfAnotherIsCheckedIsNotPushed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first := d.desire(text(1), false)
	d.stage(first)
	door := d.meanwhile(once(func() { d.stage(d.desire(text(2), false)) }))
	if queued, err := push(t, door, Order{Staged: true, Version: 1}); queued != 0 || !errors.Is(err, ErrStagedChanged) {
		t.Errorf("version %d was queued (%v)", queued, err)
	}
}

func TestAChangeOfTheProtocolWhileAPushIsCheckedHasTheTextReadAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.mesh(protocol.TunnelAmneziaWG2)
	d.desire(amnezia(1), false)
	queued, err := push(t, d.meanwhile(once(func() { d.mesh(protocol.TunnelWireGuard) })), Order{})
	var invalid *wgconf.Error
	if queued != 0 || !errors.As(err, &invalid) {
		t.Errorf("version %d was queued (%v)", queued, err)
	}
}

func TestAConfigThatIsChangedAllTheTimeIsNotPushed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.desire(text(1), false)
	port := 1
	door := d.meanwhile(func() { port++; d.desire(text(port), false) })
	if queued, err := push(t, door, Order{}); queued != 0 || !errors.Is(err, ErrUnsettled) {
		t.Errorf("version %d was queued (%v)", queued, err)
	}
}

func TestATextIsSavedAndStagedOrNeither(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	base := 0
	wish := func(text string) Order {
		return Order{Host: "broker.test", Wish: &Wish{Text: text, Author: "admin", Source: store.ConfEdited, Base: &base}}
	}
	door := Door{Store: d.db}
	if taken, err := door.Save(t.Context(), "node_a", wish(text(1)), false); err != nil || taken.State.Desired.Version != 1 || taken.State.Staged.Version != 0 {
		t.Errorf("saved: %+v, %v", taken.State, err)
	}
	// Another user saves while the text is checked.
	base = 1
	var conflict *ConflictError
	_, err := d.meanwhile(once(func() { d.desire(text(2), false) })).Save(t.Context(), "node_a", wish(text(3)), true)
	if !errors.As(err, &conflict) || conflict.Desired != 2 {
		t.Errorf("saved over version 2: %v", err)
	}
	base = 2
	if taken, err := door.Save(t.Context(), "node_a", wish(text(3)), true); err != nil || taken.State.Staged != taken.State.Desired || taken.Ref.Version != 3 {
		t.Errorf("saved and staged: %+v, %v", taken.State, err)
	}
}

// If the command cannot be written, nothing is staged or saved.
func TestWhatCannotBeQueuedIsNotStaged(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	full := errors.New("no room")
	_, err := Door{Store: d.db}.Push(t.Context(), "node_a", Order{Wish: &Wish{Text: text(1)}}, func(*store.Tx, Taken) error { return full })
	if s := d.state(); !errors.Is(err, full) || s != (store.ConfState{}) {
		t.Errorf("%v, and left %+v", err, s)
	}
}
