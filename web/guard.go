package web

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

// guard decides who may make a request, and how often.
type guard struct {
	db           *store.DB
	log          *slog.Logger
	audit        *auditor
	origins      origins
	publicOrigin string
	httpsPort    int
	certified    func() bool // there is a certificate for HTTPS
	certificates Certificates

	hasher     *hasher
	logins     *limiter[netip.Addr]   // failed attempts to prove to be the admin
	networks   *limiter[netip.Prefix] // those of strangers, by /24, /56 and /48
	knownAddrs *knownAddresses
	underWay   underWay // attempts whose outcome is open
	uses       tokenUses
	fronts     frontNotes
}

func newGuard(o Options, audit *auditor) *guard {
	return &guard{
		db: o.Store, log: o.Logger, audit: audit, origins: newOrigins(o.PublicOrigin, o.ExtraAllowedOrigins), publicOrigin: o.PublicOrigin,
		httpsPort: o.HTTPSPort, certificates: o.Certificates,
		certified:  func() bool { return o.Certificates == nil || !o.Certificates.Status().NotAfter.IsZero() },
		hasher:     newHasher(),
		logins:     newLimiter[netip.Addr](10, 5),
		networks:   newLimiter[netip.Prefix](30, 20),
		knownAddrs: newKnownAddresses(o.Store),
		underWay:   underWay{open: make(map[netip.Addr]*openAttempts)},
	}
}

// observe is around every request, known path or not: names it, finds out who sent it through our
// proxies, sets the headers every answer has, and turns a panic into an error.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		id := wire.NameRequest(c)
		c.SetRequest(forwarded(c.Request(), s.opts.TrustedProxies))
		s.guard.noteFront(c.Request())
		h := c.Response().Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if err := wire.Recovered(next, c); err != nil {
			c.Error(err)
		}
		s.counts.count(c.Path(), c.Response().Status)
		// The route and not the path: what a client wrote into a path is its own business.
		s.log.Debug("request", "method", c.Request().Method, "route", c.Path(), "http_status", c.Response().Status,
			"duration", time.Since(start), "request_id", id)
		return nil
	}
}

// origins are the addresses the appliance is configured to be reached at.
type origins struct {
	public  string
	allowed map[string]bool // canonical origins
	hosts   map[string]bool // their host and port
}

// ErrOrigin is returned by [ParseOrigin].
var ErrOrigin = errors.New("an origin is http:// or https://, a host and perhaps a port, as in https://wfm.example.org")

// ParseOrigin returns the origin as browsers write it: lower case, no default port, no path. It
// returns [ErrOrigin] for anything else than an origin.
func ParseOrigin(raw string) (string, error) {
	u, err := url.Parse(strings.ToLower(strings.TrimRight(raw, "/")))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", ErrOrigin
	}
	return u.Scheme + "://" + plainHost(u.Scheme, u.Host), nil
}

// plainHost drops the scheme's default port, as browsers do.
func plainHost(scheme, host string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// newOrigins leaves out what is no origin, so that a misspelt public origin lets nobody in.
func newOrigins(public string, extra []string) origins {
	o := origins{allowed: map[string]bool{}, hosts: map[string]bool{}}
	for i, raw := range append([]string{public}, extra...) {
		origin, err := ParseOrigin(raw)
		if err != nil {
			continue
		}
		if i == 0 {
			o.public = origin
		}
		o.allowed[origin] = true
		o.hosts[strings.TrimPrefix(strings.TrimPrefix(origin, "http://"), "https://")] = true
	}
	return o
}

// allowsHost reports whether Host names one of the origins, with or without their default port.
func (o origins) allowsHost(host string) bool {
	return o.hosts[strings.ToLower(host)] || o.hosts[plainHost("http", host)] || o.hosts[plainHost("https", host)]
}

func scheme(r *http.Request) string {
	if secure(r) {
		return "https"
	}
	return "http"
}

// allowsOrigin reports whether a page of origin may write here: one of the appliance's own
// address, as this request names it, or an allowed one.
func (o origins) allowsOrigin(origin string, r *http.Request) bool {
	canonical, err := ParseOrigin(origin)
	if err != nil {
		return false
	}
	return o.allowed[canonical] || canonical == scheme(r)+"://"+plainHost(scheme(r), r.Host)
}

// namesHTTPS reports whether the client of a request that came to us without TLS knows us by an https
// address all the same, as behind a proxy that nobody told us to trust: what it says in Origin, or
// else where only such an origin has the host.
func (o origins) namesHTTPS(r *http.Request) bool {
	if origin, err := ParseOrigin(r.Header.Get("Origin")); err == nil {
		return strings.HasPrefix(origin, "https://")
	}
	return o.allowed["https://"+plainHost("https", r.Host)] && !o.allowed["http://"+plainHost("http", r.Host)]
}

// guarded refuses, once a public origin is configured, requests for another host (a name an
// attacker has pointed at the appliance) and requests from other sites' pages. Without one it refuses
// other origins' pages the writes that need no login, as any other write: nobody is to be logged in by a
// page of theirs, and who cannot write behind a proxy hears of it before logging in.
func (g *guard) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := g.guards(c.Request())
		if err == nil {
			return next(c)
		}
		g.noteOriginRefused(c.Request(), err)
		if !wire.ReadOnly(c.Request()) {
			g.audit.noteRefused(c, err)
		}
		return err
	}
}

// guards returns why the request is refused, whoever made it. Errors: wire.ErrHostRejected,
// wire.ErrOriginRejected.
func (g *guard) guards(r *http.Request) error {
	origin := r.Header.Get("Origin")
	switch {
	case g.publicOrigin == "":
		if !wire.ReadOnly(r) && r.Header.Get("Authorization") == "" && origin != "" && !g.origins.allowsOrigin(origin, r) {
			return g.strangeOrigin(r)
		}
	case !g.origins.allowsHost(r.Host):
		return g.strangeHost(r)
	case origin != "" && !g.origins.allowsOrigin(origin, r):
		return g.strangeOrigin(r)
	}
	return nil
}
