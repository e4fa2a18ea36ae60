package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/hooks"
	"wfm/internal/mqtttest"
	"wfm/protocol"
)

func TestPanicInOneConnectionLeavesTheRestAlive(t *testing.T) {
	f := start(t, Limits{})
	b := f.connect(t, f.b, 5)
	a := f.connect(t, f.a, 5)
	a.SendRaw([]byte{0x82, 0x05, 0x00, 0x01, 0x00, 0x00, 0x00}) // panics in the broker's decoder
	a.Rest()
	f.await(t, "disconnected node_a")
	f.nothingLeft(t, f.a)
	b.Ping()
	f.connect(t, f.a, 5)
}

func TestReceiveMaximumDoesNotStopDelivery(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.Properties.ReceiveMaximum = 1
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.Connect(l)
	c.Subscribe(1, f.a.topic(protocol.KindControl))
	const n = 100
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range n { // never acknowledged, as a client may that is slow
		c.Expect(packets.Publish)
	}
	wg.Wait()
	c.Ping()
	if n := f.server.Info.Clone().Inflight; n != 0 {
		t.Errorf("the broker counts %d messages in flight", n)
	}
}

func TestFastReconnectsLeaveExactlyOneLiveSession(t *testing.T) {
	f := start(t, Limits{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 75 {
				c := mqtttest.Dial(t, f.Addr(), 5)
				c.SendConnect(f.a.login())
				if _, err := c.Next(); err != nil { // taken over while connecting
					_ = c.Close()
				}
			}
		})
	}
	wg.Wait()
	last := f.connect(t, f.a, 5)
	if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
		t.Errorf("the last session cannot be reached: %v", err)
	}
	last.Expect(packets.Publish)
	if n := f.Sessions(); n != 1 {
		t.Errorf("%d sessions are live, want 1", n)
	}
	f.renew(t, f.a.node)
	last.Rest()
	f.nothingLeft(t, f.a)
	if n := f.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestTakeoverSaysNothingAboutTheNode(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.WillTopic, l.WillPayload = f.a.topic(protocol.KindEvent), []byte("{}")
	first := mqtttest.Dial(t, f.Addr(), 5)
	first.Connect(l)
	f.await(t, "connected node_a")
	second := mqtttest.Dial(t, f.Addr(), 5)
	second.Connect(l)
	for _, want := range []string{"superseded will node_a", "disconnected node_a: session takeover", "connected node_a"} {
		if got := f.await(t, ""); got != want {
			t.Errorf("happened %q, want %q", got, want)
		}
	}
	first.Rest()
	second.Ping()
}

func TestSessionsAreCleanWhateverIsAsked(t *testing.T) {
	f := start(t, Limits{})
	bothVersions(t, func(t *testing.T, v byte) {
		l := f.a.login()
		l.NotClean = true
		if v == 5 {
			l.Properties = packets.Properties{SessionExpiryInterval: 3600, SessionExpiryIntervalFlag: true}
		}
		c := mqtttest.Dial(t, f.Addr(), v)
		ack := c.Connect(l)
		if v == 5 && (!ack.Properties.SessionExpiryIntervalFlag || ack.Properties.SessionExpiryInterval != 0) {
			t.Error("the client is not told that its session ends with the connection")
		}
		c.Subscribe(1, f.a.topic(protocol.KindControl))
		_ = c.Close()
		f.await(t, "disconnected node_a")
		f.nothingLeft(t, f.a)
		c = mqtttest.Dial(t, f.Addr(), v)
		if ack := c.Connect(l); ack.SessionPresent {
			t.Error("a session was resumed")
		}
		if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Publish before the new session subscribed: %v", err)
		}
		_ = c.Close()
		f.await(t, "disconnected node_a")
	})
}

func TestPacketIDsOfClientAndBrokerDoNotCollide(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
		t.Fatal(err)
	}
	out := c.Expect(packets.Publish) // and is not acknowledged yet
	if codes := c.Subscribe(out.PacketID, f.a.topic(protocol.KindDetect)); codes[0] != 1 {
		t.Errorf("SUBSCRIBE with the id of an outbound message: %#x", codes[0])
	}
	c.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 1, out.PacketID)
	if pk := c.Expect(packets.Puback); pk.ReasonCode != 0 {
		t.Errorf("PUBLISH with the id of an outbound message: %#x", pk.ReasonCode)
	}
}

func TestCommandCarriesItsExpiryToMQTT5Clients(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), 90*time.Second); err != nil {
		t.Fatal(err)
	}
	pk := c.Expect(packets.Publish)
	if s := pk.Properties.MessageExpiryInterval; s < 80 || s > 90 || pk.FixedHeader.Qos != 1 || pk.FixedHeader.Retain {
		t.Errorf("expiry %d s, QoS %d, retain %v", s, pk.FixedHeader.Qos, pk.FixedHeader.Retain)
	}
}

func TestConnackAnnouncesWhatHolds(t *testing.T) {
	f := start(t, Limits{})
	for asked, want := range map[uint16]uint16{0: hooks.MaxKeepAlive, 65535: hooks.MaxKeepAlive, 60: 0} {
		l := f.a.login()
		l.Keepalive = asked
		l.Properties.TopicAliasMaximum = 10
		c := mqtttest.Dial(t, f.Addr(), 5)
		p := c.Connect(l).Properties
		if p.ServerKeepAlive != want {
			t.Errorf("keep-alive %d became %d, want %d", asked, p.ServerKeepAlive, want)
		}
		if p.MaximumQos != 1 || !p.RetainAvailableFlag || p.RetainAvailable != 0 || !p.WildcardSubAvailableFlag ||
			!p.SharedSubAvailableFlag || !p.SubIDAvailableFlag || p.MaximumPacketSize < protocol.MaxMessageSize || p.TopicAliasMaximum != 0 {
			t.Errorf("CONNACK properties: %+v", p)
		}
		c.Subscribe(1, f.a.topic(protocol.KindControl))
		for range 2 {
			if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
				t.Fatal(err)
			}
			if pk := c.Expect(packets.Publish); pk.TopicName == "" || pk.Properties.TopicAliasFlag {
				t.Error("an outbound topic alias was used")
			}
		}
	}
}

func TestAShorterKeepAliveIsAskedOfWhoCanBeTold(t *testing.T) {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	h := hooks.New(hooks.Options{Server: server, KeepAlive: keepAlive(7 * time.Second)})
	for version, want := range map[byte]uint16{4: 60, 5: 7} {
		cl := server.NewClient(nil, "x", "x", false)
		cl.Properties.ProtocolVersion, cl.State.Keepalive = version, 60
		if err := h.OnConnect(cl, packets.Packet{}); err != nil || cl.State.Keepalive != want || cl.State.ServerKeepalive != (version == 5) {
			t.Errorf("MQTT version %d is held to %d s, told %v, %v; want %d s", version, cl.State.Keepalive, cl.State.ServerKeepalive, err, want)
		}
	}
	for wish, want := range map[time.Duration]uint16{0: hooks.MaxKeepAlive, time.Hour: hooks.MaxKeepAlive, 5 * time.Second: 5} {
		if got := keepAlive(wish); got != want {
			t.Errorf("keep-alive %s became %d s, want %d", wish, got, want)
		}
	}
}

func TestSilentClientIsNoticedByItsKeepAlive(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.Keepalive = 1
	l.WillTopic, l.WillPayload = f.a.topic(protocol.KindEvent), []byte("{}")
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.Connect(l)
	if e := f.await(t, "will", "silent will"); e != "silent will node_a" {
		t.Errorf("of a silent link came %q", e)
	}
	f.await(t, "disconnected node_a: no message")
}

func TestASessionThatSendsTooMuchForTooLongIsEndedAndItsWillSaysNothing(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.WillTopic, l.WillPayload = f.a.topic(protocol.KindEvent), []byte("{}")
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.Connect(l)
	for range 1000 { // 200 at once and 50 a second: more than 10 s
		c.Publish(f.a.topic(protocol.KindHeartbeat), []byte("{}"), 0, 0)
	}
	for range 700 { // messages taken until then; a pause between two of them is no longer than a wait
		select {
		case <-f.received:
		case <-time.After(patience):
			t.Fatal("fewer messages were taken than may be sent")
		}
	}
	if e := f.await(t, "will", "superseded will"); e != "superseded will node_a" {
		t.Errorf("got %q", e)
	}
	f.await(t, "disconnected node_a: message rate too high")
}

func TestQoS2IsRefusedWithWords(t *testing.T) {
	f := start(t, Limits{})
	bothVersions(t, func(t *testing.T, v byte) {
		c := f.connect(t, f.a, v)
		c.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 2, 5)
		rest := c.Rest()
		if v == 5 && (len(rest) != 1 || rest[0].ReasonCode != packets.ErrQosNotSupported.Code) {
			t.Errorf("got %v, want DISCONNECT 0x9B", rest)
		}
		if v == 4 && len(rest) != 0 {
			t.Errorf("an MQTT 3.1.1 client got %d packets, want a closed connection", len(rest))
		}
		f.await(t, "disconnected node_a: qos not supported")
	})
	if len(f.received) != 0 {
		t.Error("the message was taken")
	}
}

func TestTooLargeMessageIsRefusedWithWords(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	c.Publish(f.a.topic(protocol.KindEvent), make([]byte, protocol.MaxMessageSize), 1, 5)
	c.Expect(packets.Puback)
	c.Publish(f.a.topic(protocol.KindEvent), make([]byte, 300<<10), 1, 6)
	if rest := c.Rest(); len(rest) != 1 || rest[0].ReasonCode != packets.ErrPacketTooLarge.Code {
		t.Errorf("got %d packets, want DISCONNECT 0x95", len(rest))
	}
	f.await(t, "disconnected node_a: packet too large")
}

func TestRetainIsKeptForNobody(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 4)
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: true},
		TopicName:   f.a.topic(protocol.KindEvent), Payload: []byte("{}"), PacketID: 3,
	})
	c.Expect(packets.Puback)
	if _, kept := f.server.Topics.Retained.Get(f.a.topic(protocol.KindEvent)); kept {
		t.Error("a node's message is retained")
	}
}

// stuff connects the account with a client that does not read, and publishes to it until it is
// no longer connected. It returns when the first write hangs; the channel is closed at the end.
func stuff(t *testing.T, f *fixture, a account) <-chan struct{} {
	t.Helper()
	_, done := stuffWith(t, f, a)
	return done
}

func stuffWith(t *testing.T, f *fixture, a account) (*mqtttest.Client, <-chan struct{}) {
	t.Helper()
	c := f.connect(t, a, 5)
	raw := c.Conn
	if encrypted, ok := raw.(*tls.Conn); ok {
		raw = encrypted.NetConn()
	}
	_ = raw.(*net.TCPConn).SetReadBuffer(4096)
	session, ok := f.server.Clients.Get("wfm-" + a.node)
	if !ok {
		t.Fatal("no session")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		message := make([]byte, 200<<10)
		for range 10_000 {
			if err := f.Publish(a.t(protocol.KindControl), message, time.Minute); err != nil {
				if !errors.Is(err, ErrNotConnected) {
					t.Error(err)
				}
				return
			}
		}
		t.Error("a client that does not read takes everything")
	}()
	// The write hangs when its lock is held and nothing is sent any more.
	sent, same := int64(0), 0
	for same < 50 {
		select {
		case <-done:
			return c, done
		case <-time.After(time.Millisecond):
		}
		free := session.TryLock()
		if free {
			session.Unlock()
		}
		same++
		if now := f.server.Info.Clone().BytesSent; now != sent || free {
			sent, same = now, 0
		}
	}
	return c, done
}

// both runs the test with clients that connect without TLS, and with it.
func both(t *testing.T, limits Limits, test func(*testing.T, *fixture)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, start(t, limits)) })
	t.Run("TLS", func(t *testing.T) { test(t, startTLS(t, limits)) })
}

func TestClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	both(t, Limits{WriteTimeout: time.Hour}, holdsNobodyUp) // so that only ending the session can help
}

func holdsNobodyUp(t *testing.T, f *fixture) {
	stuck := stuff(t, f, f.a)
	b := f.connect(t, f.b, 5)
	if err := f.Publish(f.b.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
		t.Fatal(err)
	}
	b.Expect(packets.Publish)
	f.renew(t, f.a.node)
	<-stuck
	f.nothingLeft(t, f.a)
	stuck = stuff(t, f, f.a)
	f.connect(t, f.a, 5) // its own reconnect
	<-stuck
}

func TestWriteDeadlineEndsAClientThatDoesNotRead(t *testing.T) {
	both(t, Limits{WriteTimeout: 50 * time.Millisecond}, func(t *testing.T, f *fixture) {
		<-stuff(t, f, f.a)
		f.await(t, "disconnected node_a")
		f.nothingLeft(t, f.a)
	})
}

func TestClientThatSendsAndDoesNotReadCannotExtendTheWriteDeadline(t *testing.T) {
	both(t, Limits{WriteTimeout: time.Second}, func(t *testing.T, f *fixture) {
		c, stuck := stuffWith(t, f, f.a)
		// The broker sets its keep-alive deadline before each packet it reads.
		c.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: 9})
		<-stuck
		f.await(t, "disconnected node_a")
	})
}

func TestInboundTopicAliasIsRefused(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: f.a.topic(protocol.KindEvent), PacketID: 3,
		Payload: []byte("{}"), Properties: packets.Properties{TopicAlias: 1, TopicAliasFlag: true},
	})
	for _, pk := range c.Rest() {
		if pk.FixedHeader.Type == packets.Puback {
			t.Error("a publish with a topic alias was acknowledged")
		}
	}
}

func TestPubackDoesNotEchoProperties(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: f.a.topic(protocol.KindEvent), PacketID: 3,
		Payload: []byte("{}"), Properties: packets.Properties{User: []packets.UserProperty{{Key: "k", Val: "v"}}},
	})
	if pk := c.Expect(packets.Puback); len(pk.Properties.User) != 0 {
		t.Error("the PUBACK carries the message's properties")
	}
}

// What cannot be seen from outside, because another measure covers it or because it only costs.
func TestBrokerSettings(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.NotClean = true
	mqtttest.Dial(t, f.Addr(), 4).Connect(l)
	cl, ok := f.server.Clients.Get("wfm-node_a")
	if !ok || !cl.Properties.Clean {
		t.Error("the session is not a clean one")
	}
	o := f.server.Options
	if o.Capabilities.RetainAvailable != 0 || o.Capabilities.MaximumSessionExpiryInterval != 0 {
		t.Error("the broker may retain messages or sessions")
	}
	if o.ClientNetReadBufferSize > 256 || o.Capabilities.MaximumClientWritesPending > 128 || o.SysTopicResendInterval < 60 {
		t.Error("a connection or a tick costs more than it should")
	}
}

func TestStopEndsInTimeWhateverClientsDoAndSaysNothingOfTheNodes(t *testing.T) {
	f := start(t, Limits{WriteTimeout: time.Hour, ConnectTimeout: time.Hour})
	l := f.b.login()
	l.WillTopic, l.WillPayload = f.b.topic(protocol.KindEvent), []byte("{}")
	b := mqtttest.Dial(t, f.Addr(), 5)
	b.Connect(l)
	stuff(t, f, f.a)
	idle := mqtttest.Dial(t, f.Addr(), 5)
	idle.SendRaw([]byte{0x10, 0x20})
	for len(f.events) > 0 {
		<-f.events
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if err := errors.Join(f.Stop(ctx), f.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	idle.Rest()
	b.Rest()
	for len(f.events) > 0 {
		t.Errorf("stopping said %q", <-f.events)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

func ExampleBroker_Publish() {
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: protocol.KindControl}
	fmt.Println(topic)
	// Output: wfm/cfg_a/node_b/control
}
