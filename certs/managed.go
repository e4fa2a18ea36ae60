package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// managed holds certificates that certmagic gets from one issuer, keeps in the store, serves and
// renews: one for each of names. It answers a handshake for any other name with the first.
type managed struct {
	keeper *Keeper
	names  []string
	config *certmagic.Config
	cache  *certmagic.Cache
}

// newManaged returns a managed and starts its maintenance. Its stop ends that.
func newManaged(k *Keeper, names []string) *managed {
	m := &managed{keeper: k, names: names}
	log := zap.New(&zapCore{log: k.log})
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
		RenewCheckInterval: k.o.check, // 0: ten minutes
		Logger:             log,
	})
	m.config = certmagic.New(m.cache, certmagic.Config{
		Storage:            NewStorage(k.o.Store),
		Issuers:            []certmagic.Issuer{},
		RenewalWindowRatio: 1.0 / renewedBefore,
		DefaultServerName:  names[0],
		FallbackServerName: names[0],
		// Asking the issuer for the certificate's status before serving it would need the network.
		OCSP:           certmagic.OCSPConfig{DisableStapling: true},
		OnEvent:        m.event,
		ShouldEmitFunc: func(event string) bool { return event != "tls_get_certificate" },
		Logger:         log,
	})
	return m
}

// event handles certmagic's events, including renewals in the background. The new certificate is
// not served yet at that time.
func (m *managed) event(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		m.keeper.log.Info("certificate issued", "name", data["identifier"], "renewal", data["renewal"])
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			m.keeper.failed(err)
		}
	}
	return nil
}

func (m *managed) stop() { m.cache.Stop() }

func (m *managed) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.config.GetCertificate(hello)
}

// get loads the certificate for the name from the store, or has it issued. It is renewed from then
// on.
func (m *managed) get(ctx context.Context, name string) error {
	if err := m.config.ManageSync(ctx, []string{name}); err != nil {
		m.keeper.failed(err)
		return err
	}
	return nil
}

// renew replaces the certificate for the name.
func (m *managed) renew(ctx context.Context, name string) error {
	before := m.cached(name)
	if len(before) == 0 {
		return m.get(ctx, name)
	}
	if err := m.config.RenewCertSync(ctx, name, true); err != nil {
		return err
	}
	fresh, err := m.config.CacheManagedCertificate(ctx, name)
	if err != nil {
		return fmt.Errorf("load the renewed certificate: %w", err)
	}
	var old []string
	for _, c := range before {
		if c.Hash() != fresh.Hash() {
			old = append(old, c.Hash())
		}
	}
	m.cache.Remove(old)
	return nil
}

// cached returns the certificates that were issued for the name, without those that merely cover
// it.
func (m *managed) cached(name string) []certmagic.Certificate {
	var out []certmagic.Certificate
	for _, c := range m.cache.AllMatchingCertificates(name) {
		if c.Leaf != nil && len(c.Names) > 0 && c.Names[0] == name {
			out = append(out, c)
		}
	}
	return out
}

// chain returns the chain served for the name, leaf first, or nil.
func (m *managed) chain(name string) []*x509.Certificate {
	var newest *certmagic.Certificate
	for _, c := range m.cached(name) {
		if newest == nil || c.Leaf.NotBefore.After(newest.Leaf.NotBefore) {
			newest = &c
		}
	}
	if newest == nil {
		return nil
	}
	var chain []*x509.Certificate
	for _, raw := range newest.Certificate.Certificate {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil
		}
		chain = append(chain, c)
	}
	return chain
}

func (m *managed) inUse() [][]*x509.Certificate {
	var chains [][]*x509.Certificate
	for _, name := range m.names {
		if c := m.chain(name); c != nil {
			chains = append(chains, c)
		}
	}
	return chains
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
