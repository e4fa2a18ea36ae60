package appliance

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/broker"
	"wfm/appliance/ingress"
	"wfm/internal/emqxcall"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// mqttDoors are the two doors to MQTT over one store: the embedded broker, and the answers to the
// questions of an EMQX.
type mqttDoors struct {
	t        *testing.T
	db       *store.DB
	broker   *broker.Broker
	handler  http.Handler
	password map[string]string // by node
}

// takesAll takes every message.
type takesAll struct{}

func (takesAll) Receive(ingress.Session, protocol.Topic, []byte) error { return nil }
func (takesAll) Will(ingress.Session, []byte, ingress.WillCause)       {}
func (takesAll) Connected(ingress.Session)                             {}
func (takesAll) Subscribed(ingress.Session)                            {}
func (takesAll) Disconnected(ingress.Session, string)                  {}

const doorKey = "key-of-the-door"

func openMQTTDoors(t *testing.T) *mqttDoors {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d := &mqttDoors{t: t, db: db, password: make(map[string]string)}
	d.broker, err = broker.New(t.Context(), broker.Options{Addr: "127.0.0.1:0", Grants: db, Ingress: takesAll{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.broker.Stop(t.Context()) })
	d.handler = web.New(web.Options{
		Store: db, Broker: nowhere{}, MQTTEnabled: true, Asked: &web.ExternalBroker{Key: emqxcall.NewKey(doorKey)},
	}).Handler()
	d.update(func(tx *store.Tx) error {
		return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard})
	})
	for _, id := range []string{"node_a", "node_b", "node_off", "node_reset"} {
		d.update(func(tx *store.Tx) error {
			n := store.Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}
			if err := tx.PutNode(&n); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, time.Minute)
			if err != nil {
				return err
			}
			bound, err := tx.Bind(token, store.Client{})
			d.password[id] = bound.Password
			return err
		})
	}
	d.update(func(tx *store.Tx) error {
		n, err := tx.Node("node_off")
		if err != nil {
			return err
		}
		n.Enabled = false
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		return tx.ResetClient("node_reset")
	})
	return d
}

func (d *mqttDoors) update(fn func(*store.Tx) error) {
	d.t.Helper()
	if err := d.db.Update(fn); err != nil {
		d.t.Fatal(err)
	}
}

// ask asks as EMQX does, and reports whether the answer is allow.
func (d *mqttDoors) ask(path string, question map[string]string) bool {
	d.t.Helper()
	raw, err := json.Marshal(question)
	if err != nil {
		d.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(d.t.Context(), http.MethodPost, path, bytes.NewReader(raw))
	r.Header.Set("x-wfm-internal-key", doorKey)
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	var answer struct{ Result string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Result == "" {
		d.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return answer.Result == "allow"
}

// connect logs in to the embedded broker.
func (d *mqttDoors) connect(clientID, username, password string) (c *mqtttest.Client, ok bool) {
	d.t.Helper()
	c = mqtttest.Dial(d.t, d.broker.Addr(), 5)
	ack := c.Connect(mqtttest.Login{ClientID: clientID, Username: username, Password: password, Keepalive: 60})
	return c, ack.ReasonCode == 0
}

// A rule about logins and topics holds whichever broker asks.
func TestBothDoorsToMQTTAdmitAlike(t *testing.T) {
	t.Parallel()
	d := openMQTTDoors(t)
	for name, tc := range map[string]struct {
		clientID, username, password string
		want                         bool
	}{
		"a node":                            {"wfm-node_a", "node_a", d.password["node_a"], true},
		"wrong password":                    {"wfm-node_a", "node_a", d.password["node_a"] + "x", false},
		"password of another node":          {"wfm-node_a", "node_a", d.password["node_b"], false},
		"client ID of another node":         {"wfm-node_b", "node_a", d.password["node_a"], false},
		"client ID without its prefix":      {"node_a", "node_a", d.password["node_a"], false},
		"longer client ID":                  {"wfm-node_a2", "node_a", d.password["node_a"], false},
		"user name and client ID of others": {"wfm-node_b", "node_b", d.password["node_a"], false},
		"a node that is disabled":           {"wfm-node_off", "node_off", d.password["node_off"], false},
		"a node that was reset":             {"wfm-node_reset", "node_reset", d.password["node_reset"], false},
		"a node that never was":             {"wfm-node_c", "node_c", d.password["node_a"], false},
		"a user that is no node":            {"somebody", "somebody", "secret", false},
	} {
		c, embedded := d.connect(tc.clientID, tc.username, tc.password)
		if embedded {
			c.Disconnect()
		}
		asked := d.ask("/api/internal/emqx/auth", map[string]string{"clientid": tc.clientID, "username": tc.username, "password": tc.password})
		if embedded != tc.want || asked != tc.want {
			t.Errorf("%s: the embedded broker admits %v, EMQX is to admit %v, want %v", name, embedded, asked, tc.want)
		}
	}
}

func TestBothDoorsToMQTTAllowTheSameTopics(t *testing.T) {
	t.Parallel()
	d := openMQTTDoors(t)
	type use struct {
		subscribe bool
		topic     string
	}
	// Retained messages are no case here: EMQX would keep them and must refuse them, while the embedded
	// broker takes them and keeps nothing.
	cases := map[use]bool{
		{topic: "wfm/cfg_a/node_b/event"}:                             false,
		{topic: "wfm/cfg_b/node_a/event"}:                             false,
		{topic: "wfm/cfg_a/node_a/event/x"}:                           false,
		{topic: "wfm/cfg_a/node_a/other"}:                             false,
		{topic: "wfm/cfg_a/node_a"}:                                   false,
		{topic: "/wfm/cfg_a/node_a/event"}:                            false,
		{topic: "$SYS/broker"}:                                        false,
		{subscribe: true, topic: "wfm/cfg_a/node_b/control"}:          false,
		{subscribe: true, topic: "wfm/cfg_a/node_a/#"}:                false,
		{subscribe: true, topic: "wfm/cfg_a/node_a/+"}:                false,
		{subscribe: true, topic: "wfm/cfg_a/+/control"}:               false,
		{subscribe: true, topic: "wfm/#"}:                             false,
		{subscribe: true, topic: "#"}:                                 false,
		{subscribe: true, topic: "$SYS/#"}:                            false,
		{subscribe: true, topic: "$share/g/wfm/cfg_a/node_a/control"}: false,
	}
	publish, subscribe := protocol.PublishTopics("cfg_a", "node_a"), protocol.SubscribeTopics("cfg_a", "node_a")
	for _, topic := range publish {
		cases[use{topic: topic}] = true
		cases[use{subscribe: true, topic: topic}] = false
	}
	for _, topic := range subscribe {
		cases[use{subscribe: true, topic: topic}] = true
		cases[use{topic: topic}] = false
	}
	for tc, want := range cases {
		c, ok := d.connect("wfm-node_a", "node_a", d.password["node_a"])
		if !ok {
			t.Fatal("the node cannot log in")
		}
		embedded, action := false, "publish"
		if tc.subscribe {
			action = "subscribe"
			embedded = c.Subscribe(1, tc.topic)[0] < 0x80
		} else {
			c.Send(packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: tc.topic, Payload: []byte("{}"), PacketID: 7,
			})
			answer, err := c.Next()
			embedded = err == nil && answer.FixedHeader.Type == packets.Puback && answer.ReasonCode < 0x80
		}
		asked := d.ask("/api/internal/emqx/authz", map[string]string{
			"clientid": "wfm-node_a", "username": "node_a", "action": action, "topic": tc.topic, "retain": "false",
		})
		if embedded != want || asked != want {
			t.Errorf("%s %s: the embedded broker allows %v, EMQX is to allow %v, want %v", action, tc.topic, embedded, asked, want)
		}
	}
}

func TestBothDoorsToMQTTCloseWhenARightEnds(t *testing.T) {
	t.Parallel()
	d := openMQTTDoors(t)
	c, ok := d.connect("wfm-node_a", "node_a", d.password["node_a"])
	event := map[string]string{"clientid": "wfm-node_a", "username": "node_a", "action": "publish", "topic": "wfm/cfg_a/node_a/event"}
	if !ok || !d.ask("/api/internal/emqx/authz", event) {
		t.Fatal("a bound node is refused")
	}
	d.update(func(tx *store.Tx) error { return tx.ResetClient("node_a") })
	if d.ask("/api/internal/emqx/authz", event) {
		t.Error("EMQX is to allow a node that was reset")
	}
	for _, pk := range c.Rest() {
		if pk.FixedHeader.Type != packets.Disconnect {
			t.Errorf("after the reset the session got a packet of type %d", pk.FixedHeader.Type)
		}
	}
}
