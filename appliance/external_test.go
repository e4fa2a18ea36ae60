package appliance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/emqx"
	"wfm/internal/emqxtest"
	"wfm/internal/mqtttest"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/reach"
)

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
	if id := answer(t, c, b[0]); id != cmd.RequestID {
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
	if id := answer(t, c, b); id != cmd.RequestID {
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
	if state := s.appliance.external.AccountState(b.Node.ID); state.State != "pending" || !strings.Contains(state.Detail, "cannot be reached") {
		t.Errorf("account: %+v", state)
	}
	begin := time.Now()
	s.update(func(tx *store.Tx) error { return tx.ResetClient(b.Node.ID) })
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("a reset took %s", took)
	}
	b = s.rebind(b.Node.ID)
	s.mend()
	s.settled()
	s.connected()
	s.agent(b)
	s.online(b)
	if state := s.appliance.external.AccountState(b.Node.ID); state.State != "synced" {
		t.Errorf("account: %+v", state)
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
	answer(t, c, b)
	s.ended(cmd.RequestID)
	if cmd, err = s.issue(b, protocol.ActionStart, false); err != nil {
		t.Fatal(err)
	}
	s.stop()
	answer(t, c, b) // only EMQX gets it
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
	if id := answer(t, c, b); id != queued.RequestID {
		t.Errorf("got %s", id)
	}
	s.ended(queued.RequestID)
	if e := s.evidence(b.Node.ID); !e.ConnectedAt.Equal(before.ConnectedAt) || e.ConnectionID != before.ConnectionID {
		t.Error("a connection that lasted counts as a new one")
	}
}

// The line is cut before EMQX's acknowledgement of a command arrives, so the command may not have
// been sent. The node's answer waits at EMQX meanwhile. Deployed agents execute a command as often
// as it arrives.
func TestCommandWhoseAnswerWaitsAtEMQXIsNotSentAgain(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	c := s.agent(b)
	s.online(b)
	s.mqttLine.Mute()
	type result struct {
		cmd store.Command
		err error
	}
	issued := make(chan result, 1)
	go func() {
		cmd, err := s.issue(b, protocol.ActionStop, true)
		issued <- result{cmd, err}
	}()
	answer(t, c, b)
	s.cut()
	first := <-issued
	if first.err != nil || first.cmd.State != store.CommandQueued {
		t.Fatalf("%s, %v", first.cmd.State, first.err)
	}
	s.mend()
	s.connected()
	if end := s.ended(first.cmd.RequestID); end.State != store.CommandApplied || end.Attempts != 1 {
		t.Errorf("%s after %d attempts", end.State, end.Attempts)
	}
	second, err := s.issue(b, protocol.ActionStart, true)
	if err != nil {
		t.Fatal(err)
	}
	if id := answer(t, c, b); id != second.RequestID {
		t.Error("the node gets the first command again")
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
	if code := c.Connect(mqtttest.Login{
		ClientID: protocol.ClientID(b[0].Node.ID), Username: b[1].Node.ID, Password: b[1].Password,
		Keepalive: 60,
	}).ReasonCode; code != 0 {
		t.Skip("the stand-in refuses it")
	}
	c.Rest() // kicked, without having been requested
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

func TestEveryChangeOfStateThroughEMQXIsInTheHistory(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	for range 2 {
		c := s.agent(b)
		s.online(b)
		c.Close() // its will follows
		s.eventually("offline", func() bool { return s.state(b.Node.ID) == presence.Offline && !s.evidence(b.Node.ID).ConnectionOpen() })
	}
	// A will and the end of its connection come over two sessions of the appliance, in any order.
	s.eventually("every message is stored", func() bool {
		st := s.appliance.external.Status()
		return st.MessagesIn == 4 && st.MessagesRefused == 0 && st.Sessions == 0
	})
	var got []string
	if err := s.appliance.db.View(func(tx *store.Tx) error {
		all, err := tx.Transitions(b.Node.ID, 0, 10)
		for _, tr := range all {
			got = append(got, tr.To)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := "offline online offline online offline"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestATestOfEMQXDoesWhatAnAgentDoesAndLeavesNoAccount(t *testing.T) {
	s := newSite(t)
	s.connected()
	s.settled()
	host, port, err := net.SplitHostPort(s.emqx.MQTTAddr())
	if err != nil {
		t.Fatal(err)
	}
	target := reach.MQTTTarget{Host: host}
	if target.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	users := s.emqx.Users()
	if err := s.appliance.broker.Test(t.Context(), target); err != nil {
		t.Error(err)
	}
	s.emqx.Configure(func(e *emqxtest.Settings) { e.NoMatch, e.AuthzURL = "allow", "http://127.0.0.1:1/" })
	if err := s.appliance.broker.Test(t.Context(), target); err == nil || !strings.Contains(err.Error(), "commands of another one") {
		t.Errorf("an EMQX that allows everything: %v", err)
	}
	if left := s.emqx.Users(); len(left) != len(users) {
		t.Errorf("users: %v, before %v", left, users)
	}
	s.apiLine.Cut()
	if err := s.appliance.broker.Test(t.Context(), target); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("without the management API: %v", err)
	}
}

func TestAgentsAreToldToUseTLSOnlyWithWhatToTrust(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	o := Options{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", MQTTEnabled: true, MQTTTLSEnabled: true, Logger: slog.New(slog.DiscardHandler),
		EMQX: &emqx.Settings{URL: &url.URL{Scheme: "mqtt", Host: "127.0.0.1:1"}, APIBaseURL: "http://127.0.0.1:1", SharedKey: testSharedKey},
	}
	if _, err := New(t.Context(), o); !errors.Is(err, emqx.ErrAgentsTrustNobody) {
		t.Errorf("without: %v", err)
	}
	o.EMQX.CAFile = ca
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t)})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	if err := os.WriteFile(ca, append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(context.Background()) })
	w := a.webOptions(o)
	if !w.MQTTTLS || w.MQTTPort != 8883 || w.Certificates != nil || w.External.CACert != string(cert) {
		t.Errorf("bind would hand out: %t, port %d, %q", w.MQTTTLS, w.MQTTPort, w.External.CACert)
	}
	if o.MQTTPublicTLSPort = 9883; a.webOptions(o).MQTTPort != 9883 {
		t.Error("another port than was asked for")
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
