package view

import (
	"time"

	"wfm/store"
	"wfm/web/wire"
)

// SessionView is a login session.
type SessionView struct {
	ID         string     `json:"id"`
	Username   string     `json:"username"`
	RemoteAddr string     `json:"remote_addr"` // the client's address at login
	CreatedAt  *time.Time `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	Current    bool       `json:"current"` // the session of this request
}

// ReadSessions returns all sessions; current is the id of the requesting one.
func ReadSessions(tx *store.Tx, current string) ([]SessionView, error) {
	views := []SessionView{}
	sessions, err := tx.Sessions()
	for _, one := range sessions {
		views = append(views, SessionView{
			ID: one.ID, Username: one.Username, RemoteAddr: one.RemoteAddr, CreatedAt: wire.When(one.CreatedAt),
			ExpiresAt: wire.When(one.ExpiresAt), Current: one.ID == current,
		})
	}
	return views, err
}

// TokenView is an API token without its secret.
type TokenView struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Scope      store.TokenScope `json:"scope"`
	CreatedAt  *time.Time       `json:"created_at"`
	ExpiresAt  *time.Time       `json:"expires_at"`
	LastUsedAt *time.Time       `json:"last_used_at"`
	Expired    bool             `json:"expired"`
}

// TokenOf is the token without its secret.
func TokenOf(t store.Token, now time.Time) TokenView {
	return TokenView{
		ID: t.ID, Name: t.Name, Scope: t.Scope, CreatedAt: wire.When(t.CreatedAt), ExpiresAt: wire.When(t.ExpiresAt),
		LastUsedAt: wire.When(t.LastUsedAt), Expired: !t.ValidAt(now),
	}
}

// ReadTokens returns the API tokens, by name.
func ReadTokens(tx *store.Tx) ([]TokenView, error) {
	views := []TokenView{}
	tokens, err := tx.Tokens()
	for _, t := range tokens {
		views = append(views, TokenOf(t, tx.Now()))
	}
	return views, err
}
