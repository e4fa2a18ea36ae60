package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/emqx"
	"wfm/internal/apptest"
	"wfm/internal/emqxtest"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

// realEMQX is an EMQX that runs somewhere, set up as `wfm emqx config` prints it. See
// docs/development.md.
type realEMQX struct {
	url       *url.URL // of the appliance's listener
	nodes     net.Addr // of the nodes' listener
	api       string
	key       string
	secret    string
	sharedKey string
	appliance string // the HTTP address at which EMQX asks
}

// emqxVariables are the variables that name a real EMQX, each with its default.
var emqxVariables = [][2]string{
	{"WFM_TEST_EMQX_URL", ""},
	{"WFM_TEST_EMQX_NODE_URL", "mqtt://127.0.0.1:1883"},
	{"WFM_TEST_EMQX_API", "http://127.0.0.1:18083"},
	{"WFM_TEST_EMQX_API_KEY", "wfm"},
	{"WFM_TEST_EMQX_API_SECRET", ""},
	{"WFM_TEST_EMQX_SHARED_KEY", ""},
	{"WFM_TEST_EMQX_APPLIANCE", "127.0.0.1:8000"},
}

// emqxNamedBy reads which EMQX to test with; ok is false when none is named.
func emqxNamedBy(t *testing.T, getenv func(string) string) (e realEMQX, ok bool) {
	t.Helper()
	if getenv(emqxVariables[0][0]) == "" {
		return e, false
	}
	value := make(map[string]string)
	for _, v := range emqxVariables {
		if value[v[0]] = getenv(v[0]); value[v[0]] == "" {
			value[v[0]] = v[1]
		}
		if value[v[0]] == "" {
			t.Fatalf("%s is not set; see docs/development.md", v[0])
		}
	}
	var err error
	if e.url, err = url.Parse(value["WFM_TEST_EMQX_URL"]); err != nil {
		t.Fatalf("WFM_TEST_EMQX_URL: %v", err)
	}
	nodes, err := url.Parse(value["WFM_TEST_EMQX_NODE_URL"])
	if err != nil {
		t.Fatalf("WFM_TEST_EMQX_NODE_URL: %v", err)
	}
	if e.nodes, err = net.ResolveTCPAddr("tcp", nodes.Host); err != nil {
		t.Fatalf("WFM_TEST_EMQX_NODE_URL: %v", err)
	}
	e.api, e.key, e.secret = value["WFM_TEST_EMQX_API"], value["WFM_TEST_EMQX_API_KEY"], value["WFM_TEST_EMQX_API_SECRET"]
	e.sharedKey, e.appliance = value["WFM_TEST_EMQX_SHARED_KEY"], value["WFM_TEST_EMQX_APPLIANCE"]
	return e, true
}

func TestARealEMQXIfOneIsNamed(t *testing.T) {
	e, ok := emqxNamedBy(t, os.Getenv)
	if !ok {
		t.Skip("WFM_TEST_EMQX_URL names no EMQX to test with; see docs/development.md")
	}
	testEMQX(t, e)
}

func TestStandInPassesWhatARealEMQXHasToPass(t *testing.T) {
	applianceAddr := "127.0.0.1:" + apptest.FreePort(t)
	s := emqxtest.Start(t, emqxtest.Recommended("http://"+applianceAddr, emqxSharedKey))
	e, ok := emqxNamedBy(t, func(name string) string {
		return map[string]string{
			"WFM_TEST_EMQX_URL": "mqtt://" + s.OwnAddr(), "WFM_TEST_EMQX_NODE_URL": "mqtt://" + s.MQTTAddr(), "WFM_TEST_EMQX_API": s.APIURL(),
			"WFM_TEST_EMQX_API_KEY": emqxtest.APIKey, "WFM_TEST_EMQX_API_SECRET": emqxtest.APISecret,
			"WFM_TEST_EMQX_SHARED_KEY": emqxSharedKey, "WFM_TEST_EMQX_APPLIANCE": applianceAddr,
		}[name]
	})
	if !ok {
		t.Fatal("the stand-in is not named")
	}
	testEMQX(t, e)
}

// emqxTrial is an appliance at an EMQX that is known by its addresses only.
type emqxTrial struct {
	realEMQX
	appliance *apptest.Appliance
	nodes     []store.Bound
}

// testEMQX tries everything the appliance needs of an EMQX.
func testEMQX(t *testing.T, e realEMQX) {
	t.Helper()
	const count = 12
	dir := t.TempDir()
	x := &emqxTrial{realEMQX: e, nodes: seed(t, dir, count)}
	x.appliance = apptest.Start(t, dir, x.env()...)
	x.appliance.Expect(t, "connected to EMQX")
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"doctor", x.doctor},
		{"isolation", x.isolation},
		{"delayed", x.delayed},
		{"burst", func(t *testing.T) { x.burst(t, "burst", x.nodes[1:]) }},
		{"reset", x.reset},
		{"killed session", x.killedSession},
	} {
		if !t.Run(test.name, test.run) {
			t.Logf("the appliance:\n%s", x.appliance.Output())
		}
	}
}

func (x *emqxTrial) env() []string {
	return []string{
		"WFM_HTTP_ADDR=" + x.realEMQX.appliance, "WFM_MQTT_URL=" + x.url.String(), "WFM_EMQX_API_BASE_URL=" + x.api,
		"WFM_EMQX_API_KEY=" + x.key, "WFM_EMQX_API_SECRET=" + x.secret, "WFM_EMQX_AUTHZ_SHARED_KEY=" + x.sharedKey,
	}
}

// call asks EMQX's management API and returns the status.
func (x *emqxTrial) call(t *testing.T, method, path string, answer any) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), apptest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, x.api+"/api/v5"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(x.key, x.secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer != nil && res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, answer); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return res.StatusCode
}

// login logs in over the nodes' listener.
func (x *emqxTrial) login(t *testing.T, clientID, username, password string) (*mqtttest.Client, byte) {
	t.Helper()
	c := mqtttest.Dial(t, x.realEMQX.nodes, 5)
	return c, c.Connect(mqtttest.Login{ClientID: clientID, Username: username, Password: password, Keepalive: 60}).ReasonCode
}

func (x *emqxTrial) agent(t *testing.T, n store.Bound) *mqtttest.Client {
	t.Helper()
	c, code := x.login(t, protocol.ClientID(n.Node.ID), n.Node.ID, n.Password)
	if code != 0 {
		t.Fatalf("login: 0x%02x", code)
	}
	return c
}

func topicOf(n store.Bound, kind protocol.Kind) string {
	return protocol.Topic{ConfigID: n.Node.ConfigID, NodeID: n.Node.ID, Kind: kind}.String()
}

func (x *emqxTrial) doctor(t *testing.T) {
	p := apptest.Spawn(t, x.env(), apptest.Binary("wfm"), "emqx", "doctor")
	if code := p.Wait(t, 2*apptest.Patience); code != exitOK || !strings.Contains(p.Output(), "its own topics, and no others") {
		t.Errorf("%d:\n%s", code, p.Output())
	}
}

func (x *emqxTrial) isolation(t *testing.T) {
	n, other := x.nodes[0], x.nodes[1]
	for name, login := range map[string][3]string{
		"a wrong password":      {protocol.ClientID(n.Node.ID), n.Node.ID, "wrong"},
		"another's client id":   {protocol.ClientID(other.Node.ID), n.Node.ID, n.Password},
		"nobody's client id":    {"somebody", n.Node.ID, n.Password},
		"no password":           {protocol.ClientID(n.Node.ID), n.Node.ID, ""},
		"an unknown user":       {"wfm-node_unknown", "node_unknown", n.Password},
		"neither name nor word": {"anonymous", "", ""},
	} {
		if _, code := x.login(t, login[0], login[1], login[2]); code < 0x80 {
			t.Errorf("a login with %s is taken: 0x%02x", name, code)
		}
	}
	c := x.agent(t, n)
	for i, code := range c.Subscribe(1, protocol.SubscribeTopics(n.Node.ConfigID, n.Node.ID)...) {
		if code >= 0x80 {
			t.Errorf("own topic %d: 0x%02x", i, code)
		}
	}
	foreign := topicOf(other, protocol.KindControl)
	for i, filter := range []string{foreign, "#", "wfm/#", "+/+/+/control", "$SYS/#", "$share/wfm/" + foreign, "$share/g/wfm/+/+/event"} {
		if code := c.Subscribe(uint16(10+i), filter)[0]; code < 0x80 {
			t.Errorf("a node may subscribe to %s: 0x%02x", filter, code)
		}
	}
	for i, kind := range protocol.UpstreamKinds() {
		c.Publish(topicOf(n, kind), []byte(`{"payload":{}}`), 1, uint16(30+i))
		if code := c.Expect(packets.Puback).ReasonCode; code >= 0x80 {
			t.Errorf("own %s: 0x%02x", kind, code)
		}
	}
	for i, topic := range []string{topicOf(other, protocol.KindEvent), foreign, topicOf(n, protocol.KindControl), "elsewhere"} {
		c.Publish(topic, []byte(`{"payload":{}}`), 1, uint16(50+i))
		if code := c.Expect(packets.Puback).ReasonCode; code < 0x80 {
			t.Errorf("a node may publish to %s: 0x%02x", topic, code)
		}
	}
	c.Disconnect()
}

// A message that EMQX holds back would outlive the right of its sender.
func (x *emqxTrial) delayed(t *testing.T) {
	n := x.nodes[0]
	c := x.agent(t, n)
	c.Publish("$delayed/3600/"+topicOf(n, protocol.KindEvent), []byte(`{"payload":{"event":"delayed"}}`), 1, 7)
	c.Expect(packets.Puback)
	var held struct {
		Data []struct{ Topic string }
	}
	x.call(t, http.MethodGet, "/mqtt/delayed/messages?limit=1000", &held)
	for _, m := range held.Data {
		if strings.HasSuffix(m.Topic, topicOf(n, protocol.KindEvent)) {
			t.Errorf("%s is held back", m.Topic)
		}
	}
	c.Disconnect()
}

// burst has the nodes send at once, and expects each one's messages in order, through all sessions.
func (x *emqxTrial) burst(t *testing.T, name string, nodes []store.Bound) {
	t.Helper()
	const each = 40
	ctx, cancel := context.WithTimeout(t.Context(), 2*apptest.Patience)
	defer cancel()
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			s := sender(x.realEMQX.nodes.String(), n)
			if err := s.Send(ctx, burstOf(name, each)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		var got []string
		apptest.Eventually(t, func() bool {
			got = x.journal(t, n, name)
			return len(got) >= each
		}, func() string { return fmt.Sprintf("%d of %d messages of %s are stored", len(got), each, n.Node.ID) })
		for i := range got {
			if want := fmt.Sprintf("m-%d", i); got[i] != want {
				t.Errorf("%s: message %d is %s, want %s", n.Node.ID, i, got[i], want)
				break
			}
		}
	}
}

// journal returns the messages of the node's events with the name, in the order in which they were stored.
func (x *emqxTrial) journal(t *testing.T, n store.Bound, name string) (out []string) {
	t.Helper()
	ans := x.appliance.Call(t, http.MethodGet, fmt.Sprintf("/api/v1/configs/%s/nodes/%s/endpoint/events?limit=200", n.Node.ConfigID, n.Node.ID), nil)
	var page struct{ Data []store.JournalEntry }
	if err := json.Unmarshal([]byte(ans.Body), &page); err != nil {
		t.Fatalf("%s: %v", ans.Body, err)
	}
	for _, e := range slices.Backward(page.Data) {
		if e.Event == name {
			out = append(out, e.Message)
		}
	}
	return out
}

func (x *emqxTrial) reset(t *testing.T) {
	n := x.nodes[0]
	c := x.agent(t, n)
	x.appliance.Must(t, http.MethodPost, fmt.Sprintf("/api/v1/configs/%s/nodes/%s/reset-client", n.Node.ConfigID, n.Node.ID), nil)
	c.Rest()
	if _, code := x.login(t, protocol.ClientID(n.Node.ID), n.Node.ID, n.Password); code < 0x80 {
		t.Errorf("the old password is taken: 0x%02x", code)
	}
}

// ownSessions returns the client ids of the appliance's sessions.
func (x *emqxTrial) ownSessions(t *testing.T) (ids []string) {
	t.Helper()
	var list struct {
		Data []struct {
			ClientID  string
			Connected bool
		}
	}
	x.call(t, http.MethodGet, "/clients?limit=1000&username="+emqx.DefaultUsername, &list)
	for _, c := range list.Data {
		if c.Connected && strings.HasPrefix(c.ClientID, emqx.ClientIDPrefix) {
			ids = append(ids, c.ClientID)
		}
	}
	slices.Sort(ids)
	return ids
}

// A session that an administrator of EMQX ends is reported, replaced, and takes its part again.
func (x *emqxTrial) killedSession(t *testing.T) {
	want := len(emqx.ClientIDs(emqx.ClientIDPrefix))
	ids := x.ownSessions(t)
	if len(ids) != want {
		t.Fatalf("the appliance has the sessions %q, want %d", ids, want)
	}
	if status := x.call(t, http.MethodDelete, "/clients/"+url.PathEscape(ids[want-1]), nil); status != http.StatusNoContent {
		t.Fatalf("kick: %d", status)
	}
	var metrics string
	apptest.Eventually(t, func() bool {
		metrics = x.appliance.Call(t, http.MethodGet, "/metrics", nil).Body
		return strings.Contains(metrics, "wfm_mqtt_sessions_lost_total 1\n") && strings.Contains(metrics, fmt.Sprintf("wfm_mqtt_upstream_sessions %d\n", want-1))
	}, func() string { return "the session is not lost, or not replaced:\n" + metrics })
	x.burst(t, "after", x.nodes[1:])
}

// sender is the node as it sends to the broker at addr.
func sender(addr string, n store.Bound) *emqxtest.Sender {
	return &emqxtest.Sender{
		Addr: addr, ClientID: protocol.ClientID(n.Node.ID), Username: n.Node.ID, Password: n.Password, Pause: 200 * time.Millisecond,
		Topic: topicOf(n, protocol.KindEvent),
	}
}

// burstOf makes count different events with the name.
func burstOf(name string, count int) [][]byte {
	out := make([][]byte, count)
	for i := range out {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"type":"event","boot_id":"b","session_id":"s","payload":{"level":"info","event":%q,"message":"m-%d"}}`, name, i)
		out[i] = b.Bytes()
	}
	return out
}
