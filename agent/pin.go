package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
)

var errOtherCertificate = errors.New("the server's certificate is not the one the bind command names; ask for a new bind command, and if that does not help, somebody may stand between")

// bindTransport trusts what the system trusts; with a fingerprint, the server with just that
// certificate: the bind command comes from who runs the server, and names it.
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
		VerifyConnection: func(s tls.ConnectionState) error {
			got := sha256.Sum256(s.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], want) != 1 {
				return errOtherCertificate
			}
			return nil
		},
	}
	return t, nil
}
