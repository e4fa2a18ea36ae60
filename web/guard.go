package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

// observe is around every request, known path or not: names it, finds out who sent it through our
// proxies, sets the headers every answer has, and turns a panic into an error.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		id := wire.NameRequest(c)
		c.SetRequest(forwarded(c.Request(), s.opts.TrustedProxies))
		s.noteFront(c.Request())
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
func (s *Server) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := s.guards(c.Request())
		if err == nil {
			return next(c)
		}
		s.noteOriginRefused(c.Request(), err)
		if !wire.ReadOnly(c.Request()) {
			s.noteRefused(c, err)
		}
		return err
	}
}

// guards returns why the request is refused, whoever made it. Errors: wire.ErrHostRejected,
// wire.ErrOriginRejected.
func (s *Server) guards(r *http.Request) error {
	origin := r.Header.Get("Origin")
	switch {
	case s.opts.PublicOrigin == "":
		if !wire.ReadOnly(r) && r.Header.Get("Authorization") == "" && origin != "" && !s.origins.allowsOrigin(origin, r) {
			return s.strangeOrigin(r)
		}
	case !s.origins.allowsHost(r.Host):
		return s.strangeHost(r)
	case origin != "" && !s.origins.allowsOrigin(origin, r):
		return s.strangeOrigin(r)
	}
	return nil
}
