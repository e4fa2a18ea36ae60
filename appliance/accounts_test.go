package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/emqx"
	"wfm/internal/emqxtest"
	"wfm/protocol"
	"wfm/store"
)

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
	if id := answer(t, c, fresh); id != cmd.RequestID {
		t.Errorf("got command %s", id)
	}
	beat(c, fresh)
	s.online(fresh)
}

// The old session and the old password work at EMQX for as long as it cannot be told.
func TestFormerAgentCannotActAsTheNewOneWhileTheManagementAPIFails(t *testing.T) {
	s := newSite(t, func(e *emqxtest.Settings) { e.CacheTTL = 0 })
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)
	s.emqx.SetFault(func(*http.Request) int { return http.StatusServiceUnavailable })
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	fresh := s.rebind(b.Node.ID)
	if code := beat(old, b); code < 0x80 {
		t.Errorf("the old session's heartbeat: 0x%02x", code)
	}
	_ = old.Close()
	c, code := s.login(b)
	if code != 0 {
		t.Fatalf("login: 0x%02x; the test is about one that EMQX lets in", code)
	}
	for _, code := range c.Subscribe(1, protocol.SubscribeTopics(b.Node.ConfigID, b.Node.ID)...) {
		if code < 0x80 {
			t.Errorf("the old password's subscription: 0x%02x", code)
		}
	}
	other := []byte(`{"type":"heartbeat","boot_id":"b2","session_id":"another","payload":{"client_online":true,"wg_online":true}}`)
	c.Publish(topic(b, protocol.KindHeartbeat), other, 1, 8)
	if code := c.Expect(packets.Puback).ReasonCode; code < 0x80 {
		t.Errorf("the old password's heartbeat: 0x%02x", code)
	}
	s.emqx.SetFault(nil)
	c.Rest()
	s.settled()
	if e := s.evidence(b.Node.ID); !e.ReachableAt.IsZero() || e.SessionID != "" || e.ConnectionOpen() {
		t.Errorf("the old agent counts for the new one: %+v", e)
	}
	s.agent(fresh)
	s.online(fresh)
}

// EMQX caches for a minute what a session may do, and this cache cannot be cleared.
func TestWhatARememberedSessionSendsIsNotTheNewAgents(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)
	s.emqx.SetFault(func(*http.Request) int { return http.StatusServiceUnavailable })
	s.rebind(b.Node.ID)
	refused := s.appliance.external.Broker.Status().Refused
	old.Publish(topic(b, protocol.KindHeartbeat), []byte(`{"type":"heartbeat","boot_id":"b2","session_id":"another","payload":{"client_online":true}}`), 1, 8)
	if code := old.Expect(packets.Puback).ReasonCode; code != 0 {
		t.Fatalf("0x%02x: the test is about one that EMQX lets through", code)
	}
	s.eventually("it is refused", func() bool { return s.appliance.external.Broker.Status().Refused > refused })
	if e := s.evidence(b.Node.ID); e.SessionID == "another" {
		t.Errorf("the old session counts for the new one: %+v", e)
	}
}

func TestImportThatFailsKeepsNobodyIn(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(3)
	s.settled()
	disabled, rebound := s.agent(b[0]), s.agent(b[1])
	s.online(b[0])
	s.online(b[1])
	s.emqx.SetFault(func(r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/import_users") {
			return http.StatusBadRequest
		}
		return 0
	})
	s.rebind(b[2].Node.ID)
	s.rebind(b[1].Node.ID)
	s.update(func(tx *store.Tx) error {
		n, _ := tx.Node(b[0].Node.ID)
		n.Enabled = false
		return tx.PutNode(&n)
	})
	disabled.Rest() // until it is kicked
	rebound.Rest()
	s.eventually("the user of the disabled node is gone", func() bool { _, there := s.emqx.Users()[b[0].Node.ID]; return !there })
	if settled, _ := s.appliance.external.settledNow(b[1].Node.ID); settled {
		t.Error("an account that EMQX did not take counts as told")
	}
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
			if _, ok := s.emqx.Users()[b.Node.ID]; ok {
				t.Error("the user is still there when the change is over")
			}
			if s.emqx.Connected(protocol.ClientID(b.Node.ID)) {
				t.Error("the session is still there when the change is over")
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
	old.Rest()
	if _, code := s.login(b); code == 0 {
		t.Error("the old password works")
	}
	s.agent(fresh) // at once: an agent logs in right after its bind
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

func TestEMQXMayCheckLoginsByAskingOnly(t *testing.T) {
	s := newSite(t, func(e *emqxtest.Settings) { e.Database, e.HTTPAuth = false, true })
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	old := s.agent(b)
	s.online(b)
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	old.Rest()
	if _, code := s.login(b); code == 0 {
		t.Error("the old password works")
	}
	fresh := s.rebind(b.Node.ID)
	s.agent(fresh)
	s.online(fresh)
	if len(s.emqx.Users()) != 0 {
		t.Error("there are users where there is no database")
	}
}

func TestEMQXThatCannotWorkSaysWhy(t *testing.T) {
	for want, breakIt := range map[string]func(*emqxtest.Settings){
		"does not check logins": func(e *emqxtest.Settings) { e.Database = false },
		"sha256":                func(e *emqxtest.Settings) { e.HashName = "bcrypt" },
		"prefix":                func(e *emqxtest.Settings) { e.SaltPosition = "suffix" },
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
			EMQX: &emqx.Settings{URL: &url.URL{Scheme: "mqtt", Host: "127.0.0.1:1"}, APIBaseURL: "http://127.0.0.1:1", SharedKey: sharedKey},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Stop(context.Background()) }()
		return a.NewEMQXKey(), a.external.Key.Fits
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

// Two thousand nodes: some unknown to EMQX, some with wrong accounts, some deleted.
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
