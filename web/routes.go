package web

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (a *systemAPI) routesOfSystem() []wire.Route {
	return slices.Concat(a.systemRoutes(), a.certificatesRoutes(), a.openapiRoutes(), a.backupRoutes(), a.metricsRoutes(),
		a.activityRoutes(), a.settingsRoutes(), a.emqxRoutes())
}

func (a *accountAPI) routesOfAccount() []wire.Route {
	return slices.Concat(a.authRoutes(), a.sessionsRoutes(), a.tokensRoutes(), a.auditRoutes())
}

func (a *meshAPI) routesOfMesh() []wire.Route {
	return slices.Concat(a.configRoutes(), a.nodeRoutes(), a.bulkRoutes(), a.tagRoutes())
}

func (a *bindAPI) routesOfBind() []wire.Route {
	return slices.Concat(a.bindRoutes(), a.bindcommandRoutes(), a.bindbulkRoutes())
}

func (a *nodeAPI) routesOfNode() []wire.Route {
	return slices.Concat(a.desiredRoutes(), a.confhistoryRoutes(), a.syncRoutes(), a.controlRoutes(), a.commandRoutes())
}

func (a *statusAPI) routesOfStatus() []wire.Route {
	return slices.Concat(a.statusRoutes(), a.historyRoutes(), a.logRoutes())
}

// table has the routes of the API.
func (s *Server) table() []wire.Route {
	return slices.Concat(
		s.apis.system.routesOfSystem(), s.apis.account.routesOfAccount(), s.apis.mesh.routesOfMesh(), s.apis.bind.routesOfBind(), s.apis.node.routesOfNode(),
		s.apis.status.routesOfStatus(), s.apis.rollout.rolloutRoutes(), s.streams.streamRoutes(),
	)
}

func (s *Server) routes() http.Handler {
	return s.serving(slices.Concat(s.table(), s.pages.pages(), s.callbackTable()))
}

// serving builds a handler. Access is wrapped around each route and not around a group: a group's
// middleware would answer unknown paths too.
func (s *Server) serving(table []wire.Route) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // what is worth logging goes to s.log
	e.HTTPErrorHandler = s.answerError
	e.Use(s.observe)
	for _, r := range table {
		h, loggedIn := r.Handle, r.Access >= wire.Session
		switch {
		case r.Audited() && loggedIn:
			h = s.audit.audited(r, h)
		case r.Audited():
			h = s.audit.auditedStranger(h)
		}
		if loggedIn {
			h = s.guard.withLogin(r, h)
		}
		if r.Access != wire.Open {
			h = s.guard.guarded(s.guard.secured(h))
		}
		e.Add(r.Method, r.Path, h)
		if last := r.Path[strings.LastIndex(r.Path, "/")+1:]; strings.HasPrefix(last, ":") {
			// Without it the router takes all that follows for part of the id.
			e.RouteNotFound(r.Path+"/*", func(echo.Context) error { return wire.ErrUnknownPath })
		}
		if r.Method == http.MethodGet {
			e.Add(http.MethodHead, r.Path, h)
		}
	}
	return e
}
