package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/mqtttest"
	"wfm/protocol"
)

// received is a message that the broker received from the node.
type received struct {
	env  protocol.Envelope
	will bool
}

// testBroker is a real MQTT broker with the access rules of this protocol.
type testBroker struct {
	t      *testing.T
	server *mqtt.Server
	addr   string
	hook   *brokerHook
	close  func()
}

// brokerHook outlives a restart of the broker.
type brokerHook struct {
	mqtt.HookBase
	in chan received

	mu         sync.Mutex
	password   string
	refuse     int // how many ACKs to refuse with a reason code
	refused    int // how many were refused
	denied     int // refused connections
	subscribed map[string]int
	fresh      *mqtt.Client  // the node's newest connection, until it has subscribed
	ready      chan struct{} // closed when it has
}

func newBrokerHook(password string) *brokerHook {
	return &brokerHook{in: make(chan received, 500), password: password, subscribed: map[string]int{}, ready: make(chan struct{})}
}

func (h *brokerHook) ID() string { return "test" }

func (h *brokerHook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnWillSent, mqtt.OnSessionEstablished, mqtt.OnSubscribed,
	}, b) >= 0
}

func (h *brokerHook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	will := pk.Connect.WillFlag && pk.Connect.WillTopic == "wfm/cfg_a/node_b/event" && pk.Connect.WillQos == 1 && !pk.Connect.WillRetain
	ok := string(pk.Connect.Username) == "node_b" && string(pk.Connect.Password) == h.password &&
		cl.ID == "wfm-node_b" && cl.Properties.ProtocolVersion == 5 && pk.Connect.Keepalive == 60 && !pk.Connect.Clean && will &&
		cl.Properties.Props.SessionExpiryInterval == 0
	if !ok {
		h.denied++
	}
	return ok
}

func (h *brokerHook) OnACLCheck(_ *mqtt.Client, topic string, write bool) bool {
	if write {
		return protocol.MayPublish("cfg_a", "node_b", topic)
	}
	return protocol.MaySubscribe("cfg_a", "node_b", topic)
}

func (h *brokerHook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fresh, h.ready = cl, make(chan struct{})
}

func (h *brokerHook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, reasons []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cl == h.fresh { // to everything, with one packet
		close(h.ready)
		h.fresh = nil
	}
	for i, f := range pk.Filters {
		if reasons[i] < 0x80 {
			h.subscribed[f.Filter]++
		}
	}
}

func (h *brokerHook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	topic, err := protocol.ParseTopic(pk.TopicName)
	if err != nil || pk.FixedHeader.Qos != 1 || pk.FixedHeader.Retain {
		return pk, packets.ErrNotAuthorized
	}
	h.mu.Lock()
	refuse := h.refuse > 0 && topic.Kind.IsAck()
	if refuse {
		h.refuse--
		h.refused++
	}
	h.mu.Unlock()
	if refuse {
		return pk, packets.ErrUnspecifiedError
	}
	h.deliver(topic, pk.Payload, false)
	return pk, nil
}

func (h *brokerHook) OnWillSent(_ *mqtt.Client, pk packets.Packet) {
	if topic, err := protocol.ParseTopic(pk.TopicName); err == nil {
		h.deliver(topic, pk.Payload, true)
	}
}

func (h *brokerHook) deliver(topic protocol.Topic, payload []byte, will bool) {
	env, err := protocol.Decode(topic, payload)
	if err == nil {
		h.in <- received{env, will}
	}
}

func (h *brokerHook) counts() (refused, denied int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused, h.denied
}

func startBroker(t *testing.T, addr string, hook *brokerHook) *testBroker {
	t.Helper()
	return startBrokerOn(t, listen(t, addr), hook)
}

// listen listens on the address. After a restart of the broker, its port may be taken for a moment.
func listen(t *testing.T, addr string) (l net.Listener) {
	t.Helper()
	var err error
	if !eventually(func() bool {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
		return !errors.Is(err, syscall.EADDRINUSE)
	}) || err != nil {
		t.Fatal(err)
	}
	return l
}

func startBrokerOn(t *testing.T, l net.Listener, hook *brokerHook) *testBroker {
	t.Helper()
	server := mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	if err := server.AddListener(mqtttest.NewListener(server, "t", l)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(func() { _ = server.Close() })
	t.Cleanup(closeOnce)
	return &testBroker{t: t, server: server, addr: l.Addr().String(), hook: hook, close: closeOnce}
}

// send sends a command once the node's newest connection has subscribed: over a new connection, an
// ACK may arrive before the SUBSCRIBE.
func (b *testBroker) send(kind protocol.Kind, requestID string, payload any) {
	b.t.Helper()
	b.hook.mu.Lock()
	ready := b.hook.ready
	b.hook.mu.Unlock()
	select {
	case <-ready:
	case <-time.After(patience):
		b.t.Fatal("the node does not subscribe")
	}
	topic, data := commandOf(b.t, kind, requestID, payload)
	if err := b.server.Publish(topic, data, false, 1); err != nil {
		b.t.Fatal(err)
	}
}

// next returns the next message of one of the kinds and skips others.
func (b *testBroker) next(kinds ...protocol.Kind) received {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case r := <-b.hook.in:
			if slices.Contains(kinds, r.env.Type) {
				return r
			}
		case <-timeout:
			b.t.Fatalf("no message of %v", kinds)
		}
	}
}

// wantAck checks that the next ACK of the kind has the request id and status, and returns it.
func (b *testBroker) wantAck(kind protocol.Kind, requestID string, status protocol.AckStatus) received {
	b.t.Helper()
	r := b.next(kind)
	if ack := ackOf(b.t, r.env.Payload); r.env.RequestID != requestID || ack.Status != status {
		b.t.Fatalf("%s for %s: %+v, want %s for %s", kind, r.env.RequestID, ack, status, requestID)
	}
	return r
}

func eventOf(t *testing.T, r received) protocol.Event {
	t.Helper()
	var e protocol.Event
	if err := json.Unmarshal(r.env.Payload, &e); err != nil {
		t.Fatal(err)
	}
	return e
}
