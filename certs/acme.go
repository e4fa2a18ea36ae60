package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"wfm/internal/retry"
	"wfm/internal/tlsproblem"
)

// ACME configures the ACME issuer and the certificates to request.
type ACME struct {
	Domains   []string // one certificate each; clients that name no host get the first
	Email     string   // for mail from the issuer; may be empty
	Directory string   // URL; if empty, Let's Encrypt
	// CAFile contains the roots, in PEM, of an issuer that the system does not trust. They verify
	// the directory's own TLS and the certificates it issues.
	CAFile string
	// EABKeyID and EABHMAC (base64url) bind the account to an existing one at the issuer. If empty,
	// there is no binding.
	EABKeyID, EABHMAC string
	// HTTPPort and TLSPort are the ports at which this appliance answers; the issuer connects to 80
	// and 443.
	HTTPPort, TLSPort int
}

// acmeSource gets certificates from an ACME issuer.
type acmeSource struct {
	*managed
	issuer *certmagic.ACMEIssuer
	caFile string
}

func newACME(k *Keeper) (*acmeSource, error) {
	o := k.o.ACME
	names := append([]string{k.o.PublicHost}, k.o.Hosts...)
	if i := slices.IndexFunc(names, func(h string) bool { return h != "" && net.ParseIP(h) == nil }); len(o.Domains) == 0 && i >= 0 {
		o.Domains = names[i : i+1]
	}
	if len(o.Domains) == 0 {
		return nil, errors.New("ACME needs the domains to ask for: set WFM_ACME_DOMAINS, or WFM_MQTT_PUBLIC_HOST")
	}
	var domains []string
	for _, d := range o.Domains {
		if d = strings.ToLower(d); !isHost(d) {
			return nil, fmt.Errorf("WFM_ACME_DOMAINS: %q is not a host name", d)
		}
		domains = append(domains, d)
	}
	a := &acmeSource{caFile: o.CAFile}
	template := certmagic.ACMEIssuer{
		CA: cmp.Or(o.Directory, certmagic.LetsEncryptProductionCA), Email: o.Email, Agreed: true,
		AltHTTPPort: challengePort(k.ctx, 80, o.HTTPPort), AltTLSALPNPort: challengePort(k.ctx, 443, o.TLSPort),
	}
	if o.EABKeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: o.EABKeyID, MACKey: o.EABHMAC}
	}
	given, err := a.givenRoots()
	if err != nil {
		return nil, err
	}
	if len(given) > 0 {
		if template.TrustedRoots, err = x509.SystemCertPool(); err != nil {
			template.TrustedRoots = x509.NewCertPool()
		}
		for _, c := range given {
			template.TrustedRoots.AddCert(c)
		}
	}
	for _, c := range k.kept.all() { // if there are several chains, use the one that deployed agents know
		template.PreferredChains.RootCommonName = append(template.PreferredChains.RootCommonName, c.Subject.CommonName)
	}
	a.managed = newManaged(k, domains)
	template.Logger = a.config.Logger
	a.issuer = certmagic.NewACMEIssuer(a.config, template)
	a.config.Issuers = []certmagic.Issuer{acmeIssuer{a.issuer}}
	return a, nil
}

// acmeIssuer is an ACME issuer that never prompts at the terminal.
type acmeIssuer struct{ *certmagic.ACMEIssuer }

// PreCheck checks as much as possible before the issuer is asked.
func (i acmeIssuer) PreCheck(ctx context.Context, names []string, _ bool) error {
	return i.ACMEIssuer.PreCheck(ctx, names, false)
}

// challengePort returns the port at which certmagic answers the issuer: the standard port if the
// process may open it, otherwise the port that this appliance serves anyway, to which the operator
// forwards the standard port.
func challengePort(ctx context.Context, standard, served int) int {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", standard))
	if err != nil {
		return served
	}
	_ = l.Close()
	return standard
}

// givenRoots returns the roots in the CA file as it is now.
func (a *acmeSource) givenRoots() ([]*x509.Certificate, error) {
	if a.caFile == "" {
		return nil, nil
	}
	text, err := readFile(a.caFile)
	if err != nil {
		return nil, fmt.Errorf("read WFM_ACME_CA_FILE: %w", err)
	}
	roots, err := decodeCertificates(text)
	if err == nil && len(roots) == 0 {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read WFM_ACME_CA_FILE %s: %w", a.caFile, err)
	}
	return roots, nil
}

func (a *acmeSource) start(context.Context) error { return nil } // everything may need the network

func (a *acmeSource) run(ctx context.Context) {
	for _, name := range a.names {
		a.keeper.wg.Go(func() { a.obtain(ctx, name) })
	}
}

// obtain retries until there is a certificate for the name. certmagic renews it from then on.
func (a *acmeSource) obtain(ctx context.Context, name string) {
	// Let's Encrypt counts failures. This counter makes certmagic try its staging environment
	// first.
	attempts := 0
	ctx = context.WithValue(ctx, certmagic.AttemptsCtxKey, &attempts)
	for {
		err := a.get(ctx, name)
		if err == nil {
			_ = a.keeper.changed() // the error is kept for the status
			return
		}
		wait := retry.Pause(firstRetry, longestRetry, attempts)
		if limited(err) {
			wait = longestRetry
		}
		attempts++
		if ctx.Err() == nil {
			a.keeper.log.Warn("there is no certificate yet, will try again", "name", name, "retry_in", wait, "err", err)
		}
		a.keeper.mu.Lock()
		a.keeper.nextTry = a.keeper.o.now().Add(wait)
		a.keeper.mu.Unlock()
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// The pauses between attempts to get the first certificate grow from firstRetry to longestRetry.
const (
	firstRetry   = 5 * time.Second
	longestRetry = time.Hour
)

// limited reports whether the issuer's rate limit was reached. certmagic does not expose its
// duration (Retry-After).
func limited(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && (problem.Type == acme.ProblemTypeRateLimited || problem.Status == http.StatusTooManyRequests) ||
		strings.Contains(err.Error(), "HTTP 429")
}

func (a *acmeSource) roots() ([]*x509.Certificate, error) {
	given, unread := a.givenRoots()
	given = merge(given, a.keeper.kept.all())
	var all []*x509.Certificate
	for _, chain := range a.inUse() {
		roots := rootsOf(chain, given, a.keeper.o.now())
		if roots == nil && unread != nil {
			return nil, &tlsproblem.Error{Err: tlsproblem.ErrNotReady, Problem: unread.Error()}
		}
		if roots == nil {
			return nil, &tlsproblem.Error{Err: tlsproblem.ErrNotReady, Problem: fmt.Sprintf(
				"the root of the certificate for %s, issued by %q, is not known; put it into WFM_ACME_CA_FILE",
				nameOf(chain[0]), chain[len(chain)-1].Issuer.CommonName)}
		}
		all = merge(all, roots)
	}
	if all == nil {
		return nil, tlsproblem.ErrNotReady
	}
	return all, nil
}

func (a *acmeSource) renew(ctx context.Context, _ bool) error {
	for _, name := range a.names {
		if err := a.managed.renew(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
