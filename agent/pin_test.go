package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"
)

// signed returns a certificate for name, signed by parent or, if parent is nil, by itself.
func signed(t *testing.T, name string, ends time.Time, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends,
		IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func TestPinIsOfTheCertificateOrOfTheRootThatVerifiesIt(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	root, key := signed(t, "ca", soon, nil, nil)
	leaf, _ := signed(t, "leaf", soon, root, key)
	expired, _ := signed(t, "leaf", time.Now().Add(-time.Minute), root, key)
	otherRoot, otherKey := signed(t, "ca", soon, nil, nil)
	other, _ := signed(t, "leaf", soon, otherRoot, otherKey)
	for name, tc := range map[string]struct {
		chain []*x509.Certificate
		pin   *x509.Certificate
		want  error
	}{
		"root":                           {[]*x509.Certificate{leaf, root}, root, nil},
		"leaf":                           {[]*x509.Certificate{leaf}, leaf, nil},
		"another root":                   {[]*x509.Certificate{leaf, root}, otherRoot, errOtherCertificate},
		"root shown beside a stranger":   {[]*x509.Certificate{other, root}, root, errOtherCertificate},
		"leaf shown behind a stranger":   {[]*x509.Certificate{other, leaf}, leaf, errOtherCertificate},
		"root that is not shown":         {[]*x509.Certificate{leaf}, root, errOtherCertificate},
		"root of an expired certificate": {[]*x509.Certificate{expired, root}, root, errPinnedTime},
	} {
		sum := sha256.Sum256(tc.pin.Raw)
		if err := verifyPinned(tc.chain, sum[:]); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
