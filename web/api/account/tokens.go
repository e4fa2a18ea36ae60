package account

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) tokensRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/tokens", Access: wire.Admin, Handle: a.listTokens,
			Summary: "The API tokens, by name, without their secrets.",
			Data:    []view.TokenView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/tokens", Access: wire.Admin, Handle: a.createToken, OneWrite: true,
			Summary: "Makes an API token of scope read or write. Only this answer has its secret. Without expires_in_days it does not expire.",
			Body:    "name!, scope!, expires_in_days 1..3650", Data: newTokenView{}, Codes: "TOKEN_NAME_EXISTS TOO_MANY_TOKENS",
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/tokens/:id", Access: wire.Admin, Handle: a.deleteToken, OneWrite: true,
			Summary: "Ends an API token and its event streams.",
			Data:    wire.Message{}, Codes: "TOKEN_NOT_FOUND",
		},
	}
}

// newTokenView is a token with its secret, which is shown only once.
type newTokenView struct {
	view.TokenView
	Token string `json:"token"`
}

func (a *API) listTokens(c echo.Context) error {
	views, err := store.Read(a.DB, view.ReadTokens)
	if err != nil {
		return err
	}
	return wire.Respond(c, views)
}

func (a *API) createToken(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	name := f.Need("name", wire.Line(1, 64))
	scope := f.Need("scope", wire.OneOf(string(store.ScopeRead), string(store.ScopeWrite)))
	days := f.Number("expires_in_days", 1, 3650)
	if err := f.Err(); err != nil {
		return err
	}
	var v newTokenView
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		var expires time.Time
		if days != nil {
			expires = tx.Now().AddDate(0, 0, *days)
		}
		t, secret, err := tx.CreateToken(name, store.TokenScope(scope), expires)
		if err != nil {
			return err
		}
		v = newTokenView{view.TokenOf(t, tx.Now()), secret}
		access.NoteID(c, "id", v.ID)
		return nil
	}); err != nil {
		return err
	}
	a.Log.Info("API token created", "token_id", v.ID, "scope", v.Scope, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

func (a *API) deleteToken(c echo.Context) error {
	t, err := store.WriteFor(c.Request().Context(), a.DB, func(tx *store.Tx) (store.Token, error) {
		return tx.DeleteToken(c.Param("id"))
	})
	if err != nil {
		return err
	}
	a.Guard.ForgetToken(t.ID)
	a.Recheck() // to end its event streams
	a.Log.Info("API token deleted", "token_id", t.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, wire.Message{Message: "The API token was deleted; it no longer works."})
}
