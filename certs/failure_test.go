package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/internal/storetest"
	"wfm/store"
)

func TestStatusTellsOfARenewalThatFailedUntilOneSucceeds(t *testing.T) {
	k, _ := run(t, Options{Store: openStore(t), check: time.Hour})
	m := k.source.(*local).pick("").managed
	for event, want := range map[string]string{"cert_obtained": "", "cert_failed": "the issuer said no"} {
		if err := m.event(t.Context(), event, map[string]any{"identifier": firstName, "error": errors.New("the issuer said no")}); err != nil {
			t.Error(err)
		}
		if s := k.Status(); s.LastError != want || s.LastErrorAt.IsZero() != (want == "") {
			t.Errorf("%s: %q at %s, want %q", event, s.LastError, s.LastErrorAt, want)
		}
		if err := k.Renew(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if s := k.Status(); s.LastError != "" || !s.LastErrorAt.IsZero() {
			t.Errorf("after a success: %q at %s", s.LastError, s.LastErrorAt)
		}
	}
}

func TestAnErrorOfTheLocalCAEndsWithTheNextLookThatIsWithoutOne(t *testing.T) {
	k, err := New(Options{Store: openStore(t), Issuer: IssuerLocal, check: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.source.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.source.stop)
	if err := k.changed(); err != nil {
		t.Fatal(err)
	}
	k.failed(errors.New("no space left")) // as at the start
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.source.run(ctx) }()
	await(t, func() bool { return k.Status().LastError == "" })
	cancel()
	<-done
}

// patience is the limit of every wait for what must happen. It only ends a test that hangs.
const patience = time.Minute

// await waits until the condition is met.
func await(t *testing.T, met func() bool) {
	t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(patience)
	for !met() {
		select {
		case <-ticks.C:
		case <-timeout:
			t.Fatal("it never happened")
		}
	}
}

func TestStatusTellsWhenACMETriesAgain(t *testing.T) {
	k, _ := run(t, Options{Store: openStore(t), Issuer: IssuerACME, ACME: ACME{Domains: []string{"a.test"}, Directory: "http://127.0.0.1:1/nobody-listens"}})
	await(t, func() bool { return !k.Status().NextRenewal.IsZero() })
	s := k.Status()
	if s.LastError == "" || s.NextRenewal.Before(s.LastErrorAt) || s.NextRenewal.After(s.LastErrorAt.Add(longestRetry)) {
		t.Errorf("status: %+v", s)
	}
}

func TestACertificateThatCannotBeReadIsAnErrorWhereverItStands(t *testing.T) {
	s := newSite(t)
	good, bad := string(s.leaf(t, time.Now())), block("CERTIFICATE", []byte("junk"))
	for number, text := range map[string]string{"1": bad + good, "2": good + bad, "3": good + good + bad + good} {
		if all, err := decodeCertificates([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "certificate "+number+": ") {
			t.Errorf("decodeCertificates with number %s broken: %d, %v", number, len(all), err)
		}
		if all, err := readChain([]byte(text)); err == nil || !strings.Contains(err.Error(), "as number "+number+" ") {
			t.Errorf("readChain with number %s broken: %d, %v", number, len(all), err)
		}
	}
	put(t, s.certFile, []byte(good+bad))
	k, err := New(Options{Store: openStore(t), Issuer: IssuerFiles, CertFile: s.certFile, KeyFile: s.keyFile})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(); err == nil || !strings.Contains(err.Error(), "as number 2") {
		t.Errorf("start with a broken intermediate: %v", err)
	}
}

func TestACAThatCannotBeReadIsAnErrorAndNoneIsMadeInItsPlace(t *testing.T) {
	damaged := func(key string) func(*testing.T, *store.DB, string) {
		return func(t *testing.T, db *store.DB, dir string) {
			t.Helper()
			f, err := store.Read(db, func(tx *store.Tx) (store.File, error) { f, _, err := tx.File(key); return f, err })
			if err != nil {
				t.Fatal(err)
			}
			text := base64.StdEncoding.EncodeToString(f.Value)
			storetest.Damage(t, dir, `{"value":"`+text[:min(160, len(text))])
		}
	}
	replaced := func(key, text string) func(*testing.T, *store.DB, string) {
		return func(t *testing.T, db *store.DB, _ string) {
			t.Helper()
			if err := db.Update(func(tx *store.Tx) error { return tx.PutFile(key, []byte(text)) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	const crt, key = keyAuthorities + "/1/ca.crt", keyAuthorities + "/1/ca.key"
	for name, tc := range map[string]struct {
		spoil func(*testing.T, *store.DB, string)
		want  error // nil: any
	}{
		"certificate, its record":     {damaged(crt), store.ErrDamaged},
		"key, its record":             {damaged(key), store.ErrDamaged},
		"certificate, its text":       {replaced(crt, "junk"), errBrokenAuthority},
		"key, its text":               {replaced(key, "junk"), errBrokenAuthority},
		"key, of another root":        {replaced(key, otherKey(t)), errBrokenAuthority},
		"learned hosts, their record": {damaged(keyLearned), store.ErrDamaged},
		"learned hosts, their text":   {replaced(keyLearned, "junk"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db, err := store.Open(dir, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			_, stop := run(t, Options{Store: db, PublicHost: "wfm.example.org", check: time.Hour})
			stop()
			files := func() int {
				n, _ := store.Read(db, func(tx *store.Tx) (int, error) { return len(tx.Files(keyAuthorities, true)), nil })
				return n
			}
			tc.spoil(t, db, dir)
			before := files()
			k, err := New(Options{Store: db, Issuer: IssuerLocal})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Start(); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("Start: %v, want %v", err, tc.want)
			}
			if n := files(); n != before {
				t.Errorf("%d files of CAs, before %d", n, before)
			}
		})
	}
}

func otherKey(t *testing.T) string {
	t.Helper()
	a, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.encodeKey()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRootsAreHandedOutNewestFirst(t *testing.T) {
	db := openStore(t)
	var made []*x509.Certificate // oldest first
	for _, ago := range []time.Duration{72 * time.Hour, 48 * time.Hour, 24 * time.Hour} {
		a, err := newAuthority(nil, time.Now().Add(-ago))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, a.root)
	}
	k := &kept{db: db, issuer: IssuerACME, now: time.Now}
	for _, root := range []*x509.Certificate{made[1], made[0], made[2]} {
		if err := k.add([]*x509.Certificate{root}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(made)
	for name, k := range map[string]*kept{"now": k, "after a restart": {db: db, issuer: IssuerACME, now: time.Now}} {
		if !slices.EqualFunc(k.all(), made, (*x509.Certificate).Equal) {
			t.Errorf("%s: not newest first", name)
		}
	}
}

func TestAKeyThatOthersCanReadIsWarnedOfOnce(t *testing.T) {
	s := newSite(t)
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	k, log, err := withFiles(t, string(s.whole(t, time.Now())), string(key), "")
	if err != nil {
		t.Fatal(err)
	}
	warnings := func() int { return strings.Count(log.String(), "others on this machine can read the key") }
	if n := warnings(); n != 0 {
		t.Errorf("%d warnings of a key that others cannot read", n)
	}
	for _, mode := range []os.FileMode{0o604, 0o640} {
		if err := os.Chmod(k.o.KeyFile, mode); err != nil {
			t.Fatal(err)
		}
		if err := k.Renew(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if n := warnings(); n != 1 {
			t.Errorf("%d warnings of a key with mode %o", n, mode)
		}
	}
}

func TestAFileIsReadUpToOneMiB(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	for size, ok := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		put(t, name, bytes.Repeat([]byte("a"), size))
		if text, err := readFile(name); (err == nil) != ok || ok && len(text) != size {
			t.Errorf("%d bytes: %d, %v", size, len(text), err)
		}
	}
}

func TestWarningBeginsExactlyFourteenDaysOrASixthOfItsLifeBeforeTheEnd(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for life, from := range map[time.Duration]time.Duration{365 * day: 14 * day, 84 * day: 14 * day, 60 * day: 10 * day, 6 * day: day} {
		for left, want := range map[time.Duration]string{from: "", from - 1: "has not been renewed", 1: "has not been renewed", 0: "has expired", life: "", life +
			1: "is not valid before"} {
			c := &x509.Certificate{NotBefore: now.Add(left - life), NotAfter: now.Add(left), DNSNames: []string{"a.test"}}
			if got := warning(c, now); got != "" != (want != "") || !strings.Contains(got, want) {
				t.Errorf("%v of %v left: %q, want %q", left, life, got, want)
			}
		}
	}
}

func TestOnlyAnACMEIssuerThatChecksANameGetsItsProtocol(t *testing.T) {
	k, err := New(Options{Store: openStore(t), Issuer: IssuerACME, ACME: ACME{Domains: []string{firstName}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop(t.Context()) })
	pick := k.TLSConfig().GetConfigForClient
	for offer, own := range map[string]bool{"acme-tls/1": true, "": false, "mqtt": false, "acme-tls/1 mqtt": false, "mqtt acme-tls/1": false} {
		cfg, err := pick(&tls.ClientHelloInfo{SupportedProtos: strings.Fields(offer)})
		if err != nil || (cfg != nil) != own || own && !slices.Equal(cfg.NextProtos, []string{"acme-tls/1"}) {
			t.Errorf("offer %q: %v, %v", offer, cfg, err)
		}
	}
	if cfg := k.TLSConfig(); len(cfg.NextProtos) != 0 {
		t.Errorf("others are offered %v", cfg.NextProtos)
	}
	if k, _ := run(t, Options{Store: openStore(t)}); k.TLSConfig().GetConfigForClient != nil {
		t.Error("without ACME a protocol is offered")
	}
}

func TestFingerprintIsThatOfTheRootAndOnlyOfTheOwnCA(t *testing.T) {
	k, _ := run(t, Options{Store: openStore(t), PublicHost: "wfm.example.org"})
	sum := sha256.Sum256(k.source.(*local).pick("wfm.example.org").root.Raw)
	for _, host := range []string{"", "wfm.example.org", "WFM.example.org"} {
		if got := k.Fingerprint(host); got != hex.EncodeToString(sum[:]) {
			t.Errorf("for %q: %q, want %x", host, got, sum)
		}
	}
	s := newSite(t)
	put(t, s.certFile, s.whole(t, time.Now()))
	if got := s.run(t).Fingerprint(firstName); got != "" {
		t.Errorf("of files: %q", got)
	}
	if k, err := New(Options{Store: openStore(t)}); err != nil || k.Fingerprint("") != "" {
		t.Errorf("before there is a root: %q, %v", k.Fingerprint(""), err)
	}
}

func TestACAFileOfNoUseIsAnErrorThatNamesTheSetting(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ca.pem")
	s := newSite(t)
	for want, text := range map[string]*string{
		fs.ErrNotExist.Error(): nil, "there is no certificate in it": new(""), "certificate 1": new(block("CERTIFICATE", []byte("junk"))),
	} {
		_ = os.Remove(name)
		if text != nil {
			put(t, name, []byte(*text))
		}
		_, err := New(Options{Store: openStore(t), Issuer: IssuerACME, ACME: ACME{Domains: []string{firstName}, CAFile: name}})
		if err == nil || !strings.Contains(err.Error(), "WFM_ACME_CA_FILE") || text != nil && !strings.Contains(err.Error(), want) ||
			text == nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	put(t, name, encodeCertificates(s.root))
	k, err := New(Options{Store: openStore(t), Issuer: IssuerACME, ACME: ACME{Domains: []string{firstName}, CAFile: name}})
	if err != nil {
		t.Fatal(err)
	}
	_ = k.Stop(t.Context())
}
