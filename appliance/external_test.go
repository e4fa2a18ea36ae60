package appliance

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/presence"
	"wfm/internal/emqxtest"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

const (
	testSharedKey = "shared-key-of-the-test"
	patience      = 20 * time.Second
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
	settings := emqxtest.Recommended("", testSharedKey)
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
	settings = emqxtest.Recommended("http://"+s.callbacks, testSharedKey)
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
		EMQX: &EMQXOptions{
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
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.appliance.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	s.appliance = nil
}

func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.open()
	s.start()
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
	s.update(func(tx *store.Tx) error {
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
	})
	return bound
}

func bind(tx *store.Tx, nodeID string) (store.Bound, error) {
	token, _, err := tx.IssueBindToken(nodeID, time.Minute)
	if err != nil {
		return store.Bound{}, err
	}
	return tx.Bind(token, store.Client{Capabilities: []string{protocol.CapabilityDedupe}})
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
		WillPayload: []byte(`{"type":"event","boot_id":"b","session_id":"s-` + b.Password[:8] + `","payload":{"level":"info","event":"offline","message":"connection lost"}}`),
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

// subscribe does not wait for the SUBACK: what waits for the node may come before it.
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
func answer(t *testing.T, c *mqtttest.Client, b store.Bound, status protocol.AckStatus) (requestID string) {
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
	env, err := protocol.NewEnvelope(t1, cmd.RequestID, protocol.Ack{Status: status}, time.Now())
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
	return s.appliance.control.Issue(s.t.Context(), b.Node.ID, action, "admin", queue)
}

func (s *site) ended(requestID string) store.Command {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd, err := s.appliance.control.Wait(ctx, requestID)
	if err != nil {
		s.t.Fatal(err)
	}
	return cmd
}

func TestNodesWorkThroughEMQXAsThroughTheEmbeddedBroker(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(2)
	s.settled()
	c := s.agent(b[0])
	s.online(b[0])

	cmd, err := s.issue(b[0], protocol.ActionStart, false)
	if err != nil {
		t.Fatal(err)
	}
	if id := answer(t, c, b[0], protocol.AckApplied); id != cmd.RequestID {
		t.Errorf("got command %s", id)
	}
	if cmd = s.ended(cmd.RequestID); cmd.State != store.CommandApplied {
		t.Errorf("command is %s (%s)", cmd.State, cmd.Detail)
	}

	for i, filter := range []string{"wfm/#", topic(b[1], protocol.KindControl), "$SYS/#", topic(b[0], protocol.KindHeartbeat)} {
		if code := c.Subscribe(uint16(20+i), filter)[0]; code < 0x80 {
			t.Errorf("may subscribe to %s", filter)
		}
	}
	c.Publish(topic(b[1], protocol.KindHeartbeat), heartbeat(b[0]), 1, 30)
	if code := c.Expect(packets.Puback).ReasonCode; code < 0x80 {
		t.Error("may publish for another node")
	}
	if e := s.evidence(b[1].Node.ID); !e.ReachableAt.IsZero() {
		t.Error("the other node counts as heard of")
	}

	if _, err := s.issue(b[1], protocol.ActionStart, false); err == nil {
		t.Error("a node that is away gets a command")
	}
	c.Close()
	s.eventually("its will and the end of its connection are on record", func() bool {
		e := s.evidence(b[0].Node.ID)
		return !e.ConnectionOpen() && e.LastEvent == protocol.EventOffline && s.state(b[0].Node.ID) == presence.Offline
	})
	for _, secret := range []string{b[0].Password, testSharedKey, emqxtest.APISecret} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

func TestCommandWaitsUntilTheNodeHasSubscribedAtEMQX(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	cmd, err := s.issue(b, protocol.ActionStart, true)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := s.login(b) // as an agent of the field: it says nothing for half an hour
	s.eventually("connected", func() bool { return s.appliance.external.Connected(b.Node.ID) })
	subscribe(c, b)
	if id := answer(t, c, b, protocol.AckApplied); id != cmd.RequestID {
		t.Errorf("got command %s", id)
	}
	s.ended(cmd.RequestID)
}

func TestApplianceStartsAndWorksWhileEMQXIsAway(t *testing.T) {
	s := newSite(t)
	s.settled()
	s.stop()
	s.cut()
	s.open()
	s.start()
	b := s.nodes(1)[0] // binding needs no broker
	s.eventually("it says what is wrong", func() bool {
		st := s.appliance.external.Status()
		return !st.Connected && st.Status == "error" && st.LastError != "" && st.Accounts.Pending == 1 && st.Accounts.LastError != ""
	})
	if state := s.appliance.external.account(b.Node.ID); state.State != "pending" || !strings.Contains(state.Detail, "cannot be reached") {
		t.Errorf("account: %+v", state)
	}
	begin := time.Now()
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	s.appliance.external.Kick(b.Node.ID)
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("a reset took %s", took)
	}
	b = s.rebind(b.Node.ID)
	s.mend()
	s.settled()
	s.connected()
	s.agent(b)
	s.online(b)
	if state := s.appliance.external.account(b.Node.ID); state.State != "synced" {
		t.Errorf("account: %+v", state)
	}
}

// The old session has all its rights cached at EMQX when the node is reset.
func TestResetWhileEMQXIsAwayEndsTheOldSessionBeforeItCanAct(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)

	s.cut()
	s.eventually("EMQX is out of sight", func() bool { return !s.evidence(b.Node.ID).ConnectionOpen() })
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	fresh := s.rebind(b.Node.ID)
	cmd, err := s.issue(fresh, protocol.ActionStart, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // EMQX lets it: it remembers
		old.Publish(topic(b, protocol.KindHeartbeat), heartbeat(b), 1, uint16(100+i))
		old.Expect(packets.Puback)
	}
	s.mend()
	for _, pk := range old.Rest() { // until it is kicked
		if pk.FixedHeader.Type == packets.Publish {
			t.Error("the old session got a command of the new one")
		}
	}
	s.settled()
	if _, code := s.login(b); code == 0 {
		t.Error("the old password works")
	}
	s.connected()
	if e := s.evidence(b.Node.ID); !e.ReachableAt.IsZero() || !e.HeartbeatAt.IsZero() {
		t.Errorf("the old session counts for the new one: %+v", e)
	}
	c, code := s.login(fresh)
	if code != 0 {
		t.Fatalf("login: 0x%02x", code)
	}
	subscribe(c, fresh)
	if id := answer(t, c, fresh, protocol.AckApplied); id != cmd.RequestID {
		t.Errorf("got command %s", id)
	}
	beat(c, fresh)
	s.online(fresh)
}

func TestLosingTheRightEndsTheSessionAtEMQXAtOnce(t *testing.T) {
	for name, take := range map[string]func(*store.Tx, store.Bound) error{
		"reset":  func(tx *store.Tx, b store.Bound) error { return tx.ResetClient(b.Node.ID) },
		"delete": func(tx *store.Tx, b store.Bound) error { return tx.DeleteNode(b.Node.ID) },
		"disable": func(tx *store.Tx, b store.Bound) error {
			n, _ := tx.Node(b.Node.ID)
			n.Enabled = false
			return tx.PutNode(&n)
		},
		"static": func(tx *store.Tx, b store.Bound) error {
			n, _ := tx.Node(b.Node.ID)
			n.Type = store.NodeStatic
			return tx.PutNode(&n)
		},
		"config disabled": func(tx *store.Tx, b store.Bound) error {
			c, _ := tx.Config(b.Node.ConfigID)
			c.Enabled = false
			return tx.PutConfig(&c)
		},
		"config deleted": func(tx *store.Tx, b store.Bound) error { return tx.DeleteConfig(b.Node.ConfigID) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.connected()
			b := s.nodes(1)[0]
			s.settled()
			c := s.agent(b)
			s.online(b)
			s.update(func(tx *store.Tx) error { return take(tx, b) })
			s.appliance.external.Kick(b.Node.ID)
			if _, ok := s.emqx.Users()[b.Node.ID]; ok {
				t.Error("the user is still there when the kick is over")
			}
			if s.emqx.Connected(protocol.ClientID(b.Node.ID)) {
				t.Error("the session is still there when the kick is over")
			}
			c.Rest()
			if _, code := s.login(b); code == 0 {
				t.Error("it may log in again")
			}
		})
	}
}

func TestRightThatEndedAndCameBackWhileEMQXWasAwayStillEndsTheSession(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	c := s.agent(b)
	s.online(b)
	s.cut()
	for _, enabled := range []bool{false, true} {
		s.update(func(tx *store.Tx) error {
			n, _ := tx.Node(b.Node.ID)
			n.Enabled = enabled
			return tx.PutNode(&n)
		})
	}
	s.mend()
	c.Rest()
	s.settled()
	s.agent(b) // with the same password
	s.online(b)
}

func TestRebindMovesTheNodeToTheNewAgent(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)
	fresh := s.rebind(b.Node.ID)
	s.appliance.external.Kick(b.Node.ID)
	old.Rest()
	if _, code := s.login(b); code == 0 {
		t.Error("the old password works")
	}
	s.agent(fresh) // at once: whoever binds logs in right after
	s.online(fresh)
}

// An outage at every step: each call of a change fails in turn, once or for a while.
func TestAccountsComeRightWhateverCallFails(t *testing.T) {
	for _, status := range []int{500, 503, 429, 401} {
		for failing := range 8 {
			t.Run(fmt.Sprintf("%d at call %d", status, failing), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.connected()
				b := s.nodes(3)
				s.settled()
				old := s.agent(b[0])
				s.online(b[0])
				s.emqx.Calls()
				var mu sync.Mutex
				n := 0
				s.emqx.SetFault(func(*http.Request) int {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == failing+1 {
						return status
					}
					return 0
				})
				fresh := s.rebind(b[0].Node.ID)
				s.update(func(tx *store.Tx) error { return tx.DeleteNode(b[1].Node.ID) })
				s.eventually("the accounts are right", func() bool {
					users := s.emqx.Users()
					_, gone := users[b[1].Node.ID]
					_, stays := users[b[2].Node.ID]
					settled, _ := s.appliance.external.settledNow(fresh.Node.ID)
					return !gone && stays && settled
				})
				s.settled()
				old.Rest()
				if _, code := s.login(b[0]); code == 0 {
					t.Error("the old password works")
				}
				s.agent(fresh)
				s.online(fresh)
			})
		}
	}
}

func (x *external) settledNow(nodeID string) (settled, granted bool) {
	settled, granted, _ = x.Account(nodeID)
	return settled, granted
}

func TestAccountIsToldBeforeTheKickAndTheKickBeforeTheCache(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	s.agent(b)
	s.online(b)
	s.emqx.Calls()
	s.rebind(b.Node.ID)
	s.appliance.external.Kick(b.Node.ID)
	calls := strings.Join(s.emqx.Calls(), "\n")
	last := -1
	for _, step := range []string{"import_users", "kickout/bulk", "authorization/cache"} {
		at := strings.LastIndex(calls, step)
		if at <= last {
			t.Errorf("%s is missing or comes too early:\n%s", step, calls)
		}
		last = at
	}
}

func TestReconciliationRepairsOursAndTouchesNoOthers(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(4)
	s.settled()
	right := s.emqx.Users()
	foreign := emqxtest.User{Hash: "h", Salt: "s"}
	s.emqx.PutUser("somebody", foreign)
	s.emqx.PutUser("node_red", foreign) // looks a little like a node's
	stray := protocol.NewID("node")
	s.emqx.PutUser(stray, foreign)
	stale := right[b[1].Node.ID]
	stale.Hash = strings.Repeat("0", 64)
	s.emqx.PutUser(b[1].Node.ID, stale)
	promoted := right[b[2].Node.ID]
	promoted.Superuser = true
	s.emqx.PutUser(b[2].Node.ID, promoted)
	kept := s.agent(b[3])
	s.online(b[3])
	connection := s.evidence(b[3].Node.ID).ConnectionID

	if err := s.appliance.external.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	users := s.emqx.Users()
	for _, bound := range b {
		if users[bound.Node.ID] != right[bound.Node.ID] {
			t.Errorf("user is %+v, want %+v", users[bound.Node.ID], right[bound.Node.ID])
		}
	}
	if users["somebody"] != foreign || users["node_red"] != foreign {
		t.Error("a foreign user was touched")
	}
	if _, ok := users[stray]; ok {
		t.Error("a user of a node that is gone is still there")
	}
	kept.Ping()
	if e := s.evidence(b[3].Node.ID); e.ConnectionID != connection {
		t.Error("the session of a node whose account was right has ended")
	}
}

func TestEMQXThatLostItsUsersGetsThemBack(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(3)
	s.settled()
	s.emqx.StopMQTT()
	s.eventually("the connection is gone", func() bool { return !s.appliance.external.Broker.Status().Connected })
	s.emqx.Wipe()
	s.emqx.StartMQTT()
	s.connected()
	s.eventually("the users are back", func() bool { return len(s.emqx.Users()) == 4 })
	for _, bound := range b {
		s.agent(bound)
		s.online(bound)
	}
}

func TestRestartOfTheApplianceLosesNothingThatEMQXAcknowledged(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	c := s.agent(b)
	s.online(b)
	before := s.evidence(b.Node.ID)
	// EMQX cannot ask while the appliance is down: it remembers the right from this one.
	cmd, err := s.issue(b, protocol.ActionStop, false)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, c, b, protocol.AckApplied)
	s.ended(cmd.RequestID)
	if cmd, err = s.issue(b, protocol.ActionStart, false); err != nil {
		t.Fatal(err)
	}
	s.stop()
	answer(t, c, b, protocol.AckApplied) // to nobody but EMQX
	s.open()
	s.start()
	if cmd = s.ended(cmd.RequestID); cmd.State != store.CommandApplied {
		t.Errorf("command is %s (%s)", cmd.State, cmd.Detail)
	}
	s.online(b)
	e := s.evidence(b.Node.ID)
	if e.ConnectionID != before.ConnectionID || !e.ConnectedAt.Equal(before.ConnectedAt) {
		t.Error("a connection that lasted counts as a new one")
	}
	c.Close()
	s.eventually("offline by its will", func() bool { return s.state(b.Node.ID) == presence.Offline })
}

func TestNodesThatLeftWhileNobodyLookedAreNotOnline(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(3)
	s.settled()
	stays, leaves, breaks := s.agent(b[0]), s.agent(b[1]), s.agent(b[2])
	for _, bound := range b {
		s.online(bound)
	}
	s.stop()
	if code := beat(leaves, b[1]); code != 0 { // a sign of life that comes late
		t.Fatalf("0x%02x", code)
	}
	leaves.Disconnect() // without a will
	leaves.Rest()
	breaks.Close() // EMQX cannot ask whether its will is allowed
	s.eventuallyGone(protocol.ClientID(b[2].Node.ID))
	s.open()
	s.start()
	s.online(b[0])
	for _, gone := range b[1:] {
		s.eventually("the end of its connection is on record", func() bool {
			e := s.evidence(gone.Node.ID)
			return !e.DisconnectedAt.IsZero() && !e.ConnectionOpen()
		})
		if e := s.evidence(gone.Node.ID); e.ReachableAt.After(e.DisconnectedAt) {
			t.Errorf("what it said before it left counts as said now: %+v", e)
		}
	}
	stays.Ping()
}

func (s *site) eventuallyGone(clientID string) {
	s.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for s.emqx.Connected(clientID) {
		<-ticks.C
	}
}

func TestBlipOfTheLineChangesNothingForTheNodes(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	c := s.agent(b)
	s.online(b)
	before := s.evidence(b.Node.ID)
	s.cut()
	s.eventually("EMQX is out of sight", func() bool { return !s.evidence(b.Node.ID).ConnectionOpen() })
	if state := s.state(b.Node.ID); state != presence.Online {
		t.Errorf("%s: that EMQX is out of sight says nothing about the node", state)
	}
	if _, err := s.issue(b, protocol.ActionStart, false); err == nil {
		t.Error("a command without EMQX")
	}
	queued, err := s.issue(b, protocol.ActionStop, true)
	if err != nil {
		t.Fatal(err)
	}
	s.mend()
	if id := answer(t, c, b, protocol.AckApplied); id != queued.RequestID {
		t.Errorf("got %s", id)
	}
	s.ended(queued.RequestID)
	if e := s.evidence(b.Node.ID); !e.ConnectedAt.Equal(before.ConnectedAt) || e.ConnectionID != before.ConnectionID {
		t.Error("a connection that lasted counts as a new one")
	}
}

func TestOldWillAndOldEndSayNothingAboutANewSession(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	s.agent(b)
	s.online(b)
	first := s.evidence(b.Node.ID).ConnectionID
	for range 5 { // takeovers: each releases the will of the one before
		c, code := s.login(b)
		if code != 0 {
			t.Fatalf("0x%02x", code)
		}
		c.Subscribe(1, protocol.SubscribeTopics(b.Node.ConfigID, b.Node.ID)...)
	}
	s.eventually("the last connection is on record", func() bool {
		e := s.evidence(b.Node.ID)
		return e.ConnectionOpen() && e.ConnectionID > first && !e.WillAt.IsZero()
	})
	if state := s.state(b.Node.ID); state != presence.Online {
		t.Errorf("%s", state)
	}
}

// Who may log in as one node cannot pass for another by its client id.
func TestConnectionUnderAnothersClientIDIsNotThatNodes(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(2)
	s.settled()
	c := mqtttest.Dial(t, s.emqx.NetAddr(), 5)
	if code := c.Connect(mqtttest.Login{ClientID: protocol.ClientID(b[0].Node.ID), Username: b[1].Node.ID, Password: b[1].Password, Keepalive: 60}).ReasonCode; code != 0 {
		t.Skip("the stand-in refuses it")
	}
	if code := c.Subscribe(1, topic(b[0], protocol.KindControl))[0]; code < 0x80 {
		t.Error("may subscribe to the other's topics")
	}
	if err := s.appliance.external.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Rest() // kicked
	for _, bound := range b {
		if s.evidence(bound.Node.ID).ConnectionOpen() {
			t.Error("counts as connected")
		}
	}
}

func TestAuthorizerThatDoesNotAnswerDeniesEverything(t *testing.T) {
	for name, breakIt := range map[string]func(*emqxtest.Settings){
		"wrong key": func(e *emqxtest.Settings) { e.SharedKey = "wrong" },
		"refused":   func(e *emqxtest.Settings) { e.AuthzURL = "http://127.0.0.1:1/" },
		"too slow":  func(e *emqxtest.Settings) { e.AskTimeout = time.Nanosecond },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, breakIt)
			s.connected()
			b := s.nodes(1)[0]
			s.settled()
			c, code := s.login(b)
			if code != 0 {
				t.Fatalf("login: 0x%02x", code)
			}
			if code := c.Subscribe(1, topic(b, protocol.KindControl))[0]; code < 0x80 {
				t.Error("may subscribe")
			}
			if code := beat(c, b); code < 0x80 {
				t.Error("may publish")
			}
			s.emqx.Configure(func(e *emqxtest.Settings) { *e = emqxtest.Recommended("http://"+s.callbacks, testSharedKey) })
			c.Close()
			s.agent(b) // a new connection asks anew
			s.online(b)
		})
	}
}

func TestEMQXMayCheckLoginsByAskingOnly(t *testing.T) {
	s := newSite(t, func(e *emqxtest.Settings) { e.Database, e.HTTPAuth = false, true })
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	s.appliance.external.Kick(b.Node.ID)
	old.Rest()
	if _, code := s.login(b); code == 0 {
		t.Error("the old password works")
	}
	fresh := s.rebind(b.Node.ID)
	s.appliance.external.Kick(b.Node.ID)
	s.agent(fresh)
	s.online(fresh)
	if len(s.emqx.Users()) != 0 {
		t.Error("there are users where there is no database")
	}
}

func TestEMQXThatCannotWorkSaysWhy(t *testing.T) {
	for want, breakIt := range map[string]func(*emqxtest.Settings){
		"does not check who logs in": func(e *emqxtest.Settings) { e.Database = false },
		"sha256":                     func(e *emqxtest.Settings) { e.HashName = "bcrypt" },
		"prefix":                     func(e *emqxtest.Settings) { e.SaltPosition = "suffix" },
	} {
		s := newSite(t, breakIt)
		s.eventually("it says "+want, func() bool { return strings.Contains(s.appliance.external.Broker.Status().AccountError, want) })
	}
	s := newSite(t)
	s.settled()
	s.emqx.SetFault(func(*http.Request) int { return http.StatusUnauthorized })
	err := s.appliance.external.Reconcile(t.Context())
	if err == nil || !strings.Contains(err.Error(), "WFM_EMQX_API_KEY") || strings.Contains(err.Error(), emqxtest.APISecret) {
		t.Errorf("a wrong API key: %v", err)
	}
}

func TestSharedKeyIsMadeOnceAndShownOnce(t *testing.T) {
	dir := t.TempDir()
	open := func(sharedKey string) (shown string, fits func(string) bool) {
		a, err := New(t.Context(), Options{
			DataDir: dir, HTTPAddr: "127.0.0.1:0", MQTTEnabled: true, Logger: slog.New(slog.DiscardHandler),
			EMQX: &EMQXOptions{URL: &url.URL{Scheme: "mqtt", Host: "127.0.0.1:1"}, APIBaseURL: "http://127.0.0.1:1", SharedKey: sharedKey},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Stop(context.Background()) }()
		return a.NewEMQXKey(), a.external.key.Fits
	}
	shown, fits := open("")
	if len(shown) < 40 || !fits(shown) {
		t.Errorf("shown: %q", shown)
	}
	again, fits := open("")
	if again != "" || !fits(shown) {
		t.Error("it is shown again, or another")
	}
	if again, fits = open("given"); again != "" || !fits("given") || fits(shown) {
		t.Error("the one that is given does not hold")
	}
}

// two thousand nodes, of which EMQX knows nothing, a part wrong, and some that are no more.
func TestTwoThousandNodesAreReconciled(t *testing.T) {
	s := newSite(t)
	s.settled()
	s.apiLine.Cut()
	b := s.nodes(2000)
	right := make(map[string]string, len(b))
	for id, g := range s.appliance.db.Grants() {
		_, right[id] = g.PasswordHash()
	}
	for i := range 500 {
		s.emqx.PutUser(b[i].Node.ID, emqxtest.User{Hash: "stale"})
		s.emqx.PutUser(protocol.NewID("node"), emqxtest.User{Hash: "gone"})
		s.emqx.PutUser(fmt.Sprintf("other_%d", i), emqxtest.User{Hash: "theirs"})
	}
	begin := time.Now()
	s.apiLine.Mend()
	if err := s.appliance.external.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("reconciled in %s", time.Since(begin))
	users := s.emqx.Users()
	if len(users) != 2000+500+1 {
		t.Errorf("%d users", len(users))
	}
	for id, hash := range right {
		if users[id].Hash != hash {
			t.Fatal("a user is not right")
		}
	}
	s.settled()
	if err := s.appliance.external.Reconcile(t.Context()); err != nil { // once more, with nothing to do
		t.Fatal(err)
	}
}
