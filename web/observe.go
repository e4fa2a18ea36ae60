package web

import (
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/access"
	"wfm/web/wire"
)

// observe wraps every request, even for unknown paths. It gives the request an id, finds its client
// behind trusted proxies, sets the headers of all answers, and turns a panic into an error.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		id := wire.NameRequest(c)
		c.SetRequest(access.Forwarded(c.Request(), s.opts.TrustedProxies))
		s.guard.NoteFront(c.Request())
		h := c.Response().Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if err := wire.Recovered(next, c); err != nil {
			c.Error(err)
		}
		s.counts.Count(c.Path(), c.Response().Status)
		// Log the route, not the path: a client may have put a secret into the path.
		s.log.Debug("request", "method", c.Request().Method, "route", c.Path(), "http_status", c.Response().Status,
			"duration", time.Since(start), "request_id", id)
		return nil
	}
}
