package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
)

var errOtherCertificate = errors.New("the server's certificate is not of the CA the bind command names; ask for a new bind command, and if that does " +
	"not help, the connection may be intercepted")

var errPinnedTime = errors.New("the server's certificate has expired or is not valid yet; see whether the clocks of this machine and of the server are right")

// bindTransport returns a transport that trusts the system's roots. With a fingerprint, it trusts
// instead only a server with exactly that certificate or one signed by it: the bind command comes
// from the operator of the server and names the certificate.
func bindTransport(base *url.URL, fingerprint string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if fingerprint == "" {
		return t, nil
	}
	want, err := hex.DecodeString(fingerprint)
	if err != nil || len(want) != sha256.Size {
		return nil, errors.New("the certificate's fingerprint is not 64 hex digits: copy the whole bind command")
	}
	if base.Scheme != "https" {
		return nil, errors.New("a server with a certificate is at https://: copy the whole bind command")
	}
	t.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter
		VerifyConnection:   func(s tls.ConnectionState) error { return verifyPinned(s.PeerCertificates, want) },
	}
	return t, nil
}

// verifyPinned accepts a chain, leaf first, if the leaf is the certificate with the fingerprint or
// is verified by it. The host of the leaf does not matter: that CA signs for one server only.
func verifyPinned(chain []*x509.Certificate, fingerprint []byte) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for i, c := range chain {
		got := sha256.Sum256(c.Raw)
		switch pinned := subtle.ConstantTimeCompare(got[:], fingerprint) == 1; {
		case pinned && i == 0:
			return nil
		case pinned:
			roots.AddCert(c)
		default:
			between.AddCert(c)
		}
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			return errPinnedTime
		}
		return errOtherCertificate
	}
	return nil
}
