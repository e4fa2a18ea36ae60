package appliance

import (
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"wfm/store"
	"wfm/web/reach"
)

func TestATestOfTheBrokerLeavesNoTraceAndItsAccountEnds(t *testing.T) {
	log := &lockedText{}
	a, err := New(t.Context(), Options{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", MQTTEnabled: true, MQTTAddr: "127.0.0.1:0",
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(t.Context()) })
	changes := a.db.Subscribe(64)
	defer changes.Close()

	target := reach.MQTTTarget{Host: "127.0.0.1", Port: a.MQTTAddr().(*net.TCPAddr).Port}
	for range 3 {
		if err := a.broker.Test(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if b := a.broker.(*embedded); b.Guests() != 0 || b.Sessions() != 0 {
		t.Errorf("left: %d accounts, %d sessions", b.Guests(), b.Sessions())
	}
	if err := a.db.Update(func(tx *store.Tx) error { tx.Emit(store.Change{Kind: "marker"}); return nil }); err != nil {
		t.Fatal(err)
	}
	if c := <-changes.C; c.Kind != "marker" {
		t.Errorf("the store was changed: %+v", c)
	}
	// Each test knocks once with a password that is wrong.
	if text := log.String(); strings.Contains(text, "level=ERROR") || strings.Count(text, "level=WARN") != 3 || strings.Count(text, "client_id=wfm-check_") != 3 {
		t.Errorf("the log:\n%s", text)
	}
}

// lockedText is a log that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
