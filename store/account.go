package store

import (
	"errors"
	"maps"
	"slices"
	"time"
)

var bucketAccounts = []byte("accounts") // node id → Account

// Account is what an external broker is known to hold of a node's MQTT account. That the broker
// must be told something is not written down anywhere: it is the difference between this record
// and the node's grant. So it is in the same transaction as whatever changed the grant, cannot be
// lost, and costs nothing where the broker is the embedded one.
type Account struct {
	NodeID string `json:"node_id"`
	// Generation is that of the grant the broker was told.
	Generation uint64    `json:"generation"`
	SyncedAt   time.Time `json:"synced_at"`
}

// AccountChange is an account that an external broker must be told of.
type AccountChange struct {
	NodeID string
	// Grant is the right as it is now; without one (Granted false) the account must go.
	Grant   Grant
	Granted bool
}

// Accounts returns what an external broker is known to hold, by node id.
func (tx *Tx) Accounts() (map[string]Account, error) {
	out := make(map[string]Account)
	c := tx.cursor(bucketAccounts)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		a, _, err := get[Account](tx, bucketAccounts, string(k))
		if err != nil {
			return nil, err
		}
		out[string(k)] = a
	}
	return out, nil
}

// AccountsTold records that an external broker has been told the changes. Whatever changed again
// meanwhile still differs afterwards, and is told again.
func (tx *Tx) AccountsTold(told []AccountChange) error {
	for _, c := range told {
		var err error
		if c.Granted {
			err = put(tx, bucketAccounts, c.NodeID, Account{c.NodeID, c.Grant.Generation, tx.now.UTC()})
		} else {
			err = tx.deleteRaw(bucketAccounts, []byte(c.NodeID))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// AccountChanges compares the grants with what an external broker is known to hold, in no
// particular order. It costs no I/O.
func (db *DB) AccountChanges(known map[string]Account) []AccountChange {
	var out []AccountChange
	grants := db.Grants()
	for id, g := range grants {
		if a, ok := known[id]; !ok || a.Generation != g.Generation {
			out = append(out, AccountChange{NodeID: id, Grant: g, Granted: true})
		}
	}
	for id := range known {
		if _, ok := grants[id]; !ok {
			out = append(out, AccountChange{NodeID: id})
		}
	}
	return out
}

// Grants returns every node's present right to use the broker, by node id. It costs no I/O.
func (db *DB) Grants() map[string]Grant {
	db.grants.mu.RLock()
	defer db.grants.mu.RUnlock()
	return maps.Clone(db.grants.m)
}

var bucketSecrets = []byte("secrets") // name → hex sha256

// ErrSecretExists is returned by KeepSecret when there is one of the name already.
var ErrSecretExists = errors.New("a secret of this name exists already")

// SecretHash returns the hash that is kept under the name: hex of the SHA-256; empty for none.
func (tx *Tx) SecretHash(name string) string { return string(tx.getRaw(bucketSecrets, []byte(name))) }

// KeepSecret keeps the hash of a secret of 256 random bits under the name. Error:
// [ErrSecretExists].
func (tx *Tx) KeepSecret(name, secret string) error {
	if tx.SecretHash(name) != "" {
		return ErrSecretExists
	}
	return tx.putRaw(bucketSecrets, []byte(name), []byte(hashToken(secret)))
}

const keyBrokerClientID = "broker_client_id" // in bucketSettings

// BrokerClientID returns the appliance's own client id at an external broker; empty for none yet.
func (tx *Tx) BrokerClientID() (string, error) {
	id, _, err := get[string](tx, bucketSettings, keyBrokerClientID)
	return id, err
}

// SetBrokerClientID keeps the client id: with another one, what the broker holds for us is lost.
func (tx *Tx) SetBrokerClientID(id string) error {
	return put(tx, bucketSettings, keyBrokerClientID, id)
}

const keyBrokerSessions = "broker_sessions" // in bucketSettings

// BrokerSession reports whether the appliance's session with the number has taken messages at an
// external broker, so that one that is missing was lost.
func (tx *Tx) BrokerSession(number int) (bool, error) {
	numbers, _, err := get[[]int](tx, bucketSettings, keyBrokerSessions)
	return slices.Contains(numbers, number), err
}

// SetBrokerSession records that the session with the number takes messages, or does not any more.
func (tx *Tx) SetBrokerSession(number int, takes bool) error {
	numbers, _, err := get[[]int](tx, bucketSettings, keyBrokerSessions)
	if err != nil || slices.Contains(numbers, number) == takes {
		return err
	}
	if takes {
		return put(tx, bucketSettings, keyBrokerSessions, append(numbers, number))
	}
	return put(tx, bucketSettings, keyBrokerSessions, slices.DeleteFunc(numbers, func(n int) bool { return n == number }))
}
