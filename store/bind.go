package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"wfm/protocol"
)

var (
	bucketBindTokens = []byte("bind_tokens")         // hex sha256 of the token → bindToken
	bucketOpenTokens = []byte("bind_tokens_of_node") // node id → key of its unspent token
)

// usedTokenKept is how long a spent or expired token is remembered, so that a second use gets the
// right error.
const usedTokenKept = 24 * time.Hour

type bindToken struct {
	NodeID    string    `json:"node_id"`
	IssuedAt  time.Time `json:"issued_at,omitzero"` // zero in a token from an older version
	ExpiresAt time.Time `json:"expires_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
}

// longestTTL is longer than the lifetime of any bind token from an older version.
const longestTTL = time.Hour

func (t bindToken) validAt(now time.Time) bool {
	issued := t.IssuedAt
	if issued.IsZero() {
		issued = t.ExpiresAt.Add(-longestTTL)
	}
	return within(now, issued, t.ExpiresAt)
}

// hashToken hashes tokens of 256 random bits, which need no salt and no slow hash. Looking up a
// token by its hash leaks nothing about it through timing.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// IssueBindToken creates a one-time token for the node, valid for ttl, and invalidates the node's
// older ones. Errors: [ErrNodeNotFound], [ErrNodeStatic], [ErrNodeDisabled].
func (tx *Tx) IssueBindToken(nodeID string, ttl time.Duration) (token string, expiresAt time.Time, err error) {
	_, n, err := tx.bindable(nodeID)
	if err != nil {
		return "", time.Time{}, err
	}
	if err := tx.invalidateBindTokens(nodeID); err != nil {
		return "", time.Time{}, err
	}
	token = protocol.NewSecret()
	expiresAt = tx.now.Add(ttl).UTC()
	if err := tx.putRaw(bucketOpenTokens, []byte(nodeID), []byte(hashToken(token))); err != nil {
		return "", time.Time{}, err
	}
	if err := tx.pruneBindTokens(hashToken(token)); err != nil {
		return "", time.Time{}, err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID}) // pages that show an older token
	return token, expiresAt, put(tx, bucketBindTokens, hashToken(token), bindToken{NodeID: nodeID, IssuedAt: tx.now.UTC(), ExpiresAt: expiresAt})
}

// OpenBindToken returns the expiry of the node's unspent token, which may be in the past; the zero
// time if there is none.
func (tx *Tx) OpenBindToken(nodeID string) (expiresAt time.Time, err error) {
	key := tx.getRaw(bucketOpenTokens, []byte(nodeID))
	if key == nil {
		return time.Time{}, nil
	}
	t, _, err := get[bindToken](tx, bucketBindTokens, string(key))
	return t.ExpiresAt, err
}

// Bound is the result of a bind.
type Bound struct {
	Config   Config
	Node     Node
	Password string // the node's new MQTT password, shown once
}

// BindTarget returns the node that the token would bind, unchanged. Errors: [ErrTokenInvalid],
// [ErrTokenUsed], [ErrTokenExpired], [ErrNodeStatic], [ErrNodeDisabled].
func (tx *Tx) BindTarget(token string) (Config, Node, error) {
	t, ok, err := get[bindToken](tx, bucketBindTokens, hashToken(token))
	switch {
	case err != nil:
		return Config{}, Node{}, err
	case !ok:
		return Config{}, Node{}, ErrTokenInvalid
	case !t.UsedAt.IsZero():
		return Config{}, Node{}, ErrTokenUsed
	case !t.validAt(tx.now):
		return Config{}, Node{}, ErrTokenExpired
	}
	return tx.bindable(t.NodeID)
}

// Bind spends the token: it rotates the node's credentials and sets its agent to client. Errors:
// those of [Tx.BindTarget].
func (tx *Tx) Bind(token string, client Client) (Bound, error) {
	cfg, n, err := tx.BindTarget(token)
	if err != nil {
		return Bound{}, err
	}
	key := hashToken(token)
	t, _, err := get[bindToken](tx, bucketBindTokens, key)
	if err != nil {
		return Bound{}, err
	}
	t.UsedAt = tx.now.UTC()
	if err := put(tx, bucketBindTokens, key, t); err != nil {
		return Bound{}, err
	}
	if err := tx.deleteRaw(bucketOpenTokens, []byte(t.NodeID)); err != nil {
		return Bound{}, err
	}
	// The new agent must not inherit the former agent's texts and reports.
	retired, err := tx.retiredSession(n.ID)
	if err != nil {
		return Bound{}, err
	}
	if err := tx.putEvidence(n, Evidence{RetiredSessionID: retired}); err != nil {
		return Bound{}, err
	}
	if err := tx.cancelOpenCommands(n.ID, "an agent was bound again"); err != nil {
		return Bound{}, err
	}
	if err := tx.forgetConfirmed(n); err != nil {
		return Bound{}, err
	}
	client.BoundAt = tx.now.UTC()
	n.Client = &client
	if err := tx.writeNode(n); err != nil {
		return Bound{}, err
	}
	password, err := tx.rotateCredential(n.ID)
	if err != nil {
		return Bound{}, err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return Bound{Config: cfg, Node: n, Password: password},
		tx.Note(n.ID, JournalEntry{Event: "bound", Message: "agent bound on " + client.Hostname})
}

// bindable returns the node if an agent can be bound to it.
func (tx *Tx) bindable(nodeID string) (Config, Node, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return Config{}, n, err
	}
	c, err := tx.Config(n.ConfigID)
	switch {
	case err != nil:
		return c, n, err
	case n.Type != NodeDynamic:
		return c, n, ErrNodeStatic
	case !n.Enabled || !c.Enabled:
		return c, n, ErrNodeDisabled
	}
	return c, n, nil
}

// invalidateBindTokens removes the node's unspent token, if there is one.
func (tx *Tx) invalidateBindTokens(nodeID string) error {
	key := tx.getRaw(bucketOpenTokens, []byte(nodeID))
	if key == nil {
		return nil
	}
	if err := tx.deleteRaw(bucketBindTokens, bytes.Clone(key)); err != nil {
		return err
	}
	return tx.deleteRaw(bucketOpenTokens, []byte(nodeID))
}

// tokensLookedAt is how many tokens are searched for old ones whenever a token is issued: more than
// are added, so that they do not pile up, and never all of them.
const tokensLookedAt = 16

// pruneBindTokens removes old tokens, searching from the key on. Keys are hashes, so each call
// begins at another place.
func (tx *Tx) pruneBindTokens(from string) error {
	var gone []string
	c := tx.cursor(bucketBindTokens)
	k, _ := c.Seek([]byte(from))
	for range tokensLookedAt {
		if k == nil {
			if k, _ = c.First(); k == nil {
				break
			}
		}
		t, _, err := get[bindToken](tx, bucketBindTokens, string(k))
		if err != nil {
			return err
		}
		if tx.now.After(t.ExpiresAt.Add(usedTokenKept)) {
			gone = append(gone, string(k))
		}
		k, _ = c.Next()
	}
	for _, k := range gone {
		if err := tx.deleteRaw(bucketBindTokens, []byte(k)); err != nil {
			return err
		}
	}
	return nil
}
