package emqx

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/ingress"
	"wfm/internal/emqxcall"
	"wfm/internal/emqxtest"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

const (
	sharedKey = "shared-key-of-the-test"
	patience  = time.Minute // for what must happen; it only ends a test that hangs

	ownClientID = ClientIDPrefix + "of-the-test"
)

// scripted is an ingress that can be told to fail.
type scripted struct {
	mu       sync.Mutex
	receive  func(payload string) error
	received []string
	opened   int
	closed   int
}

func (i *scripted) ReceiveAll(messages []ingress.Message) []error {
	errs := make([]error, len(messages))
	for n, m := range messages {
		errs[n] = i.Receive(m.Session, m.Topic, m.Payload)
	}
	return errs
}

func (i *scripted) Receive(_ ingress.Session, _ protocol.Topic, message []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.received = append(i.received, string(message))
	if i.receive != nil {
		return i.receive(string(message))
	}
	return nil
}

func (i *scripted) Will(ingress.Session, []byte, ingress.WillCause) {}
func (i *scripted) Connected(ingress.Session)                       { i.mu.Lock(); defer i.mu.Unlock(); i.opened++ }
func (i *scripted) Subscribed(ingress.Session)                      {}
func (i *scripted) Disconnected(ingress.Session, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed++
}

func (i *scripted) fail(f func(payload string) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.receive = f
}

func (i *scripted) count(payload string) (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.received {
		if r == payload {
			n++
		}
	}
	return n
}

type fixture struct {
	t       *testing.T
	db      *store.DB
	emqx    *emqxtest.Server
	line    *emqxtest.Proxy
	ingress *scripted
	broker  *Broker
	nodes   []store.Bound
	asked   atomic.Int32 // after a loss
}

func (f *fixture) askedCount() int { return int(f.asked.Load()) }

// newFixture returns a Broker that is connected to a stand-in without questions, with two bound
// nodes.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, emqx: emqxtest.Start(t, lenient()), ingress: &scripted{}}
	f.line = emqxtest.NewProxy(t, f.emqx.MQTTAddr())
	f.open(&url.URL{Scheme: "mqtt", Host: f.line.Addr()}, nil)
	f.up()
	return f
}

// lenient are settings with which EMQX asks no questions about permissions.
func lenient() emqxtest.Settings {
	s := emqxtest.Accounts("", sharedKey)
	s.AuthzURL, s.NoMatch = "", "allow"
	return s
}

func (f *fixture) open(address *url.URL, tlsConfig *tls.Config) {
	f.t.Helper()
	var err error
	if f.db, err = store.Open(f.t.TempDir(), store.Options{}); err != nil {
		f.t.Fatal(err)
	}
	if err := f.db.Update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		for range 2 {
			id := protocol.NewID("node")
			if err := tx.PutNode(&store.Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: store.NodeDynamic}); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, time.Minute)
			if err != nil {
				return err
			}
			b, err := tx.Bind(token, store.Client{})
			if err != nil {
				return err
			}
			f.nodes = append(f.nodes, b)
		}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	api, err := NewAPI(f.emqx.APIURL(), emqxtest.APIKey, emqxtest.APISecret, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.broker, err = New(Options{
		URL: address, TLS: tlsConfig, Username: DefaultUsername, Password: "own-password", ClientID: ownClientID, API: api, Key: emqxcall.NewKey(sharedKey),
		Store: f.db, Ingress: f.ingress, Ask: func(context.Context, string) error { f.asked.Add(1); return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.broker.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(f.broker.Stop(ctx), f.db.Close()); err != nil {
			f.t.Error(err)
		}
	})
}

func (f *fixture) eventually(what string, ok func() bool) {
	f.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(patience)
	for !ok() {
		select {
		case <-ticks.C:
		case <-timeout:
			f.t.Fatalf("never: %s; %+v", what, f.broker.Status())
		}
	}
}

func (f *fixture) up() {
	f.t.Helper()
	f.eventually("up and settled", func() bool {
		s := f.broker.Status()
		return s.Connected && s.Pending == 0
	})
}

// acknowledged waits until EMQX keeps nothing for the appliance any more.
func (f *fixture) acknowledged() {
	f.t.Helper()
	f.eventually("acknowledged", func() bool { return f.emqx.Unacknowledged(ownClientID) == 0 })
}

func (f *fixture) login(b store.Bound) *mqtttest.Client {
	f.t.Helper()
	c := mqtttest.Dial(f.t, f.emqx.NetAddr(), 5)
	if code := c.Connect(mqtttest.Login{ClientID: protocol.ClientID(b.Node.ID), Username: b.Node.ID, Password: b.Password, Keepalive: 60}).ReasonCode; code != 0 {
		f.t.Fatalf("login: 0x%02x", code)
	}
	return c
}

func event(b store.Bound) string {
	return protocol.Topic{ConfigID: b.Node.ConfigID, NodeID: b.Node.ID, Kind: protocol.KindEvent}.String()
}

func TestMessageThatCannotBeStoredStaysAtEMQX(t *testing.T) {
	f := newFixture(t)
	f.ingress.fail(func(string) error { return store.ErrFull })
	c := f.login(f.nodes[0])
	c.Publish(event(f.nodes[0]), []byte("precious"), 1, 5)
	c.Expect(packets.Puback)
	f.eventually("it is tried again", func() bool { return f.ingress.count("precious") > 1 })
	f.line.Cut() // it was not acknowledged: EMQX keeps it
	f.eventually("the connection is gone", func() bool { return !f.broker.Status().Connected })
	if f.emqx.Unacknowledged(ownClientID) == 0 {
		t.Error("it was acknowledged")
	}
	before := f.ingress.count("precious")
	f.ingress.fail(nil)
	f.line.Mend()
	f.eventually("it is delivered again", func() bool { return f.ingress.count("precious") > before })
	f.acknowledged()
	f.line.Cut()
	f.line.Mend()
	f.up()
	c.Publish(event(f.nodes[0]), []byte("next"), 1, 6)
	f.eventually("the next one", func() bool { return f.ingress.count("next") == 1 })
	if n := f.ingress.count("precious"); n != before+1 {
		t.Errorf("what was stored came %d times more", n-before-1)
	}
}

func TestMessageIsTriedAgainUntilItCanBeStored(t *testing.T) {
	f := newFixture(t)
	var failures atomic.Int32
	failures.Store(2)
	f.ingress.fail(func(string) error {
		if failures.Add(-1) >= 0 {
			return store.ErrFull
		}
		return nil
	})
	c := f.login(f.nodes[0])
	c.Publish(event(f.nodes[0]), []byte("precious"), 1, 5)
	f.eventually("the third time it is taken", func() bool { return f.ingress.count("precious") == 3 })
}

func TestMessageThatCannotBeStoredDoesNotStopThoseOfOtherNodes(t *testing.T) {
	f := newFixture(t)
	lane := func(i int) uint64 { return maphash.String(f.broker.lanes.seed, f.nodes[i].Node.ID) % laneCount }
	for lane(0) == lane(1) { // by chance: nodes of one lane wait for each other
		f = newFixture(t)
	}
	f.ingress.fail(func(payload string) error {
		if payload == "never" {
			return store.ErrFull
		}
		return nil
	})
	f.login(f.nodes[0]).Publish(event(f.nodes[0]), []byte("never"), 1, 1)
	f.eventually("the first try", func() bool { return f.ingress.count("never") > 0 })
	if err := f.broker.Reconcile(t.Context()); err != nil { // which looks at who is connected
		t.Fatal(err)
	}
	f.login(f.nodes[1]).Publish(event(f.nodes[1]), []byte("other"), 1, 1)
	f.eventually("the other node's", func() bool { return f.ingress.count("other") == 1 })
}

func TestOneMessageThatCannotBeDealtWithHoldsUpNobody(t *testing.T) {
	f := newFixture(t)
	f.ingress.fail(func(payload string) error {
		switch payload {
		case "poison":
			return fmt.Errorf("%w: oops", store.ErrPanic)
		case "refused":
			return fmt.Errorf("%w: lies", ingress.ErrRefused)
		}
		return nil
	})
	c := f.login(f.nodes[0])
	for i, payload := range []string{"poison", "refused", "good"} {
		c.Publish(event(f.nodes[0]), []byte(payload), 1, uint16(10+i))
	}
	f.eventually("the good one", func() bool { return f.ingress.count("good") == 1 })
	f.acknowledged()
	f.line.Cut()
	f.line.Mend()
	f.up()
	c.Publish(event(f.nodes[0]), []byte("last"), 1, 20)
	f.eventually("the last one", func() bool { return f.ingress.count("last") == 1 })
	for _, payload := range []string{"poison", "refused", "good"} {
		if n := f.ingress.count(payload); n != 1 {
			t.Errorf("%s came %d times", payload, n)
		}
	}
}

// A command that EMQX did not acknowledge may be cancelled by the time the line is back.
func TestCommandIsNotSentAgainByItselfAfterAReconnect(t *testing.T) {
	f := newFixture(t)
	b := f.nodes[0]
	c := f.login(b)
	f.eventually("connected", func() bool { return f.broker.Connected(b.Node.ID) })
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: b.Node.ID, Kind: protocol.KindControl}
	c.Subscribe(1, topic.String())
	if err := f.broker.Publish(topic, []byte("first"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if pk := c.Expect(packets.Publish); string(pk.Payload) != "first" {
		t.Errorf("got %s", pk.Payload)
	}
	f.line.Lose() // it is on its way when the line is cut
	published := make(chan error, 1)
	go func() { published <- f.broker.Publish(topic, []byte("stale"), time.Minute) }()
	f.eventually("it is sent", func() bool { return f.line.Lost() > 0 })
	f.line.Cut()
	if err := <-published; err == nil {
		t.Error("what nobody acknowledged counts as published")
	}
	f.line.Mend()
	f.up()
	f.eventually("connected again", func() bool { return f.broker.Connected(b.Node.ID) })
	if err := f.broker.Publish(topic, []byte("second"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if pk := c.Expect(packets.Publish); string(pk.Payload) != "second" {
		t.Errorf("got %s", pk.Payload)
	}
}

func TestPublishSaysWhenNobodyListens(t *testing.T) {
	f := newFixture(t)
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: f.nodes[0].Node.ID, Kind: protocol.KindControl}
	if err := f.broker.Publish(topic, []byte("x"), time.Minute); !errors.Is(err, ErrNotConnected) {
		t.Errorf("%v", err)
	}
	f.emqx.StopMQTT()
	f.eventually("away", func() bool { return !f.broker.Status().Connected })
	if err := f.broker.Publish(topic, []byte("x"), time.Minute); !errors.Is(err, ErrAway) {
		t.Errorf("%v", err)
	}
}

func TestNodeWhoseAccountEMQXDoesNotKnowYetGetsNothing(t *testing.T) {
	f := newFixture(t)
	b := f.nodes[0]
	c := f.login(b)
	f.eventually("connected", func() bool { return f.broker.Connected(b.Node.ID) })
	release := make(chan struct{})
	f.emqx.SetFault(func(*http.Request) int { <-release; return 0 }) // EMQX is slow to be told
	if err := f.db.Update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken(b.Node.ID, time.Minute)
		if err == nil {
			_, err = tx.Bind(token, store.Client{})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: b.Node.ID, Kind: protocol.KindControl}
	if f.broker.Connected(b.Node.ID) || f.broker.Ready(topic) {
		t.Error("the old session would get a command of the new agent")
	}
	close(release)
	c.Rest()
	f.up()
}

// certificate makes a self-signed certificate for the name.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSTrustsTheGivenAuthorityAndChecksTheName(t *testing.T) {
	cert, pool := certificate(t, "localhost")
	_, otherPool := certificate(t, "localhost")
	server := emqxtest.StartTLS(t, lenient(), &tls.Config{Certificates: []tls.Certificate{cert}})
	_, port, _ := strings.Cut(server.MQTTAddr(), ":")
	for _, c := range []struct {
		host  string
		roots *x509.CertPool
		want  string
	}{
		{"localhost", pool, ""},
		{"localhost", otherPool, "certificate"},
		{"127.0.0.1", pool, "certificate"},
	} {
		f := &fixture{t: t, emqx: server, ingress: &scripted{}}
		f.open(&url.URL{Scheme: "mqtts", Host: c.host + ":" + port}, &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12})
		f.eventually(c.host+" "+c.want, func() bool {
			s := f.broker.Status()
			return (c.want == "") == s.Connected && strings.Contains(s.LastError, c.want)
		})
		if err := f.broker.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestEventsThatSayNothingOfAConnectionAreNone(t *testing.T) {
	const good = `{"username":"node_a","connected_at":5}`
	if ev := parseEvent("$SYS/brokers/emqx@1/clients/wfm-node_a/connected", []byte(good)); ev == nil || !ev.connected || ev.nodeID != "node_a" ||
		ev.ConnectedAt != 5 {
		t.Errorf("%+v", ev)
	}
	for _, topic := range []string{"$SYS/brokers/emqx@1/clients/node_a/connected", "$SYS/brokers/emqx@1/clients/wfm-node a#/connected"} {
		if ev := parseEvent(topic, []byte(good)); ev == nil || ev.nodeID != "" {
			t.Errorf("%s: %+v", topic, ev)
		}
	}
	for topic, payload := range map[string]string{
		"$SYS/brokers/emqx@1/clients/wfm-node_a":           good,
		"wfm/cfg_a/node_a/event":                           good,
		"$SYS/brokers/emqx@2/clients/wfm-node_a/connected": `{"username":"node_a"}`,
		"$SYS/brokers/emqx@3/clients/wfm-node_a/connected": `{`,
	} {
		if ev := parseEvent(topic, []byte(payload)); ev != nil {
			t.Errorf("%s %s: %+v", topic, payload, ev)
		}
	}
}

// With EMQX's database, any account can log in with any client id.
func TestClientWithAnothersClientIDIsKickedAtOnce(t *testing.T) {
	f := newFixture(t)
	a, b := f.nodes[0].Node.ID, f.nodes[1].Node.ID
	const foreign = "somebody"
	sum := sha256.Sum256([]byte("salt" + "password"))
	f.emqx.PutUser(foreign, emqxtest.User{Salt: "salt", Hash: hex.EncodeToString(sum[:])})
	for _, login := range []mqtttest.Login{
		{ClientID: protocol.ClientID(b), Username: a, Password: f.nodes[0].Password},
		{ClientID: "anything", Username: a, Password: f.nodes[0].Password},
		{ClientID: protocol.ClientID(b), Username: foreign, Password: "password"},
	} {
		login.Keepalive, login.NotClean = 60, true
		c := mqtttest.Dial(t, f.emqx.NetAddr(), 5)
		if code := c.Connect(login).ReasonCode; code != 0 {
			t.Fatalf("login: 0x%02x", code)
		}
		c.Rest() // until it is kicked
	}
	if err := f.broker.Reconcile(t.Context()); err != nil { // one that began before may kick the client ids once more
		t.Fatal(err)
	}
	stays := mqtttest.Dial(t, f.emqx.NetAddr(), 5)
	stays.Connect(mqtttest.Login{ClientID: "theirs", Username: foreign, Password: "password", Keepalive: 60})
	rightful := f.login(f.nodes[1])
	f.eventually("connected", func() bool { return f.broker.Connected(b) })
	if err := f.broker.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	stays.Ping()
	rightful.Ping()
}

func TestClockOfEMQXThatWasPutBackKeepsNobodyOffline(t *testing.T) {
	f := newFixture(t)
	id := f.nodes[0].Node.ID
	if err := f.broker.Reconcile(t.Context()); err != nil { // the next list begins after this
		t.Fatal(err)
	}
	tomorrow := moment(time.Now().Add(24 * time.Hour).UnixMilli())
	f.broker.opened(id, tomorrow, "")
	f.broker.closed(id, tomorrow, "")
	f.login(f.nodes[0])
	f.eventually("connected after an end in the future", func() bool { _ = f.broker.Reconcile(t.Context()); return f.broker.Connected(id) })
	f.broker.opened(id, tomorrow+1, "")
	f.eventually("the list wins over a connection in the future", func() bool {
		_ = f.broker.Reconcile(t.Context())
		at := f.broker.SessionID(id)
		return at != 0 && at < uint64(tomorrow)
	})
}

func TestListThatIsOlderThanAnEndDoesNotBringTheConnectionBack(t *testing.T) {
	f := newFixture(t)
	id := f.nodes[0].Node.ID
	f.broker.opened(id, 5, "")
	began := time.Now()
	f.broker.closed(id, 5, "")
	f.broker.applyListing([]clientRow{{ClientID: protocol.ClientID(id), Username: id, Connected: true, ConnectedAt: 5}}, began)
	f.broker.applyListing([]clientRow{{ClientID: protocol.ClientID(id), Username: id, Connected: true, ConnectedAt: 4}}, began)
	if f.broker.Connected(id) {
		t.Error("a connection that has ended counts")
	}
}
