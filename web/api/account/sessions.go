package account

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) sessionsRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/sessions", Access: wire.Admin, Handle: a.listSessions,
			Summary: "The sessions that are valid, newest first.",
			Data:    []view.SessionView{},
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/sessions", Access: wire.Admin, Handle: a.endOtherSessions, OneWrite: true,
			Summary: "Ends all sessions except the caller's.",
			Data:    endedSessions{},
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/sessions/:id", Access: wire.Admin, Handle: a.endSession, OneWrite: true,
			Summary: "Ends a session.",
			Data:    wire.Message{}, Codes: "SESSION_NOT_FOUND",
		},
	}
}

func (a *API) listSessions(c echo.Context) error {
	views, err := store.Read(a.DB, func(tx *store.Tx) ([]view.SessionView, error) { return view.ReadSessions(tx, access.LoginOf(c).ID) })
	if err != nil {
		return err
	}
	return wire.Respond(c, views)
}

func (a *API) endSession(c echo.Context) error {
	if err := a.Audit.Update(c, func(tx *store.Tx) error { return tx.EndSession(c.Param("id")) }); err != nil {
		return err
	}
	a.Recheck()
	return wire.Respond(c, wire.Message{Message: "The session was ended."})
}

type endedSessions struct {
	Message string `json:"message"`
	Ended   int    `json:"ended"`
}

func (a *API) endOtherSessions(c echo.Context) error {
	v := endedSessions{Message: "All other sessions were ended."}
	if err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		v.Ended, err = tx.EndOtherSessions(access.LoginOf(c).ID)
		return err
	}); err != nil {
		return err
	}
	a.Recheck()
	return wire.Respond(c, v)
}
