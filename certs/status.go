package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Certificate describes one certificate.
type Certificate struct {
	Kind      string    `json:"kind"` // server or root
	Names     []string  `json:"names"`
	IssuedBy  string    `json:"issued_by"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of the certificate, hex
}

// Status describes the state of the certificates.
type Status struct {
	Issuer       Issuer
	Certificates []Certificate // in use
	NotAfter     time.Time     // of the one that ends first; zero if there is none
	NextRenewal  time.Time     // the first one, or the next attempt to get a certificate; zero if nothing renews it
	LastError    string        // empty after a success
	LastErrorAt  time.Time
	Warning      string // a certificate not valid yet or about to end (14 days), or clients that cannot connect
}

// Status returns the state of the certificates. It never blocks.
func (k *Keeper) Status() Status {
	now := k.o.now()
	k.mu.Lock()
	other := k.otherRoot
	s := Status{Issuer: k.o.Issuer, LastError: k.lastError, LastErrorAt: k.failedAt, NextRenewal: k.nextTry}
	k.mu.Unlock()
	chains := k.source.inUse()
	for _, chain := range chains {
		leaf := chain[0]
		s.Certificates = append(s.Certificates, describe("server", leaf))
		if s.NotAfter.IsZero() || leaf.NotAfter.Before(s.NotAfter) {
			s.NotAfter = leaf.NotAfter
			if k.o.Issuer != IssuerFiles {
				s.NextRenewal = leaf.NotAfter.Add(-lifetime(leaf) / renewedBefore)
			}
			s.Warning = warning(leaf, now)
		}
	}
	switch host := k.o.PublicHost; {
	case s.Warning != "":
	case k.noNames() != "":
		s.Warning = k.noNames()
	case host != "" && len(chains) > 0 && !covered(chains, host):
		s.Warning = fmt.Sprintf("no certificate is for %s, which agents are told: none can be bound; get one that is, or change WFM_MQTT_PUBLIC_HOST", host)
	case other:
		s.Warning = otherRoot
	}
	for _, root := range k.kept.all() {
		s.Certificates = append(s.Certificates, describe("root", root))
		if s.Warning == "" && now.Before(root.NotBefore) {
			s.Warning = fmt.Sprintf("the root %s is not valid before %s, and not used until then: the clock was ahead when it was made, or is behind now; "+
				"agents that were bound then have to be bound again",
				nameOf(root), root.NotBefore.UTC().Format(time.DateTime))
		}
	}
	return s
}

// noNames explains that the certificate in files has no names where clients look for them. It
// returns "" if that is not the case.
func (k *Keeper) noNames() string {
	if f, ok := k.source.(*files); ok {
		if p := f.served.Load(); p != nil {
			return p.noNames()
		}
	}
	return ""
}

// otherRoot is the warning that agents bound earlier cannot connect any more.
const otherRoot = "the certificate has another root than before: agents bound before do not trust it; bind them again"

// covered reports whether one of the chains is for the host.
func covered(chains [][]*x509.Certificate, host string) bool {
	return slices.ContainsFunc(chains, func(c []*x509.Certificate) bool { return c[0].VerifyHostname(host) == nil })
}

// renewedBefore is the part of a certificate's life at its end, as 1/renewedBefore, in which
// certmagic renews it.
const renewedBefore = 3

// warning returns the warning that the leaf is not valid yet or about to end. The latter begins 14
// days before the end, or in the last sixth of a life so short that the warning would otherwise be
// permanent.
func warning(leaf *x509.Certificate, now time.Time) string {
	left := leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("the certificate for %s is not valid before %s: see whether the clock is right", nameOf(leaf), leaf.NotBefore.UTC().Format(time.DateTime))
	case left <= 0:
		return fmt.Sprintf("the certificate for %s has expired on %s", nameOf(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))
	case left < min(14*24*time.Hour, lifetime(leaf)/6):
		return fmt.Sprintf("the certificate for %s ends on %s and has not been renewed", nameOf(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return ""
}

func lifetime(c *x509.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) }

func nameOf(c *x509.Certificate) string {
	if names := namesOf(c); len(names) > 0 {
		return names[0]
	}
	return c.Subject.CommonName
}

func namesOf(c *x509.Certificate) []string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func describe(kind string, c *x509.Certificate) Certificate {
	sum := sha256.Sum256(c.Raw)
	names := namesOf(c)
	if len(names) == 0 {
		names = append(names, c.Subject.CommonName)
	}
	return Certificate{
		Kind: kind, Names: names, IssuedBy: c.Issuer.CommonName,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:]),
	}
}
