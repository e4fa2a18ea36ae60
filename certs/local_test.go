package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/tlsproblem"
	"wfm/store"
)

func openStore(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// run runs a keeper with the options until stop is called or the test ends.
func run(t *testing.T, o Options) (k *Keeper, stop func()) {
	t.Helper()
	if o.Issuer == "" {
		o.Issuer = IssuerLocal
	}
	k, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := k.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	return k, stop
}

// connect makes a TLS handshake with the keeper as a client that trusts the CA, for the host. It
// returns the server's certificate.
func connect(t *testing.T, k *Keeper, ca, host string) (*x509.Certificate, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	near, far := net.Pipe()
	defer near.Close()
	_ = near.SetDeadline(time.Now().Add(patience)) // net.Pipe blocks a side that writes while the other writes
	go func() {
		defer far.Close()
		_ = tls.Server(far, k.TLSConfig()).HandshakeContext(t.Context())
	}()
	c := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12})
	if err := c.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func mustConnect(t *testing.T, k *Keeper, ca, host string) *x509.Certificate {
	t.Helper()
	c, err := connect(t, k, ca, host)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return c
}

func caCert(t *testing.T, k *Keeper, host string) string {
	t.Helper()
	ca, err := k.CACert(host)
	if err != nil {
		t.Fatalf("CACert for %s: %v", host, err)
	}
	return ca
}

func TestLocalCertificateIsForThisMachineAndThePublicHost(t *testing.T) {
	k, _ := run(t, Options{Store: openStore(t), PublicHost: "WFM.example.org.", Hosts: []string{"page.example.org", "192.0.2.7", "not a host"}})
	ca := caCert(t, k, "wfm.example.org")
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "wfm.example.org", "page.example.org", "192.0.2.7"} {
		leaf := mustConnect(t, k, ca, host)
		if life := lifetime(leaf); life > 90*24*time.Hour {
			t.Errorf("it lives %v", life)
		}
	}
	if _, err := connect(t, k, ca, "other.example.org"); err == nil {
		t.Error("it is for another host, too")
	}
	if _, err := k.CACert("other.example.org"); !errors.Is(err, tlsproblem.ErrHost) {
		t.Errorf("CACert for another host: %v", err)
	}
	root := k.source.(*local).pick("").root
	if life := lifetime(root); root.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P256() || life < 9*365*24*time.Hour || life > 11*365*24*time.Hour {
		t.Errorf("the root: %T, lives %v", root.PublicKey, life)
	}
}

func TestCAThatKnowsThePublicHostCanSignForNoOther(t *testing.T) {
	k, _ := run(t, Options{Store: openStore(t), PublicHost: "wfm.example.org"})
	a := k.source.(*local).pick("").authority
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"wfm.example.org": true, "bank.example.com": false} {
		text, err := a.sign(key.Public(), host, nil, time.Hour, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := decodeCertificates(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signed[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
		if a.permits(host) != want {
			t.Errorf("permits %s: %v", host, !want)
		}
	}
}

func TestAnotherPublicHostCutsOffNoAgentOfTheOld(t *testing.T) {
	db := openStore(t)
	k, stop := run(t, Options{Store: db, PublicHost: "old.example.org"})
	early := caCert(t, k, "old.example.org")
	stop()

	k, stop = run(t, Options{Store: db, PublicHost: "new.example.net"}) // that CA may not sign for this host
	late := caCert(t, k, "new.example.net")
	mustConnect(t, k, early, "old.example.org")
	mustConnect(t, k, early, "127.0.0.1")
	mustConnect(t, k, late, "old.example.org")
	mustConnect(t, k, late, "new.example.net")
	if !strings.Contains(late, early) || late == early {
		t.Error("the old and the new root are not handed out together")
	}
	stop()
	k, _ = run(t, Options{Store: db, PublicHost: "new.example.net"})
	if again := caCert(t, k, "new.example.net"); again != late {
		t.Error("a restart made another root")
	}
	mustConnect(t, k, early, "old.example.org")
}

func TestRootThatMaySignForAllCutsOffNoAgentThatDialsAnAddress(t *testing.T) {
	db := openStore(t)
	k, stop := run(t, Options{Store: db, PublicHost: "wfm.example.org"})
	early := caCert(t, k, "127.0.0.1")
	stop()
	k, _ = run(t, Options{Store: db}) // the public host is removed, and an admin asks for a bind command
	if err := k.Cover("agents.lan"); err != nil {
		t.Fatal(err)
	}
	late := caCert(t, k, "agents.lan")
	if strings.Count(late, "BEGIN CERTIFICATE") != 2 {
		t.Fatal("there is no second root")
	}
	mustConnect(t, k, early, "127.0.0.1")
	mustConnect(t, k, early, "wfm.example.org")
	mustConnect(t, k, late, "127.0.0.1")
	mustConnect(t, k, late, "agents.lan")
}

func TestHostThatIsLearntIsForGoodAndTheyAreLimited(t *testing.T) {
	db := openStore(t)
	k, stop := run(t, Options{Store: db})
	ca := caCert(t, k, "")
	if err := errors.Join(k.Cover("Agents.lan"), k.Cover("203.0.113.9"), k.Cover("agents.lan")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"a b", "a/b", "*.example.org", strings.Repeat("a", 64) + ".org"} {
		if err := k.Cover(bad); !errors.Is(err, tlsproblem.ErrHost) {
			t.Errorf("Cover %q: %v", bad, err)
		}
	}
	stop()
	k, _ = run(t, Options{Store: db})
	mustConnect(t, k, ca, "agents.lan")
	mustConnect(t, k, ca, "203.0.113.9")
	l := k.source.(*local)
	for i := 0; len(l.learned) < maxLearned; i++ {
		if err := l.note("h" + strings.Repeat("x", i) + ".lan"); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Cover("one.more.lan"); !errors.Is(err, tlsproblem.ErrTooManyHosts) {
		t.Errorf("one more than the limit: %v", err)
	}
}

func TestAnotherNameOfTheMachineNeedsNoOtherRoot(t *testing.T) {
	db := openStore(t)
	age(t, db, 0, firstName, "wfm.example.org") // as in a container, which gets a new name each time it is made
	k, _ := run(t, Options{Store: db, PublicHost: "wfm.example.org"})
	ca := caCert(t, k, "wfm.example.org")
	if strings.Count(ca, "BEGIN CERTIFICATE") != 1 {
		t.Error("another root was made")
	}
	mustConnect(t, k, ca, "wfm.example.org")
}

// age stores a CA for the domains that was made ago earlier.
func age(t *testing.T, db *store.DB, ago time.Duration, domains ...string) {
	t.Helper()
	a, err := newAuthority(domains, time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.encodeKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *store.Tx) error {
		return errors.Join(tx.PutFile(keyAuthorities+"/1/ca.crt", encodeCertificates(a.root)), tx.PutFile(keyAuthorities+"/1/ca.key", key))
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRootGetsASuccessorLongBeforeItsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		left      time.Duration
		roots     int
		servedOld bool
	}{
		"years before": {rolloverBefore + 24*time.Hour, 1, true},
		"near its end": {rolloverBefore - 24*time.Hour, 2, true},
		"at its end":   {retireBefore / 2, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			db := openStore(t)
			age(t, db, authorityLifetime-tc.left)
			k, _ := run(t, Options{Store: db})
			ca := caCert(t, k, "localhost")
			if n := strings.Count(ca, "BEGIN CERTIFICATE"); n != tc.roots {
				t.Errorf("%d roots are handed out", n)
			}
			leaf := mustConnect(t, k, ca, "localhost")
			first := k.source.(*local).pick("localhost")
			if old := first.number == 1; old != tc.servedOld || leaf.NotAfter.After(first.root.NotAfter) {
				t.Errorf("served by CA %d until %v, which ends %v", first.number, leaf.NotAfter, first.root.NotAfter)
			}
		})
	}
}

func TestRootOfAClockThatWasAheadIsUsedWhenItIsValidAndNotBefore(t *testing.T) {
	db := openStore(t)
	age(t, db, -72*time.Hour)
	k, _ := run(t, Options{Store: db})
	mustConnect(t, k, caCert(t, k, "localhost"), "localhost")
	if s := k.Status(); !strings.Contains(s.Warning, "the clock was ahead") || s.LastError != "" {
		t.Errorf("status: %+v", s)
	}
	all := *k.source.(*local).made.Load()
	if len(all) != 2 || all[0].number != 1 {
		t.Fatalf("%d roots", len(all))
	}
	for name, tc := range map[string]struct {
		now   time.Time
		first int
	}{
		"now":                     {time.Now(), 2},
		"once it is valid":        {time.Now().Add(73 * time.Hour), 1},
		"while the clock is lost": {time.Unix(0, 0), 1},
	} {
		if got := valid(all, tc.now)[0].number; got != tc.first {
			t.Errorf("%s: root %d serves", name, got)
		}
	}
}

func TestClockThatWasALittleAheadMakesWhatIsValid(t *testing.T) {
	db := openStore(t)
	age(t, db, -20*time.Hour)
	k, _ := run(t, Options{Store: db})
	if ca := caCert(t, k, "localhost"); strings.Count(ca, "BEGIN CERTIFICATE") != 1 {
		t.Error("another root was made")
	} else {
		mustConnect(t, k, ca, "localhost")
	}
}

func TestCertmagicRenewsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := run(t, Options{Store: openStore(t), lifetime: 3 * time.Second, check: 50 * time.Millisecond})
		ca := caCert(t, k, "localhost")
		first := mustConnect(t, k, ca, "localhost")
		awaitChange(t, k, ca, first)
		if s := k.Status(); s.LastError != "" || s.NextRenewal.After(s.NotAfter) || s.NextRenewal.Before(time.Now().Add(-time.Hour)) {
			t.Errorf("status: %+v", s)
		}
	})
}

// awaitChange waits until another certificate is served, and checks that a valid one is served all
// the time.
func awaitChange(t *testing.T, k *Keeper, ca string, from *x509.Certificate) {
	t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(patience)
	for mustConnect(t, k, ca, "localhost").Equal(from) {
		select {
		case <-ticks.C:
		case <-timeout:
			t.Fatal("it was never renewed")
		}
	}
}

func TestFailedRenewalLeavesTheCertificateInUseAndIsTold(t *testing.T) {
	db := openStore(t)
	k, _ := run(t, Options{Store: db})
	ca := caCert(t, k, "localhost")
	before := mustConnect(t, k, ca, "localhost")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context(), false); err == nil {
		t.Error("renewed without a store")
	}
	if err := k.Renew(t.Context(), true); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a new CA without a store: %v", err)
	}
	if !mustConnect(t, k, ca, "localhost").Equal(before) {
		t.Error("the certificate in use changed")
	}
	if s := k.Status(); s.LastError == "" || s.LastErrorAt.IsZero() {
		t.Errorf("status: %+v", s)
	}
}

func TestNothingIsLoggedOfKeysAndOldTLSIsRefused(t *testing.T) {
	var log strings.Builder
	db := openStore(t)
	k, stop := run(t, Options{Store: db, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	near, far := net.Pipe()
	go func() { _ = tls.Server(far, k.TLSConfig()).HandshakeContext(t.Context()) }()
	old := tls.Client(near, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err := old.HandshakeContext(t.Context()); err == nil {
		t.Error("TLS 1.1 is served")
	}
	_ = near.Close()
	if err := k.Renew(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	stop()
	if text := log.String(); !strings.Contains(text, "made a CA") || strings.Contains(text, "PRIVATE") || strings.Contains(text, "BEGIN") {
		t.Errorf("the log:\n%s", text)
	}
}
