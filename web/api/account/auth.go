package account

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/wire"
)

func (a *API) authRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/auth/state", Access: wire.Guarded, Handle: a.authState,
			Summary: "Whether set-up is needed, and the caller's login.",
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
			Summary: "Ends the caller's session.",
			Data:    wire.Message{},
		},
		{
			Method: http.MethodGet, Path: "/api/v1/auth/session", Access: wire.Session, Handle: a.authSession,
			Summary: "The caller's login.",
			Data:    authStateView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/auth/password", Access: wire.Admin, Handle: a.authPassword, OneWrite: true,
			Summary: "Changes the password and ends all sessions; the answer has a new one. API tokens stay, since they do not depend on the password.",
			Body:    "current_password!, new_password!", Data: startedSession{},
			Codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
		{ // a path of WG Free Mesh
			Method: http.MethodPost, Path: "/api/v1/settings/password", Access: wire.Admin, Handle: a.authPassword, OneWrite: true,
			Summary: "The same as POST /api/v1/auth/password.",
			Body:    "current_password!, new_password!", Data: startedSession{},
			Codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
		},
	}
}

const (
	displayName = "Administrator"
)

type authStateView struct {
	SetupRequired bool       `json:"setup_required"`
	Authenticated bool       `json:"authenticated"`
	Username      string     `json:"username"`
	DisplayName   string     `json:"display_name"`
	ExpiresAt     *time.Time `json:"expires_at"`
}

func (a *API) authState(c echo.Context) error {
	l, _, err := a.Guard.Authenticate(c.Request())
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

func (a *API) authSession(c echo.Context) error { return wire.Respond(c, stateOf(access.LoginOf(c))) }

func stateOf(l access.Login) authStateView {
	v := authStateView{Authenticated: true, Username: l.Username, DisplayName: displayName, ExpiresAt: wire.When(l.ExpiresAt)}
	if l.Scope != "" {
		v.DisplayName = l.Username
	}
	return v
}

func (a *API) authSetup(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	setupToken := f.Need("setup_token", access.Secret)
	newPassword := f.Need("password", access.Password)
	if _, err := a.Guard.Admin(); err == nil {
		return store.ErrAdminExists
	} else if !errors.Is(err, store.ErrNoAdmin) {
		return err
	}
	if err := f.Err(); err != nil {
		return err
	}
	return a.Guard.Attempt(c, func() error {
		if a.SetupToken == "" || subtle.ConstantTimeCompare([]byte(setupToken), []byte(a.SetupToken)) != 1 {
			return wire.ErrSetupToken
		}
		hash, err := a.Guard.NewHash(c, newPassword)
		if err != nil {
			return err
		}
		return a.startSession(c, "admin set up", func(tx *store.Tx) error { return tx.CreateAdmin(access.AdminUser, hash) })
	})
}

func (a *API) authLogin(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	username := f.Need("username", wire.Line(1, 64))
	given := f.Need("password", access.Secret)
	if err := f.Err(); err != nil {
		return err
	}
	return a.Guard.Attempt(c, func() error {
		admin, err := a.Guard.Admin()
		if err != nil {
			return err
		}
		hash := admin.PasswordHash
		if username != admin.Username {
			hash = ""
		}
		ok, err := a.Guard.CheckHash(c, hash, given)
		if err != nil {
			return err
		}
		if !ok {
			return wire.ErrAuthFailed
		}
		return a.startSession(c, "admin logged in", unchanged(hash, wire.ErrAuthFailed))
	})
}

func (a *API) authPassword(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	current := f.Need("current_password", access.Secret)
	wanted := f.Need("new_password", access.Password)
	if err := f.Err(); err != nil {
		return err
	}
	return a.Guard.Attempt(c, func() error {
		admin, err := a.Guard.Admin()
		if err != nil {
			return err
		}
		ok, err := a.Guard.CheckHash(c, admin.PasswordHash, current)
		switch {
		case err != nil:
			return err
		case !ok:
			return wire.ErrWrongPassword
		case current == wanted:
			return wire.ErrSamePassword
		}
		hash, err := a.Guard.NewHash(c, wanted)
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

// unchanged returns a check that fails with otherwise if the password has changed since hash was
// checked.
func unchanged(hash string, otherwise error) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		a, err := tx.Admin()
		if err == nil && a.PasswordHash != hash {
			err = otherwise
		}
		return err
	}
}

// startSession makes a session in the same transaction as change, and answers it. event is the
// message for the log.
func (a *API) startSession(c echo.Context, event string, change func(*store.Tx) error) error {
	token := protocol.NewSecret()
	var session store.Session
	was := access.LoginOf(c)
	err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		if err := change(tx); err != nil {
			return err
		}
		session, err = tx.CreateSession(token, access.AdminUser, wire.RemoteHost(c.Request()), a.SessionTTL)
		access.SetLogin(c, access.Login{Session: session, Token: token}) // so that the audit entry names this login
		return err
	})
	if err != nil {
		access.SetLogin(c, was)
		return err
	}
	a.Guard.MakeKnown(c)
	a.Recheck() // a new password ends sessions, and so does the limit of their number
	a.Log.Info("session started", "reason", event, "remote_addr", c.Request().RemoteAddr, "request_id", wire.RequestIDOf(c))
	c.SetCookie(a.Guard.Cookie(c.Request(), token, int(a.SessionTTL.Seconds())))
	return wire.Respond(c, startedSession{token, "bearer", wire.When(session.ExpiresAt), session.Username})
}

type startedSession struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Username    string     `json:"username"`
}

func (a *API) authLogout(c echo.Context) error {
	token := access.LoginOf(c).Token
	if err := a.Audit.Update(c, func(tx *store.Tx) error { return tx.DeleteSession(token) }); err != nil {
		return err
	}
	a.Recheck()
	c.SetCookie(a.Guard.Cookie(c.Request(), "", -1))
	return wire.Respond(c, wire.Message{Message: "Logged out."})
}
