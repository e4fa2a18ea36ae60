package web

import (
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (a *accountAPI) tokensRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/tokens", Access: wire.Admin, Handle: a.listTokens,
			Summary: "The API tokens, by name, without their secrets.",
			Data:    []tokenView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/tokens", Access: wire.Admin, Handle: a.createToken, OneWrite: true,
			Summary: "Makes an API token of scope read or write; its secret is shown this once. Without expires_in_days it does not expire.",
			Body:    "name!, scope!, expires_in_days 1..3650", Data: newTokenView{}, Codes: "TOKEN_NAME_EXISTS TOO_MANY_TOKENS",
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/auth/tokens/:id", Access: wire.Admin, Handle: a.deleteToken, OneWrite: true,
			Summary: "Ends an API token and its event streams.",
			Data:    wire.Message{}, Codes: "TOKEN_NOT_FOUND",
		},
	}
}

// tokenUseNoted is how exact the last use of an API token is: one write of the store in that time.
const tokenUseNoted = 5 * time.Minute

type tokenView struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Scope      store.TokenScope `json:"scope"`
	CreatedAt  *time.Time       `json:"created_at"`
	ExpiresAt  *time.Time       `json:"expires_at"`
	LastUsedAt *time.Time       `json:"last_used_at"`
	Expired    bool             `json:"expired"`
}

func viewToken(t store.Token, now time.Time) tokenView {
	return tokenView{
		ID: t.ID, Name: t.Name, Scope: t.Scope, CreatedAt: wire.When(t.CreatedAt), ExpiresAt: wire.When(t.ExpiresAt),
		LastUsedAt: wire.When(t.LastUsedAt), Expired: !t.ValidAt(now),
	}
}

// newTokenView is a token with its secret, which is shown this once.
type newTokenView struct {
	tokenView
	Token string `json:"token"`
}

func (a *accountAPI) listTokens(c echo.Context) error {
	views, err := store.Read(a.db, readTokens)
	if err != nil {
		return err
	}
	return wire.Respond(c, views)
}

func readTokens(tx *store.Tx) ([]tokenView, error) {
	views := []tokenView{}
	tokens, err := tx.Tokens()
	for _, t := range tokens {
		views = append(views, viewToken(t, tx.Now()))
	}
	return views, err
}

func (a *accountAPI) createToken(c echo.Context) error {
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
	if err := a.audit.update(c, func(tx *store.Tx) error {
		var expires time.Time
		if days != nil {
			expires = tx.Now().AddDate(0, 0, *days)
		}
		t, secret, err := tx.CreateToken(name, store.TokenScope(scope), expires)
		if err != nil {
			return err
		}
		v = newTokenView{viewToken(t, tx.Now()), secret}
		noteID(c, "id", v.ID)
		return nil
	}); err != nil {
		return err
	}
	a.log.Info("API token created", "token_id", v.ID, "scope", v.Scope, "by", loginOf(c).Username)
	return wire.Respond(c, v)
}

func (a *accountAPI) deleteToken(c echo.Context) error {
	t, err := store.WriteFor(c.Request().Context(), a.db, func(tx *store.Tx) (store.Token, error) {
		return tx.DeleteToken(c.Param("id"))
	})
	if err != nil {
		return err
	}
	a.guard.forgetToken(t.ID)
	a.hub.recheck() // its event streams end
	a.log.Info("API token deleted", "token_id", t.ID, "by", loginOf(c).Username)
	return wire.Respond(c, wire.Message{Message: "The API token was deleted; it works no more."})
}

// tokenUses bounds how often the use of a token is written down.
type tokenUses struct {
	mu    sync.Mutex
	noted map[string]time.Time // by id; the tokens are few
}

func (u *tokenUses) due(id string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.noted[id]) < tokenUseNoted {
		return false
	}
	if u.noted == nil {
		u.noted = make(map[string]time.Time)
	}
	u.noted[id] = now
	return true
}

func (u *tokenUses) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.noted, id)
}

// forgetToken forgets the use of a token that was deleted.
func (g *guard) forgetToken(id string) { g.uses.forget(id) }

// noteTokenUse keeps when an API token was used last. That it could not is no reason to refuse the
// request.
func (g *guard) noteTokenUse(l login) {
	if l.scope == "" || !g.uses.due(l.ID, time.Now()) {
		return
	}
	if err := g.db.Update(func(tx *store.Tx) error { return tx.TokenUsed(l.token) }); err != nil {
		g.log.Debug("the use of an API token was not noted", "token_id", l.ID, "err", err)
	}
}
