package mqttcheck_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/broker"
	"wfm/appliance/ingress"
	"wfm/appliance/mqttcheck"
	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

var account = mqttcheck.Account{ConfigID: "check_c", NodeID: "check_n", Password: "a password"}

// fixedGrants are a broker's grants that no store knows.
type fixedGrants map[string]store.Grant

func (fixedGrants) WatchGrants(func([]string)) (stop func()) { return func() {} }

func (g fixedGrants) Grant(id string) (store.Grant, bool) { v, ok := g[id]; return v, ok }

type silentIngress struct{}

func (silentIngress) Receive(ingress.Session, protocol.Topic, []byte) error {
	return ingress.ErrRefused
}
func (silentIngress) Will(ingress.Session, []byte, ingress.WillCause) {}
func (silentIngress) Connected(ingress.Session)                       {}
func (silentIngress) Subscribed(ingress.Session)                      {}
func (silentIngress) Disconnected(ingress.Session, string)            {}

func startBroker(t *testing.T) net.Addr {
	t.Helper()
	grant := store.NewGrant(account.NodeID, account.ConfigID, account.Password)
	b, err := broker.New(t.Context(), broker.Options{Addr: "127.0.0.1:0", Grants: fixedGrants{account.NodeID: grant}, Ingress: silentIngress{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	return b.Addr()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// each calls serve with every connection that comes in on l.
func each(l net.Listener, serve func(net.Conn)) net.Addr {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr()
}

// authority is a CA and a certificate of it.
type authority struct {
	pem  string
	cert tls.Certificate
}

func newAuthority(t *testing.T, until time.Time, hosts ...string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: until, DNSNames: hosts,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
}

// withTLS serves the address plain with TLS.
func withTLS(t *testing.T, plain net.Addr, a authority) net.Addr {
	t.Helper()
	l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{a.cert}})
	return each(l, func(c net.Conn) {
		defer c.Close()
		if c.(*tls.Conn).HandshakeContext(t.Context()) != nil {
			return
		}
		back, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", plain.String())
		if err != nil {
			return
		}
		defer back.Close()
		go func() { _, _ = io.Copy(back, c) }()
		_, _ = io.Copy(c, back)
	})
}

func target(addr net.Addr) mqttcheck.Target {
	return mqttcheck.Target{Host: "127.0.0.1", Port: addr.(*net.TCPAddr).Port}
}

func TestANodeThatCanLogInAndReachesOnlyItselfIsASuccess(t *testing.T) {
	addr := startBroker(t)
	if err := mqttcheck.Run(t.Context(), target(addr), account); err != nil {
		t.Error(err)
	}
	ca := newAuthority(t, time.Now().Add(time.Hour), "127.0.0.1")
	secured := target(withTLS(t, addr, ca))
	secured.TLS, secured.CACert = true, ca.pem
	if err := mqttcheck.Run(t.Context(), secured, account); err != nil {
		t.Errorf("with TLS: %v", err)
	}
}

func TestEveryFailureSaysWhatToDo(t *testing.T) {
	plain := startBroker(t)
	later := time.Now().Add(time.Hour)
	good := newAuthority(t, later, "127.0.0.1")
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	free := listen(t)
	_ = free.Close()
	silent := each(listen(t), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closing := each(listen(t), func(c net.Conn) { _ = c.Close() })
	huge := each(listen(t), func(c net.Conn) { _, _ = c.Write([]byte{0x20, 0xff, 0xff, 0xff, 0x7f, 0, 0}) })

	with := func(addr net.Addr, ca string) mqttcheck.Target {
		tt := target(addr)
		tt.TLS, tt.CACert = true, ca
		return tt
	}
	expired := newAuthority(t, time.Now().Add(-time.Minute), "127.0.0.1")
	elsewhere := newAuthority(t, later, "mqtt.example.org")
	for name, tc := range map[string]struct {
		target  mqttcheck.Target
		account mqttcheck.Account
		want    string
	}{
		"no such name":           {mqttcheck.Target{Host: "a..b", Port: 1883}, account, "cannot be resolved"},
		"nothing listens":        {target(free.Addr()), account, "Nothing listens"},
		"nothing is said":        {target(silent), account, "does not answer a login"},
		"no TLS hello":           {with(silent, good.pem), account, "says nothing"},
		"closed at once":         {target(closing), account, "or it wants TLS"},
		"closed at the hello":    {with(closing, good.pem), account, "the port with TLS"},
		"a web server":           {target(web.Listener.Addr()), account, "no MQTT 5 broker"},
		"an absurd length":       {target(huge), account, "no MQTT 5 broker"},
		"TLS without it":         {target(withTLS(t, plain, good)), account, "wants TLS"},
		"no TLS where it should": {with(web.Listener.Addr(), good.pem), account, "answers without TLS"},
		"no CA":                  {with(plain, ""), account, "no CA certificate"},
		"another CA":             {with(withTLS(t, plain, newAuthority(t, later, "127.0.0.1")), good.pem), account, "does not come from the CA"},
		"another host":           {with(withTLS(t, plain, elsewhere), elsewhere.pem), account, "mqtt.example.org"},
		"expired":                {with(withTLS(t, plain, expired), expired.pem), account, "not valid at this time"},
		"another broker":         {target(plain), mqttcheck.Account{ConfigID: "c", NodeID: "n", Password: "p"}, "does not know this appliance's nodes"},
		"everything is allowed":  {target(openBroker(t, new([]string))), account, "read the commands of another"},
	} {
		t.Run(name, func(t *testing.T) {
			patience := mqttcheck.Timeout
			if addr := target(silent); tc.target.Port == addr.Port {
				patience = 200 * time.Millisecond // nothing will come
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := mqttcheck.Run(ctx, tc.target, tc.account)
			var f *mqttcheck.Failure
			if !errors.As(err, &f) || !strings.Contains(err.Error(), tc.want) || !strings.HasSuffix(err.Error(), ".") {
				t.Errorf("%v, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestThePasswordGoesInTheClearToNoBrokerButTheOneThatIsMeant(t *testing.T) {
	var seen []string
	addr := openBroker(t, &seen)
	a := account
	a.Asked = func() bool { return false }
	if err := mqttcheck.Run(t.Context(), target(addr), a); err == nil || !strings.Contains(err.Error(), "does not know this appliance's nodes") {
		t.Errorf("another broker: %v", err)
	}
	if len(seen) != 1 || seen[0] == account.Password {
		t.Errorf("another broker was sent %d passwords, perhaps the right one", len(seen))
	}
	asked := false
	a.Asked = func() bool { asked = true; return true }
	if err := mqttcheck.Run(t.Context(), target(startBroker(t)), a); err != nil || !asked {
		t.Errorf("the broker that is meant: %v", err)
	}
}

// allowAll allows everything, and keeps the passwords.
type allowAll struct {
	*mqtt.HookBase
	seen *[]string
}

func (allowAll) ID() string           { return "open" }
func (allowAll) Provides(b byte) bool { return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck }

func (a allowAll) OnConnectAuthenticate(_ *mqtt.Client, p packets.Packet) bool {
	*a.seen = append(*a.seen, string(p.Connect.Password))
	return true
}

func (allowAll) OnACLCheck(*mqtt.Client, string, bool) bool { return true }
func (allowAll) Init(any) error                             { return nil }
func (allowAll) Stop() error                                { return nil }
func (allowAll) SetOpts(*slog.Logger, *mqtt.HookOptions)    {}

// openBroker is a broker that allows everybody everything.
func openBroker(t *testing.T, seen *[]string) net.Addr {
	t.Helper()
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(allowAll{seen: seen}, nil); err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	if err := s.AddListener(mqtttest.NewListener(s, "open", l)); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr()
}
