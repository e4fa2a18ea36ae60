package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"wfm/internal/tlsproblem"
)

func TestIssuerThatHasHadEnoughIsLeftAlone(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("order: %w", acme.Problem{Type: acme.ProblemTypeRateLimited}), true},
		{fmt.Errorf("order: %w", acme.Problem{Status: 429}), true},
		{errors.New("provisioning client: HTTP 429: slow down"), true},
		{acme.Problem{Type: acme.ProblemTypeDNS, Status: 400}, false},
		{errors.New("connection refused"), false},
	} {
		if got := limited(tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}

func TestCAFileThatIsGoneTakesNothingFromWhatWasHandedOut(t *testing.T) {
	s := newSite(t)
	put(t, s.certFile, encodeCertificates(s.root))
	k, err := New(Options{Store: openStore(t), Issuer: IssuerACME, ACME: ACME{Domains: []string{firstName}, CAFile: s.certFile}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop(t.Context()) })
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(s.leaf(t, time.Now()), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.source.(*acmeSource).config.CacheUnmanagedTLSCertificate(t.Context(), pair, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.certFile); err != nil {
		t.Fatal(err)
	}
	if _, err := k.CACert(""); !errors.Is(err, tlsproblem.ErrNotReady) {
		t.Errorf("before any root was handed out: %v", err)
	}
	put(t, s.certFile, encodeCertificates(s.root))
	ca := caCert(t, k, "")
	if err := os.Remove(s.certFile); err != nil {
		t.Fatal(err)
	}
	if roots, err := k.source.roots(); err != nil || string(encodeCertificates(roots...)) != ca {
		t.Errorf("%v", err)
	}
}

func TestACMEAsksForTheFirstNameOfTheApplianceByDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Options
		want string // empty: an error
	}{
		"public host":           {Options{PublicHost: "mqtt.example.org", Hosts: []string{"page.example.org"}}, "mqtt.example.org"},
		"address as the host":   {Options{PublicHost: "192.0.2.1", Hosts: []string{"2001:db8::1", "page.example.org"}}, "page.example.org"},
		"domains were given":    {Options{PublicHost: "mqtt.example.org", ACME: ACME{Domains: []string{"other.example.org"}}}, "other.example.org"},
		"neither host nor name": {Options{Hosts: []string{"192.0.2.1"}}, ""},
	} {
		o := tc.o
		o.Store, o.Issuer = openStore(t), IssuerACME
		k, err := New(o)
		if tc.want == "" {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := k.source.(*acmeSource).names; len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s: asks for %v, want %s", name, got, tc.want)
		}
		if err := k.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
