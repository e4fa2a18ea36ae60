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

const (
	cookieName  = "wfm_session"
	sessionKey  = "wfm.session"
	displayName = "Administrator"
)

// login is the one session of a request.
type login struct {
	store.Session
	token string
}

func loginOf(c echo.Context) login {
	l, _ := c.Get(sessionKey).(login)
	return l
}

// withSession lets only requests with a valid session pass.
func (s *Server) withSession(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l, fromCookie, err := s.authenticate(c.Request())
		if err != nil {
			return err
		}
		// A browser sends the cookie whatever page asks it to; the token, only our own page does.
		if fromCookie && !readOnly(c.Request()) && !s.origins.allowsOrigin(c.Request().Header.Get("Origin"), c.Request()) {
			return errOriginRejected
		}
		c.Set(sessionKey, l)
		return next(c)
	}
}

func readOnly(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// authenticate finds the request's session. Errors: [store.ErrNoAdmin], errAuthRequired,
// errInvalidToken, errTokenExpired.
func (s *Server) authenticate(r *http.Request) (l login, fromCookie bool, err error) {
	l.token, fromCookie = sessionToken(r)
	err = s.opts.Store.View(func(tx *store.Tx) error {
		if _, err := tx.Admin(); err != nil {
			return err
		}
		if l.token == "" {
			return errAuthRequired
		}
		session, ok, err := tx.Session(l.token)
		switch {
		case err != nil:
			return err
		case !ok:
			return errInvalidToken
		case !tx.Now().Before(session.ExpiresAt):
			return errTokenExpired
		}
		l.Session = session
		return nil
	})
	return l, fromCookie, err
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
	return authStateView{
		Authenticated: true, Username: l.Username, DisplayName: displayName, ExpiresAt: when(l.ExpiresAt),
	}
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
		hash, err := s.hasher.hash(c.Request().Context(), newPassword)
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
		ok, err := s.hasher.check(c.Request().Context(), hash, given)
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
		ok, err := s.hasher.check(ctx, admin.PasswordHash, current)
		switch {
		case err != nil:
			return err
		case !ok:
			return errWrongPassword
		case current == wanted:
			return errSamePassword
		}
		hash, err := s.hasher.hash(ctx, wanted)
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

func (s *Server) admin() (a store.Admin, err error) {
	err = s.opts.Store.View(func(tx *store.Tx) error { a, err = tx.Admin(); return err })
	return a, err
}

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
	if wait, ok := s.logins.take(from, time.Now()); !ok {
		return &rateError{wait: wait}
	}
	err := try()
	if errors.Is(err, errAuthFailed) || errors.Is(err, errWrongPassword) || errors.Is(err, errSetupToken) {
		s.log.Warn("admin not recognized", "route", c.Path(), "remote_addr", c.Request().RemoteAddr, "request_id", requestIDOf(c))
		return err
	}
	s.logins.giveBack(from)
	return err
}

// startSession makes a session in the transaction that change is made in, and answers it. event is
// what the log says.
func (s *Server) startSession(c echo.Context, event string, change func(*store.Tx) error) error {
	token := protocol.NewSecret()
	var session store.Session
	err := s.opts.Store.Update(func(tx *store.Tx) (err error) {
		if err := change(tx); err != nil {
			return err
		}
		session, err = tx.CreateSession(token, AdminUser, s.opts.SessionTTL)
		return err
	})
	if err != nil {
		return err
	}
	s.hub.recheck() // a new password ends sessions, and so does the bound on their number
	s.log.Info("session started", "reason", event, "remote_addr", c.Request().RemoteAddr, "request_id", requestIDOf(c))
	c.SetCookie(s.cookie(c.Request(), token, int(s.opts.SessionTTL.Seconds())))
	return respond(c, map[string]any{
		"access_token": token, "token_type": "bearer", "expires_at": when(session.ExpiresAt), "username": session.Username,
	})
}

// cookie makes the session's cookie; a negative age, in seconds, takes it back.
func (s *Server) cookie(r *http.Request, token string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // without TLS a Secure cookie would never come back
		Name: cookieName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.HasPrefix(s.origins.public, "https://"),
	}
}

func (s *Server) authLogout(c echo.Context) error {
	token := loginOf(c).token
	if err := s.opts.Store.Update(func(tx *store.Tx) error { return tx.DeleteSession(token) }); err != nil {
		return err
	}
	s.hub.recheck()
	c.SetCookie(s.cookie(c.Request(), "", -1))
	return respond(c, map[string]string{"message": "Logged out."})
}
