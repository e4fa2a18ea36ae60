package wire

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// ErrorCodes returns the codes of the errors that the route may answer.
func (r Route) ErrorCodes() []string {
	codes := strings.Fields(r.Codes)
	add := func(when bool, more string) {
		if when {
			codes = append(codes, strings.Fields(more)...)
		}
	}
	loggedIn := r.Access >= Session
	writes := r.Method != http.MethodGet
	add(true, CodeInternal+"/500 SHUTTING_DOWN REQUEST_CANCELLED STORE_DAMAGED STORE_MOVED")
	add(r.Access != Open, "PUBLIC_HOST_REJECTED PUBLIC_ORIGIN_REJECTED")
	add(r.Access != Open && writes, "HTTPS_REQUIRED")
	add(loggedIn, "AUTH_REQUIRED AUTH_SETUP_REQUIRED INVALID_TOKEN TOKEN_EXPIRED")
	add(loggedIn && (writes || r.Access > Session), "FORBIDDEN")
	add(writes || r.Audited(), "STORE_FULL STORE_READ_ONLY STORE_DISK_ERROR")
	add(r.Body != "" || r.Paged, "VALIDATION_ERROR")
	add(r.Body != "", "BAD_REQUEST PAYLOAD_TOO_LARGE/413")
	add(strings.Contains(r.Path, ":config_id"), "CONFIG_NOT_FOUND")
	add(strings.Contains(r.Path, ":node_id"), "NODE_NOT_FOUND")
	add(strings.HasPrefix(r.Path, PathNode), "NODE_CONFIG_MISMATCH")
	return codes
}

// Access is the level of access that a route requires.
type Access int

// The levels of access. Each requires more than the one before.
const (
	Open    Access = iota // nothing: any Host, also without TLS (health, the bind exchange)
	Guarded               // an allowed Host and Origin
	Session               // also a session or an API token; for a write, a token needs the scope write
	Write                 // also the scope write for a read, since the answer holds private keys
	Admin                 // also a session rather than an API token
)

// Route is one call of the API: its path, its access, its handler and its description. The path's
// parameters and the errors of access, path and body follow from these and are not listed.
type Route struct {
	Method, Path string
	Access       Access
	Handle       echo.HandlerFunc

	// OneWrite reports that the handler makes all its changes in one transaction with the request's
	// context, which then also writes the audit entry. For any other audited route that requires a
	// login, the entry is written before the handler runs.
	OneWrite  bool
	Harmless  bool // changes nothing although its method is not GET
	Discloses bool // audited although its method is GET

	Summary string
	// Query has the names of the query parameters, separated by spaces. Paged adds limit and
	// cursor.
	Query string
	// Body lists the members of the request's object, as in "name!, enabled bool, tags strings,
	// wait 0..60": the name, an exclamation mark if it is required, and the type unless it is a
	// string. A leading question mark makes the body optional.
	Body string
	// TextBody is the media type of a text that the request may have as its body instead of the object.
	TextBody string
	Items    string // the members of each object in a list of objects
	// Objects has the members of each object that is a member of the request's object, or of one of
	// Items.
	Objects map[string]string
	Data    any    // a zero value of the answer's data
	Paged   bool   // the answer may have a next_cursor
	Bare    string // media type of an answer without the JSON envelope
	// Codes has the codes of the errors that only this route answers, separated by spaces. A code
	// that is not in answers is followed by a slash and its status.
	Codes string
}

// Audited reports whether the audit log records requests to the route: those that may change
// something, the bind exchange, and the download of all secrets.
func (r Route) Audited() bool {
	if r.Access == Open {
		return strings.HasPrefix(r.Path, "/api/client/")
	}
	return r.Discloses || (r.Method != http.MethodGet && !r.Harmless)
}

// Described reports whether the route is part of the API's description.
func (r Route) Described() bool { return r.Summary != "" }

// Key returns the method and the path.
func (r Route) Key() string { return r.Method + " " + r.Path }

const (
	// PathConfig is the path of a mesh. The paths of its nodes, tags and rollouts begin with it.
	PathConfig = "/api/v1/configs/:config_id"
	// PathNode is the path of a node.
	PathNode = PathConfig + "/nodes/:node_id"
)
