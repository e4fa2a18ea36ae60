package certs

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filePair is the content of the two files in the form in which it is served.
type filePair struct {
	certificate tls.Certificate
	// chain begins with the leaf. Each certificate certifies the one before it (RFC 8446, 4.4.2),
	// as far as the file contains them. Other useful certificates follow.
	chain   []*x509.Certificate
	path    int                 // how many of chain certify each other without a gap
	unused  []*x509.Certificate // in the file, but not served
	ordered bool                // the file has another order
}

// decodePair reads the certificate file and the key file. Its error lists all problems of both.
func decodePair(certificate, key []byte, now time.Time) (*filePair, error) {
	all, errCert := readChain(certificate)
	signer, errKey := readKey(key)
	if errCert != nil {
		errCert = fmt.Errorf("WFM_TLS_CERT_FILE %w", errCert)
	}
	if errKey != nil {
		errKey = fmt.Errorf("WFM_TLS_KEY_FILE %w", errKey)
	}
	switch {
	case errCert != nil && errKey != nil:
		return nil, fmt.Errorf("%w; %w", errCert, errKey)
	case errCert != nil || errKey != nil:
		return nil, cmp.Or(errCert, errKey)
	}
	leaf := leafOf(all, signer, now)
	if leaf == nil {
		return nil, fmt.Errorf("the private key does not match the certificate for %s: use the key that it was made for", named(all[0]))
	}
	if uses := leaf.ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, x509.ExtKeyUsageServerAuth) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
		return nil, errors.New("the certificate is not for a server: its extended key usage lacks serverAuth")
	}
	p := &filePair{}
	p.order(leaf, all, now)
	p.certificate = tls.Certificate{PrivateKey: signer, Leaf: leaf}
	for _, c := range p.chain {
		p.certificate.Certificate = append(p.certificate.Certificate, c.Raw)
	}
	return p, nil
}

// leafOf returns the certificate that belongs to the key: the first valid one, otherwise the first,
// or nil if there is none.
func leafOf(all []*x509.Certificate, key crypto.Signer, now time.Time) (leaf *x509.Certificate) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil
	}
	for _, c := range all {
		if public.Equal(c.PublicKey) && (leaf == nil || (wrongTime(leaf, now) != nil && wrongTime(c, now) == nil)) {
			leaf = c
		}
	}
	return leaf
}

// order finds the path from the leaf to the root among the certificates of the file.
func (p *filePair) order(leaf *x509.Certificate, all []*x509.Certificate, now time.Time) {
	p.chain = []*x509.Certificate{leaf}
	for end := leaf; !selfSigned(end); end = p.chain[len(p.chain)-1] {
		var next *x509.Certificate
		for _, c := range all {
			if certifies(c, end) && !slices.ContainsFunc(p.chain, c.Equal) && (next == nil || (wrongTime(next, now) != nil && wrongTime(c, now) == nil)) {
				next = c
			}
		}
		if next == nil {
			break
		}
		p.chain = append(p.chain, next)
	}
	p.path = len(p.chain)
	for _, c := range all {
		switch {
		case slices.ContainsFunc(p.chain, c.Equal):
		case slices.ContainsFunc(p.chain, func(of *x509.Certificate) bool { return certifies(c, of) }): // on another path
			p.chain = append(p.chain, c)
		default:
			p.unused = append(p.unused, c)
		}
	}
	p.ordered = len(p.unused) == 0 && !slices.EqualFunc(all, p.chain, (*x509.Certificate).Equal)
}

// selfSigned reports whether the certificate names itself as its issuer.
func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// certifies reports whether ca, a CA, has signed c.
func certifies(ca, c *x509.Certificate) bool {
	return bytes.Equal(ca.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(ca) == nil
}

// named returns the name by which people know the certificate.
func named(c *x509.Certificate) string {
	return strconv.Quote(cmp.Or(c.Subject.CommonName, nameOf(c), c.Subject.String(), "(no name)"))
}

// wrongTime returns an error if now is outside the certificate's validity period.
func wrongTime(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate %s has expired on %s", named(c), c.NotAfter.UTC().Format(time.DateTime))
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate %s is not valid before %s: see whether the clock is right", named(c), c.NotBefore.UTC().Format(time.DateTime))
	}
	return nil
}

// noNames explains that the leaf has a name only where clients no longer look for it. It returns ""
// if that is not the case.
func (p *filePair) noNames() string {
	leaf := p.chain[0]
	if len(leaf.DNSNames) > 0 || len(leaf.IPAddresses) > 0 {
		return ""
	}
	return fmt.Sprintf("the certificate has no subjectAltName, only the common name %q, which agents and browsers do not look at: "+
		"have a new one made with subjectAltName=DNS:%s", leaf.Subject.CommonName, cmp.Or(leaf.Subject.CommonName, "HOST"))
}

// unverified explains why no known root verifies the chain, and how to correct that. It names only
// the first missing certificate, because the ones after it cannot be known.
func (p *filePair) unverified(now time.Time) string {
	for _, c := range p.chain[1:p.path] {
		if err := wrongTime(c, now); err != nil {
			return err.Error() + "; put that of now into WFM_TLS_CERT_FILE"
		}
	}
	end := p.chain[p.path-1]
	if selfSigned(end) {
		return fmt.Sprintf("the chain to the root %s does not verify the certificate%s", named(end), p.refusal(end, now))
	}
	issuer := strconv.Quote(cmp.Or(end.Issuer.CommonName, end.Issuer.String(), "(no name)"))
	for _, c := range p.unused {
		switch {
		case !bytes.Equal(c.RawSubject, end.RawIssuer):
		case !c.IsCA:
			return fmt.Sprintf("the certificate of %s in WFM_TLS_CERT_FILE is not that of a CA (basic constraints lack CA:TRUE), so clients refuse what it signed: "+
				"have a new one made as a CA", issuer)
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			return fmt.Sprintf("the certificate of %s in WFM_TLS_CERT_FILE may not sign certificates (its key usage lacks keyCertSign): have a new one made", issuer)
		default:
			return fmt.Sprintf("the certificate of %s in WFM_TLS_CERT_FILE is another one of that name, whose key has not signed %s: "+
				"replace it by that of the CA that did, or use the file with the whole chain (fullchain.pem)", issuer, named(end))
		}
	}
	what := "its issuer"
	if p.path > 1 {
		what = "the issuer of " + named(end)
	}
	text := fmt.Sprintf("the certificate of %s, %s, is not in WFM_TLS_CERT_FILE: use the file with the whole chain (fullchain.pem), or append it to "+
		"WFM_TLS_CERT_FILE", what, issuer)
	if len(p.unused) > 0 {
		text += "; " + namesOfAll(p.unused) + ", in that file, did not sign it"
	}
	return text
}

// refusal returns the verification error, with a leading colon.
func (p *filePair) refusal(root *x509.Certificate, now time.Time) string {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range p.chain[1:] {
		between.AddCert(c)
	}
	if _, err := p.chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
		return ": " + strings.TrimPrefix(err.Error(), "x509: ")
	}
	return ""
}

func namesOfAll(all []*x509.Certificate) string {
	var names []string
	for _, c := range all {
		names = append(names, named(c))
	}
	return strings.Join(names, ", ")
}
