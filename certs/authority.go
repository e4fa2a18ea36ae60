package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// clockSkew is how far behind a node's clock may be when a certificate is new, and how far
	// ahead ours may be when it makes one.
	clockSkew = 24 * time.Hour
)

// authority is a CA certificate and its key.
type authority struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes a CA that signs only servers; with domains, only those domains and their
// subdomains.
func newAuthority(domains []string, now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make a CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Each CA has a name of its own, because clients find the issuer by its name.
		Subject:   pkix.Name{Organization: []string{"WFM Appliance"}, CommonName: fmt.Sprintf("WFM Appliance CA %x", serial.Bytes()[:4])},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLifetime),
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		// Not critical, contrary to RFC 5280: small clients that do not know the extension would
		// then refuse the CA. Clients that know it obey it either way.
		PermittedDNSDomains: domains,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("make a CA certificate: %w", err)
	}
	root, err := x509.ParseCertificate(raw)
	return authority{root, key}, err
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.SetBit(serial, 126, 1), nil // 16 bytes, positive
}

// permits reports whether the CA may sign for the host.
func (a authority) permits(host string) bool {
	if len(a.root.PermittedDNSDomains) == 0 || net.ParseIP(host) != nil {
		return true
	}
	return slices.ContainsFunc(a.root.PermittedDNSDomains, func(domain string) bool {
		return host == domain || strings.HasSuffix(host, "."+domain)
	})
}

// sign makes a server certificate for the hosts and the key. It puts first before the other hosts.
func (a authority) sign(key any, first string, hosts []string, lifetime time.Duration, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	from := now.Add(-min(clockSkew, lifetime/90))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"WFM Appliance"}},
		NotBefore: from, NotAfter: from.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{first},
	}
	if template.NotAfter.After(a.root.NotAfter) {
		template.NotAfter = a.root.NotAfter
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != first {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.root, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), nil
}

// encodeKey returns the key as PEM.
func (a authority) encodeKey() ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encode the CA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

var errBrokenAuthority = errors.New("the CA in the data file cannot be read; restore a backup")

func decodeAuthority(certificate, key []byte) (authority, error) {
	roots, err := decodeCertificates(certificate)
	block, _ := pem.Decode(key)
	if err != nil || len(roots) != 1 || block == nil {
		return authority{}, errBrokenAuthority
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || !signer.PublicKey.Equal(roots[0].PublicKey) {
		return authority{}, errBrokenAuthority
	}
	return authority{roots[0], signer}, nil
}
