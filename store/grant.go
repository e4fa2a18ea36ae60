package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"

	"wfm/protocol"
)

var bucketCredentials = []byte("credentials") // node id → credential

// credential is a node's MQTT account. The hash has the form that EMQX imports (sha256, salt as
// prefix). The password has 256 random bits, so a slow hash would add nothing.
type credential struct {
	Salt       string `json:"salt"`
	Hash       string `json:"hash"` // hex of sha256(salt + password)
	Generation uint64 `json:"generation"`
}

func hashPassword(salt, password string) string {
	sum := sha256.Sum256([]byte(salt + password))
	return hex.EncodeToString(sum[:])
}

// Grant is the right of a node's agent to use the broker. It exists exactly while the node is
// dynamic, bound and enabled in an enabled config.
type Grant struct {
	NodeID   string
	ConfigID string
	// Generation changes with every bind, and whenever the right ends for a while. A session of an
	// older generation must end.
	Generation uint64
	salt, hash string
}

// CheckPassword compares in constant time.
func (g Grant) CheckPassword(password []byte) bool {
	return subtle.ConstantTimeCompare([]byte(hashPassword(g.salt, string(password))), []byte(g.hash)) == 1
}

// PasswordHash returns the salt and the hex SHA-256 of salt and password, for a broker that checks
// passwords itself.
func (g Grant) PasswordHash() (salt, hash string) { return g.salt, g.hash }

// grants is the copy in memory that brokers ask: without I/O, and never older than the last
// commit that anyone knows of.
type grants struct {
	mu       sync.RWMutex
	m        map[string]Grant
	watchers map[*grantWatcher]struct{}
}

type grantWatcher struct{ fn func(nodeIDs []string) }

type grantChange struct {
	nodeID string
	grant  Grant
	ok     bool
}

// apply returns the nodes whose grant differs from before.
func (g *grants) apply(changes []grantChange) (changed []string) {
	if len(changes) == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range changes {
		if g.m[c.nodeID] != c.grant {
			changed = append(changed, c.nodeID)
		}
		if c.ok {
			g.m[c.nodeID] = c.grant
		} else {
			delete(g.m, c.nodeID)
		}
	}
	return changed
}

// tell calls the watchers. It must not run in the writer's goroutine: a watcher may use the store.
func (g *grants) tell(nodeIDs []string) {
	if len(nodeIDs) == 0 {
		return
	}
	g.mu.RLock()
	watchers := slices.Collect(maps.Keys(g.watchers))
	g.mu.RUnlock()
	for _, w := range watchers {
		w.fn(nodeIDs)
	}
}

// WatchGrants calls fn with the nodes whose grant an Update has given, replaced or removed. The call
// comes after the commit, in the goroutine of the Update, which returns only after fn: so a broker
// ends the session of a right before anyone learns that the right has ended. A commit that failed at
// its very end may change grants too.
//
// fn must return within a bounded time. It may use the store, may be called concurrently, and must
// look the grants up, since they may have changed again. stop prevents further calls; it does not
// wait for those under way.
func (db *DB) WatchGrants(fn func(nodeIDs []string)) (stop func()) {
	w := &grantWatcher{fn}
	g := &db.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.watchers == nil {
		g.watchers = make(map[*grantWatcher]struct{})
	}
	g.watchers[w] = struct{}{}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.watchers, w)
	}
}

// Grant returns the node's present right to use the broker. It costs no I/O.
func (db *DB) Grant(nodeID string) (Grant, bool) {
	db.grants.mu.RLock()
	defer db.grants.mu.RUnlock()
	g, ok := db.grants.m[nodeID]
	return g, ok
}

// Grant returns the node's right as seen by this transaction. In an Update it costs no I/O unless
// the Update itself has changed the right.
func (tx *Tx) Grant(nodeID string) (Grant, bool, error) {
	if _, touched := tx.touched[nodeID]; tx.batch != nil && !touched {
		g, ok := tx.batch.grant(nodeID)
		return g, ok, nil
	}
	return tx.readGrant(nodeID)
}

// readGrant computes the right from the records.
func (tx *Tx) readGrant(nodeID string) (Grant, bool, error) {
	n, ok, err := get[Node](tx, bucketNodes, nodeID)
	if err != nil || !ok || !n.Enabled || n.Type != NodeDynamic || n.Client == nil {
		return Grant{}, false, err
	}
	c, ok, err := get[Config](tx, bucketConfigs, n.ConfigID)
	if err != nil || !ok || !c.Enabled {
		return Grant{}, false, err
	}
	cred, ok, err := get[credential](tx, bucketCredentials, nodeID)
	if err != nil || !ok {
		return Grant{}, false, err
	}
	return Grant{
		NodeID: n.ID, ConfigID: n.ConfigID, Generation: cred.Generation,
		salt: cred.Salt, hash: cred.Hash,
	}, true, nil
}

func (tx *Tx) touchGrant(nodeID string) {
	if tx.touched == nil {
		tx.touched = make(map[string]struct{})
	}
	tx.touched[nodeID] = struct{}{}
}

// settleGrants computes, at the end of a transaction, the grants that its commit will make valid.
func (tx *Tx) settleGrants() error {
	for id := range tx.touched {
		g, ok, err := tx.readGrant(id)
		if err != nil {
			return fmt.Errorf("grant of %q: %w", id, err)
		}
		tx.grants = append(tx.grants, grantChange{id, g, ok})
	}
	return nil
}

func (db *DB) loadGrants() error {
	db.grants.m = make(map[string]Grant)
	return db.View(func(tx *Tx) error {
		c := tx.cursor(bucketCredentials)
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			g, ok, err := tx.Grant(string(k))
			if err != nil {
				return fmt.Errorf("grant of %q: %w", k, err)
			}
			if ok {
				db.grants.m[g.NodeID] = g
			}
		}
		return nil
	})
}

// renewGeneration ends the right of the node's present session and keeps the password. Otherwise a
// right that ended and came back while an external broker was away would look unchanged.
func (tx *Tx) renewGeneration(nodeID string) error {
	c, ok, err := get[credential](tx, bucketCredentials, nodeID)
	if err != nil || !ok {
		return err
	}
	c.Generation = newGeneration()
	tx.touchGrant(nodeID)
	return put(tx, bucketCredentials, nodeID, c)
}

// rotateCredential gives the node a new password and returns it. The password itself is not stored.
func (tx *Tx) rotateCredential(nodeID string) (password string, err error) {
	password = protocol.NewSecret()
	salt := rand.Text()
	tx.touchGrant(nodeID)
	return password, put(tx, bucketCredentials, nodeID, credential{
		Salt: salt, Hash: hashPassword(salt, password), Generation: newGeneration(),
	})
}

// newGeneration returns a random number, not a counter: a reset forgets the last one.
func newGeneration() uint64 {
	var gen [8]byte
	_, _ = rand.Read(gen[:])
	return binary.BigEndian.Uint64(gen[:])
}

// NewGrant returns a right without a record, for a temporary login such as that of a test of the
// MQTT settings.
func NewGrant(nodeID, configID, password string) Grant {
	salt, generation := rand.Text(), newGeneration()
	return Grant{NodeID: nodeID, ConfigID: configID, Generation: generation, salt: salt, hash: hashPassword(salt, password)}
}
