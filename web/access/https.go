package access

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

// httpsPinned is the time for which browsers insist on HTTPS after a visit. An appliance that gives
// up HTTPS must go on serving it for that long.
const httpsPinned = 30 * 24 * time.Hour

// redirects reports whether HTTP redirects to HTTPS. It does not before the first certificate: no
// client could follow, and the administrator could not log in to repair that.
func (g *Guard) redirects() bool {
	return g.httpsPort != 0 && g.certified()
}

// Secured redirects people to HTTPS if it is served. It refuses the requests of programs instead:
// their token has been sent in the clear once and must not be again.
func (g *Guard) Secured(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if Secure(r) || !g.redirects() {
			g.pinHTTPS(c)
			return next(c)
		}
		if !wire.ReadOnly(r) {
			return insecure(r)
		}
		origin := g.origins.public
		if !strings.HasPrefix(origin, "https://") {
			origin = "https://" + PlainHost("https", net.JoinHostPort(wire.RequestHost(r.Host), strconv.Itoa(g.httpsPort)))
		}
		return c.Redirect(http.StatusPermanentRedirect, origin+r.URL.RequestURI())
	}
}

// pinHTTPS makes browsers use only HTTPS with this host for httpsPinned (HSTS), so that no attacker
// on the way can answer a first request without it. It does so only if machines trust the
// certificate by themselves: otherwise people could not accept a changed one. And it does so only
// on the standard port: the pin would lead http://host:8000 to https on the same port, which does
// not answer it.
func (g *Guard) pinHTTPS(c echo.Context) {
	r := c.Request()
	host := wire.RequestHost(r.Host)
	if r.TLS == nil || g.fingerprint == nil || host != r.Host || g.fingerprint(host) != "" {
		return
	}
	c.Response().Header().Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(httpsPinned.Seconds())))
}
