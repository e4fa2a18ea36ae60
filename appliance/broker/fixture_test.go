package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"wfm/appliance/ingress"
	"wfm/hooks"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

// fixture is a real broker on loopback over a real store with two bound nodes, with the calls of
// its ingress.
type fixture struct {
	*Broker
	client   *tls.Config // clients of the test connect with TLS; nil: without
	roots    *tls.Config // with which they could
	db       *store.DB
	a, b     account
	log      syncBuffer
	events   chan string // "connected a", "disconnected a: reason", "subscribed a", "will a", "silent will a"
	received chan string // topic kinds of taken messages

	mu      sync.Mutex
	receive error // what Receive answers
}

type account struct{ node, config, password string }

func (a account) login() mqtttest.Login {
	return mqtttest.Login{ClientID: "wfm-" + a.node, Username: a.node, Password: a.password, Keepalive: 60}
}

func (a account) topic(k protocol.Kind) string { return a.t(k).String() }

func (a account) t(k protocol.Kind) protocol.Topic {
	return protocol.Topic{ConfigID: a.config, NodeID: a.node, Kind: k}
}

func start(tb testing.TB, limits Limits) *fixture {
	tb.Helper()
	return startWith(tb, limits, nil)
}

// startTLS is start with clients that connect with TLS.
func startTLS(tb testing.TB, limits Limits) *fixture {
	tb.Helper()
	f := start(tb, limits)
	f.client = f.roots
	return f
}

// startWith lets a test stand between the broker and the grants.
func startWith(tb testing.TB, limits Limits, wrap func(hooks.Grants) hooks.Grants) *fixture {
	tb.Helper()
	db, err := store.Open(tb.TempDir(), store.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fixture{db: db, events: make(chan string, 100_000), received: make(chan string, 100_000)}
	f.a, f.b = f.account(tb, "node_a"), f.account(tb, "node_b")
	var grants hooks.Grants = db
	if wrap != nil {
		grants = wrap(db)
	}
	server, client := selfSigned(tb)
	f.roots = client
	f.Broker, err = New(tb.Context(), Options{
		Addr: "127.0.0.1:0", TLSAddr: "127.0.0.1:0", TLS: server, Grants: grants, Ingress: f, Logger: f.logger(),
		Limits: limits,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := f.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			tb.Error(err)
		}
		_ = db.Close()
	})
	return f
}

func (f *fixture) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (f *fixture) account(tb testing.TB, id string) account {
	tb.Helper()
	var password string
	err := f.db.Update(func(tx *store.Tx) error {
		if _, err := tx.Config("cfg_x"); errors.Is(err, store.ErrConfigNotFound) {
			if err := tx.PutConfig(&store.Config{ID: "cfg_x", Name: "x", Enabled: true}); err != nil {
				return err
			}
		}
		n := store.Node{ID: id, ConfigID: "cfg_x", Name: id, Enabled: true, Type: store.NodeDynamic}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken(id, time.Minute)
		if err != nil {
			return err
		}
		bound, err := tx.Bind(token, store.Client{})
		password = bound.Password
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return account{id, "cfg_x", password}
}

func (f *fixture) update(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	if err := f.db.Update(fn); err != nil {
		tb.Fatal(err)
	}
}

// renew ends the node's session by ending its right, and gives it the right back, with the same password.
func (f *fixture) renew(tb testing.TB, nodeID string) {
	tb.Helper()
	for _, enabled := range []bool{false, true} {
		f.update(tb, func(tx *store.Tx) error {
			n, err := tx.Node(nodeID)
			if err != nil {
				return err
			}
			n.Enabled = enabled
			return tx.PutNode(&n)
		})
	}
}

func (f *fixture) answer(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.receive = err
}

func (f *fixture) Receive(_ ingress.Session, topic protocol.Topic, _ []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.receive == nil {
		f.received <- topic.NodeID + " " + string(topic.Kind)
	}
	return f.receive
}

func (f *fixture) Will(s ingress.Session, _ []byte, cause ingress.WillCause) {
	f.events <- map[ingress.WillCause]string{
		ingress.WillClosed: "will ", ingress.WillSilent: "silent will ", ingress.WillSuperseded: "superseded will ",
	}[cause] + s.NodeID
}

func (f *fixture) Connected(s ingress.Session)  { f.events <- "connected " + s.NodeID }
func (f *fixture) Subscribed(s ingress.Session) { f.events <- "subscribed " + s.NodeID }
func (f *fixture) Disconnected(s ingress.Session, reason string) {
	f.events <- "disconnected " + s.NodeID + ": " + reason
}

// patience is the limit of every wait for what must happen. It only ends a test that hangs.
const patience = time.Minute

// await waits until one of the events has come; others before it are skipped.
func (f *fixture) await(tb testing.TB, want ...string) string {
	tb.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-f.events:
			for _, w := range want {
				if len(e) >= len(w) && e[:len(w)] == w {
					return e
				}
			}
		case <-timeout:
			tb.Fatalf("never happened: %v\n%s", want, f.log.String())
		}
	}
}

// dial connects and sends nothing but a TLS handshake.
func (f *fixture) dial(tb testing.TB, version byte) *mqtttest.Client {
	tb.Helper()
	if f.client == nil {
		return mqtttest.Dial(tb, f.Addr(), version)
	}
	raw := mqtttest.Dial(tb, f.TLSAddr(), version).Conn
	c := tls.Client(raw, f.client)
	if err := c.HandshakeContext(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return mqtttest.Over(tb, c, version)
}

// selfSigned is a server's configuration for 127.0.0.1, and that of its clients.
func selfSigned(tb testing.TB) (server, client *tls.Config) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// connect logs the account in and subscribes it to its four topics.
func (f *fixture) connect(tb testing.TB, a account, version byte) *mqtttest.Client {
	tb.Helper()
	c := f.dial(tb, version)
	if ack := c.Connect(a.login()); ack.ReasonCode != 0 {
		tb.Fatalf("CONNACK %#x\n%s", ack.ReasonCode, f.log.String())
	}
	for _, code := range c.Subscribe(1, protocol.SubscribeTopics(a.config, a.node)...) {
		if code != 1 {
			tb.Fatalf("SUBACK %#x for an own topic", code)
		}
	}
	return c
}

// nothingLeft checks that the broker has forgotten the account's session entirely.
func (f *fixture) nothingLeft(tb testing.TB, a account) {
	tb.Helper()
	if _, ok := f.server.Clients.Get("wfm-" + a.node); ok {
		tb.Error("the broker still knows the client")
	}
	if subs := f.server.Topics.Subscribers(a.topic(protocol.KindControl)).Subscriptions; len(subs) != 0 {
		tb.Errorf("subscriptions are left: %v", subs)
	}
	if err := f.Publish(a.t(protocol.KindControl), []byte("{}"), time.Minute); !errors.Is(err, ErrNotConnected) {
		tb.Errorf("Publish to a session that ended: %v", err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
