package store

import (
	"slices"
	"strings"
	"time"

	"wfm/protocol"
)

var bucketTokens = []byte("api_tokens") // hex sha256 of the token → Token

// maxTokens bounds the number of API tokens, expired ones included.
const maxTokens = 100

// TokenPrefix begins every API token, so that it can be told from a session's token, and found
// where it leaked.
const TokenPrefix = "wfm_"

// TokenScope is the set of operations that an API token allows.
type TokenScope string

// The scopes.
const (
	ScopeRead  TokenScope = "read"  // read everything but private keys
	ScopeWrite TokenScope = "write" // read and change everything
)

// Token is an API token, without its secret.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"` // unique
	Scope     TokenScope `json:"scope"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at,omitzero"` // zero: never
	// LastUsedAt is coarse: see [Tx.TokenUsed].
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// ValidAt reports whether the token is valid at now. A token that expires and was made while the
// clock was ahead is not.
func (t Token) ValidAt(now time.Time) bool { return within(now, t.CreatedAt, t.ExpiresAt) }

// CreateToken creates an API token that ends at expires (zero: never), and returns its secret,
// which is not stored. Errors: [ErrTokenNameExists], [ErrTooManyTokens].
func (tx *Tx) CreateToken(name string, scope TokenScope, expires time.Time) (t Token, secret string, err error) {
	all, err := tx.Tokens()
	switch {
	case err != nil:
		return Token{}, "", err
	case slices.ContainsFunc(all, func(t Token) bool { return t.Name == name }):
		return Token{}, "", ErrTokenNameExists
	case len(all) >= maxTokens:
		return Token{}, "", ErrTooManyTokens
	}
	secret = TokenPrefix + protocol.NewSecret()
	t = Token{ID: protocol.NewID("tok"), Name: name, Scope: scope, CreatedAt: tx.now.UTC()}
	if !expires.IsZero() {
		t.ExpiresAt = expires.UTC()
	}
	return t, secret, put(tx, bucketTokens, hashToken(secret), t)
}

// Token returns the API token with the secret, expired or not; ok is false if there is none.
func (tx *Tx) Token(secret string) (t Token, ok bool, err error) {
	return get[Token](tx, bucketTokens, hashToken(secret))
}

// TokenUsed records that the token with the secret was used now. The caller decides how often that
// is worth a write.
func (tx *Tx) TokenUsed(secret string) error {
	t, ok, err := tx.Token(secret)
	if err != nil || !ok {
		return err
	}
	t.LastUsedAt = tx.now.UTC()
	return put(tx, bucketTokens, hashToken(secret), t)
}

// Tokens returns all API tokens, by name.
func (tx *Tx) Tokens() ([]Token, error) {
	var all []Token
	err := tx.eachToken(func(_ string, t Token) { all = append(all, t) })
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// DeleteToken ends the API token. Error: [ErrTokenNotFound].
func (tx *Tx) DeleteToken(id string) (Token, error) {
	var found Token
	var key string
	if err := tx.eachToken(func(k string, t Token) {
		if t.ID == id {
			key, found = k, t
		}
	}); err != nil {
		return Token{}, err
	}
	if key == "" {
		return Token{}, ErrTokenNotFound
	}
	return found, tx.deleteRaw(bucketTokens, []byte(key))
}

func (tx *Tx) eachToken(fn func(key string, t Token)) error {
	c := tx.cursor(bucketTokens)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		t, _, err := get[Token](tx, bucketTokens, string(k))
		if err != nil {
			return err
		}
		fn(string(k), t)
	}
	return nil
}
