package broker

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wfm/internal/floodlog"
	"wfm/internal/mqtttest"
)

func TestFloodOfMessagesIsNotLogged(t *testing.T) {
	f := start(t, Limits{})
	for range 10 * floodlog.PerMinute {
		f.server.Log.Warn("junk")
	}
	if n := strings.Count(f.log.String(), "broker: junk"); n == 0 || n > 2*floodlog.PerMinute { // a minute may end in between
		t.Errorf("%d messages were logged", n)
	}
}

func TestConnectionWithoutConnectIsClosed(t *testing.T) {
	f := start(t, Limits{ConnectTimeout: 50 * time.Millisecond})
	for name, first := range map[string][]byte{
		"nothing":                   nil,
		"half a header":             {0x10},
		"half a CONNECT":            {0x10, 0x20, 0x00, 0x04, 'M', 'Q'},
		"another packet":            {0xc0, 0x00},
		"HTTP":                      []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a length of 256 MiB":       {0x10, 0xff, 0xff, 0xff, 0x7f},
		"a length without end":      {0x10, 0xff, 0xff, 0xff, 0xff, 0xff},
		"CONNECT with garbage":      {0x10, 0x04, 0xff, 0xff, 0xff, 0xff},
		"flags CONNECT cannot have": {0x1f, 0x00},
	} {
		t.Run(name, func(t *testing.T) {
			c := mqtttest.Dial(t, f.Addr(), 5)
			c.SendRaw(first)
			c.Rest()
		})
	}
}

func TestLengthOfAHugeConnectIsRefusedBeforeItIsRead(t *testing.T) {
	f := start(t, Limits{ConnectTimeout: time.Hour})
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.SendRaw([]byte{0x10, 0x80, 0x80, 0x06}) // 96 KiB
	c.Rest()
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Run("in all", func(t *testing.T) {
		f := start(t, Limits{Connections: 1})
		f.connect(t, f.a, 5)
		c := mqtttest.Dial(t, f.Addr(), 5)
		c.SendConnect(f.b.login())
		if rest := c.Rest(); len(rest) != 0 {
			t.Error("one more than the limit was served")
		}
	})
	t.Run("before CONNECT", func(t *testing.T) {
		f := start(t, Limits{Pending: 1, ConnectTimeout: time.Hour})
		f.connect(t, f.a, 5)
		held := mqtttest.Dial(t, f.Addr(), 5)
		held.SendRaw([]byte{0x10})
		f.connect(t, f.b, 5)
		held.Rest()
	})
}

func TestUnfinishedConnectionsMakeRoomForNewOnes(t *testing.T) {
	f := start(t, Limits{ConnectTimeout: time.Hour, PendingAddress: 2})
	f.connect(t, f.a, 5) // does not count once it is connected
	oldest, other := mqtttest.Dial(t, f.Addr(), 5), mqtttest.Dial(t, f.Addr(), 5)
	oldest.SendRaw([]byte{0x10})
	other.SendRaw([]byte{0x10})
	f.connect(t, f.b, 5) // another node behind the same address still gets in
	oldest.Rest()
	other.SendConnect(f.a.login()) // and this one is still waited for
	if _, err := other.Next(); err == nil {
		t.Error("half a CONNECT and a whole one make no CONNECT")
	}
}

// faultyListener fails a few times as a process without file descriptors does.
type faultyListener struct {
	net.Listener
	faults atomic.Int32
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.faults.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptGoesOnAfterErrors(t *testing.T) {
	f := start(t, Limits{})
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &faultyListener{Listener: inner}
	l.faults.Store(3)
	b, err := newBroker(Options{Grants: f.db, Ingress: f, Logger: f.logger()}, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(t.Context()) })
	c := mqtttest.Dial(t, inner.Addr(), 5)
	if ack := c.Connect(f.a.login()); ack.ReasonCode != 0 {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	f := start(t, Limits{})
	_, err := New(t.Context(), Options{Addr: f.Addr().String(), Grants: f.db, Ingress: f})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("New on a taken port: %v", err)
	}
}
