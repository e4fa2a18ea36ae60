package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/web/access"
	"wfm/web/wire"
)

// answerError answers every request that failed.
func (s *Server) answerError(err error, c echo.Context) {
	if c.Response().Committed {
		// It is too late for another answer. Abort, so that the truncated one does not look
		// complete.
		s.log.Warn("answer broke off", "route", c.Path(), "request_id", wire.RequestIDOf(c), "err", err)
		panic(http.ErrAbortHandler)
	}
	if routing, ok := errors.AsType[*echo.HTTPError](err); ok {
		err = access.UnderPath(c.Request(), fromRouter(routing), s.paths)
	}
	if errors.Is(err, wire.ErrUnknownPath) && wantsPage(c.Request()) {
		if err := s.pages.ErrorPage(c, err); err != nil {
			s.log.Error("page failed", "route", c.Path(), "request_id", wire.RequestIDOf(c), "err", err)
		}
		return
	}
	a := wire.Translate(err)
	if a.Detail == nil {
		a.Detail = map[string]any{} // scripts read its members without checking that it exists
	}
	if a.Code == wire.CodeInternal {
		s.log.Error("request failed", "route", c.Path(), "request_id", wire.RequestIDOf(c), "err", err)
		a.Detail = map[string]any{"request_id": wire.RequestIDOf(c)}
	}
	if rate, ok := errors.AsType[*wire.RateError](err); ok {
		c.Response().Header().Set("Retry-After", strconv.Itoa(rate.Seconds()))
	}
	if a.Status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", "Bearer")
	}
	body := wire.Failure{}
	body.Error.Code, body.Error.Message, body.Error.Detail = a.Code, a.Message, a.Detail
	if err := wire.WriteJSON(c, a.Status, body); err != nil {
		s.log.Debug("client left before the answer", "route", c.Path(), "request_id", wire.RequestIDOf(c), "err", err)
	}
}

// wantsPage reports whether the request is a browser's for a page, rather than a script's for data.
func wantsPage(r *http.Request) bool {
	return wire.ReadOnly(r) && strings.Contains(r.Header.Get("Accept"), "text/html") && !strings.HasPrefix(r.URL.Path, "/api/")
}

// fromRouter translates the router's errors into those of package wire.
func fromRouter(err *echo.HTTPError) error {
	switch err.Code {
	case http.StatusNotFound:
		return wire.ErrUnknownPath
	case http.StatusMethodNotAllowed:
		return wire.ErrUnknownMethod
	}
	return err
}
