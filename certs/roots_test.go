package certs

import (
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"
)

// chainOf returns a leaf signed by an intermediate that is signed by a root.
func chainOf(t *testing.T) (leaf, between, root *x509.Certificate) {
	t.Helper()
	top, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	middle, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cross := *middle.root
	cross.Issuer = top.root.Subject
	top.root.MaxPathLenZero, top.root.MaxPathLen = false, -1 // ours sign no other CA; this one does
	raw, err := x509.CreateCertificate(rand.Reader, &cross, top.root, middle.key.Public(), top.key)
	if err != nil {
		t.Fatal(err)
	}
	if between, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	text, err := authority{between, middle.key}.sign(top.key.Public(), "a.test", nil, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := decodeCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	return leaves[0], between, top.root
}

func TestRootThatVerifiesTheServedChainIsFound(t *testing.T) {
	leaf, between, root := chainOf(t)
	for name, tc := range map[string]struct {
		chain, given []*x509.Certificate
		found        bool
	}{
		"given":                 {[]*x509.Certificate{leaf, between}, []*x509.Certificate{root}, true},
		"at the chain's end":    {[]*x509.Certificate{leaf, between, root}, nil, true},
		"nowhere":               {[]*x509.Certificate{leaf, between}, nil, false},
		"without the way to it": {[]*x509.Certificate{leaf}, []*x509.Certificate{root}, false},
	} {
		roots := rootsOf(tc.chain, tc.given, time.Now())
		if found := len(roots) == 1 && roots[0].Equal(root); found != tc.found {
			t.Errorf("%s: %d roots", name, len(roots))
		}
	}
}

func TestRootThatWasHandedOutStaysUntilItExpires(t *testing.T) {
	db := openStore(t)
	a, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	over, err := newAuthority(nil, time.Now().Add(-authorityLifetime-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{db: db, issuer: IssuerACME, now: time.Now}
	if err := k.add([]*x509.Certificate{a.root, over.root}); err != nil {
		t.Fatal(err)
	}
	k = &kept{db: db, issuer: IssuerACME, now: time.Now} // as after a restart
	if err := k.add([]*x509.Certificate{b.root}); err != nil {
		t.Fatal(err)
	}
	all := k.all()
	if len(all) != 2 || !all[0].Equal(a.root) && !all[1].Equal(a.root) {
		t.Errorf("%d roots", len(all))
	}
	if other := (&kept{db: db, issuer: IssuerFiles, now: time.Now}).all(); len(other) != 0 {
		t.Errorf("another issuer's are among them: %d", len(other))
	}
}

func TestWarningComesFrom14DaysBeforeTheEnd(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for _, tc := range []struct {
		life, left time.Duration
		want       bool
	}{
		{90 * day, 15 * day, false},
		{90 * day, 13 * day, true},
		{90 * day, -day, true},
		{365 * day, 13 * day, true},
		{6 * day, 5 * day, false}, // short on purpose
		{6 * day, 12 * time.Hour, true},
	} {
		c := &x509.Certificate{NotBefore: now.Add(tc.left - tc.life), NotAfter: now.Add(tc.left), DNSNames: []string{"a.test"}}
		if got := warning(c, now); (got != "") != tc.want {
			t.Errorf("%v of %v left: %q", tc.left, tc.life, got)
		}
	}
}
