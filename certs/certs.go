package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"wfm/internal/floodlog"
	"wfm/internal/tlsproblem"
	"wfm/store"
)

// Issuer is the origin of certificates.
type Issuer string

// The issuers.
const (
	IssuerLocal Issuer = "local" // the appliance's own CA
	IssuerACME  Issuer = "acme"
	IssuerFiles Issuer = "files"
)

// acmeTLSProtocol is the only protocol that an issuer offers when it checks a name by TLS-ALPN-01
// (RFC 8737, 6.2).
const acmeTLSProtocol = "acme-tls/1"

// Options are the parameters of [New]. Issuer decides which of them apply.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger // default: discard
	Issuer Issuer       // default: IssuerLocal
	// PublicHost is the name or address at which agents connect. If it is empty, each agent
	// connects to the host it binds at. Hosts are further hosts that people use.
	PublicHost string
	Hosts      []string
	// ACME.Domains default to the first of PublicHost and Hosts that is a name.
	ACME ACME
	// CertFile (the chain, leaf first) and KeyFile are PEM.
	CertFile, KeyFile string

	lifetime time.Duration    // of a leaf of the own CA; default 90 days
	check    time.Duration    // interval between checks for due work; each source has its own default
	now      func() time.Time // default: time.Now
}

// source obtains certificates in one way.
type source interface {
	// start obtains the certificates that are available at once. An error means that retrying would
	// not help.
	start(ctx context.Context) error
	// run obtains and renews the rest until ctx ends.
	run(ctx context.Context)
	stop()
	getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// inUse returns the chains that are served, each leaf first.
	inUse() [][]*x509.Certificate
	// roots returns roots that verify every served chain. Error: tlsproblem.ErrNotReady.
	roots() ([]*x509.Certificate, error)
	// renew replaces every certificate now, with newCA under a new root.
	renew(ctx context.Context, newCA bool) error
}

// Keeper keeps the certificates of an appliance. Its methods may be called concurrently.
type Keeper struct {
	o      Options
	log    *slog.Logger
	source source
	kept   *kept

	ctx    context.Context // ends with Stop; certmagic's callbacks have none of their own
	cancel context.CancelFunc
	wg     sync.WaitGroup

	stopOnce sync.Once
	stopped  chan struct{}

	mu        sync.Mutex
	verified  [][]*x509.Certificate // chains whose roots are kept
	otherRoot bool                  // a chain with another root has appeared since the start
	lastError string
	failedAt  time.Time
	nextTry   time.Time // while there is no certificate
	told      string    // the last problem that was logged
}

// New checks the options. Nothing runs yet. An error names the option to correct.
func New(o Options) (*Keeper, error) {
	o.Logger, o.Issuer = cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), cmp.Or(o.Issuer, IssuerLocal)
	if o.lifetime == 0 {
		o.lifetime = 90 * 24 * time.Hour
	}
	if o.now == nil {
		o.now = time.Now
	}
	o.Logger = slog.New(floodlog.New(o.Logger.Handler())) // clients can cause these messages at will, so their rate is limited
	k := &Keeper{o: o, log: o.Logger, stopped: make(chan struct{}), kept: &kept{db: o.Store, issuer: o.Issuer, now: o.now}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	var err error
	switch o.Issuer {
	case IssuerLocal:
		k.source = newLocal(k)
	case IssuerACME:
		k.source, err = newACME(k)
	case IssuerFiles:
		k.source, err = newFiles(k)
	default:
		err = fmt.Errorf("unknown issuer %q of certificates", o.Issuer)
	}
	if err != nil {
		k.cancel()
		return nil, err
	}
	return k, nil
}

// Start obtains the certificates that need no network, then goes on obtaining and renewing until
// Stop. An error means that retrying would not help, for example that the files do not match.
func (k *Keeper) Start() error {
	if err := k.source.start(k.ctx); err != nil {
		return err
	}
	if err := k.kept.begin(); err != nil {
		k.failed(err) // on a full disk, the existing certificates are still served
	}
	_ = k.changed() // the error is kept for the status
	k.wg.Go(func() { k.source.run(k.ctx) })
	k.wg.Go(k.watch)
	return nil
}

// Stop ends all of this work, including current attempts, and returns when it has ended or when ctx
// ends. It may be called again.
func (k *Keeper) Stop(ctx context.Context) error {
	k.cancel()
	k.stopOnce.Do(func() {
		go func() { // certmagic may be talking to an issuer
			defer close(k.stopped)
			k.wg.Wait()
			k.source.stop()
		}()
	})
	select {
	case <-k.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the certificates: %w", ctx.Err())
	}
}

// TLSConfig returns the configuration for listeners. It offers no application protocol, so every
// offer of a client is accepted.
func (k *Keeper) TLSConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// The TLS 1.2 suites with forward secrecy and authenticated encryption. All suites of TLS
		// 1.3 have both.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,
		},
		GetCertificate: k.source.getCertificate,
	}
	if k.o.Issuer != IssuerACME {
		return cfg
	}
	challenge := cfg.Clone()
	challenge.NextProtos = []string{acmeTLSProtocol}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, challenge.NextProtos) {
			return challenge, nil
		}
		return nil, nil // cfg
	}
	return cfg
}

// HTTPChallenge answers a request with which an ACME issuer checks a name (HTTP-01), and reports
// whether r was one.
func (k *Keeper) HTTPChallenge(w http.ResponseWriter, r *http.Request) bool {
	a, ok := k.source.(*acmeSource)
	return ok && a.issuer.HandleHTTPChallenge(w, r)
}

// CACert returns, in PEM, the roots that a client at host needs to trust, and no others. Errors:
// tlsproblem.ErrNotReady, tlsproblem.ErrHost.
func (k *Keeper) CACert(host string) (string, error) {
	chains := k.source.inUse()
	if len(chains) == 0 {
		return "", tlsproblem.ErrNotReady
	}
	if f, ok := k.source.(*files); ok {
		if err := f.problem(host); err != nil {
			return "", err
		}
	}
	if host != "" && !covered(chains, host) {
		return "", tlsproblem.ErrHost
	}
	if !k.isVerified(chains) {
		if err := k.changed(); err != nil {
			return "", err
		}
	}
	return string(encodeCertificates(k.kept.all()...)), nil
}

// Cover makes the own CA's certificate cover host too, from now on. With other issuers it changes
// nothing. Errors: tlsproblem.ErrNotReady, tlsproblem.ErrHost, tlsproblem.ErrTooManyHosts.
func (k *Keeper) Cover(host string) error {
	_, err := k.CACert(host)
	if l, ok := k.source.(*local); ok && errors.Is(err, tlsproblem.ErrHost) {
		if err := l.learn(k.ctx, host); err != nil {
			return err
		}
		return k.changed()
	}
	return err
}

// Fingerprint returns the SHA-256, in hex, of the own CA's root for the host. The root outlives the
// certificates it signs. With other issuers Fingerprint returns "", because machines may already
// trust their certificates.
func (k *Keeper) Fingerprint(host string) string {
	l, ok := k.source.(*local)
	if !ok {
		return ""
	}
	if g := l.pick(host); g != nil {
		return describe("root", g.root).SHA256
	}
	return ""
}

// Renew replaces the certificates now. Files are read again. With newCA the own CA makes a new root
// and hands out the old one beside it. If Renew fails, the certificate in use stays.
func (k *Keeper) Renew(ctx context.Context, newCA bool) error {
	if newCA && k.o.Issuer != IssuerLocal {
		return errors.New("only the local CA can be renewed")
	}
	if err := k.source.renew(ctx, newCA); err != nil {
		k.failed(err)
		return err
	}
	return k.changed()
}

// changed must be called when there may be new certificates. It finds the roots that verify them
// and stores those roots before anything hands them out.
func (k *Keeper) changed() error {
	chains := k.source.inUse()
	if len(chains) == 0 {
		return nil
	}
	before := k.kept.all()
	present, err := k.source.roots()
	if err == nil {
		err = k.kept.add(present)
	}
	if err != nil {
		k.failed(err)
		k.tell(err)
		return err
	}
	other := len(before) > 0 && !slices.ContainsFunc(present, func(c *x509.Certificate) bool { return slices.ContainsFunc(before, c.Equal) })
	if other {
		k.log.Error(otherRoot, "root", present[0].Subject.CommonName)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.verified, k.otherRoot = chains, k.otherRoot || other
	k.lastError, k.failedAt, k.nextTry = "", time.Time{}, time.Time{}
	k.told = ""
	return nil
}

// tell logs, once, a problem that keeps agents from being bound until an operator acts.
func (k *Keeper) tell(err error) {
	problem, ok := errors.AsType[*tlsproblem.Error](err)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told != problem.Problem {
		k.told = problem.Problem
		k.log.Warn("no agent can be bound with TLS: "+problem.Problem, "issuer", k.o.Issuer)
	}
}

// isVerified reports whether the stored roots belong to exactly these chains.
func (k *Keeper) isVerified(chains [][]*x509.Certificate) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.EqualFunc(k.verified, chains, func(a, b []*x509.Certificate) bool { return a[0].Equal(b[0]) })
}

// failed keeps the error for the status. It does not log: the caller or certmagic does.
func (k *Keeper) failed(err error) {
	if k.ctx.Err() != nil {
		return // stopping is not a failure
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastError, k.failedAt = err.Error(), k.o.now()
}

// watch notices certificates that certmagic has renewed by itself, and logs, once a day, the
// warnings of the status.
func (k *Keeper) watch() {
	var warned time.Time
	for {
		if w := k.Status().Warning; w != "" && time.Since(warned) > 24*time.Hour {
			k.log.Warn("the certificates need attention", "warning", w)
			warned = time.Now()
		}
		if pause(k.ctx, cmp.Or(k.o.check, time.Minute)) != nil {
			return
		}
		if !k.isVerified(k.source.inUse()) {
			_ = k.changed() // the error is kept for the status
		}
	}
}
