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

// Login is the login of a request: a session of the admin, or the API token of a script.
type Login struct {
	// For an API token, Session is filled in from the token: its ID, Username "token NAME", and its
	// expiry (zero if it never expires).
	store.Session
	Token string
	Scope store.TokenScope // empty for a session, which may do everything
}

// MayWrite reports whether the login may change things and see private keys.
func MayWrite(l Login) bool { return l.Username != "" && l.Scope != store.ScopeRead }

// LoginOf returns the request's login; the zero Login before it is known.
func LoginOf(c echo.Context) Login {
	l, _ := c.Get(sessionKey).(Login)
	return l
}

// SetLogin sets the login of the request.
func SetLogin(c echo.Context, l Login) { c.Set(sessionKey, l) }

// WithLogin refuses requests without a login that the route permits.
func (g *Guard) WithLogin(r wire.Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l, fromCookie, err := g.Authenticate(c.Request())
		if err != nil {
			if r.Audited() && (errors.Is(err, wire.ErrInvalidToken) || errors.Is(err, wire.ErrTokenExpired)) {
				g.audit.noteRefused(c, err) // the request had a token, though perhaps not a valid one
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

// permits returns an error if the login may not make the request. Errors: wire.ErrOriginRejected,
// wire.ErrSessionOnly, wire.ErrReadOnlyToken.
func (g *Guard) permits(r *http.Request, l Login, fromCookie bool, need wire.Access) error {
	switch {
	// A browser sends the cookie with requests of any site's page. Only our own page can send the
	// token.
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
		if err == nil && fromCookie && l.Scope != "" { // an API token in a cookie: it is for scripts only
			err = wire.ErrInvalidToken
		}
		return err
	})
	return l, fromCookie, err
}

// findLogin returns the login of the token. Errors: wire.ErrInvalidToken, wire.ErrTokenExpired.
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

// sessionToken returns the token of the request. A token in the header, which no browser adds by
// itself, comes first.
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

// Cookie returns the session's cookie. age is in seconds; a negative one deletes the cookie.
func (g *Guard) Cookie(r *http.Request, token string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // without TLS, a browser would not send a Secure cookie back
		Name: wire.CookieName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: Secure(r) || g.origins.namesHTTPS(r),
	}
}

// SessionLives returns the reason why the token's login has ended, or nil. Errors:
// wire.ErrInvalidToken, wire.ErrTokenExpired.
func (g *Guard) SessionLives(token string) error {
	return g.db.View(func(tx *store.Tx) error {
		_, err := findLogin(tx, token)
		return err
	})
}
