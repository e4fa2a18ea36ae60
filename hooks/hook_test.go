package hooks

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/store"
)

// The broker's tests show the hooks at work on real connections. The tests here check behaviour
// that those cannot observe because another measure covers it.

func TestConnectIsMadeCleanBeforeTheBrokerReadsIt(t *testing.T) {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	h := New(Options{Server: server})
	pk, err := h.OnPacketRead(server.NewClient(nil, "x", "x", false), packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}})
	if err != nil || !pk.Connect.Clean {
		t.Errorf("clean: %v, %v", pk.Connect.Clean, err)
	}
}

// oneGrant is the right of the only node.
type oneGrant store.Grant

func (g oneGrant) Grant(nodeID string) (store.Grant, bool) { return store.Grant(g), nodeID == g.NodeID }

func (oneGrant) WatchGrants(func([]string)) (stop func()) { return func() {} }

func TestWillIsHeldToWhatTheNodeMightPublish(t *testing.T) {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	h := New(Options{Server: server, Grants: oneGrant(store.NewGrant("node_a", "cfg_a", "secret"))})
	cl := server.NewClient(nil, "x", "wfm-node_a", false)
	own := packets.ConnectParams{Username: []byte("node_a"), Password: []byte("secret"), WillFlag: true, WillTopic: "wfm/cfg_a/node_a/event", WillQos: 1}
	for name, change := range map[string]func(*packets.ConnectParams){
		"other node": func(c *packets.ConnectParams) { c.WillTopic = "wfm/cfg_a/node_b/event" },
		"command":    func(c *packets.ConnectParams) { c.WillTopic = "wfm/cfg_a/node_a/control" },
		"retained":   func(c *packets.ConnectParams) { c.WillRetain = true },
		"QoS 2":      func(c *packets.ConnectParams) { c.WillQos = 2 },
	} {
		c := own
		change(&c)
		if code, _ := h.admit(cl, packets.Packet{Connect: c}); code != packets.ErrNotAuthorized {
			t.Errorf("%s: %v", name, code)
		}
	}
	if code, reason := h.admit(cl, packets.Packet{Connect: own}); code != packets.CodeSuccess {
		t.Errorf("the node's own event as will is refused: %s", reason)
	}
}

func TestBrokerLogHoldsNoContent(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(BrokerLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log = log.With("will", "secret-1", "client", "c").WithGroup("g")
	log.Warn("error processing packet", "pk", "secret-2", "packet", []byte("secret-3"), "error", "bad")
	log.Warn("other", slog.Group("nested", "pk", "secret-4"), "error", strings.Repeat("long ", 100)+"secret-5")
	if s := out.String(); strings.Contains(s, "secret") || !strings.Contains(s, "error=bad") || !strings.Contains(s, "client=c") {
		t.Errorf("logged: %s", s)
	}
}

func TestConnackCodesOfMQTT311(t *testing.T) {
	for code := range 256 {
		if got := connackV3(byte(code)); got > 5 || (code != 0 && got == 0) {
			t.Errorf("%#x becomes %d", code, got)
		}
	}
}
