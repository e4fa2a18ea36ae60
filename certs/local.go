package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"wfm/internal/tlsproblem"
	"wfm/store"
)

// epoch is earlier than any of our roots. A clock that shows an earlier time lost its setting with
// the power, and says nothing about validity.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

const (
	// firstName is in every certificate of the own CA. certmagic identifies the certificate by it.
	firstName = "localhost"

	rolloverBefore = 2 * 365 * 24 * time.Hour // before the end of a root: from then on there is a newer one beside it
	retireBefore   = 24 * time.Hour           // before the end of a root: from then on it signs nothing

	localCheck = time.Minute // between checks of this machine's addresses

	keyAuthorities = "local-ca"       // /1/ca.crt, /1/ca.key, /2/…
	keyLearned     = "local-ca/hosts" // JSON
)

// local is the own CA. It never replaces a root, because agents trust nothing else: a newer root
// stands beside it, and each root signs a certificate of its own for the hosts it may sign for. A
// host is served with the certificate of the oldest such root, which every agent trusts that ever
// connected to this host.
type local struct {
	keeper *Keeper
	// made holds all roots, oldest first. None is ever removed: the current time decides on every
	// use which of them serve, because a clock that leaps ahead may come back.
	made atomic.Pointer[[]*generation]

	learning sync.Mutex
	learned  []string

	mu sync.Mutex // held while generations are made and renewed
}

// generation is a root and the certificate it has signed.
type generation struct {
	authority
	*managed
	number  int
	retired bool // the root is at its end, so the certificate is not renewed
}

// atEnd reports whether the root must not sign anything any more.
func (g *generation) atEnd(now time.Time) bool { return g.root.NotAfter.Sub(now) < retireBefore }

func newLocal(k *Keeper) *local {
	l := &local{keeper: k}
	l.made.Store(&[]*generation{})
	return l
}

func (l *local) start(ctx context.Context) error {
	if err := l.load(); err != nil {
		return err
	}
	var err error
	if host := onlyHosts([]string{l.keeper.o.PublicHost}); host != nil {
		err = l.note(host[0]) // agents connect to it, and the setting may change
	}
	if err = errors.Join(err, l.ensure(ctx, false)); err != nil {
		l.keeper.failed(err) // for example a full disk; run tries again
	}
	return nil
}

func (l *local) run(ctx context.Context) {
	failing := true // perhaps, since start
	for pause(ctx, cmp.Or(l.keeper.o.check, localCheck)) == nil {
		err := l.ensure(ctx, false)
		if err == nil && (failing || !l.keeper.isVerified(l.inUse())) {
			err = l.keeper.changed()
		}
		if failing = err != nil; failing && ctx.Err() == nil {
			l.keeper.log.Warn("cannot issue a certificate, will try again", "err", err)
			l.keeper.failed(err)
		}
	}
}

func (l *local) stop() {
	for _, g := range *l.made.Load() {
		if !g.retired {
			g.stop()
		}
	}
}

// load reads the roots and certificates that an earlier run has left.
func (l *local) load() error {
	var generations []*generation
	err := l.keeper.o.Store.View(func(tx *store.Tx) error {
		if f, ok, err := tx.File(keyLearned); err != nil {
			return err
		} else if ok {
			if err := json.Unmarshal(f.Value, &l.learned); err != nil {
				return fmt.Errorf("read %s: %w", keyLearned, err)
			}
		}
		for n := 1; ; n++ {
			certificate, ok, err := tx.File(fmt.Sprintf("%s/%d/ca.crt", keyAuthorities, n))
			if err != nil || !ok {
				return err
			}
			key, _, err := tx.File(fmt.Sprintf("%s/%d/ca.key", keyAuthorities, n))
			if err != nil {
				return err
			}
			a, err := decodeAuthority(certificate.Value, key.Value)
			if err != nil {
				return err
			}
			generations = append(generations, &generation{authority: a, number: n})
		}
	})
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	for _, g := range generations {
		g.managed = l.manage(g)
	}
	l.made.Store(&generations)
	return nil
}

func (l *local) manage(g *generation) *managed {
	m := newManaged(l.keeper, []string{firstName})
	m.config.DisableARI = true
	m.config.Issuers = []certmagic.Issuer{localIssuer{l, g}}
	return m
}

// ensure makes everything that is missing: a root (with newRoot one more) and every host in every
// certificate.
func (l *local) ensure(ctx context.Context, newRoot bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, hosts := l.keeper.o.now(), l.hosts()
	live := l.settle(now)
	usable := valid(live, now)
	if n := len(usable); newRoot || n == 0 || usable[n-1].root.NotAfter.Sub(now) < rolloverBefore ||
		slices.ContainsFunc(l.told(), func(h string) bool { return !usable[n-1].permits(h) }) {
		g, err := l.makeGeneration(hosts, now)
		if err != nil {
			return err
		}
		// Without a certificate yet, it serves only hosts that no other root could serve. It is not
		// made again.
		made := append(slices.Clone(*l.made.Load()), g)
		l.made.Store(&made)
		live = append(live, g)
	}
	for _, g := range live {
		if err := g.ensure(ctx, hosts, now); err != nil {
			return err
		}
	}
	return nil
}

// valid leaves out roots that are not valid yet, which were made while the clock was ahead. Once
// valid, they serve again and come first: agents of that time know no other root, and agents bound
// since know all.
func valid(all []*generation, now time.Time) []*generation {
	if now.Before(epoch) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(g *generation) bool { return now.Before(g.root.NotBefore) })
}

// live returns the roots that are not at their end. If all are, it returns the last one, which is
// better than none.
func (l *local) live(now time.Time) []*generation {
	all := *l.made.Load()
	live := slices.DeleteFunc(slices.Clone(all), func(g *generation) bool { return g.atEnd(now) })
	if len(live) == 0 && len(all) > 0 {
		live = append(live, all[len(all)-1])
	}
	return live
}

// settle stops renewing the certificates of roots that are at their end. It starts again with the
// others, which matters after a leap of the clock and back. It returns the others.
func (l *local) settle(now time.Time) (live []*generation) {
	made := slices.Clone(*l.made.Load())
	for i, g := range made {
		if g.atEnd(now) != g.retired {
			next := &generation{authority: g.authority, number: g.number, managed: g.managed, retired: !g.retired}
			if next.retired {
				g.stop() // its certificate is still served if the clock comes back
			} else {
				next.managed = l.manage(next)
			}
			made[i] = next
		}
		if !made[i].retired {
			live = append(live, made[i])
		}
	}
	l.made.Store(&made)
	return live
}

// makeGeneration makes a root and stores it. Once the host that agents use is known, the root can
// be limited to that domain: its clients then trust it for that domain only.
func (l *local) makeGeneration(hosts []string, now time.Time) (*generation, error) {
	var domains []string
	if l.keeper.o.PublicHost != "" {
		domains = slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return net.ParseIP(h) != nil })
	}
	a, err := newAuthority(domains, now)
	if err != nil {
		return nil, err
	}
	key, err := a.encodeKey()
	if err != nil {
		return nil, err
	}
	g := &generation{authority: a}
	err = l.keeper.o.Store.Update(func(tx *store.Tx) error {
		g.number = 1 + len(tx.Files(keyAuthorities, false))
		if _, ok, err := tx.File(keyLearned); err != nil {
			return err
		} else if ok {
			g.number--
		}
		dir := fmt.Sprintf("%s/%d/", keyAuthorities, g.number)
		if err := tx.PutFile(dir+"ca.crt", encodeCertificates(a.root)); err != nil {
			return err
		}
		return tx.PutFile(dir+"ca.key", key)
	})
	if err != nil {
		return nil, fmt.Errorf("keep the new CA: %w", err)
	}
	l.keeper.log.Info("made a CA", "name", a.root.Subject.CommonName, "not_after", a.root.NotAfter.UTC(), "for", a.root.PermittedDNSDomains)
	g.managed = l.manage(g)
	return g, nil
}

// ensure makes the certificate cover all the hosts it may.
func (g *generation) ensure(ctx context.Context, hosts []string, now time.Time) error {
	if err := g.get(ctx, firstName); err != nil {
		return err
	}
	chain := g.chain(firstName)
	if chain == nil {
		return tlsproblem.ErrNotReady
	}
	if now.Before(chain[0].NotBefore) && now.After(epoch) { // the clock was ahead
		return g.renew(ctx, firstName)
	}
	for _, h := range hosts {
		if g.permits(h) && chain[0].VerifyHostname(h) != nil {
			return g.renew(ctx, firstName)
		}
	}
	return nil
}

// pick returns the generation that serves the host: the oldest one that may. A client that names no
// host has dialed an address, and every root may sign for addresses.
func (l *local) pick(host string) *generation {
	now := l.keeper.o.now()
	live := valid(l.live(now), now)
	for _, g := range live {
		if host != "" && g.permits(strings.ToLower(host)) {
			return g
		}
	}
	if len(live) == 0 {
		return nil
	}
	return live[0]
}

func (l *local) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	g := l.pick(hello.ServerName)
	if g == nil {
		return nil, tlsproblem.ErrNotReady
	}
	c, err := g.getCertificate(hello)
	if err != nil {
		return nil, err
	}
	// Include the root: an agent that binds knows it only by its fingerprint.
	whole := *c
	whole.Certificate = append(slices.Clone(c.Certificate), g.root.Raw)
	return &whole, nil
}

func (l *local) inUse() [][]*x509.Certificate {
	var chains [][]*x509.Certificate
	for _, g := range l.live(l.keeper.o.now()) {
		chains = append(chains, g.inUse()...)
	}
	return chains
}

func (l *local) roots() ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, g := range l.live(l.keeper.o.now()) {
		roots = append(roots, g.root)
	}
	if roots == nil {
		return nil, tlsproblem.ErrNotReady
	}
	return roots, nil
}

func (l *local) renew(ctx context.Context, newCA bool) error {
	if newCA {
		return l.ensure(ctx, true)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.live(l.keeper.o.now()) {
		if err := g.renew(ctx, firstName); err != nil {
			return err
		}
	}
	return nil
}

// localIssuer signs certificate requests from certmagic.
type localIssuer struct {
	local *local
	g     *generation
}

var _ certmagic.Issuer = localIssuer{}

// IssuerKey returns the name under which certmagic stores the generation's certificate.
func (i localIssuer) IssuerKey() string { return fmt.Sprintf("local-%d", i.g.number) }

// Issue signs the key of the request for all hosts of the appliance, not for the host that
// certmagic names.
func (i localIssuer) Issue(_ context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	hosts := slices.DeleteFunc(i.local.hosts(), func(h string) bool { return !i.g.permits(h) })
	chain, err := i.g.sign(csr.PublicKey, firstName, hosts, i.local.keeper.o.lifetime, i.local.keeper.o.now())
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: chain}, nil
}
