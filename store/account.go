package store

import (
	"errors"
	"maps"
	"slices"
	"time"
)

var bucketAccounts = []byte("accounts") // node id → Account

// Account holds the parts of a node's MQTT account that an external broker is known to have. There
// is no queue of changes that the broker has yet to learn: they are the differences between this
// record and the node's grant. So each one is recorded in the transaction that changed the grant,
// cannot be lost, and costs nothing with the embedded broker.
type Account struct {
	NodeID string `json:"node_id"`
	// Generation is the generation of the grant that the broker holds.
	Generation uint64    `json:"generation"`
	SyncedAt   time.Time `json:"synced_at"`
}

// AccountChange is a change of an account that an external broker does not know yet.
type AccountChange struct {
	NodeID string
	// Grant is the node's present right. If Granted is false, the account must be deleted.
	Grant   Grant
	Granted bool
}

// Accounts returns the accounts that an external broker is known to hold, by node id.
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

// AccountsTold records that an external broker has made the changes. An account that changed again
// meanwhile still differs afterwards, so AccountChanges returns it again.
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

// AccountChanges compares the grants with the accounts that an external broker is known to hold, in
// no particular order. It costs no I/O.
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

// ErrSecretExists is returned by KeepSecret if a secret of that name exists.
var ErrSecretExists = errors.New("a secret of this name exists already")

// SecretHash returns the hash kept under the name, as hex SHA-256; empty if there is none.
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

// BrokerClientID returns the appliance's own client id at an external broker; empty if there is
// none yet.
func (tx *Tx) BrokerClientID() (string, error) {
	id, _, err := get[string](tx, bucketSettings, keyBrokerClientID)
	return id, err
}

// SetBrokerClientID keeps the client id. Under another id, the messages that the broker holds for
// the appliance are lost.
func (tx *Tx) SetBrokerClientID(id string) error {
	return put(tx, bucketSettings, keyBrokerClientID, id)
}

const keyBrokerSessions = "broker_sessions" // in bucketSettings

// BrokerSession reports whether the appliance's session of that number has received messages at an
// external broker. If so and the broker no longer has the session, messages were lost.
func (tx *Tx) BrokerSession(number int) (bool, error) {
	numbers, _, err := get[[]int](tx, bucketSettings, keyBrokerSessions)
	return slices.Contains(numbers, number), err
}

// SetBrokerSession records whether the session of that number receives messages.
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
