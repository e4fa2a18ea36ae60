package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wfm/protocol"
)

// relay forwards connections to addr. Connections that are open at Freeze stay open and forward
// nothing any more, as after a change of routes.
type relay struct {
	net.Listener
	addr string

	mu    sync.Mutex
	pairs []*pair
}

type pair struct {
	a, b   net.Conn
	frozen atomic.Bool
}

func startRelay(t *testing.T, addr string) *relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, addr: addr}
	go r.serve()
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range r.pairs {
			p.close()
		}
	})
	return r
}

func (r *relay) serve() {
	for {
		a, err := r.Accept()
		if err != nil {
			return
		}
		b, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.addr)
		if err != nil {
			_ = a.Close()
			continue
		}
		p := &pair{a: a, b: b}
		r.mu.Lock()
		r.pairs = append(r.pairs, p)
		r.mu.Unlock()
		go p.copy(a, b)
		go p.copy(b, a)
	}
}

func (p *pair) copy(to, from net.Conn) {
	defer p.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if p.frozen.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *pair) close() {
	_ = p.a.Close()
	_ = p.b.Close()
}

func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pairs {
		p.frozen.Store(true)
	}
}

func TestDeadConnectionIsReplacedWhileAChangeWaits(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	r := startRelay(t, b.addr)
	storeProfile(t, dir, r.Addr().String(), nil)
	runningTunnel(t, f, dir)
	runAgent(t, dir, f)
	first := b.next(protocol.KindHeartbeat).env.SessionID
	open := f.gate()
	b.send(protocol.KindPush, "req_1", pushOf("two", 2))
	f.awaitCall(t)
	r.freeze() // the agent's own keep-alive would notice a minute later
	open()
	b.wantAck(protocol.KindPushAck, "req_1", protocol.AckAccepted)
	if got := b.wantAck(protocol.KindPushAck, "req_1", protocol.AckApplied); got.env.SessionID == first {
		t.Fatal("answered in the dead session")
	}
	awaitNoChange(t, dir)
	wantNode(t, f, dir, "two", true)
}

func TestRefusedMessageProvesTheWayToTheServer(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	storeProfile(t, dir, b.addr, nil)
	runningTunnel(t, f, dir)
	runAgent(t, dir, f)
	b.next(protocol.KindHeartbeat)
	b.hook.mu.Lock()
	b.hook.refuse = 1
	b.hook.mu.Unlock()
	b.send(protocol.KindPush, "req_1", pushOf("two", 2))
	b.wantAck(protocol.KindPushAck, "req_1", protocol.AckApplied)
	if refused, _ := b.hook.counts(); refused != 1 {
		t.Fatalf("refused %d", refused)
	}
}

func TestChangeOutlastsARestartOfTheServer(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	hook := newBrokerHook("pa55word-secret")
	b := startBroker(t, "127.0.0.1:0", hook)
	storeProfile(t, dir, b.addr, nil)
	runningTunnel(t, f, dir)
	l, stop := runAgent(t, dir, f)
	b.next(protocol.KindHeartbeat)
	open := f.gate()
	b.send(protocol.KindPush, "req_1", pushOf("two", 2))
	f.awaitCall(t)
	b.close()
	open()
	await(t, l, "a change is not confirmed yet")
	stop() // a clean stop does not wait for the server
	runAgent(t, dir, f)
	b = startBroker(t, b.addr, hook)
	b.wantAck(protocol.KindPushAck, "req_1", protocol.AckAccepted)
	b.wantAck(protocol.KindPushAck, "req_1", protocol.AckApplied)
	awaitNoChange(t, dir)
	wantNode(t, f, dir, "two", true)
}

func TestLookupRightAfterAChangeOfNameServersProvesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if resolverIsStale(path) {
		t.Error("without the file")
	}
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !resolverIsStale(path) {
		t.Error("a file that was just written counts as known to the resolver")
	}
	for _, age := range []time.Duration{resolverMemory + time.Second, -time.Hour} { // or written by a wrong clock
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		if resolverIsStale(path) {
			t.Errorf("a file of %s ago", age)
		}
	}
}

func TestUrgentBackoffWaitsShortAndForgetsItselfAfterwards(t *testing.T) {
	b := &backoff{least: time.Second, most: time.Minute, refused: time.Minute, stable: time.Minute, now: time.Now}
	for range 10 {
		b.Next()
	}
	b.SetUrgent(true)
	for range 10 {
		if d := b.Next(); d > time.Second {
			t.Fatalf("waits %s", d)
		}
	}
	b.SetUrgent(false)
	if d := b.Next(); d < 30*time.Second {
		t.Fatalf("waits %s, want what it was before", d)
	}
}
