package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

var (
	downstream = []string{"config/push", "control", "detect", "info"}
	upstream   = []string{"config/push/ack", "control/ack", "detect/ack", "info/ack", "event", "heartbeat"}
)

// crossing marks the attacker's messages: it must not appear anywhere.
const crossing = "crossing the border"

// topicShapes returns topics and filters of the attacker's own node and of others, in every
// spelling that a broker might mistake for another node's topic.
func topicShapes(nodes ...*apptest.Node) (shapes []string) {
	seen := map[string]bool{}
	add := func(all ...string) {
		for _, s := range all {
			if !seen[s] {
				seen[s] = true
				shapes = append(shapes, s)
			}
		}
	}
	suffixes := append(append([]string{"", "ack", "status", "config", "control/x", "event/ack"}, downstream...), upstream...)
	for _, n := range nodes {
		for _, suffix := range suffixes {
			topic := n.Topic(suffix)
			//nolint:staticcheck // ASCII
			add(topic, "/"+topic, "//"+topic, topic+"/", topic+"//", topic+"/#", topic+"/+", topic+"#", topic+"+", strings.ToUpper(topic), strings.Title(topic),
				"$share/g/"+topic, "$share/g//"+topic, "$SHARE/g/"+topic, "$share//"+topic, "$share/+/"+topic, "$share/"+topic, "$queue/"+topic, "$exclusive/"+topic,
				"$SYS/"+topic, "$"+topic,
				" "+topic, topic+" ", topic+"\x00", "\x00"+topic, topic+"\n", "\ufeff"+topic, topic+"\ufeff", strings.ReplaceAll(topic, "/",
					"//"), strings.ReplaceAll(topic, "/", "%2F"),
				strings.ReplaceAll(topic, "/", "\\"), strings.ReplaceAll(topic, "/", "\u2215"), "wfm/../"+topic, "wfm/./"+strings.TrimPrefix(topic,
					"wfm/"), "x/"+topic, "+/"+topic, topic+"?x", topic+".")
			levels := strings.Split(topic, "/")
			for i := range levels {
				one := append([]string(nil), levels...)
				one[i] = "+"
				add(strings.Join(one, "/"), strings.Join(append(levels[:i:i], "#"), "/"))
				one[i] = ""
				add(strings.Join(one, "/"), strings.Join(levels[:i], "/"))
			}
		}
	}
	add("#", "+", "+/#", "/#", "+/+", "+/+/+/+", "+/+/+/+/+", "wfm/#", "wfm/+/+/+", "$SYS", "$SYS/#", "$sys/#", "$SYS/broker/clients/connected", "$share/g/#",
		"$share/g/+/+/+/+", "$share", "$share/", "$share/g",
		"", "/", "//", strings.Repeat("a/", 200), strings.Repeat("+/", 100)+"#", strings.Repeat("x", 60_000), "\x00", "\u0001", "wfm", "wfm/")
	return shapes
}

// attacker is a node that tries forbidden operations.
type attacker struct {
	*testing.T
	a       *apptest.Appliance
	own     *apptest.Node
	login   mqtttest.Login
	version byte

	c       *mqtttest.Client // nil if there is no connection
	sent    int              // over c
	granted int
	tried   int
}

// connection returns the node's connection. It makes a new one if the last was closed or slowed
// down.
func (x *attacker) connection() *mqtttest.Client {
	x.Helper()
	if x.c != nil && x.sent > 150 {
		x.drop()
	}
	if x.c == nil {
		x.c, x.sent = mqtttest.Dial(x, mqttAddr(x.T, x.a), x.version), 0
		if code := x.c.Connect(x.login).ReasonCode; code != 0 {
			x.Fatalf("MQTT %d: the attacker is not admitted as itself: %#x", x.version, code)
		}
	}
	x.sent++
	return x.c
}

func (x *attacker) drop() {
	if x.c != nil {
		x.c.Disconnect()
		x.c.Rest()
		x.c = nil
	}
}

// answer returns the next packet of the kind, or false if the connection was closed instead.
func (x *attacker) answer(c *mqtttest.Client, kind byte) (packets.Packet, bool) {
	for {
		pk, err := c.Next()
		if err != nil || pk.FixedHeader.Type == packets.Disconnect {
			x.c = nil
			_ = c.Close()
			return pk, false
		}
		if pk.FixedHeader.Type == packets.Publish {
			x.Errorf("MQTT %d: the attacker receives a message on %q: %s", x.version, pk.TopicName, pk.Payload)
		}
		if pk.FixedHeader.Type == kind {
			return pk, true
		}
	}
}

// payload returns a valid payload for the topic if the topic is one of a node's.
func (x *attacker) payload(topic string) []byte {
	parts := strings.SplitN(topic+"///", "/", 4)
	kind := strings.TrimRight(parts[3], "/")
	return []byte(fmt.Sprintf(`{"type":%q,"request_id":"req_x","config_id":%q,"node_id":%q,"payload":{"status":"applied","level":"info","event":%q,"message":%q}}`,
		kind, parts[1], parts[2], crossing, crossing))
}

// try makes one attempt and compares its outcome with the node's rights.
func (x *attacker) try(way, topic string) {
	x.Helper()
	x.tried++
	var done, may bool
	switch way {
	case "subscribe":
		may = x.mine(topic, downstream)
		c := x.connection()
		c.Send(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: []packets.Subscription{{Filter: topic, Qos: 1}},
		})
		pk, ok := x.answer(c, packets.Suback)
		done = ok && len(pk.ReasonCodes) == 1 && pk.ReasonCodes[0] < 0x80
	case "publish":
		may = x.mine(topic, upstream)
		c := x.connection()
		c.Publish(topic, x.payload(topic), 1, 2)
		pk, ok := x.answer(c, packets.Puback)
		done = ok && pk.ReasonCode < 0x80
	case "will":
		may = x.mine(topic, []string{"event"}) || topic == "" // an empty topic means no will in this test
		x.drop()
		login := x.login
		login.WillTopic, login.WillPayload, login.WillQos = topic, x.payload(topic), 1
		c := mqtttest.Dial(x, mqttAddr(x.T, x.a), x.version)
		c.SendConnect(login)
		pk, ok := x.answer(c, packets.Connack)
		done = ok && pk.ReasonCode == 0
		_ = c.Close() // without DISCONNECT
	}
	if done {
		x.granted++
	}
	if done != may {
		x.Errorf("MQTT %d: %s %.100q: %t, want %t", x.version, way, topic, done, may)
	}
}

func (x *attacker) mine(topic string, suffixes []string) bool {
	for _, s := range suffixes {
		if topic == x.own.Topic(s) {
			return true
		}
	}
	return false
}

// witness is a connection of another node. It records everything that arrives there and answers
// commands.
func witness(t *testing.T, n *apptest.Node, login mqtttest.Login) (received func() []string) {
	t.Helper()
	c := mqtttest.Dial(t, mqttAddr(t, n.Appliance), 5)
	c.Connect(login)
	for i, s := range downstream {
		c.Subscribe(uint16(i+1), n.Topic(s))
	}
	var mu sync.Mutex
	var got []string
	go func() {
		for {
			pk, err := c.Next()
			if errors.Is(err, os.ErrDeadlineExceeded) { // nothing came for a while
				c.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
				continue
			}
			if err != nil {
				return
			}
			if pk.FixedHeader.Type == packets.Publish {
				mu.Lock()
				got = append(got, requestID(pk.Payload))
				mu.Unlock()
				c.Publish(n.Topic("control/ack"), []byte(envelope(n, "control/ack", requestID(pk.Payload), `{"status":"applied","message":"done"}`)), 1, 7)
			}
		}
	}()
	return func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), got...) }
}

// TestTortureANodeCrossesToNoOther tries every shape of topic as a subscription, a publication and a
// last will, with each version of MQTT, while other nodes get commands. The short form tries a sample.
func TestTortureANodeCrossesToNoOther(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "", "WFM_LOG_LEVEL=error")
	home, away := a.AddConfig(t, "home"), a.AddConfig(t, "away")
	add := func(config, name string) (*apptest.Node, mqtttest.Login) {
		id, login := bindRaw(t, a, config, name)
		login.WillTopic = ""
		return &apptest.Node{Appliance: a, ConfigID: config, ID: id}, login
	}
	own, login := add(home, "attacker")
	sibling, siblingLogin := add(home, "sibling")
	foreign, foreignLogin := add(away, "foreign")
	quiet, _ := add(home, "quiet")
	atSibling, atForeign := witness(t, sibling, siblingLogin), witness(t, foreign, foreignLogin)
	shapes := topicShapes(own, sibling, foreign, quiet, &apptest.Node{ConfigID: away, ID: own.ID}, &apptest.Node{ConfigID: home, ID: foreign.ID})
	step := max(1, 40/tortureFactor(t))
	var commands []string
	tried, granted := 0, 0
	for version := byte(3); version <= 5; version++ {
		for offset, way := range []string{"subscribe", "publish", "will"} {
			x := &attacker{T: t, a: a, own: own, login: login, version: version}
			for i := offset + 3*int(version); i < len(shapes); i += step {
				if x.tried%50 == 0 { // while the attacker keeps its granted subscriptions
					for _, n := range []*apptest.Node{sibling, foreign} {
						commands = append(commands, n.Control(t, "stop")["request_id"].(string))
					}
				}
				x.try(way, shapes[i])
			}
			for _, s := range append(append([]string(nil), downstream...), upstream...) { // permitted operations work
				x.try(way, own.Topic(s))
			}
			x.drop()
			tried, granted = tried+x.tried, granted+x.granted
		}
	}
	all := strings.Join(append(atSibling(), atForeign()...), " ")
	for _, id := range commands {
		if strings.Count(all, id) != 1 {
			t.Errorf("command %s came to the witnesses %d times", id, strings.Count(all, id))
		}
		all = strings.Replace(all, id, "", 1)
	}
	if rest := strings.TrimSpace(all); rest != "" {
		t.Errorf("the witnesses received what the appliance did not send: %q", rest)
	}
	for _, n := range []*apptest.Node{sibling, foreign, quiet} {
		body := a.Call(t, "GET", n.Path("endpoint/events?limit=200"), nil).Body
		if strings.Contains(body, crossing) || strings.Contains(body, "message_refused") {
			t.Errorf("the attacker left something in the journal of another node: %s", body)
		}
	}
	t.Logf("%d attempts with %d shapes, %d granted, all its own; %d commands went to the witnesses only", tried, len(shapes), granted, len(commands))
}
