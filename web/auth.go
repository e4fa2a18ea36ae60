package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// accountAPI answers the calls about the admin, sessions, API tokens and the audit log.
type accountAPI struct {
	db         *store.DB
	log        *slog.Logger
	guard      *guard
	audit      *auditor
	hub        *hub
	sessionTTL time.Duration
	setupToken string
	stopping   context.Context
}

func (a *accountAPI) authRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/state", Access: wire.Guarded, Handle: a.authState,
			Summary: "Whether set-up is needed, and who asks.",
			Data:    authStateView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/setup", Access: wire.Guarded, Handle: a.authSetup,
			Summary: "Makes the admin account with the token printed at the start.",
			Body:    "password!, setup_token!", Data: startedSession{}, Codes: "AUTH_ALREADY_INITIALIZED INVALID_TOKEN RATE_LIMITED",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/login", Access: wire.Guarded, Handle: a.authLogin,
			Summary: "Starts a session.",
			Body:    "username!, password!", Data: startedSession{}, Codes: "AUTH_SETUP_REQUIRED AUTH_FAILED RATE_LIMITED",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/logout", Access: wire.Admin, Handle: a.authLogout, OneWrite: true,
			Summary: "Ends the session that asks.",
			Data:    wire.Message{},
		},
		{
			Method: http.MethodGet, Path: "/api/v1/auth/session", Access: wire.Session, Handle: a.authSession,
			Summary: "Who asks.",
			Data:    authStateView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/password", Access: wire.Admin, Handle: a.authPassword, OneWrite: true,
			Summary: "Sets another password and ends every session; the answer is a new one. API tokens stay: they were never opened by the password.",
			Body:    "current_password!, new_password!", Data: startedSession{},
			Codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
		{ // as WG Free Mesh has it
			Method: http.MethodPost, Path: "/api/v1/settings/password", Access: wire.Admin, Handle: a.authPassword, OneWrite: true,
			Summary: "The same as POST /api/v1/auth/password.",
			Body:    "current_password!, new_password!", Data: startedSession{},
			Codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
	}
}

const (
	sessionKey  = "wfm.session"
	displayName = "Administrator"
)

// login is who makes a request: the admin by a session, or a script by an API token.
type login struct {
	// Session, of an API token, has the token's id, "token " and its name, and its end, which is zero
	// when there is none.
	store.Session
	token string
	scope store.TokenScope // empty: a session, which may do everything
}

// mayWrite reports whether the login may change things, and see what nobody else may: private keys.
func mayWrite(l login) bool { return l.Username != "" && l.scope != store.ScopeRead }

func loginOf(c echo.Context) login {
	l, _ := c.Get(sessionKey).(login)
	return l
}

// setLogin says who makes the request.
func setLogin(c echo.Context, l login) { c.Set(sessionKey, l) }

// withLogin lets only requests pass whose login may do what the route asks for.
func (g *guard) withLogin(r wire.Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l, fromCookie, err := g.authenticate(c.Request())
		if err != nil {
			if r.Audited() && (errors.Is(err, wire.ErrInvalidToken) || errors.Is(err, wire.ErrTokenExpired)) {
				g.audit.noteRefused(c, err) // somebody had a token, or thinks so
			}
			return err
		}
		setLogin(c, l)
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
func (g *guard) permits(r *http.Request, l login, fromCookie bool, need wire.Access) error {
	switch {
	// A browser sends the cookie whatever page asks it to; the token, only our own page does.
	case fromCookie && !wire.ReadOnly(r) && !g.origins.allowsOrigin(r.Header.Get("Origin"), r):
		return g.strangeOrigin(r)
	case need == wire.Admin && l.scope != "":
		return wire.ErrSessionOnly
	case (need == wire.Write || !wire.ReadOnly(r)) && !mayWrite(l):
		return wire.ErrReadOnlyToken
	}
	return nil
}

// authenticate finds the request's login. Errors: [store.ErrNoAdmin], wire.ErrAuthRequired,
// wire.ErrInvalidToken, wire.ErrTokenExpired.
func (g *guard) authenticate(r *http.Request) (l login, fromCookie bool, err error) {
	token, fromCookie := sessionToken(r)
	err = g.db.View(func(tx *store.Tx) error {
		if _, err := tx.Admin(); err != nil {
			return err
		}
		if token == "" {
			return wire.ErrAuthRequired
		}
		l, err = findLogin(tx, token)
		if err == nil && fromCookie && l.scope != "" { // an API token is for scripts
			err = wire.ErrInvalidToken
		}
		return err
	})
	return l, fromCookie, err
}

// findLogin returns who holds the token. Errors: wire.ErrInvalidToken, wire.ErrTokenExpired.
func findLogin(tx *store.Tx, token string) (login, error) {
	l := login{token: token}
	session, ok, err := tx.Session(token)
	if l.Session = session; err == nil && !ok {
		var t store.Token
		t, ok, err = tx.Token(token)
		l.scope = t.Scope
		l.Session = store.Session{ID: t.ID, Username: "token " + t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
	}
	switch {
	case err != nil:
		return login{}, err
	case !ok:
		return login{}, wire.ErrInvalidToken
	case !l.ValidAt(tx.Now()):
		return login{}, wire.ErrTokenExpired
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

type authStateView struct {
	SetupRequired bool       `json:"setup_required"`
	Authenticated bool       `json:"authenticated"`
	Username      string     `json:"username"`
	DisplayName   string     `json:"display_name"`
	ExpiresAt     *time.Time `json:"expires_at"`
}

func (a *accountAPI) authState(c echo.Context) error {
	l, _, err := a.guard.authenticate(c.Request())
	switch {
	case errors.Is(err, store.ErrNoAdmin):
		return wire.Respond(c, authStateView{SetupRequired: true})
	case errors.Is(err, wire.ErrAuthRequired), errors.Is(err, wire.ErrInvalidToken), errors.Is(err, wire.ErrTokenExpired):
		return wire.Respond(c, authStateView{})
	case err != nil:
		return err
	}
	return wire.Respond(c, stateOf(l))
}

func (a *accountAPI) authSession(c echo.Context) error { return wire.Respond(c, stateOf(loginOf(c))) }

func stateOf(l login) authStateView {
	v := authStateView{Authenticated: true, Username: l.Username, DisplayName: displayName, ExpiresAt: wire.When(l.ExpiresAt)}
	if l.scope != "" {
		v.DisplayName = l.Username
	}
	return v
}

func (a *accountAPI) authSetup(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	setupToken := f.Need("setup_token", secret)
	newPassword := f.Need("password", password)
	if _, err := a.guard.admin(); err == nil {
		return store.ErrAdminExists
	} else if !errors.Is(err, store.ErrNoAdmin) {
		return err
	}
	if err := f.Err(); err != nil {
		return err
	}
	return a.guard.attempt(c, func() error {
		if a.setupToken == "" || subtle.ConstantTimeCompare([]byte(setupToken), []byte(a.setupToken)) != 1 {
			return wire.ErrSetupToken
		}
		hash, err := a.guard.newHash(c, newPassword)
		if err != nil {
			return err
		}
		return a.startSession(c, "admin set up", func(tx *store.Tx) error { return tx.CreateAdmin(AdminUser, hash) })
	})
}

func (a *accountAPI) authLogin(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	username := f.Need("username", wire.Line(1, 64))
	given := f.Need("password", secret)
	if err := f.Err(); err != nil {
		return err
	}
	return a.guard.attempt(c, func() error {
		admin, err := a.guard.admin()
		if err != nil {
			return err
		}
		hash := admin.PasswordHash
		if username != admin.Username {
			hash = ""
		}
		ok, err := a.guard.checkHash(c, hash, given)
		if err != nil {
			return err
		}
		if !ok {
			return wire.ErrAuthFailed
		}
		return a.startSession(c, "admin logged in", unchanged(hash, wire.ErrAuthFailed))
	})
}

func (a *accountAPI) authPassword(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	current := f.Need("current_password", secret)
	wanted := f.Need("new_password", password)
	if err := f.Err(); err != nil {
		return err
	}
	return a.guard.attempt(c, func() error {
		admin, err := a.guard.admin()
		if err != nil {
			return err
		}
		ok, err := a.guard.checkHash(c, admin.PasswordHash, current)
		switch {
		case err != nil:
			return err
		case !ok:
			return wire.ErrWrongPassword
		case current == wanted:
			return wire.ErrSamePassword
		}
		hash, err := a.guard.newHash(c, wanted)
		if err != nil {
			return err
		}
		return a.startSession(c, "admin password changed", func(tx *store.Tx) error {
			if err := unchanged(admin.PasswordHash, wire.ErrWrongPassword)(tx); err != nil {
				return err
			}
			return tx.SetAdminPassword(hash)
		})
	})
}

func (g *guard) admin() (store.Admin, error) { return store.Read(g.db, (*store.Tx).Admin) }

// unchanged fails with otherwise when the password was changed since hash was checked.
func unchanged(hash string, otherwise error) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		a, err := tx.Admin()
		if err == nil && a.PasswordHash != hash {
			err = otherwise
		}
		return err
	}
}

// attempt runs try under the limit of failed attempts to prove to be the admin. The token is taken
// before, so that concurrent attempts cannot pass together, and given back unless try found the
// proof wrong.
func (g *guard) attempt(c echo.Context, try func() error) error {
	from := remoteKey(c.Request().RemoteAddr)
	end, err := g.underWay.start(c.Request().Context(), from, func() (func(), error) { return g.takeAttempt(from, time.Now()) })
	if err != nil {
		return err
	}
	wrong := false
	defer func() { end(!wrong) }()
	err = try()
	if wrong = errors.Is(err, wire.ErrAuthFailed) || errors.Is(err, wire.ErrWrongPassword) || errors.Is(err, wire.ErrSetupToken); wrong {
		g.log.Warn("admin not recognized", "route", c.Path(), "remote_addr", c.Request().RemoteAddr, "request_id", wire.RequestIDOf(c))
	}
	return err
}

// placeOf says where the login comes from. Who has a session is known wherever that is.
func (g *guard) placeOf(c echo.Context) place {
	from := remoteKey(c.Request().RemoteAddr)
	return place{known: loginOf(c).ID != "" || g.knownAddrs.has(from), network: networkOf(from)}
}

// makeKnown has the address of the request be one that an admin has logged in from.
func (g *guard) makeKnown(c echo.Context) {
	g.knownAddrs.add(remoteKey(c.Request().RemoteAddr), time.Now())
}

// newHash hashes a new password when it is the request's turn. Errors: [wire.ErrBusy], the context's.
func (g *guard) newHash(c echo.Context, password string) (string, error) {
	return g.hasher.hash(c.Request().Context(), g.placeOf(c), password)
}

// checkHash compares the password with hash when it is the request's turn; an empty hash takes as long and fails.
// Errors: [wire.ErrBusy], the context's.
func (g *guard) checkHash(c echo.Context, hash, password string) (bool, error) {
	return g.hasher.check(c.Request().Context(), g.placeOf(c), hash, password)
}

// startSession makes a session in the transaction that change is made in, and answers it. event is
// what the log says.
func (a *accountAPI) startSession(c echo.Context, event string, change func(*store.Tx) error) error {
	token := protocol.NewSecret()
	var session store.Session
	was := loginOf(c)
	err := a.audit.update(c, func(tx *store.Tx) (err error) {
		if err := change(tx); err != nil {
			return err
		}
		session, err = tx.CreateSession(token, AdminUser, wire.RemoteHost(c.Request()), a.sessionTTL)
		setLogin(c, login{Session: session, token: token}) // the entry is that login's
		return err
	})
	if err != nil {
		setLogin(c, was)
		return err
	}
	a.guard.makeKnown(c)
	a.hub.recheck() // a new password ends sessions, and so does the bound on their number
	a.log.Info("session started", "reason", event, "remote_addr", c.Request().RemoteAddr, "request_id", wire.RequestIDOf(c))
	c.SetCookie(a.guard.cookie(c.Request(), token, int(a.sessionTTL.Seconds())))
	return wire.Respond(c, startedSession{token, "bearer", wire.When(session.ExpiresAt), session.Username})
}

type startedSession struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Username    string     `json:"username"`
}

// cookie makes the session's cookie; a negative age, in seconds, takes it back.
func (g *guard) cookie(r *http.Request, token string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // without TLS a Secure cookie would never come back
		Name: wire.CookieName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: secure(r) || g.origins.namesHTTPS(r),
	}
}

func (a *accountAPI) authLogout(c echo.Context) error {
	token := loginOf(c).token
	if err := a.audit.update(c, func(tx *store.Tx) error { return tx.DeleteSession(token) }); err != nil {
		return err
	}
	a.hub.recheck()
	c.SetCookie(a.guard.cookie(c.Request(), "", -1))
	return wire.Respond(c, wire.Message{Message: "Logged out."})
}
