package broker

import (
	"bytes"
	"testing"
	"time"

	"wfm/internal/mqtttest"
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
	t.Run("no CONNECT after the handshake", func(t *testing.T) { f.dial(t, 5).Rest() })
	t.Run("half a CONNECT after the handshake", func(t *testing.T) {
		c := f.dial(t, 5)
		c.SendRaw([]byte{0x10, 0x20, 0x00, 0x04, 'M', 'Q'})
		c.Rest()
	})
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
	f.Kick(f.a.node)
	encrypted.Rest()
	f.nothingLeft(t, f.a)
}
