package web

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
)

func (s *Server) authRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/api/v1/auth/state", access: accessGuarded, handle: s.authState,
			summary: "Whether set-up is needed, and who asks.",
			data:    authStateView{},
		},
		{
			method: http.MethodPost, path: "/api/v1/auth/setup", access: accessGuarded, handle: s.authSetup,
			summary: "Makes the admin account with the token printed at the start.",
			body:    "password!, setup_token!", data: startedSession{}, codes: "AUTH_ALREADY_INITIALIZED INVALID_TOKEN RATE_LIMITED",
		},
		{
			method: http.MethodPost, path: "/api/v1/auth/login", access: accessGuarded, handle: s.authLogin,
			summary: "Starts a session.",
			body:    "username!, password!", data: startedSession{}, codes: "AUTH_SETUP_REQUIRED AUTH_FAILED RATE_LIMITED",
		},
		{
			method: http.MethodPost, path: "/api/v1/auth/logout", access: accessAdmin, handle: s.authLogout, oneWrite: true,
			summary: "Ends the session that asks.",
			data:    message{},
		},
		{
			method: http.MethodGet, path: "/api/v1/auth/session", access: accessSession, handle: s.authSession,
			summary: "Who asks.",
			data:    authStateView{},
		},
		{
			method: http.MethodPost, path: "/api/v1/auth/password", access: accessAdmin, handle: s.authPassword, oneWrite: true,
			summary: "Sets another password and ends every session; the answer is a new one. API tokens stay: they were never opened by the password.",
			body:    "current_password!, new_password!", data: startedSession{},
			codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
		{ // as WG Free Mesh has it
			method: http.MethodPost, path: "/api/v1/settings/password", access: accessAdmin, handle: s.authPassword, oneWrite: true,
			summary: "The same as POST /api/v1/auth/password.",
			body:    "current_password!, new_password!", data: startedSession{},
			codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
	}
}

const (
	cookieName  = "wfm_session"
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

// withLogin lets only requests pass whose login may do what the route asks for.
func (s *Server) withLogin(r route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l, fromCookie, err := s.authenticate(c.Request())
		if err != nil {
			if r.audited() && (errors.Is(err, errInvalidToken) || errors.Is(err, errTokenExpired)) {
				s.noteRefused(c, err) // somebody had a token, or thinks so
			}
			return err
		}
		c.Set(sessionKey, l)
		s.noteTokenUse(l)
		if err := s.permits(c.Request(), l, fromCookie, r.access); err != nil {
			s.noteOriginRefused(c.Request(), err)
			s.noteRefused(c, err)
			return err
		}
		return next(c)
	}
}

// permits returns why the login may not make the request. Errors: errOriginRejected,
// errSessionOnly, errReadOnlyToken.
func (s *Server) permits(r *http.Request, l login, fromCookie bool, need access) error {
	switch {
	// A browser sends the cookie whatever page asks it to; the token, only our own page does.
	case fromCookie && !readOnly(r) && !s.origins.allowsOrigin(r.Header.Get("Origin"), r):
		return s.strangeOrigin(r)
	case need == accessAdmin && l.scope != "":
		return errSessionOnly
	case (need == accessWrite || !readOnly(r)) && !mayWrite(l):
		return errReadOnlyToken
	}
	return nil
}

func readOnly(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// authenticate finds the request's login. Errors: [store.ErrNoAdmin], errAuthRequired,
// errInvalidToken, errTokenExpired.
func (s *Server) authenticate(r *http.Request) (l login, fromCookie bool, err error) {
	token, fromCookie := sessionToken(r)
	err = s.opts.Store.View(func(tx *store.Tx) error {
		if _, err := tx.Admin(); err != nil {
			return err
		}
		if token == "" {
			return errAuthRequired
		}
		l, err = findLogin(tx, token)
		if err == nil && fromCookie && l.scope != "" { // an API token is for scripts
			err = errInvalidToken
		}
		return err
	})
	return l, fromCookie, err
}

// findLogin returns who holds the token. Errors: errInvalidToken, errTokenExpired.
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
		return login{}, errInvalidToken
	case !l.ValidAt(tx.Now()):
		return login{}, errTokenExpired
	}
	return l, nil
}

// sessionToken prefers the header: whoever sends it means it.
func sessionToken(r *http.Request) (token string, fromCookie bool) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); strings.EqualFold(kind, "Bearer") && token != "" {
		return token, false
	}
	cookie, err := r.Cookie(cookieName)
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

func (s *Server) authState(c echo.Context) error {
	l, _, err := s.authenticate(c.Request())
	switch {
	case errors.Is(err, store.ErrNoAdmin):
		return respond(c, authStateView{SetupRequired: true})
	case errors.Is(err, errAuthRequired), errors.Is(err, errInvalidToken), errors.Is(err, errTokenExpired):
		return respond(c, authStateView{})
	case err != nil:
		return err
	}
	return respond(c, stateOf(l))
}

func (s *Server) authSession(c echo.Context) error { return respond(c, stateOf(loginOf(c))) }

func stateOf(l login) authStateView {
	v := authStateView{Authenticated: true, Username: l.Username, DisplayName: displayName, ExpiresAt: when(l.ExpiresAt)}
	if l.scope != "" {
		v.DisplayName = l.Username
	}
	return v
}

func (s *Server) authSetup(c echo.Context) error {
	f, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	setupToken := f.need("setup_token", secret)
	newPassword := f.need("password", password)
	if _, err := s.admin(); err == nil {
		return store.ErrAdminExists
	} else if !errors.Is(err, store.ErrNoAdmin) {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	return s.attempt(c, func() error {
		if s.opts.SetupToken == "" || subtle.ConstantTimeCompare([]byte(setupToken), []byte(s.opts.SetupToken)) != 1 {
			return errSetupToken
		}
		hash, err := s.hasher.hash(c.Request().Context(), s.placeOf(c), newPassword)
		if err != nil {
			return err
		}
		return s.startSession(c, "admin set up", func(tx *store.Tx) error { return tx.CreateAdmin(AdminUser, hash) })
	})
}

func (s *Server) authLogin(c echo.Context) error {
	f, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	username := f.need("username", line(1, 64))
	given := f.need("password", secret)
	if err := f.err(); err != nil {
		return err
	}
	return s.attempt(c, func() error {
		admin, err := s.admin()
		if err != nil {
			return err
		}
		hash := admin.PasswordHash
		if username != admin.Username {
			hash = ""
		}
		ok, err := s.hasher.check(c.Request().Context(), s.placeOf(c), hash, given)
		if err != nil {
			return err
		}
		if !ok {
			return errAuthFailed
		}
		return s.startSession(c, "admin logged in", unchanged(hash, errAuthFailed))
	})
}

func (s *Server) authPassword(c echo.Context) error {
	f, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	current := f.need("current_password", secret)
	wanted := f.need("new_password", password)
	if err := f.err(); err != nil {
		return err
	}
	return s.attempt(c, func() error {
		ctx := c.Request().Context()
		admin, err := s.admin()
		if err != nil {
			return err
		}
		ok, err := s.hasher.check(ctx, s.placeOf(c), admin.PasswordHash, current)
		switch {
		case err != nil:
			return err
		case !ok:
			return errWrongPassword
		case current == wanted:
			return errSamePassword
		}
		hash, err := s.hasher.hash(ctx, s.placeOf(c), wanted)
		if err != nil {
			return err
		}
		return s.startSession(c, "admin password changed", func(tx *store.Tx) error {
			if err := unchanged(admin.PasswordHash, errWrongPassword)(tx); err != nil {
				return err
			}
			return tx.SetAdminPassword(hash)
		})
	})
}

func (s *Server) admin() (store.Admin, error) { return store.Read(s.opts.Store, (*store.Tx).Admin) }

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
func (s *Server) attempt(c echo.Context, try func() error) error {
	from := remoteKey(c.Request().RemoteAddr)
	end, err := s.underWay.start(c.Request().Context(), from, func() (func(), error) { return s.takeAttempt(from, time.Now()) })
	if err != nil {
		return err
	}
	wrong := false
	defer func() { end(!wrong) }()
	err = try()
	if wrong = errors.Is(err, errAuthFailed) || errors.Is(err, errWrongPassword) || errors.Is(err, errSetupToken); wrong {
		s.log.Warn("admin not recognized", "route", c.Path(), "remote_addr", c.Request().RemoteAddr, "request_id", requestIDOf(c))
	}
	return err
}

// placeOf says where the login comes from. Who has a session is known wherever that is.
func (s *Server) placeOf(c echo.Context) place {
	from := remoteKey(c.Request().RemoteAddr)
	return place{known: loginOf(c).ID != "" || s.knownAddrs.has(from), network: networkOf(from)}
}

// startSession makes a session in the transaction that change is made in, and answers it. event is
// what the log says.
func (s *Server) startSession(c echo.Context, event string, change func(*store.Tx) error) error {
	token := protocol.NewSecret()
	var session store.Session
	was := loginOf(c)
	err := s.update(c, func(tx *store.Tx) (err error) {
		if err := change(tx); err != nil {
			return err
		}
		session, err = tx.CreateSession(token, AdminUser, remoteHost(c.Request()), s.opts.SessionTTL)
		c.Set(sessionKey, login{Session: session, token: token}) // the entry is that login's
		return err
	})
	if err != nil {
		c.Set(sessionKey, was)
		return err
	}
	s.knownAddrs.add(remoteKey(c.Request().RemoteAddr), time.Now())
	s.hub.recheck() // a new password ends sessions, and so does the bound on their number
	s.log.Info("session started", "reason", event, "remote_addr", c.Request().RemoteAddr, "request_id", requestIDOf(c))
	c.SetCookie(s.cookie(c.Request(), token, int(s.opts.SessionTTL.Seconds())))
	return respond(c, startedSession{token, "bearer", when(session.ExpiresAt), session.Username})
}

type startedSession struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Username    string     `json:"username"`
}

// cookie makes the session's cookie; a negative age, in seconds, takes it back.
func (s *Server) cookie(r *http.Request, token string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // without TLS a Secure cookie would never come back
		Name: cookieName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: secure(r) || s.origins.namesHTTPS(r),
	}
}

func (s *Server) authLogout(c echo.Context) error {
	token := loginOf(c).token
	if err := s.update(c, func(tx *store.Tx) error { return tx.DeleteSession(token) }); err != nil {
		return err
	}
	s.hub.recheck()
	c.SetCookie(s.cookie(c.Request(), "", -1))
	return respond(c, message{"Logged out."})
}
