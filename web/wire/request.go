package wire

import (
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
)

// CookieName is the name of the cookie that holds a session's token.
const CookieName = "wfm_session"

const requestIDKey = "wfm.request_id"

// NameRequest gives the request a new id.
func NameRequest(c echo.Context) (id string) {
	id = protocol.NewID("req")
	c.Set(requestIDKey, id)
	return id
}

// RequestIDOf returns the request's id, see [NameRequest].
func RequestIDOf(c echo.Context) string {
	id, _ := c.Get(requestIDKey).(string)
	return id
}

// Recovered turns a panic of next into an error.
func Recovered(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler: // net/http handles this one: the connection ends without an answer
			panic(p)
		default:
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return next(c)
}

// ReadOnly reports whether the request's method is one that changes nothing.
func ReadOnly(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// RemoteHost returns the address that the request came from, without the port.
func RemoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// RequestHost returns the Host header without the port and without the brackets of an IPv6 address.
func RequestHost(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// PathTemplate returns a route's path with its parameters in OpenAPI's form: {name}.
func PathTemplate(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}
