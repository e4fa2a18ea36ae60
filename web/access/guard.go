package access

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

// Guard decides whether a client may make a request, and limits how often.
type Guard struct {
	db           *store.DB
	log          *slog.Logger
	audit        *Auditor
	origins      origins
	publicOrigin string
	httpsPort    int
	certified    func() bool              // whether there is a certificate for HTTPS
	fingerprint  func(host string) string // of the CA that browsers do not know; nil: nothing is served with TLS

	hasher     *hasher
	logins     *Limiter[netip.Addr]   // failed proofs of being the admin
	networks   *Limiter[netip.Prefix] // failed proofs from unknown addresses, by /24, /56 and /48
	knownAddrs *knownAddresses
	underWay   underWay // attempts that have not ended
	uses       tokenUses
	fronts     frontNotes
}

// Options configures NewGuard.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger
	Audit  *Auditor
	// PublicOrigin switches the check of Host and Origin on. ExtraAllowedOrigins pass it too.
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// HTTPSPort is where people are redirected to from HTTP, once Certified reports that there is a certificate. 0: nowhere.
	HTTPSPort int
	Certified func() bool
	// Fingerprint returns the SHA-256 of the CA behind the certificate for the host, or an empty
	// string if browsers trust it by themselves. Nil: nothing is served with TLS.
	Fingerprint func(host string) string
}

// NewGuard makes a guard.
func NewGuard(o Options) *Guard {
	return &Guard{
		db: o.Store, log: o.Logger, audit: o.Audit, origins: newOrigins(o.PublicOrigin, o.ExtraAllowedOrigins), publicOrigin: o.PublicOrigin,
		httpsPort: o.HTTPSPort, certified: o.Certified, fingerprint: o.Fingerprint,
		hasher:     newHasher(),
		logins:     NewLimiter[netip.Addr](10, 5),
		networks:   NewLimiter[netip.Prefix](30, 20),
		knownAddrs: newKnownAddresses(o.Store),
		underWay:   underWay{open: make(map[netip.Addr]*openAttempts)},
	}
}

// Public is the public origin, or empty when there is none.
func (g *Guard) Public() string { return g.origins.public }

// origins holds the origins under which the appliance is configured to be reached.
type origins struct {
	public  string
	allowed map[string]bool // canonical origins
	hosts   map[string]bool // the hosts and ports of allowed
}

// ErrOrigin is returned by [ParseOrigin].
var ErrOrigin = errors.New("an origin is http:// or https://, a host and perhaps a port, as in https://wfm.example.org")

// ParseOrigin returns the origin as browsers write it: in lower case, without default port and
// path. It returns [ErrOrigin] if raw is not an origin.
func ParseOrigin(raw string) (string, error) {
	u, err := url.Parse(strings.ToLower(strings.TrimRight(raw, "/")))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", ErrOrigin
	}
	return u.Scheme + "://" + PlainHost(u.Scheme, u.Host), nil
}

// PlainHost returns host without the scheme's default port, as browsers write it.
func PlainHost(scheme, host string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// newOrigins omits values that are not origins, so that a misspelt public origin permits no
// request.
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

// allowsHost reports whether host is the host of one of the origins, with or without the default
// port.
func (o origins) allowsHost(host string) bool {
	return o.hosts[strings.ToLower(host)] || o.hosts[PlainHost("http", host)] || o.hosts[PlainHost("https", host)]
}

// Scheme is the scheme that the client used.
func Scheme(r *http.Request) string {
	if Secure(r) {
		return "https"
	}
	return "http"
}

// allowsOrigin reports whether a page of origin may make the request: the origin is the address
// that the request was sent to, or an allowed one.
func (o origins) allowsOrigin(origin string, r *http.Request) bool {
	canonical, err := ParseOrigin(origin)
	if err != nil {
		return false
	}
	return o.allowed[canonical] || canonical == Scheme(r)+"://"+PlainHost(Scheme(r), r.Host)
}

// namesHTTPS reports whether the client of a request that came without TLS uses an https address of
// the appliance, as behind an untrusted proxy. Its Origin says so, or else the request's host
// belongs only to https origins.
func (o origins) namesHTTPS(r *http.Request) bool {
	if origin, err := ParseOrigin(r.Header.Get("Origin")); err == nil {
		return strings.HasPrefix(origin, "https://")
	}
	return o.allowed["https://"+PlainHost("https", r.Host)] && !o.allowed["http://"+PlainHost("http", r.Host)]
}

// Guarded checks Host and Origin. With a public origin, it refuses requests for another host (a
// name that an attacker has pointed at the appliance) and requests from pages of other sites.
// Without one, it refuses writes from pages of other origins, even those that need no login: no
// foreign page may log a person in, and a person behind a misconfigured proxy gets the error at the
// login.
func (g *Guard) Guarded(next echo.HandlerFunc) echo.HandlerFunc {
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

// guards returns an error if Host or Origin is not allowed, whatever the login. Errors:
// wire.ErrHostRejected, wire.ErrOriginRejected.
func (g *Guard) guards(r *http.Request) error {
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
