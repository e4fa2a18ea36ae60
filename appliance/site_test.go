package appliance

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/emqx"
	"wfm/internal/emqxtest"
	"wfm/internal/mqtttest"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

const (
	testSharedKey = "shared-key-of-the-test"
	patience      = time.Minute // for what must happen; it only ends a test that hangs
)

// site is an appliance with an EMQX as its broker. Between the two are lines that can be cut; the
// nodes reach EMQX directly.
type site struct {
	t         *testing.T
	dir       string
	emqx      *emqxtest.Server
	mqttLine  *emqxtest.Proxy
	apiLine   *emqxtest.Proxy
	appliance *Appliance
	callbacks string // address, the same after a restart
	log       *lockedLog
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t *testing.T, adjust ...func(*emqxtest.Settings)) *site {
	t.Helper()
	settings := emqxtest.Accounts("", testSharedKey)
	s := &site{t: t, dir: t.TempDir(), emqx: emqxtest.Start(t, settings), callbacks: "127.0.0.1:0", log: &lockedLog{}}
	s.mqttLine = emqxtest.NewProxy(t, s.emqx.MQTTAddr())
	s.apiLine = emqxtest.NewProxy(t, strings.TrimPrefix(s.emqx.APIURL(), "http://"))
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	s.open()
	settings = emqxtest.Accounts("http://"+s.callbacks, testSharedKey)
	for _, f := range adjust {
		f(&settings)
	}
	s.emqx.Configure(func(e *emqxtest.Settings) { *e = settings })
	s.start()
	return s
}

func (s *site) open() {
	s.t.Helper()
	a, err := New(s.t.Context(), Options{
		DataDir: s.dir, HTTPAddr: "127.0.0.1:0", MQTTEnabled: true,
		Presence: presence.Times{TTL: time.Hour, Grace: 10 * time.Minute},
		EMQX: &emqx.Settings{
			URL: &url.URL{Scheme: "mqtt", Host: s.mqttLine.Addr()}, APIBaseURL: "http://" + s.apiLine.Addr(),
			APIKey: emqxtest.APIKey, APISecret: emqxtest.APISecret, SharedKey: testSharedKey, CallbackAddr: s.callbacks,
		},
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.appliance, s.callbacks = a, a.EMQXCallbackAddr().String()
}

func (s *site) start() {
	s.t.Helper()
	if err := s.appliance.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) stop() {
	if s.appliance == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.appliance.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	s.appliance = nil
}

func (s *site) cut()  { s.mqttLine.Cut(); s.apiLine.Cut() }
func (s *site) mend() { s.mqttLine.Mend(); s.apiLine.Mend() }

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(patience)
	for !ok() {
		select {
		case <-ticks.C:
		case <-timeout:
			s.t.Fatalf("never: %s; broker: %+v", what, s.appliance.external.Broker.Status())
		}
	}
}

func (s *site) connected() {
	s.t.Helper()
	s.eventually("connected to EMQX", func() bool { return s.appliance.external.Broker.Status().Connected })
}

// settled waits until EMQX knows every account.
func (s *site) settled() {
	s.t.Helper()
	s.eventually("accounts up to date", func() bool {
		st := s.appliance.external.Broker.Status()
		return st.Pending == 0 && st.AccountError == "" && !st.ReconciledAt.IsZero()
	})
}

func (s *site) update(fn func(*store.Tx) error) {
	s.t.Helper()
	if err := s.appliance.db.Update(fn); err != nil {
		s.t.Fatal(err)
	}
}

// nodes makes count nodes with agents in one config.
func (s *site) nodes(count int) []store.Bound {
	s.t.Helper()
	bound := make([]store.Bound, count)
	s.update(func(tx *store.Tx) error { return fillNodes(tx, bound) })
	return bound
}

// fillNodes makes as many nodes with agents as there is room for.
func fillNodes(tx *store.Tx, bound []store.Bound) error {
	cfg := store.Config{ID: protocol.NewID("cfg"), Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
	cfg.Name = cfg.ID[:20]
	if err := tx.PutConfig(&cfg); err != nil {
		return err
	}
	for i := range bound {
		id := protocol.NewID("node")
		if err := tx.PutNode(&store.Node{ID: id, ConfigID: cfg.ID, Name: id, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}); err != nil {
			return err
		}
		var err error
		if bound[i], err = bind(tx, id); err != nil {
			return err
		}
	}
	return nil
}

func bind(tx *store.Tx, nodeID string) (store.Bound, error) {
	token, _, err := tx.IssueBindToken(nodeID, time.Minute)
	if err != nil {
		return store.Bound{}, err
	}
	bound, err := tx.Bind(token, store.Client{Capabilities: []string{protocol.CapabilityDedupe}})
	if err != nil {
		return bound, err
	}
	return bound, tx.NoteHandedOut(nodeID, store.ConfRef{Version: 1})
}

func (s *site) rebind(nodeID string) (bound store.Bound) {
	s.t.Helper()
	s.update(func(tx *store.Tx) (err error) { bound, err = bind(tx, nodeID); return err })
	return bound
}

func topic(b store.Bound, kind protocol.Kind) string {
	return protocol.Topic{ConfigID: b.Node.ConfigID, NodeID: b.Node.ID, Kind: kind}.String()
}

// login connects to EMQX as the node's agent does.
func (s *site) login(b store.Bound) (*mqtttest.Client, byte) {
	s.t.Helper()
	c := mqtttest.Dial(s.t, s.emqx.NetAddr(), 5)
	ack := c.Connect(mqtttest.Login{
		ClientID: protocol.ClientID(b.Node.ID), Username: b.Node.ID, Password: b.Password, Keepalive: 60, NotClean: true,
		WillTopic: topic(b, protocol.KindEvent), WillQos: 1,
		WillPayload: []byte(`{"type":"event","boot_id":"b","session_id":"s-` + b.Password[:8] +
			`","payload":{"level":"info","event":"offline","message":"connection lost"}}`),
	})
	return c, ack.ReasonCode
}

// agent logs in, subscribes and beats once.
func (s *site) agent(b store.Bound) *mqtttest.Client {
	s.t.Helper()
	c, code := s.login(b)
	if code != 0 {
		s.t.Fatalf("login: 0x%02x", code)
	}
	for _, code := range c.Subscribe(1, protocol.SubscribeTopics(b.Node.ConfigID, b.Node.ID)...) {
		if code > 1 {
			s.t.Fatalf("subscription: 0x%02x", code)
		}
	}
	if code := beat(c, b); code != 0 {
		s.t.Fatalf("heartbeat: 0x%02x", code)
	}
	return c
}

// subscribe does not wait for the SUBACK: waiting commands may come before it.
func subscribe(c *mqtttest.Client, b store.Bound) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1}
	for _, f := range protocol.SubscribeTopics(b.Node.ConfigID, b.Node.ID) {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: 1})
	}
	c.Send(pk)
}

// beat sends a heartbeat and returns what EMQX says to it.
func beat(c *mqtttest.Client, b store.Bound) byte {
	c.Publish(topic(b, protocol.KindHeartbeat), heartbeat(b), 1, 7)
	return c.Expect(packets.Puback).ReasonCode
}

func heartbeat(b store.Bound) []byte {
	return []byte(`{"type":"heartbeat","boot_id":"b","session_id":"s-` + b.Password[:8] + `","payload":{"client_online":true,"wg_online":true}}`)
}

func (s *site) evidence(nodeID string) (e store.Evidence) {
	s.t.Helper()
	if err := s.appliance.db.View(func(tx *store.Tx) (err error) { e, err = tx.Evidence(nodeID); return err }); err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *site) state(nodeID string) presence.State {
	s.t.Helper()
	var st presence.Status
	if err := s.appliance.db.View(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err != nil {
			return err
		}
		cfg, err := tx.Config(n.ConfigID)
		if err != nil {
			return err
		}
		e, err := tx.Evidence(nodeID)
		st = presence.Project(n, cfg.Enabled, e, time.Now(), presence.Times{TTL: time.Hour, Grace: 10 * time.Minute})
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return st.State
}

func (s *site) online(b store.Bound) {
	s.t.Helper()
	s.eventually("the node is connected and heard", func() bool {
		e := s.evidence(b.Node.ID)
		return e.ConnectionOpen() && !e.HeartbeatAt.IsZero() && s.appliance.external.Connected(b.Node.ID)
	})
}

// answer reads a command and acknowledges it.
func answer(t *testing.T, c *mqtttest.Client, b store.Bound) (requestID string) {
	t.Helper()
	pk := c.Expect(packets.Publish)
	var cmd struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(pk.Payload, &cmd); err != nil {
		t.Fatal(err)
	}
	t1, err := protocol.ParseTopic(pk.TopicName)
	if err != nil {
		t.Fatal(err)
	}
	t1.Kind = t1.Kind.Ack()
	env, err := protocol.NewEnvelope(t1, cmd.RequestID, protocol.Ack{Status: protocol.AckApplied}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	env.SessionID = "s-" + b.Password[:8]
	raw, err := env.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.Publish(t1.String(), raw, 1, 9)
	if code := c.Expect(packets.Puback).ReasonCode; code != 0 {
		t.Fatalf("ACK: 0x%02x", code)
	}
	return cmd.RequestID
}

func (s *site) issue(b store.Bound, action protocol.Action, queue bool) (store.Command, error) {
	return s.appliance.ledger.Issue(s.t.Context(), b.Node.ID, action, "admin", queue)
}

func (s *site) ended(requestID string) store.Command {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd, err := s.appliance.ledger.Wait(ctx, requestID)
	if err != nil {
		s.t.Fatal(err)
	}
	return cmd
}
