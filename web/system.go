package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
)

func (s *Server) health(c echo.Context) error {
	return respond(c, map[string]any{
		"status": "ok", "service": "wfm", "version": s.opts.Version, "timestamp": when(time.Now()),
	})
}

// healthz says that the process answers, and nothing about what it depends on.
func (s *Server) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz says whether the appliance can do its work: write its data and reach its agents.
func (s *Server) readyz(c echo.Context) error {
	if err := s.opts.Store.WriteError(); err != nil {
		s.log.Warn("not ready", "err", err)
		return c.String(http.StatusServiceUnavailable, "not ready: "+storeProblem(err)+"\n")
	}
	if s.opts.MQTTEnabled && !s.brokerStatus().Connected {
		return c.String(http.StatusServiceUnavailable, "not ready: the MQTT broker does not serve; look at the appliance's log\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// storeProblem is the advice of the store's sentinels, without what they wrap: that names paths.
func storeProblem(err error) string {
	for _, known := range []error{store.ErrFull, store.ErrReadOnly, store.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the data file cannot be written; look at the appliance's log"
}
