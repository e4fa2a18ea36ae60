package access

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

const (
	sessionKey = "wfm.session"
)

// Login is who makes a request: the admin by a session, or a script by an API token.
type Login struct {
	// Session, of an API token, has the token's id, "token " and its name, and its end, which is zero
	// when there is none.
	store.Session
	Token string
	Scope store.TokenScope // empty: a session, which may do everything
}

// MayWrite reports whether the login may change things, and see what nobody else may: private keys.
func MayWrite(l Login) bool { return l.Username != "" && l.Scope != store.ScopeRead }

// LoginOf is who makes the request; the zero Login before it is known.
func LoginOf(c echo.Context) Login {
	l, _ := c.Get(sessionKey).(Login)
	return l
}

// SetLogin says who makes the request.
func SetLogin(c echo.Context, l Login) { c.Set(sessionKey, l) }

// WithLogin lets only requests pass whose login may do what the route asks for.
func (g *Guard) WithLogin(r wire.Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l, fromCookie, err := g.Authenticate(c.Request())
		if err != nil {
			if r.Audited() && (errors.Is(err, wire.ErrInvalidToken) || errors.Is(err, wire.ErrTokenExpired)) {
				g.audit.noteRefused(c, err) // somebody had a token, or thinks so
			}
			return err
		}
		SetLogin(c, l)
		g.noteTokenUse(l)
		if err := g.permits(c.Request(), l, fromCookie, r.Access); err != nil {
			g.noteOriginRefused(c.Request(), err)
			g.audit.noteRefused(c, err)
			return err
		}
		return next(c)
	}
}

// permits returns why the login may not make the request. Errors: wire.ErrOriginRejected,
// wire.ErrSessionOnly, wire.ErrReadOnlyToken.
func (g *Guard) permits(r *http.Request, l Login, fromCookie bool, need wire.Access) error {
	switch {
	// A browser sends the cookie whatever page asks it to; the token, only our own page does.
	case fromCookie && !wire.ReadOnly(r) && !g.origins.allowsOrigin(r.Header.Get("Origin"), r):
		return g.strangeOrigin(r)
	case need == wire.Admin && l.Scope != "":
		return wire.ErrSessionOnly
	case (need == wire.Write || !wire.ReadOnly(r)) && !MayWrite(l):
		return wire.ErrReadOnlyToken
	}
	return nil
}

// Authenticate finds the request's login. Errors: [store.ErrNoAdmin], wire.ErrAuthRequired,
// wire.ErrInvalidToken, wire.ErrTokenExpired.
func (g *Guard) Authenticate(r *http.Request) (l Login, fromCookie bool, err error) {
	token, fromCookie := sessionToken(r)
	err = g.db.View(func(tx *store.Tx) error {
		if _, err := tx.Admin(); err != nil {
			return err
		}
		if token == "" {
			return wire.ErrAuthRequired
		}
		l, err = findLogin(tx, token)
		if err == nil && fromCookie && l.Scope != "" { // an API token is for scripts
			err = wire.ErrInvalidToken
		}
		return err
	})
	return l, fromCookie, err
}

// findLogin returns who holds the token. Errors: wire.ErrInvalidToken, wire.ErrTokenExpired.
func findLogin(tx *store.Tx, token string) (Login, error) {
	l := Login{Token: token}
	session, ok, err := tx.Session(token)
	if l.Session = session; err == nil && !ok {
		var t store.Token
		t, ok, err = tx.Token(token)
		l.Scope = t.Scope
		l.Session = store.Session{ID: t.ID, Username: "token " + t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
	}
	switch {
	case err != nil:
		return Login{}, err
	case !ok:
		return Login{}, wire.ErrInvalidToken
	case !l.ValidAt(tx.Now()):
		return Login{}, wire.ErrTokenExpired
	}
	return l, nil
}

// sessionToken prefers the header: whoever sends it means it.
func sessionToken(r *http.Request) (token string, fromCookie bool) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); strings.EqualFold(kind, "Bearer") && token != "" {
		return token, false
	}
	cookie, err := r.Cookie(wire.CookieName)
	if err != nil {
		return "", false
	}
	return cookie.Value, true
}

// Admin reads the account. Error: [store.ErrNoAdmin].
func (g *Guard) Admin() (store.Admin, error) { return store.Read(g.db, (*store.Tx).Admin) }

// Cookie makes the session's cookie; a negative age, in seconds, takes it back.
func (g *Guard) Cookie(r *http.Request, token string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // without TLS a Secure cookie would never come back
		Name: wire.CookieName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: Secure(r) || g.origins.namesHTTPS(r),
	}
}

// SessionLives returns why nobody is logged in with the token any more. Errors: wire.ErrInvalidToken,
// wire.ErrTokenExpired.
func (g *Guard) SessionLives(token string) error {
	return g.db.View(func(tx *store.Tx) error {
		_, err := findLogin(tx, token)
		return err
	})
}
