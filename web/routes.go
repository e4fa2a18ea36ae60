package web

import (
	"io"
	"net/http"

	"github.com/labstack/echo/v4"
)

// access says what a request must bring to reach a route.
type access int

const (
	accessOpen    access = iota // nothing, whatever Host it names: health, the bind exchange
	accessGuarded               // Host and Origin pass the check
	accessSession               // that, and a valid session
)

type route struct {
	method, path string
	access       access
	handle       echo.HandlerFunc
}

const (
	pathConfig = "/api/v1/configs/:config_id"
	pathNode   = pathConfig + "/nodes/:node_id"
)

func (s *Server) table() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return append(s.callbackTable(), []route{
		{get, "/", accessGuarded, s.page},
		{get, "/healthz", accessOpen, s.healthz},
		{get, "/readyz", accessOpen, s.readyz},
		{get, "/api/v1/system/health", accessOpen, s.health},
		{post, "/api/client/bind", accessOpen, s.clientBind},
		{post, "/api/client/v1/bind", accessOpen, s.clientBind}, // older agents

		{get, "/api/v1/auth/state", accessGuarded, s.authState},
		{post, "/api/v1/auth/setup", accessGuarded, s.authSetup},
		{post, "/api/v1/auth/login", accessGuarded, s.authLogin},
		{post, "/api/v1/auth/logout", accessSession, s.authLogout},
		{get, "/api/v1/auth/session", accessSession, s.authSession},
		{post, "/api/v1/auth/password", accessSession, s.authPassword},

		{get, "/api/v1/configs", accessSession, s.listConfigs},
		{post, "/api/v1/configs", accessSession, s.createConfig},
		{get, pathConfig, accessSession, s.getConfig},
		{put, pathConfig, accessSession, s.updateConfig},
		{del, pathConfig, accessSession, s.deleteConfig},
		{get, pathConfig + "/overview", accessSession, s.overview},
		{get, pathConfig + "/nodes", accessSession, s.listNodes},
		{post, pathConfig + "/nodes", accessSession, s.createNode},
		{get, pathConfig + "/endpoint/runtime-snapshot", accessSession, s.runtimeSnapshot},
		{post, pathConfig + "/endpoint/probe-batch", accessSession, s.probeBatch},

		{get, "/api/v1/nodes/:node_id", accessSession, s.getNode},
		{put, "/api/v1/nodes/:node_id", accessSession, s.updateNode},
		{del, "/api/v1/nodes/:node_id", accessSession, s.deleteNode},
		{get, pathNode, accessSession, s.getNode},
		{put, pathNode, accessSession, s.updateNode},
		{del, pathNode, accessSession, s.deleteNode},
		{post, pathNode + "/bind-command", accessSession, s.bindCommand},
		{post, pathNode + "/reset-client", accessSession, s.resetClient},
		{post, pathNode + "/endpoint/control", accessSession, s.control},
		{get, pathNode + "/endpoint/status", accessSession, s.endpointStatus},
		{get, pathNode + "/endpoint/logs", accessSession, s.endpointLogs},
		{get, pathNode + "/endpoint/events", accessSession, s.endpointEvents},
		{get, pathNode + "/endpoint/history", accessSession, s.endpointHistory},

		{post, "/api/v1/system/mqtt/reconcile", accessSession, s.reconcileAccounts},
		{get, "/api/v1/system/status", accessSession, s.systemStatus},
		{get, "/api/v1/events/stream", accessSession, s.eventStream},

		{get, "/api/v1/commands/:request_id", accessSession, s.getCommand},
		{post, "/api/v1/commands/:request_id/cancel", accessSession, s.cancelCommand},
	}...)
}

// routes builds the handler. Access is wrapped around each route and not around a group: a group's
// middleware would answer unknown paths too.
func (s *Server) routes() http.Handler { return s.serving(s.table()) }

func (s *Server) serving(table []route) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // what is worth logging goes to s.log
	e.HTTPErrorHandler = s.answerError
	e.Use(s.observe)
	for _, r := range table {
		h := r.handle
		if r.access == accessSession {
			h = s.withSession(h)
		}
		if r.access != accessOpen {
			h = s.guarded(h)
		}
		e.Add(r.method, r.path, h)
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, h)
		}
	}
	return e
}
