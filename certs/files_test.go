package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is a CA outside the appliance, and the files that it fills.
type site struct {
	authority
	certFile, keyFile string
	key               *ecdsa.PrivateKey
}

func newSite(t *testing.T) *site {
	t.Helper()
	a, err := newAuthority(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := authority{key: key}.encodeKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &site{authority: a, certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), key: key}
	put(t, s.keyFile, text)
	return s
}

// leaf returns a certificate, in PEM, that is valid for an hour after from.
func (s *site) leaf(t *testing.T, from time.Time) []byte {
	t.Helper()
	text, err := s.sign(s.key.Public(), firstName, nil, time.Hour, from)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// whole returns a leaf followed by the root.
func (s *site) whole(t *testing.T, from time.Time) []byte {
	t.Helper()
	return append(s.leaf(t, from), encodeCertificates(s.root)...)
}

func (s *site) run(t *testing.T) *Keeper {
	t.Helper()
	k, _ := run(t, Options{Store: openStore(t), Issuer: IssuerFiles, CertFile: s.certFile, KeyFile: s.keyFile, check: time.Hour})
	return k
}

func put(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfNoUseDoNotReplaceThoseThatAre(t *testing.T) {
	s := newSite(t)
	put(t, s.certFile, s.whole(t, time.Now()))
	k := s.run(t)
	ca := caCert(t, k, firstName)
	before := mustConnect(t, k, ca, firstName)

	forClients := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{firstName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, forClients, s.root, s.key.Public(), s.authority.key)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string][]byte{
		"has expired":      s.whole(t, time.Now().Add(-2*time.Hour)),
		"not valid before": s.whole(t, time.Now().Add(time.Hour)),
		"not for a server": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		"larger than":      bytes.Repeat([]byte("a"), maxFile+1),
	} {
		put(t, s.certFile, text)
		if err := k.Renew(t.Context(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := os.Remove(s.certFile); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(s.certFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context(), false); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe that nobody writes to: %v", err)
	}
	if !mustConnect(t, k, ca, firstName).Equal(before) {
		t.Error("another certificate is served")
	}
}

func TestFilesWithoutTheRootWillDoOnceItIsKnown(t *testing.T) {
	s := newSite(t)
	put(t, s.certFile, s.whole(t, time.Now()))
	k := s.run(t)
	ca := caCert(t, k, firstName)
	put(t, s.certFile, s.leaf(t, time.Now()))
	if err := k.Renew(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if caCert(t, k, firstName) != ca {
		t.Error("another root is handed out")
	}
	mustConnect(t, k, ca, firstName)
}

func TestStatusWarnsOfWhatKeepsAgentsFromConnecting(t *testing.T) {
	s := newSite(t)
	put(t, s.certFile, s.whole(t, time.Now()))
	k := s.run(t)
	caCert(t, k, firstName)
	if st := k.Status(); st.Warning != "" {
		t.Errorf("all is well, and it warns: %s", st.Warning)
	}
	var err error
	if s.authority, err = newAuthority(nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	put(t, s.certFile, s.whole(t, time.Now()))
	if err := k.Renew(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if st := k.Status(); st.Warning != otherRoot {
		t.Errorf("with another root: %q", st.Warning)
	}
	k, _ = run(t, Options{Store: openStore(t), Issuer: IssuerFiles, CertFile: s.certFile, KeyFile: s.keyFile, PublicHost: "no.such.host"})
	if st := k.Status(); !strings.Contains(st.Warning, "no.such.host") {
		t.Errorf("with a public host it is not for: %q", st.Warning)
	}
}

func TestExpiredFilesAreServedWhenThereIsNothingElse(t *testing.T) {
	s := newSite(t)
	put(t, s.certFile, s.whole(t, time.Now().Add(-2*time.Hour)))
	k := s.run(t)
	if st := k.Status(); !strings.Contains(st.Warning, "expired") || len(st.Certificates) == 0 {
		t.Errorf("status: %+v", st)
	}
	put(t, s.certFile, s.whole(t, time.Now()))
	if err := k.source.renew(context.Background(), false); err != nil {
		t.Error(err)
	}
}
