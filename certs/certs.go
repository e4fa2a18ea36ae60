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
	"wfm/store"
)

// Issuer says where certificates come from.
type Issuer string

// The issuers.
const (
	IssuerLocal Issuer = "local" // a CA of our own
	IssuerACME  Issuer = "acme"
	IssuerFiles Issuer = "files"
)

// acmeTLSProtocol is what an issuer offers, alone, to check a name by TLS-ALPN-01 (RFC 8737, 6.2).
const acmeTLSProtocol = "acme-tls/1"

// Options are what New needs. Which of the parts count is up to Issuer.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger // default: discard
	Issuer Issuer
	// PublicHost is the name or address every agent is told to connect to; empty when that is the
	// one it binds at. Hosts are further ones people use.
	PublicHost string
	Hosts      []string
	ACME       ACME
	// CertFile (the chain, leaf first) and KeyFile are PEM.
	CertFile, KeyFile string

	lifetime time.Duration    // of a leaf of the own CA; default 90 days
	check    time.Duration    // how often is looked what there is to do; default as each source likes
	now      func() time.Time // default: time.Now
}

// source is one way to come by certificates.
type source interface {
	// start gets what can be had at once. Its error is one no retry mends.
	start(ctx context.Context) error
	// run gets and renews the rest until ctx ends.
	run(ctx context.Context)
	stop()
	getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// inUse are the chains that are served, each leaf first.
	inUse() [][]*x509.Certificate
	// roots verify every chain that is served. Error: store.ErrTLSNotReady.
	roots() ([]*x509.Certificate, error)
	// renew replaces every certificate now; with newCA under a root of its own.
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
	otherRoot bool                  // one has come since the start
	lastError string
	failedAt  time.Time
	nextTry   time.Time // while there is no certificate
	told      string    // the problem that was logged last
}

// New checks the options; nothing runs yet. Its error says which option to mend.
func New(o Options) (*Keeper, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.lifetime == 0 {
		o.lifetime = 90 * 24 * time.Hour
	}
	if o.now == nil {
		o.now = time.Now
	}
	o.Logger = slog.New(floodlog.New(o.Logger.Handler())) // who shakes hands decides how much is told
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

// Start gets what can be had without the network, and keeps getting and renewing until Stop. Its
// error is one that trying again would not mend, such as files that do not fit.
func (k *Keeper) Start() error {
	if err := k.source.start(k.ctx); err != nil {
		return err
	}
	if err := k.kept.begin(); err != nil {
		k.failed(err) // on a full disk, what is there is served all the same
	}
	_ = k.changed() // kept for the status
	k.wg.Go(func() { k.source.run(k.ctx) })
	k.wg.Go(k.watch)
	return nil
}

// Stop ends all of that, and attempts under way, and returns when that is done or when ctx ends. It
// may be called again.
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

// TLSConfig is for listeners. It offers no application protocol, so that whatever a client offers
// is fine.
func (k *Keeper) TLSConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Of TLS 1.2, what has forward secrecy and authenticated encryption. Those of 1.3 all have.
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

// HTTPChallenge answers the request if it is one with which an ACME issuer checks a name (HTTP-01),
// and reports whether it was.
func (k *Keeper) HTTPChallenge(w http.ResponseWriter, r *http.Request) bool {
	a, ok := k.source.(*acmeSource)
	return ok && a.issuer.HandleHTTPChallenge(w, r)
}

// CACert is the PEM of all that a client at host needs to trust, and needs to trust only. Errors:
// store.ErrTLSNotReady, store.ErrTLSHost.
func (k *Keeper) CACert(host string) (string, error) {
	chains := k.source.inUse()
	if len(chains) == 0 {
		return "", store.ErrTLSNotReady
	}
	if f, ok := k.source.(*files); ok {
		if err := f.problem(host); err != nil {
			return "", err
		}
	}
	if host != "" && !covered(chains, host) {
		return "", store.ErrTLSHost
	}
	if !k.isVerified(chains) {
		if err := k.changed(); err != nil {
			return "", err
		}
	}
	return string(encodeCertificates(k.kept.all()...)), nil
}

// Cover has the own CA's certificate cover host too, from now on. Others cover what they cover.
// Errors: store.ErrTLSNotReady, store.ErrTLSHost, store.ErrTLSHosts.
func (k *Keeper) Cover(host string) error {
	_, err := k.CACert(host)
	if l, ok := k.source.(*local); ok && errors.Is(err, store.ErrTLSHost) {
		if err := l.learn(k.ctx, host); err != nil {
			return err
		}
		return k.changed()
	}
	return err
}

// Fingerprint is the SHA-256, hex, of the own CA's root that the host is served with, which outlives
// the certificates it signs; empty with other issuers, whose certificates machines may trust by
// themselves.
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

// Renew replaces the certificates now; files are read again. With newCA the own CA makes itself a
// new root, and hands out the old one beside it. The certificate in use stays when that fails.
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

// changed is called when certificates may have come: it finds the roots that verify them, and keeps
// those before anybody is told of them.
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

// tell logs, once, what keeps agents from being bound until somebody acts.
func (k *Keeper) tell(err error) {
	problem, ok := errors.AsType[*store.TLSError](err)
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

// isVerified reports whether the roots of just these chains are kept.
func (k *Keeper) isVerified(chains [][]*x509.Certificate) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.EqualFunc(k.verified, chains, func(a, b []*x509.Certificate) bool { return a[0].Equal(b[0]) })
}

// failed keeps what went wrong for the status. Whoever calls it logs, or lets certmagic log.
func (k *Keeper) failed(err error) {
	if k.ctx.Err() != nil {
		return // stopping, not failing
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastError, k.failedAt = err.Error(), k.o.now()
}

// watch sees what certmagic has renewed by itself, and tells, once a day, what the status warns of.
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
			_ = k.changed() // kept for the status
		}
	}
}
