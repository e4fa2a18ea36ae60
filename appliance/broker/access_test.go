package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/ingress"
	"wfm/hooks"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

func bothVersions(t *testing.T, fn func(t *testing.T, version byte)) {
	t.Helper()
	for _, v := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { fn(t, v) })
	}
}

func TestOnlyTheNodesOwnIdentityIsLetIn(t *testing.T) {
	f := start(t, Limits{})
	a := f.a.login()
	for name, change := range map[string]func(l *mqtttest.Login){
		"wrong password":          func(l *mqtttest.Login) { l.Password = "x" },
		"no password":             func(l *mqtttest.Login) { l.Password = "" },
		"no user":                 func(l *mqtttest.Login) { l.Username, l.Password = "", "" },
		"unknown user":            func(l *mqtttest.Login) { l.Username = "node_c" },
		"another node's id":       func(l *mqtttest.Login) { l.ClientID = "wfm-node_b" },
		"another node's user":     func(l *mqtttest.Login) { l.Username, l.ClientID = "node_b", "wfm-node_b" },
		"id without prefix":       func(l *mqtttest.Login) { l.ClientID = "node_a" },
		"id inline":               func(l *mqtttest.Login) { l.ClientID = "inline" },
		"id backend":              func(l *mqtttest.Login) { l.ClientID = "backend" },
		"no id":                   func(l *mqtttest.Login) { l.ClientID = "" },
		"will on a foreign topic": func(l *mqtttest.Login) { l.WillTopic = f.b.topic(protocol.KindEvent) },
		"will on a command topic": func(l *mqtttest.Login) { l.WillTopic = f.a.topic(protocol.KindControl) },
		"will on the heartbeat":   func(l *mqtttest.Login) { l.WillTopic = f.a.topic(protocol.KindHeartbeat) },
		"retained will": func(l *mqtttest.Login) {
			l.WillTopic, l.WillRetain = f.a.topic(protocol.KindEvent), true
		},
		"will of QoS 2": func(l *mqtttest.Login) {
			l.WillTopic, l.WillQos = f.a.topic(protocol.KindEvent), 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, v byte) {
				l := a
				l.WillPayload = []byte("{}")
				change(&l)
				c := mqtttest.Dial(t, f.Addr(), v)
				ack := c.Connect(l)
				if ack.ReasonCode == 0 {
					t.Fatal("let in")
				}
				if v == 4 && ack.ReasonCode > 5 {
					t.Errorf("return code %d is none of MQTT 3.1.1", ack.ReasonCode)
				}
				c.Rest()
			})
		})
	}
	f.nothingLeft(t, f.a)
}

func TestWrongPasswordHasTheStandardsCode(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.Password = "x"
	bothVersions(t, func(t *testing.T, v byte) {
		want := map[byte]byte{4: 5, 5: packets.ErrBadUsernameOrPassword.Code}[v]
		if ack := mqtttest.Dial(t, f.Addr(), v).Connect(l); ack.ReasonCode != want {
			t.Errorf("code %#x, want %#x", ack.ReasonCode, want)
		}
	})
}

func TestOnlyTheFourOwnTopicsCanBeSubscribed(t *testing.T) {
	f := start(t, Limits{})
	bothVersions(t, func(t *testing.T, v byte) {
		c := f.connect(t, f.a, v)
		own := "wfm/cfg_x/node_a/control"
		refused := []string{
			"#", "+/#", "wfm/#", "wfm/+/+/control", "wfm/cfg_x/node_a/#", "wfm/cfg_x/node_a/+", "wfm/cfg_x/node_b/control",
			"wfm/cfg_x/node_a/heartbeat", "wfm/cfg_x/node_a/control/ack", "$share/g/" + own, "$SHARE/g/" + own, "$share/g/#",
			"$SYS/#", "$SYS/broker/version", own + "/", "/" + own, "wfm//node_a/control", "WFM/cfg_x/node_a/control",
		}
		for i, code := range c.Subscribe(9, refused...) {
			if code < 0x80 {
				t.Errorf("%s was granted (%#x)", refused[i], code)
			}
		}
	})
}

func TestOnlyTheSixOwnTopicsCanBePublished(t *testing.T) {
	f := start(t, Limits{})
	b := f.connect(t, f.b, 5)
	for _, topic := range append(protocol.SubscribeTopics("cfg_x", "node_b"), append(protocol.PublishTopics("cfg_x", "node_b"),
		"wfm/cfg_x/node_a/control", "wfm/cfg_x/node_a/x", "other", "$SYS/broker/version", "wfm/cfg_x/node_a/event/x")...) {
		c := f.connect(t, f.a, 5)
		c.Publish(topic, []byte("{}"), 0, 0)
		c.Publish(topic, []byte("{}"), 1, 7)
		c.Disconnect() // the broker does not answer at all to some topics, $SYS for one
		for _, pk := range c.Rest() {
			if pk.FixedHeader.Type == packets.Puback && pk.ReasonCode < 0x80 {
				t.Errorf("publish to %s was acknowledged", topic)
			}
		}
	}
	b.Ping()
	b.Disconnect()
	for _, pk := range b.Rest() {
		t.Errorf("node B got a packet of type %d from node A", pk.FixedHeader.Type)
	}
	if len(f.received) != 0 {
		t.Errorf("a message on a foreign topic was taken: %s", <-f.received)
	}
	c := f.connect(t, f.a, 5)
	for i, topic := range protocol.PublishTopics("cfg_x", "node_a") {
		c.Publish(topic, []byte("{}"), 1, uint16(10+i))
		if pk := c.Expect(packets.Puback); pk.ReasonCode != 0 {
			t.Errorf("publish to own %s: %#x", topic, pk.ReasonCode)
		}
	}
}

func TestNothingANodePublishesReachesAnotherClient(t *testing.T) {
	f := start(t, Limits{})
	// Even if another client were subscribed to the topic by some fault of ours.
	b := f.connect(t, f.b, 5)
	f.server.Topics.Subscribe("wfm-node_b", packets.Subscription{Filter: f.a.topic(protocol.KindEvent), Qos: 1})
	fanned := f.watch(f.a.topic(protocol.KindEvent))
	a := f.connect(t, f.a, 5)
	a.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 1, 5)
	a.Expect(packets.Puback)
	a.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 0, 0)
	a.Ping()
	b.Ping()
	b.Disconnect()
	if rest := b.Rest(); len(rest) != 0 || fanned.Load() != 0 {
		t.Errorf("node B got %d packets; %d messages were fanned out", len(rest), fanned.Load())
	}
}

func TestRevokedGrantEndsEverythingAtOnce(t *testing.T) {
	unwatched := &unwatchedGrants{}
	f := startWith(t, Limits{}, func(g hooks.Grants) hooks.Grants { unwatched.Grants = g; return unwatched })
	c := f.connect(t, f.a, 5)
	f.await(t, "subscribed node_a")
	f.update(t, func(tx *store.Tx) error { return tx.ResetClient("node_a") })
	// Before the session is ended, the ACL alone holds it already.
	c.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 1, 3)
	if pk := c.Expect(packets.Puback); pk.ReasonCode < 0x80 {
		t.Error("a publish after the reset was acknowledged")
	}
	unwatched.settle([]string{"node_a"})
	c.Rest()
	f.nothingLeft(t, f.a)
	if ack := mqtttest.Dial(t, f.Addr(), 5).Connect(f.a.login()); ack.ReasonCode == 0 {
		t.Error("the old credentials still work")
	}
	f.await(t, "disconnected node_a")
	unwatched.settle([]string{"node_a"}) // without a session
}

// unwatchedGrants leaves it to the test when the broker learns of a change.
type unwatchedGrants struct {
	hooks.Grants
	settle func(nodeIDs []string)
}

func (g *unwatchedGrants) WatchGrants(settle func([]string)) (stop func()) {
	g.settle = settle
	return func() {}
}

// The store and the broker hold the rule between them: no caller has to see to it.
func TestARightThatEndsEndsItsSessionBeforeTheUpdateReturns(t *testing.T) {
	node := func(change func(*store.Node)) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			if err != nil {
				return err
			}
			change(&n)
			return tx.PutNode(&n)
		}
	}
	for name, end := range map[string]func(tx *store.Tx) error{
		"client reset":     func(tx *store.Tx) error { return tx.ResetClient("node_a") },
		"node disabled":    node(func(n *store.Node) { n.Enabled = false }),
		"node made static": node(func(n *store.Node) { n.Type = store.NodeStatic }),
		"node deleted":     func(tx *store.Tx) error { return tx.DeleteNode("node_a") },
		"config disabled": func(tx *store.Tx) error {
			c, err := tx.Config("cfg_x")
			if err != nil {
				return err
			}
			c.Enabled = false
			return tx.PutConfig(&c)
		},
		"config deleted": func(tx *store.Tx) error { return tx.DeleteConfig("cfg_x") },
		"bound anew": func(tx *store.Tx) error {
			token, _, err := tx.IssueBindToken("node_a", time.Minute)
			if err != nil {
				return err
			}
			_, err = tx.Bind(token, store.Client{})
			return err
		},
		"disabled and enabled at once": func(tx *store.Tx) error {
			if err := node(func(n *store.Node) { n.Enabled = false })(tx); err != nil {
				return err
			}
			return node(func(n *store.Node) { n.Enabled = true })(tx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, Limits{})
			c := f.connect(t, f.a, 5)
			f.await(t, "subscribed node_a")
			f.update(t, end)
			if f.Broker.Connected("node_a") {
				t.Error("the session is still there")
			}
			f.nothingLeft(t, f.a)
			if pk := c.Rest(); len(pk) != 1 || pk[0].ReasonCode != packets.ErrAdministrativeAction.Code {
				t.Errorf("the client got %v", pk)
			}
		})
	}
}

// A session of the new right is none of the change that gave it.
func TestAChangeOfRightsLeavesOtherSessionsAlone(t *testing.T) {
	unwatched := &unwatchedGrants{}
	f := startWith(t, Limits{}, func(g hooks.Grants) hooks.Grants { unwatched.Grants = g; return unwatched })
	fresh := f.account(t, "node_a")
	a, b := f.connect(t, fresh, 5), f.connect(t, f.b, 5)
	unwatched.settle([]string{"node_a"}) // later than its session
	a.Ping()
	f.update(t, func(tx *store.Tx) error { return tx.DeleteNode("node_a") })
	unwatched.settle([]string{"node_a"})
	a.Rest()
	b.Ping()
}

// watch counts the broker's messages on the topic, to any receiver.
func (f *fixture) watch(topic string) *atomic.Int32 {
	n := new(atomic.Int32)
	f.server.Topics.InlineSubscribe(mqtt.InlineSubscription{
		Subscription: packets.Subscription{Filter: topic, Identifier: 1},
		Handler:      func(*mqtt.Client, packets.Subscription, packets.Packet) { n.Add(1) },
	})
	return n
}

// revokingGrants takes the grant away right after it was used to authenticate.
type revokingGrants struct {
	hooks.Grants
	calls atomic.Int32
}

func (g *revokingGrants) Grant(id string) (store.Grant, bool) {
	grant, ok := g.Grants.Grant(id)
	return grant, ok && g.calls.Add(1) == 1
}

func TestResetBetweenAuthenticationAndSessionIsNotMissed(t *testing.T) {
	f := startWith(t, Limits{}, func(g hooks.Grants) hooks.Grants { return &revokingGrants{Grants: g} })
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.SendConnect(f.a.login())
	for _, pk := range c.Rest() {
		if pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0 {
			t.Error("a session began with a grant that was gone")
		}
	}
	for f.Sessions() != 0 { // it ends without an event, since it never began
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the connection was never let go of")
		}
	}
	f.nothingLeft(t, f.a)
}

func TestASessionOfTheOldPasswordMayNothingAfterABind(t *testing.T) {
	unwatched := &unwatchedGrants{}
	f := startWith(t, Limits{}, func(g hooks.Grants) hooks.Grants { unwatched.Grants = g; return unwatched })
	c := f.connect(t, f.a, 5)
	f.account(t, "node_a")
	c.Publish(f.a.topic(protocol.KindEvent), []byte("{}"), 1, 3)
	if pk := c.Expect(packets.Puback); pk.ReasonCode < 0x80 {
		t.Error("a session of the old password may still publish")
	}
}

func TestMessageIsStoredBeforePuback(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		v5     int // PUBACK reason code
		v4     int // PUBACK 0, or -1 for a closed connection
	}{
		"stored":                {nil, 0, 0},
		"refused for good":      {fmt.Errorf("odd message: %w", ingress.ErrRefused), 0x99, 0},
		"could not be stored":   {errors.New("disk full"), 0x97, -1},
		"with a code in it":     {fmt.Errorf("wrapped: %w", packets.ErrQuotaExceeded), 0x97, -1},
		"with the reject in it": {fmt.Errorf("wrapped: %w", packets.ErrRejectPacket), 0x97, -1},
		"with success in it":    {fmt.Errorf("wrapped: %w", packets.CodeSuccessIgnore), 0x97, -1},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Limits{})
			f.answer(tc.answer)
			bothVersions(t, func(t *testing.T, v byte) {
				c := f.connect(t, f.a, v)
				c.Publish(f.a.topic(protocol.KindHeartbeat), []byte("{}"), 1, 42)
				want := tc.v5
				if v == 4 {
					want = tc.v4
				}
				if want < 0 {
					for _, pk := range c.Rest() {
						t.Errorf("got a packet of type %d before the connection was closed", pk.FixedHeader.Type)
					}
					return
				}
				if pk := c.Expect(packets.Puback); int(pk.ReasonCode) != want || pk.PacketID != 42 {
					t.Errorf("PUBACK %#x for id %d, want %#x", pk.ReasonCode, pk.PacketID, want)
				}
				c.Ping()
			})
		})
	}
}

func TestWillIsStoredAndNeverPublished(t *testing.T) {
	f := start(t, Limits{})
	bothVersions(t, func(t *testing.T, v byte) {
		l := f.a.login()
		l.WillTopic, l.WillPayload, l.WillQos = f.a.topic(protocol.KindEvent), []byte("{}"), 1
		if v == 5 {
			l.WillDelay = 3600 // would outlive the session
			l.Properties = packets.Properties{SessionExpiryInterval: 7200, SessionExpiryIntervalFlag: true}
		}
		b := f.connect(t, f.b, 5)
		f.server.Topics.Subscribe("wfm-node_b", packets.Subscription{Filter: l.WillTopic, Qos: 1})
		fanned := f.watch(l.WillTopic)
		c := mqtttest.Dial(t, f.Addr(), v)
		if ack := c.Connect(l); ack.ReasonCode != 0 {
			t.Fatalf("CONNACK %#x", ack.ReasonCode)
		}
		_ = c.Close()
		f.await(t, "will node_a")
		f.await(t, "disconnected node_a")
		b.Ping()
		b.Disconnect()
		if rest := b.Rest(); len(rest) != 0 || fanned.Load() != 0 {
			t.Errorf("the will was published")
		}
		f.nothingLeft(t, f.a)
	})
}

func TestCleanDisconnectSendsNoWill(t *testing.T) {
	f := start(t, Limits{})
	l := f.a.login()
	l.WillTopic, l.WillPayload = f.a.topic(protocol.KindEvent), []byte("{}")
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.Connect(l)
	// A session expiry at the end of a session that has none is let pass as the DISCONNECT it is.
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Disconnect},
		Properties:  packets.Properties{SessionExpiryInterval: 3600, SessionExpiryIntervalFlag: true},
	})
	if e := f.await(t, "will", "superseded", "disconnected node_a"); e != "disconnected node_a: disconnected by the client" {
		t.Errorf("a clean DISCONNECT led to: %s", e)
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	f := start(t, Limits{})
	const payload = "PrivateKey-in-a-payload"
	l := f.a.login()
	l.WillTopic, l.WillPayload = f.a.topic(protocol.KindEvent), []byte(payload)
	for _, answer := range []error{nil, ingress.ErrRefused, errors.New("full")} {
		f.answer(answer)
		bothVersions(t, func(t *testing.T, v byte) {
			c := mqtttest.Dial(t, f.Addr(), v)
			c.Connect(l)
			c.Publish(f.a.topic(protocol.KindEvent), []byte(payload), 1, 1)
			c.Publish(f.a.topic(protocol.KindEvent), []byte(payload), 2, 1)
			c.SendConnect(l)
			c.SendRaw([]byte{0x30, 0x05, 0xff, 0xff, 'P', 'r', 'i'})
			c.Rest()
			f.await(t, "disconnected node_a")
		})
	}
	c := mqtttest.Dial(t, f.Addr(), 5)
	c.Connect(l)
	c.SendConnect(l)
	c.Rest()
	bad := l
	bad.ClientID = strings.Repeat("i", 5000)
	mqtttest.Dial(t, f.Addr(), 5).Connect(bad)
	out := f.log.String()
	if !strings.Contains(out, "broker: ") {
		t.Error("the broker's own log is not connected, so this test shows nothing")
	}
	for _, secret := range []string{f.a.password, payload, strings.Repeat("i", 200)} {
		if strings.Contains(out, secret) {
			t.Errorf("the log holds %.30q…", secret)
		}
	}
}
