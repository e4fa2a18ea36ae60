package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (a *accountAPI) sessionsRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/sessions", Access: wire.Admin, Handle: a.listSessions,
			Summary: "The sessions that are valid, newest first.",
			Data:    []sessionView{},
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/sessions", Access: wire.Admin, Handle: a.endOtherSessions, OneWrite: true,
			Summary: "Ends all sessions but the one that asks.",
			Data:    endedSessions{},
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/sessions/:id", Access: wire.Admin, Handle: a.endSession, OneWrite: true,
			Summary: "Ends a session.",
			Data:    wire.Message{}, Codes: "SESSION_NOT_FOUND",
		},
	}
}

type sessionView struct {
	ID         string     `json:"id"`
	Username   string     `json:"username"`
	RemoteAddr string     `json:"remote_addr"` // where it was started from
	CreatedAt  *time.Time `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	Current    bool       `json:"current"` // it is the one that asks
}

func (a *accountAPI) listSessions(c echo.Context) error {
	views, err := store.Read(a.db, func(tx *store.Tx) ([]sessionView, error) { return readSessions(tx, loginOf(c).ID) })
	if err != nil {
		return err
	}
	return wire.Respond(c, views)
}

// readSessions returns all sessions; current is the id of the one that asks.
func readSessions(tx *store.Tx, current string) ([]sessionView, error) {
	views := []sessionView{}
	sessions, err := tx.Sessions()
	for _, one := range sessions {
		views = append(views, sessionView{
			ID: one.ID, Username: one.Username, RemoteAddr: one.RemoteAddr, CreatedAt: wire.When(one.CreatedAt),
			ExpiresAt: wire.When(one.ExpiresAt), Current: one.ID == current,
		})
	}
	return views, err
}

func (a *accountAPI) endSession(c echo.Context) error {
	if err := a.audit.update(c, func(tx *store.Tx) error { return tx.EndSession(c.Param("id")) }); err != nil {
		return err
	}
	a.hub.recheck()
	return wire.Respond(c, wire.Message{Message: "The session was ended."})
}

type endedSessions struct {
	Message string `json:"message"`
	Ended   int    `json:"ended"`
}

func (a *accountAPI) endOtherSessions(c echo.Context) error {
	v := endedSessions{Message: "All other sessions were ended."}
	if err := a.audit.update(c, func(tx *store.Tx) (err error) {
		v.Ended, err = tx.EndOtherSessions(loginOf(c).ID)
		return err
	}); err != nil {
		return err
	}
	a.hub.recheck()
	return wire.Respond(c, v)
}
