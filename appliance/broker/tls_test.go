package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"wfm/internal/mqtttest"
	"wfm/internal/tlstest"
	"wfm/protocol"
)

func TestStalledHandshakeIsClosed(t *testing.T) {
	f := startTLS(t, Limits{ConnectTimeout: 50 * time.Millisecond})
	for name, first := range map[string][]byte{
		"nothing":            nil,
		"half a ClientHello": {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00},
		"HTTP":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"MQTT without TLS":   {0x10, 0x0c, 0x00, 0x04, 'M', 'Q', 'T', 'T', 0x05},
	} {
		t.Run(name, func(t *testing.T) {
			c := mqtttest.Dial(t, f.TLSAddr(), 5)
			c.SendRaw(first)
			c.Rest()
		})
	}
	for name, first := range map[string][]byte{
		"no CONNECT after the handshake":     nil,
		"half a CONNECT after the handshake": {0x10, 0x20, 0x00, 0x04, 'M', 'Q'},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startTLS(t, Limits{ConnectTimeout: time.Second}) // longer than a handshake takes on a busy machine
			c := f.dial(t, 5)
			c.SendRaw(first)
			c.Rest()
		})
	}
}

func TestLimitsHoldForBothSocketsTogether(t *testing.T) {
	t.Run("in all", func(t *testing.T) {
		f := start(t, Limits{Connections: 1})
		f.connect(t, f.a, 5)
		c := mqtttest.Dial(t, f.TLSAddr(), 5)
		c.Rest()
	})
	t.Run("before CONNECT", func(t *testing.T) {
		f := start(t, Limits{Pending: 1, ConnectTimeout: time.Hour})
		held := mqtttest.Dial(t, f.TLSAddr(), 5) // no handshake
		held.SendRaw([]byte{0x16})
		f.client = f.roots
		f.connect(t, f.b, 5)
		held.Rest()
	})
}

func TestOneSessionOfANodeWhicheverSocketItComesBy(t *testing.T) {
	f := start(t, Limits{})
	plain := f.connect(t, f.a, 5)
	f.client = f.roots
	encrypted := f.connect(t, f.a, 5)
	plain.Rest()
	if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if pk := encrypted.Expect(3); !bytes.Equal(pk.Payload, []byte("{}")) { // PUBLISH
		t.Errorf("got %s", pk.Payload)
	}
	if n := f.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
	f.renew(t, f.a.node)
	encrypted.Rest()
	f.nothingLeft(t, f.a)
}

// startPiped is a broker that is reached, with TLS, by pipes.
func startPiped(t *testing.T, limits Limits) (*fixture, func() *tlstest.Client) {
	t.Helper()
	f := start(t, Limits{})
	pipes := tlstest.Listen(t)
	server, client := selfSigned(t)
	b, err := newBroker(Options{Grants: f.db, Ingress: f, Logger: f.logger(), TLS: server, Limits: limits}, nil, pipes)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f.Broker = b
	return f, func() *tlstest.Client { return tlstest.Over(t, pipes.Dial(), client) }
}

// TLS answers a request for new keys from within a read, and meanwhile holds a lock that a write
// needs.
func TestClientThatAsksForNewKeysAndDoesNotReadHoldsNobodyUp(t *testing.T) {
	unread := func(t *testing.T, f *fixture, c *tlstest.Client) {
		t.Helper()
		mqtttest.Over(t, c, 5).Connect(f.a.login())
		f.await(t, "connected node_a")
		if err := errors.Join(send(c, 0x32, 0x10), c.AskForNewKeys()); err != nil { // the beginning of a PUBLISH
			t.Fatal(err)
		}
	}
	t.Run("when it is kicked", func(t *testing.T) {
		f, dial := startPiped(t, Limits{WriteTimeout: time.Hour})
		unread(t, f, dial())
		f.renew(t, f.a.node)
		f.nothingLeft(t, f.a)
		if text := f.log.String(); strings.Contains(text, "still runs") {
			t.Error(text)
		}
	})
	t.Run("when its node connects again", func(t *testing.T) {
		f, dial := startPiped(t, Limits{WriteTimeout: time.Hour})
		unread(t, f, dial())
		if ack := mqtttest.Over(t, dial(), 5).Connect(f.a.login()); ack.ReasonCode != 0 {
			t.Errorf("CONNACK %#x", ack.ReasonCode)
		}
	})
	t.Run("for longer than a write may take", func(t *testing.T) {
		f, dial := startPiped(t, Limits{WriteTimeout: time.Second}) // longer than a write of the handshake takes on a busy machine
		unread(t, f, dial())
		f.await(t, "disconnected node_a")
		f.nothingLeft(t, f.a)
	})
	t.Run("for longer than a CONNECT may take", func(t *testing.T) {
		_, dial := startPiped(t, Limits{WriteTimeout: time.Hour, ConnectTimeout: time.Second})
		c := dial()
		if err := errors.Join(send(c, 0x10, 0x20), c.AskForNewKeys()); err != nil {
			t.Fatal(err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if err := send(c, 0); !errors.Is(err, io.ErrClosedPipe) { // it is not read
			t.Errorf("the connection was not closed: %v", err)
		}
	})
}

func send(c *tlstest.Client, p ...byte) error {
	_, err := c.Write(p)
	return err
}
