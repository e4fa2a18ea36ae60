package web

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

// table returns the routes of the API.
func (s *Server) table() []wire.Route {
	return slices.Concat(
		s.apis.system.Routes(), s.apis.account.Routes(), s.apis.mesh.Routes(), s.apis.link.Routes(), s.apis.draft.Routes(), s.apis.importer.Routes(),
		s.apis.download.Routes(),
		s.apis.bind.Routes(), s.apis.node.Routes(), s.apis.status.Routes(), s.apis.rollout.Routes(), s.streams.Routes(),
	)
}

func (s *Server) routes() http.Handler {
	return s.serving(slices.Concat(s.table(), s.pages.Routes(), s.callbackTable()))
}

// serving builds a handler. Each route is wrapped by the check of its access, not a group: a
// group's middleware would also answer unknown paths.
func (s *Server) serving(table []wire.Route) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // s.log gets everything worth logging
	e.HTTPErrorHandler = s.answerError
	e.Use(s.observe)
	for _, r := range table {
		h, loggedIn := r.Handle, r.Access >= wire.Session
		switch {
		case r.Audited() && loggedIn:
			h = s.audit.Audited(r, h)
		case r.Audited():
			h = s.audit.AuditedStranger(h)
		}
		if loggedIn {
			h = s.guard.WithLogin(r, h)
		}
		if r.Access != wire.Open {
			h = s.guard.Guarded(s.guard.Secured(h))
		}
		e.Add(r.Method, r.Path, h)
		if last := r.Path[strings.LastIndex(r.Path, "/")+1:]; strings.HasPrefix(last, ":") {
			// Otherwise the router takes the rest of the path as part of the id.
			e.RouteNotFound(r.Path+"/*", func(echo.Context) error { return wire.ErrUnknownPath })
		}
		if r.Method == http.MethodGet {
			e.Add(http.MethodHead, r.Path, h)
		}
	}
	return e
}
