package store

import (
	"slices"
	"time"
)

var (
	bucketAdmin    = []byte("admin")    // "admin" → Admin
	bucketSessions = []byte("sessions") // hex sha256 of the token → Session
)

const keyAdmin = "admin"

// Admin is the one account of the admin page.
type Admin struct {
	Username     string    `json:"username"`
	PasswordHash string    `json:"password_hash"` // PHC string, argon2id
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// Session is one login.
type Session struct {
	// ID names the session in places that must not show its token. It is the beginning of the
	// token's hash, and not stored.
	ID       string `json:"-"`
	Username string `json:"username"`
	// RemoteAddr is the address that logged in; empty in a session from an older version.
	RemoteAddr string    `json:"remote_addr,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// ValidAt reports whether the session is valid at now. A session made while the clock was ahead is
// not.
func (s Session) ValidAt(now time.Time) bool { return within(now, s.CreatedAt, s.ExpiresAt) }

// Admin returns the account, or [ErrNoAdmin].
func (tx *Tx) Admin() (Admin, error) {
	a, ok, err := get[Admin](tx, bucketAdmin, keyAdmin)
	if err == nil && !ok {
		err = ErrNoAdmin
	}
	return a, err
}

// CreateAdmin creates the account. Error: [ErrAdminExists].
func (tx *Tx) CreateAdmin(username, passwordHash string) error {
	if _, ok, err := get[Admin](tx, bucketAdmin, keyAdmin); err != nil || ok {
		if err == nil {
			err = ErrAdminExists
		}
		return err
	}
	now := tx.now.UTC()
	return put(tx, bucketAdmin, keyAdmin, Admin{username, passwordHash, now, now})
}

// SetAdminPassword replaces the password and ends every session. Error: [ErrNoAdmin].
func (tx *Tx) SetAdminPassword(passwordHash string) error {
	a, err := tx.Admin()
	if err != nil {
		return err
	}
	a.PasswordHash, a.UpdatedAt = passwordHash, tx.now.UTC()
	if err := put(tx, bucketAdmin, keyAdmin, a); err != nil {
		return err
	}
	return tx.deleteUnder(bucketSessions, nil)
}

// maxSessions bounds the number of valid logins. A new one replaces the oldest.
const maxSessions = 1000

// sessionIDLength is the length of the part of a token's hash that names its session.
const sessionIDLength = 16

// CreateSession starts a session for the token and removes expired ones. It keeps only a hash of
// the token. remoteAddr is the client's address.
func (tx *Tx) CreateSession(token, username, remoteAddr string, ttl time.Duration) (Session, error) {
	if err := tx.pruneSessions(); err != nil {
		return Session{}, err
	}
	now := tx.now.UTC()
	key := hashToken(token)
	s := Session{ID: key[:sessionIDLength], Username: username, RemoteAddr: remoteAddr, CreatedAt: now, ExpiresAt: now.Add(ttl)}
	return s, put(tx, bucketSessions, key, s)
}

func (tx *Tx) pruneSessions() error {
	var gone, live []string // keys; live oldest first
	created := make(map[string]time.Time)
	if err := tx.eachSession(func(key string, s Session) {
		if !s.ValidAt(tx.now) {
			gone = append(gone, key)
			return
		}
		live, created[key] = append(live, key), s.CreatedAt
	}); err != nil {
		return err
	}
	slices.SortFunc(live, func(a, b string) int { return created[a].Compare(created[b]) })
	if over := len(live) - maxSessions + 1; over > 0 {
		gone = append(gone, live[:over]...)
	}
	for _, k := range gone {
		if err := tx.deleteRaw(bucketSessions, []byte(k)); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) eachSession(fn func(key string, s Session)) error {
	c := tx.cursor(bucketSessions)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		s, _, err := get[Session](tx, bucketSessions, string(k))
		if err != nil {
			return err
		}
		s.ID = string(k[:sessionIDLength])
		fn(string(k), s)
	}
	return nil
}

// Session returns the session of the token, expired or not; ok is false if there is none.
func (tx *Tx) Session(token string) (s Session, ok bool, err error) {
	key := hashToken(token)
	s, ok, err = get[Session](tx, bucketSessions, key)
	s.ID = key[:sessionIDLength]
	return s, ok, err
}

// Sessions returns the valid sessions, newest first.
func (tx *Tx) Sessions() ([]Session, error) {
	var all []Session
	err := tx.eachSession(func(_ string, s Session) {
		if s.ValidAt(tx.now) {
			all = append(all, s)
		}
	})
	slices.SortFunc(all, func(a, b Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all, err
}

// DeleteSession ends the session of the token, if there is one.
func (tx *Tx) DeleteSession(token string) error {
	return tx.deleteRaw(bucketSessions, []byte(hashToken(token)))
}

// EndSession ends the session with the id. Error: [ErrSessionNotFound].
func (tx *Tx) EndSession(id string) error {
	n, err := tx.endSessions(func(s Session) bool { return s.ID == id })
	if err == nil && n == 0 {
		err = ErrSessionNotFound
	}
	return err
}

// EndOtherSessions ends every session except the one with the id, and returns how many it ended.
func (tx *Tx) EndOtherSessions(id string) (ended int, err error) {
	return tx.endSessions(func(s Session) bool { return s.ID != id })
}

func (tx *Tx) endSessions(which func(Session) bool) (ended int, err error) {
	var keys []string
	if err := tx.eachSession(func(key string, s Session) {
		if which(s) {
			keys = append(keys, key)
		}
	}); err != nil {
		return 0, err
	}
	for _, k := range keys {
		if err := tx.deleteRaw(bucketSessions, []byte(k)); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}
