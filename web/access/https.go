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

// httpsPinned is how long browsers keep to HTTPS after a visit, and so how long whoever gives it up
// has to go on serving it.
const httpsPinned = 30 * 24 * time.Hour

// redirects reports whether HTTP leads to HTTPS. It does not before the first certificate: nobody
// could follow, and whoever is to mend that would be locked out.
func (g *Guard) redirects() bool {
	return g.httpsPort != 0 && g.certified()
}

// Secured sends people to HTTPS, where it is served. What programs send is refused instead: their
// token has been in the clear once already, and must not be again.
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

// pinHTTPS has browsers use nothing but HTTPS with this host for a while, so that nobody on the way
// gets to answer a first request without it. Only where they trust the certificate by themselves:
// otherwise they could not be told to go on if it changes. And only on the standard port: it would
// lead http://host:8000 to https on that same port, where nothing answers it.
func (g *Guard) pinHTTPS(c echo.Context) {
	r := c.Request()
	host := wire.RequestHost(r.Host)
	if r.TLS == nil || g.fingerprint == nil || host != r.Host || g.fingerprint(host) != "" {
		return
	}
	c.Response().Header().Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(httpsPinned.Seconds())))
}
