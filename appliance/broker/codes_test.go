package broker

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/mqtttest"
	"wfm/protocol"
)

func text(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// rawConnect is a CONNECT with a body that no client library would build.
func rawConnect(name string, level, flags byte, rest ...string) []byte {
	body := text(name) + string([]byte{level, flags, 0, 60}) + strings.Join(rest, "")
	p := []byte{0x10}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			return append(append(p, byte(n)), body...)
		}
		p = append(p, byte(n)|0x80)
	}
}

// The tables of the standards: MQTT 3.1 and 3.1.1 table 3.1, MQTT 5 table 3-1. A refusal that does
// not pass must not have the code of a fault that does: people look for firewalls then.
func TestConnectIsAnsweredWithTheStandardsCode(t *testing.T) {
	f := start(t, Limits{})
	id, user, pass := text("wfm-node_a"), text("node_a"), text(f.a.password)
	own, other := text(f.a.topic(protocol.KindEvent)), text(f.b.topic(protocol.KindEvent))
	long := text(strings.Repeat("x", 24))
	const will, willQ2, willQ3, willRetain, password, username, clean = 0x04, 0x10, 0x18, 0x20, 0x40, 0x80, 0x02
	const login = username | password | clean
	method := "\x15" + text("SCRAM-SHA-1")
	props := func(p string) string { return string([]byte{byte(len(p))}) + p }
	for name, tc := range map[string]struct {
		packet []byte
		want   string // hex of the first bytes of the answer; "" for a closed connection without one
	}{
		"name MQTT, level 3":                {rawConnect("MQTT", 3, 2, text("a")), "20020001"},
		"name MQTT, level 0":                {rawConnect("MQTT", 0, 2, text("a")), "20020001"},
		"name MQTT, level 6":                {rawConnect("MQTT", 6, 2, text("a")), "20020001"},
		"name MQTT, level 255":              {rawConnect("MQTT", 255, 2, text("a")), "20020001"},
		"name MQTT, bridge's level":         {rawConnect("MQTT", 0x84, 2, text("a")), "20020001"},
		"name MQIsdp, level 4":              {rawConnect("MQIsdp", 4, 2, text("a")), "20020001"},
		"name MQIsdp, level 5":              {rawConnect("MQIsdp", 5, 2, text("a")), "20020001"},
		"another name":                      {rawConnect("mqtt", 4, 2, text("a")), ""},
		"empty name":                        {rawConnect("", 4, 2, text("a")), ""},
		"3.1, no id":                        {rawConnect("MQIsdp", 3, login, text(""), user, pass), "20020002"},
		"3.1, id of 24 bytes":               {rawConnect("MQIsdp", 3, login, long, user, pass), "20020002"},
		"3.1, right":                        {rawConnect("MQIsdp", 3, login, id, user, pass), "20020000"},
		"3.1, bits that 3.1 ignores":        {rawConnect("MQIsdp", 3, login|1|willRetain, id, user, pass), "20020000"},
		"3.1, wrong password":               {rawConnect("MQIsdp", 3, login, id, user, text("x")), "20020005"},
		"3.1.1, no id, clean session 0":     {rawConnect("MQTT", 4, 0, text("")), "20020002"},
		"3.1.1, no id, 0, right account":    {rawConnect("MQTT", 4, login&^clean, text(""), user, pass), "20020002"},
		"3.1.1, no id, clean, account":      {rawConnect("MQTT", 4, login, text(""), user, pass), "20020002"},
		"3.1.1, id is not the node's":       {rawConnect("MQTT", 4, login, text("x"), user, pass), "20020002"},
		"3.1.1, wrong password":             {rawConnect("MQTT", 4, login, id, user, text("x")), "20020005"},
		"3.1.1, empty password":             {rawConnect("MQTT", 4, login, id, user, text("")), "20020005"},
		"3.1.1, no account":                 {rawConnect("MQTT", 4, clean, id), "20020005"},
		"3.1.1, user only":                  {rawConnect("MQTT", 4, clean|username, id, user), "20020005"},
		"3.1.1, retained will":              {rawConnect("MQTT", 4, login|will|willRetain, id, own, text("{}"), user, pass), "20020005"},
		"3.1.1, will of QoS 2":              {rawConnect("MQTT", 4, login|will|willQ2, id, own, text("{}"), user, pass), "20020005"},
		"3.1.1, will on another topic":      {rawConnect("MQTT", 4, login|will, id, other, text("{}"), user, pass), "20020005"},
		"3.1.1, will on a wildcard":         {rawConnect("MQTT", 4, login|will, id, text("wfm/#"), text("{}"), user, pass), "20020005"},
		"3.1.1, empty will":                 {rawConnect("MQTT", 4, login|will, id, own, text(""), user, pass), "20020000"},
		"3.1.1, reserved flag":              {rawConnect("MQTT", 4, login|1, id, user, pass), ""},
		"3.1.1, will of QoS 3":              {rawConnect("MQTT", 4, login|will|willQ3, id, own, text("{}"), user, pass), ""},
		"3.1.1, will flags without a will":  {rawConnect("MQTT", 4, login|willQ2, id, user, pass), ""},
		"3.1.1, password without user":      {rawConnect("MQTT", 4, clean|password, id, pass), ""},
		"3.1.1, cut short":                  {rawConnect("MQTT", 4, login, id, user), ""},
		"3.1.1, id is no UTF-8":             {rawConnect("MQTT", 4, login, text("\xff"), user, pass), ""},
		"5, authentication method":          {rawConnect("MQTT", 5, login, props(method), id, user, pass), "8c"},
		"5, method and no account":          {rawConnect("MQTT", 5, clean, props(method), id), "8c"},
		"5, authentication data, no method": {rawConnect("MQTT", 5, login, props("\x16"+text("x")), id, user, pass), "82"},
		"5, wrong password":                 {rawConnect("MQTT", 5, login, props(""), id, user, text("x")), "86"},
		"5, empty password":                 {rawConnect("MQTT", 5, login, props(""), id, user, text("")), "86"},
		"5, password without user":          {rawConnect("MQTT", 5, clean|password, props(""), id, pass), "86"},
		"5, no id":                          {rawConnect("MQTT", 5, login, props(""), text(""), user, pass), "85"},
		"5, id is not the node's":           {rawConnect("MQTT", 5, login, props(""), text("x"), user, pass), "85"},
		"5, retained will":                  {rawConnect("MQTT", 5, login|will|willRetain, props(""), id, props(""), own, text("{}"), user, pass), "9a"},
		"5, will of QoS 2":                  {rawConnect("MQTT", 5, login|will|willQ2, props(""), id, props(""), own, text("{}"), user, pass), "9b"},
		"5, will on another topic":          {rawConnect("MQTT", 5, login|will, props(""), id, props(""), other, text("{}"), user, pass), "87"},
		"5, will on a wildcard":             {rawConnect("MQTT", 5, login|will, props(""), id, props(""), text("wfm/+/x"), text("{}"), user, pass), "90"},
		"5, reserved flag":                  {rawConnect("MQTT", 5, login|1, props(""), id, user, pass), "81"},
		"5, will of QoS 3":                  {rawConnect("MQTT", 5, login|will|willQ3, props(""), id, props(""), own, text("{}"), user, pass), "81"},
		"5, will flags without a will":      {rawConnect("MQTT", 5, login|willRetain, props(""), id, user, pass), "81"},
		"5, cut short":                      {rawConnect("MQTT", 5, login, props(""), id, user), "81"},
		"5, unknown property":               {rawConnect("MQTT", 5, login, props("\x7f\x00"), id, user, pass), "81"},
		"5, too large":                      {rawConnect("MQTT", 5, login, props(""), id, user, strings.Repeat("x", 20<<10)), "95"},
		"3.1.1, too large":                  {rawConnect("MQTT", 4, login, id, user, strings.Repeat("x", 20<<10)), ""},
		"length of CONNECT is malformed":    {[]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}, ""},
		"no CONNECT":                        {[]byte{0xc0, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := mqtttest.Dial(t, f.Addr(), 4)
			c.SendRaw(tc.packet)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			var head [4]byte
			n, err := c.Read(head[:])
			got := hex.EncodeToString(head[:n])
			if len(tc.want) == 2 && n == 4 { // of a CONNACK of MQTT 5 the code
				got = hex.EncodeToString(head[3:])
			}
			if got != tc.want {
				t.Errorf("answered with %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

// MQTT 3.1.1, 3.14: DISCONNECT goes from client to server only.
func TestNoDisconnectIsSentBeforeMQTT5(t *testing.T) {
	for name, do := range map[string]func(f *fixture, c *mqtttest.Client){
		"foreign topic": func(f *fixture, c *mqtttest.Client) { c.Publish(f.b.topic(protocol.KindEvent), nil, 1, 7) },
		"$SYS":          func(_ *fixture, c *mqtttest.Client) { c.Publish("$SYS/broker/version", nil, 1, 7) },
		"$sys":          func(_ *fixture, c *mqtttest.Client) { c.Publish("$sys/x", nil, 1, 7) },
		"QoS 2":         func(f *fixture, c *mqtttest.Client) { c.Publish(f.a.topic(protocol.KindEvent), nil, 2, 7) },
		"wildcard":      func(_ *fixture, c *mqtttest.Client) { c.Publish("wfm/#", nil, 1, 7) },
		"too large": func(f *fixture, c *mqtttest.Client) {
			c.Publish(f.a.topic(protocol.KindEvent), make([]byte, 300<<10), 1, 7)
		},
		"second CONNECT":   func(f *fixture, c *mqtttest.Client) { c.SendConnect(f.a.login()) },
		"malformed packet": func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0x82, 2, 0, 1}) },
		"reserved type":    func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0xf0, 0}) },
		"many filters":     func(_ *fixture, c *mqtttest.Client) { c.SendRaw(unsubscribe(4, 1000)) },
		"kick":             func(f *fixture, _ *mqtttest.Client) { f.renew(t, "node_a") },
		"stop": func(f *fixture, _ *mqtttest.Client) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = f.Stop(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, Limits{})
			c := f.connect(t, f.a, 4)
			do(f, c)
			for _, pk := range c.Rest() {
				t.Errorf("got a packet of type %d", pk.FixedHeader.Type)
			}
		})
	}
}

// MQTT 5, table 3-10.
func TestMQTT5IsToldWhyItIsDisconnected(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(f *fixture, c *mqtttest.Client)
		want packets.Code
	}{
		"kick": {func(f *fixture, _ *mqtttest.Client) { f.renew(t, "node_a") }, packets.ErrAdministrativeAction},
		"takeover": {func(f *fixture, _ *mqtttest.Client) {
			go func() {
				if other, err := net.Dial("tcp", f.Addr().String()); err == nil { //nolint:noctx // ends with the broker
					_, _ = other.Write(rawConnect("MQTT", 4, 0xC2, text("wfm-node_a"), text("node_a"), text(f.a.password)))
				}
			}()
		}, packets.ErrSessionTakenOver},
		"stop": {func(f *fixture, _ *mqtttest.Client) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = f.Stop(ctx)
		}, packets.ErrServerShuttingDown},
		"malformed":           {func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0x32, 3, 0, 9, 'x'}) }, packets.ErrMalformedPacket},
		"reserved flags":      {func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0x80, 2, 0, 1}) }, packets.ErrMalformedPacket},
		"reserved type":       {func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0x00, 0}) }, packets.ErrMalformedPacket},
		"PINGREQ with a body": {func(_ *fixture, c *mqtttest.Client) { c.SendRaw([]byte{0xc0, 1, 0}) }, packets.ErrMalformedPacket},
		"too large": {func(f *fixture, c *mqtttest.Client) {
			c.Publish(f.a.topic(protocol.KindEvent), make([]byte, 300<<10), 1, 7)
		}, packets.ErrPacketTooLarge},
		"much too large": {func(f *fixture, c *mqtttest.Client) {
			c.Publish(f.a.topic(protocol.KindEvent), make([]byte, 900<<10), 1, 7)
		}, packets.ErrPacketTooLarge},
		"second CONNECT": {func(f *fixture, c *mqtttest.Client) { c.SendConnect(f.a.login()) }, packets.ErrProtocolViolation},
		"QoS 2":          {func(f *fixture, c *mqtttest.Client) { c.Publish(f.a.topic(protocol.KindEvent), nil, 2, 7) }, packets.ErrQosNotSupported},
		"many filters":   {func(_ *fixture, c *mqtttest.Client) { c.SendRaw(unsubscribe(5, 60_000)) }, packets.ErrQuotaExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, Limits{})
			c := f.connect(t, f.a, 5)
			tc.do(f, c)
			rest := c.Rest()
			if len(rest) != 1 || rest[0].FixedHeader.Type != packets.Disconnect || rest[0].ReasonCode != tc.want.Code {
				t.Errorf("got %d packets (%v), want DISCONNECT %#x", len(rest), rest, tc.want.Code)
			}
		})
	}
	t.Run("not after its own", func(t *testing.T) {
		f := start(t, Limits{})
		c := f.connect(t, f.a, 5)
		c.Disconnect()
		if rest := c.Rest(); len(rest) != 0 {
			t.Errorf("got %d packets", len(rest))
		}
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		f := start(t, Limits{})
		l := f.a.login()
		l.Keepalive = 1
		c := mqtttest.Dial(t, f.Addr(), 5)
		c.Connect(l)
		if rest := c.Rest(); len(rest) != 1 || rest[0].ReasonCode != packets.ErrKeepAliveTimeout.Code {
			t.Errorf("got %v, want DISCONNECT 0x8D", rest)
		}
	})
}

func TestForbiddenPublishIsAnsweredAndLoggedWithTheNode(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	for i, topic := range []string{"$SYS/broker/version", "$SYS", "$sys/x", "$SYSx", f.b.topic(protocol.KindEvent), "$share/g/x", strings.Repeat("/", 9000)} {
		c.Publish(topic, []byte("{}"), 1, uint16(i+1))
		if pk := c.Expect(packets.Puback); pk.ReasonCode != packets.ErrNotAuthorized.Code || int(pk.PacketID) != i+1 {
			t.Errorf("%.20s: PUBACK %#x for id %d", topic, pk.ReasonCode, pk.PacketID)
		}
	}
	f.answer(errors.New("disk full"))
	c.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 1, 1)
	c.Expect(packets.Puback)
	log := f.log.String()
	if n := strings.Count(log, "a node's message was refused"); n != 1 || !strings.Contains(log, "node_id=node_a") {
		t.Errorf("%d lines with the node's id, want 1:\n%s", n, log)
	}
	if strings.Contains(log, "level=ERROR") {
		t.Errorf("a refused message is an error in the log:\n%s", log)
	}
}

func TestAClientThatIsRefusedForEverIsLoggedOnce(t *testing.T) {
	f := start(t, Limits{})
	bothVersions(t, func(t *testing.T, v byte) {
		l := f.a.login()
		l.Password = "of-before-the-reset"
		for range 20 {
			mqtttest.Dial(t, f.Addr(), v).Connect(l)
		}
	})
	if n := strings.Count(f.log.String(), "MQTT connection refused"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

func TestWhoSpeaksAnotherLanguageIsToldApart(t *testing.T) {
	f := start(t, Limits{})
	old := f.roots.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for name, tc := range map[string]struct {
		addr   net.Addr
		say    func(c net.Conn)
		reason string
	}{
		"HTTP": {f.Addr(), say("GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"), "speaks HTTP on the MQTT port:"},
		"POST": {f.Addr(), say("POST /api/client/bind HTTP/1.1\r\nHost: x\r\n\r\n"), "speaks HTTP on the MQTT port:"},
		//nolint:noctx // bounded by the broker
		"TLS":          {f.Addr(), func(c net.Conn) { _ = tls.Client(c, f.roots).Handshake() }, "speaks TLS on the MQTT port without"},
		"PROXY":        {f.Addr(), say("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), "PROXY protocol"},
		"PROXY 2":      {f.Addr(), say("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), "PROXY protocol"},
		"MQTT, no TLS": {f.TLSAddr(), say(string(rawConnect("MQTT", 4, 2, text("a")))), "speaks MQTT without TLS"},
		"HTTP, no TLS": {f.TLSAddr(), say("GET / HTTP/1.1\r\n\r\n"), "speaks HTTP on the MQTT port with TLS"},
		//nolint:noctx // bounded by the broker
		"another CA": {f.TLSAddr(), func(c net.Conn) { _ = tls.Client(c, &tls.Config{ServerName: "127.0.0.1"}).Handshake() }, "does not trust"},
		//nolint:noctx // bounded by the broker
		"old versions": {f.TLSAddr(), func(c net.Conn) { _ = tls.Client(c, old).Handshake() }, "no version of TLS in common"},
		"HTTPS on MQTT": {
			f.TLSAddr(), func(c net.Conn) { t := tls.Client(c, f.roots); _, _ = t.Write([]byte("GET / HTTP/1.1\r\n\r\n")) },
			"speaks HTTP on the MQTT port:",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				c := mqtttest.Dial(t, tc.addr, 4)
				tc.say(c.Conn)
				c.Rest()
			}
			f.logged(t, tc.reason)
			if got := f.Unserved(); !strings.Contains(got.Reason, tc.reason) || got.Address != "127.0.0.1" {
				t.Errorf("shown: %+v", got)
			}
			told := 0
			for line := range strings.Lines(f.log.String()) {
				if strings.Contains(line, "cannot be served") && strings.Contains(line, tc.reason) {
					told++
				}
			}
			if told != 1 {
				t.Errorf("logged %d times", told)
			}
		})
	}
	c := mqtttest.Dial(t, f.Addr(), 4)
	c.SendRaw([]byte("POST /api/client/bind HTTP/1.1\r\n\r\n"))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	answer := make([]byte, 1000)
	n, _ := c.Read(answer)
	if !strings.Contains(string(answer[:n]), `"message":"This is the MQTT port.`) {
		t.Errorf("an agent sent to the MQTT port gets %q", answer[:n])
	}
}

func say(words string) func(net.Conn) { return func(c net.Conn) { _, _ = c.Write([]byte(words)) } }

// logged waits until the log holds the words.
func (f *fixture) logged(tb testing.TB, words string) {
	tb.Helper()
	await(tb, &f.log, words)
}

// await waits until b holds the words.
func await(tb testing.TB, b *syncBuffer, words string) {
	tb.Helper()
	timeout := time.After(patience)
	for !strings.Contains(b.String(), words) {
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			tb.Fatalf("never said %q:\n%s", words, b.String())
		}
	}
}

// mosquitto's clients print their interpretation of our reasons.
func TestMosquittoUnderstandsTheReasons(t *testing.T) {
	bin, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed")
	}
	f := start(t, Limits{})
	_, port, _ := net.SplitHostPort(f.Addr().String())
	run := func(version, id, password string) *exec.Cmd {
		return exec.CommandContext(t.Context(), bin, "-d", "-h", "127.0.0.1", "-p", port, "-V", version, "-i", id, "-u", "node_a", "-P", password,
			"-t", f.a.topic(protocol.KindControl), "-q", "1")
	}
	for name, tc := range map[string]struct{ version, id, password, want string }{
		"5, wrong password":     {"5", "wfm-node_a", "x", "Bad User Name or Password"},
		"5, wrong id":           {"5", "x", f.a.password, "Client Identifier not valid"},
		"3.1.1, wrong password": {"311", "wfm-node_a", "x", "not authorised"},
		"3.1.1, wrong id":       {"311", "x", f.a.password, "identifier rejected"},
	} {
		out, _ := run(tc.version, tc.id, tc.password).CombinedOutput()
		if !strings.Contains(string(out), tc.want) {
			t.Errorf("%s: %s", name, out)
		}
	}
	kicked := run("5", "wfm-node_a", f.a.password)
	var out syncBuffer
	kicked.Stdout, kicked.Stderr = &out, &out
	if err := kicked.Start(); err != nil {
		t.Fatal(err)
	}
	f.await(t, "subscribed node_a")
	f.renew(t, "node_a")
	want := fmt.Sprintf("eceived DISCONNECT (%d)", packets.ErrAdministrativeAction.Code)
	await(t, &out, want)
	_ = kicked.Process.Kill()
	_ = kicked.Wait()
}
