package store

import "time"

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
	Username  string    `json:"username"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Admin returns the account, or [ErrNoAdmin].
func (tx *Tx) Admin() (Admin, error) {
	a, ok, err := get[Admin](tx, bucketAdmin, keyAdmin)
	if err == nil && !ok {
		err = ErrNoAdmin
	}
	return a, err
}

// CreateAdmin makes the account. Error: [ErrAdminExists].
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

// maxSessions bounds the logins that are valid at a time; the oldest makes room.
const maxSessions = 1000

// CreateSession starts a session under the token, of which only a hash is kept, and removes
// expired ones.
func (tx *Tx) CreateSession(token, username string, ttl time.Duration) (Session, error) {
	if err := tx.pruneSessions(); err != nil {
		return Session{}, err
	}
	now := tx.now.UTC()
	s := Session{Username: username, CreatedAt: now, ExpiresAt: now.Add(ttl)}
	return s, put(tx, bucketSessions, hashToken(token), s)
}

func (tx *Tx) pruneSessions() error {
	var gone []string
	var oldest string
	var oldestAt time.Time
	count := 0
	c := tx.cursor(bucketSessions)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		s, _, err := get[Session](tx, bucketSessions, string(k))
		if err != nil {
			return err
		}
		if !tx.now.Before(s.ExpiresAt) {
			gone = append(gone, string(k))
			continue
		}
		count++
		if oldest == "" || s.CreatedAt.Before(oldestAt) {
			oldest, oldestAt = string(k), s.CreatedAt
		}
	}
	if count >= maxSessions {
		gone = append(gone, oldest)
	}
	for _, k := range gone {
		if err := tx.deleteRaw(bucketSessions, []byte(k)); err != nil {
			return err
		}
	}
	return nil
}

// Session returns the session of the token, expired or not; ok is false when there is none.
func (tx *Tx) Session(token string) (s Session, ok bool, err error) {
	return get[Session](tx, bucketSessions, hashToken(token))
}

// DeleteSession ends the session of the token, if there is one.
func (tx *Tx) DeleteSession(token string) error {
	return tx.deleteRaw(bucketSessions, []byte(hashToken(token)))
}
