package wire

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// Access says what a request must bring to reach a route.
type Access int

// The levels of access; each asks for more than the one before.
const (
	Open    Access = iota // nothing, whatever Host it names, also without TLS: health, the bind exchange
	Guarded               // Host and Origin pass the check
	Session               // that, and a session or an API token, which must have the scope write for a write
	Write                 // that, and the scope write: what it reads holds private keys
	Admin                 // that, and a session: no API token
)

// Route is one call: where it is, who may make it, what carries it out, and what the API's description
// says of it. What follows from the rest stands nowhere: the parameters in its path, the errors of its
// access, of its path and of its body.
type Route struct {
	Method, Path string
	Access       Access
	Handle       echo.HandlerFunc

	// OneWrite says that the handler changes something in one transaction for the request's context and nowhere else,
	// so that the audit entry is written with it. Any other audited route that asks for a login has an entry written
	// before its handler runs.
	OneWrite  bool
	Harmless  bool // it changes nothing although its method is not GET
	Discloses bool // it is audited although its method is GET

	Summary string
	// Query are the names of query parameters, separated by spaces; Paged adds limit and cursor.
	Query string
	// Body are the members of the request's object, as in "name!, enabled bool, tags strings, wait
	// 0..60": the name, an exclamation mark for one that is required, and the type unless it is a
	// string. A question mark before all says that the request may come without a body.
	Body  string
	Items string // the members of each object in a list of objects
	Data  any    // a zero value of the type of the answer's data
	Paged bool   // the answer may have a next_cursor
	Bare  string // media type of an answer that is no JSON in the envelope
	// Codes are those of errors that only this route answers, separated by spaces; with a slash and
	// the status where the code is not in answers.
	Codes string
}

// Audited reports whether requests to the route are written down: whatever may change something,
// the bind exchange, and the copy of all secrets.
func (r Route) Audited() bool {
	if r.Access == Open {
		return strings.HasPrefix(r.Path, "/api/client/")
	}
	return r.Discloses || (r.Method != http.MethodGet && !r.Harmless)
}

// Described reports whether the route is part of the API's description.
func (r Route) Described() bool { return r.Summary != "" }

// Key is the method and the path.
func (r Route) Key() string { return r.Method + " " + r.Path }

const (
	// PathConfig is the path of a config, with which those of what belongs to it begin.
	PathConfig = "/api/v1/configs/:config_id"
	// PathNode is the same of a node.
	PathNode = PathConfig + "/nodes/:node_id"
)
