package web

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// access says what a request must bring to reach a route.
type access int

const (
	accessOpen    access = iota // nothing, whatever Host it names, also without TLS: health, the bind exchange
	accessGuarded               // Host and Origin pass the check
	accessSession               // that, and a session or an API token, which must have the scope write for a write
	accessWrite                 // that, and the scope write: what it reads holds private keys
	accessAdmin                 // that, and a session: no API token
)

type route struct {
	method, path string
	access       access
	handle       echo.HandlerFunc
}

// audited reports whether requests to the route are written down: whatever may change something,
// the bind exchange, and the copy of all secrets.
func (r route) audited() bool {
	switch {
	case r.access == accessOpen:
		return strings.HasPrefix(r.path, "/api/client/")
	case r.path == pathBackup:
		return true
	case r.path == pathQR, r.path == pathDiff:
		return false // they change nothing
	}
	return r.method != http.MethodGet
}

const (
	pathBackup = "/api/v1/system/backup"
	pathQR     = "/ui/qr"
	pathForm   = "/ui/form"
	pathConfig = "/api/v1/configs/:config_id"
	pathNode   = pathConfig + "/nodes/:node_id"
	pathDiff   = "/ui/configs/:config_id/nodes/:node_id/diff"
)

func (s *Server) table() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []route{
		{get, "/healthz", accessOpen, s.healthz},
		{get, "/.well-known/acme-challenge/:token", accessOpen, s.acmeChallenge},
		{get, "/readyz", accessOpen, s.readyz},
		{get, "/api/openapi.json", accessGuarded, s.openAPI},
		{get, "/api/v1/system/health", accessOpen, s.health},
		{post, "/api/client/bind", accessOpen, s.clientBind},
		{post, "/api/client/v1/bind", accessOpen, s.clientBind}, // older agents

		{get, "/api/v1/auth/state", accessGuarded, s.authState},
		{post, "/api/v1/auth/setup", accessGuarded, s.authSetup},
		{post, "/api/v1/auth/login", accessGuarded, s.authLogin},
		{post, "/api/v1/auth/logout", accessAdmin, s.authLogout},
		{get, "/api/v1/auth/session", accessSession, s.authSession},
		{post, "/api/v1/auth/password", accessAdmin, s.authPassword},
		{get, "/api/v1/auth/sessions", accessAdmin, s.listSessions},
		{del, "/api/v1/auth/sessions", accessAdmin, s.endOtherSessions},
		{del, "/api/v1/auth/sessions/:id", accessAdmin, s.endSession},
		{get, "/api/v1/auth/tokens", accessAdmin, s.listTokens},
		{post, "/api/v1/auth/tokens", accessAdmin, s.createToken},
		{del, "/api/v1/auth/tokens/:id", accessAdmin, s.deleteToken},
		{get, "/api/v1/audit", accessSession, s.listAudit},
		{get, "/api/v1/audit/export", accessSession, s.exportAudit},

		{get, "/api/v1/configs", accessSession, s.listConfigs},
		{post, "/api/v1/configs", accessSession, s.createConfig},
		{get, pathConfig, accessSession, s.getConfig},
		{put, pathConfig, accessSession, s.updateConfig},
		{del, pathConfig, accessSession, s.deleteConfig},
		{get, pathConfig + "/overview", accessSession, s.overview},
		{get, pathConfig + "/nodes", accessSession, s.listNodes},
		{post, pathConfig + "/nodes", accessSession, s.createNode},
		{post, pathConfig + "/nodes/bulk", accessSession, s.createNodes},
		{post, pathConfig + "/bind-commands", accessSession, s.bindCommands},
		{get, pathConfig + "/tags", accessSession, s.listTags},
		{post, pathConfig + "/tags", accessSession, s.createTag},
		{post, pathConfig + "/tags/apply", accessSession, s.applyTag},
		{del, pathConfig + "/tags/:tag", accessSession, s.deleteTag},
		{get, pathConfig + "/sync-status", accessSession, s.configSyncStatus},
		{post, pathConfig + "/sync-all", accessSession, s.syncAll},
		{get, pathConfig + "/endpoint/runtime-snapshot", accessSession, s.runtimeSnapshot},
		{post, pathConfig + "/endpoint/probe-batch", accessSession, s.probeBatch},
		{post, pathConfig + "/endpoint/control-batch", accessSession, s.controlBatch},
		{get, pathConfig + "/rollouts", accessSession, s.listRollouts},

		{get, "/api/v1/nodes/:node_id", accessSession, s.getNode},
		{put, "/api/v1/nodes/:node_id", accessSession, s.updateNode},
		{del, "/api/v1/nodes/:node_id", accessSession, s.deleteNode},
		{put, "/api/v1/nodes/:node_id/tags", accessSession, s.putNodeTags},
		{del, "/api/v1/nodes/:node_id/tags/:tag", accessSession, s.deleteNodeTag},
		{get, pathNode, accessSession, s.getNode},
		{put, pathNode, accessSession, s.updateNode},
		{del, pathNode, accessSession, s.deleteNode},
		{get, pathNode + "/applied-conf", accessSession, s.appliedConf},
		{put, pathNode + "/applied-conf", accessSession, s.putAppliedConf},
		{get, pathNode + "/conf-history", accessSession, s.confHistory},
		{get, pathNode + "/conf-history/:version", accessSession, s.confVersion},
		{post, pathNode + "/conf-history/:version/restore", accessSession, s.restoreConf},
		{get, pathNode + "/sync-status", accessSession, s.syncStatus},
		{post, pathNode + "/sync", accessSession, s.syncNode},
		{post, pathNode + "/bind-command", accessSession, s.bindCommand},
		{post, pathNode + "/reset-client", accessSession, s.resetClient},
		{post, pathNode + "/endpoint/control", accessSession, s.control},
		{get, pathNode + "/endpoint/status", accessSession, s.endpointStatus},
		{get, pathNode + "/endpoint/logs", accessSession, s.endpointLogs},
		{get, pathNode + "/endpoint/events", accessSession, s.endpointEvents},
		{get, pathNode + "/endpoint/history", accessSession, s.endpointHistory},

		{get, "/api/v1/settings/mqtt", accessSession, s.getMQTTSettings},
		{put, "/api/v1/settings/mqtt", accessSession, s.putMQTTSettings},
		{post, "/api/v1/settings/mqtt/reset", accessSession, s.resetMQTTSettings},
		{post, "/api/v1/settings/mqtt/test", accessSession, s.testMQTTSettings},
		{post, "/api/v1/settings/password", accessAdmin, s.authPassword}, // as WG Free Mesh has it
		{get, "/metrics", accessSession, s.metrics},
		{get, "/api/v1/system/activity", accessSession, s.systemActivity},
		{post, "/api/v1/system/mqtt/reconcile", accessSession, s.reconcileAccounts},
		{get, "/api/v1/system/status", accessSession, s.systemStatus},
		{get, "/api/v1/system/timezone", accessSession, s.systemTimezone},
		{get, "/api/v1/system/certificates", accessSession, s.listCertificates},
		{post, "/api/v1/system/certificates/renew", accessSession, s.renewCertificates},
		{get, "/api/v1/system/ca.pem", accessOpen, s.caCertificate},
		{get, pathBackup, accessWrite, s.backup},
		{get, "/api/v1/events/stream", accessSession, s.eventStream},

		{get, "/api/v1/rollouts/:rollout_id", accessSession, s.getRollout},
		{post, "/api/v1/rollouts/:rollout_id/pause", accessSession, s.pauseRollout},
		{post, "/api/v1/rollouts/:rollout_id/resume", accessSession, s.resumeRollout},
		{post, "/api/v1/rollouts/:rollout_id/cancel", accessSession, s.cancelRollout},

		{get, "/api/v1/commands/:request_id", accessSession, s.getCommand},
		{post, "/api/v1/commands/:request_id/cancel", accessSession, s.cancelCommand},
	}
}

func (s *Server) routes() http.Handler {
	return s.serving(slices.Concat(s.table(), s.pages(), s.callbackTable()))
}

// serving builds a handler. Access is wrapped around each route and not around a group: a group's
// middleware would answer unknown paths too.
func (s *Server) serving(table []route) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // what is worth logging goes to s.log
	e.HTTPErrorHandler = s.answerError
	e.Use(s.observe)
	for _, r := range table {
		h, loggedIn := r.handle, r.access >= accessSession
		switch {
		case r.audited() && loggedIn:
			h = s.audited(h)
		case r.audited():
			h = s.auditedStranger(h)
		}
		if loggedIn {
			h = s.withLogin(r, h)
		}
		if r.access != accessOpen {
			h = s.guarded(s.secured(h))
		}
		e.Add(r.method, r.path, h)
		if last := r.path[strings.LastIndex(r.path, "/")+1:]; strings.HasPrefix(last, ":") {
			// Without it the router takes all that follows for part of the id.
			e.RouteNotFound(r.path+"/*", func(echo.Context) error { return errUnknownPath })
		}
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, h)
		}
	}
	return e
}
