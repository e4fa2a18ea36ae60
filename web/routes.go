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

// route is one call: where it is, who may make it, what carries it out, and what the API's description
// says of it. What follows from the rest stands nowhere: the parameters in its path, the errors of its
// access, of its path and of its body.
type route struct {
	method, path string
	access       access
	handle       echo.HandlerFunc

	// oneWrite: an audited route for those who are logged in whose handler changes something in one transaction
	// for the request's context, or in one call of [Server.update], and nowhere else. The handler of any other
	// has its beginning written before it runs.
	oneWrite  bool
	harmless  bool // it changes nothing although its method is not GET
	discloses bool // it is audited although its method is GET

	summary string
	// query are the names of query parameters, separated by spaces; paged adds limit and cursor.
	query string
	// body are the members of the request's object, as in "name!, enabled bool, tags strings, wait
	// 0..60": the name, an exclamation mark for one that is required, and the type unless it is a
	// string. A question mark before all says that the request may come without a body.
	body  string
	items string // the members of each object in a list of objects
	data  any    // a zero value of the type of the answer's data
	paged bool   // the answer may have a next_cursor
	bare  string // media type of an answer that is no JSON in the envelope
	// codes are those of errors that only this route answers, separated by spaces; with a slash and
	// the status where the code is not in answers.
	codes string
}

// audited reports whether requests to the route are written down: whatever may change something,
// the bind exchange, and the copy of all secrets.
func (r route) audited() bool {
	if r.access == accessOpen {
		return strings.HasPrefix(r.path, "/api/client/")
	}
	return r.discloses || (r.method != http.MethodGet && !r.harmless)
}

const (
	pathConfig = "/api/v1/configs/:config_id"
	pathNode   = pathConfig + "/nodes/:node_id"
)

// table has the routes of the API.
func (s *Server) table() []route {
	return slices.Concat(
		s.systemRoutes(), s.certificatesRoutes(), s.openapiRoutes(), s.backupRoutes(), s.metricsRoutes(), s.activityRoutes(), s.settingsRoutes(), s.emqxRoutes(),
		s.authRoutes(), s.sessionsRoutes(), s.tokensRoutes(), s.auditRoutes(),
		s.configRoutes(), s.nodeRoutes(), s.bulkRoutes(), s.tagRoutes(), s.statusRoutes(), s.historyRoutes(), s.logRoutes(),
		s.bindRoutes(), s.bindcommandRoutes(), s.bindbulkRoutes(),
		s.desiredRoutes(), s.confhistoryRoutes(), s.syncRoutes(), s.controlRoutes(), s.commandRoutes(), s.rolloutRoutes(),
		s.streamRoutes(),
	)
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
			h = s.audited(r, h)
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
