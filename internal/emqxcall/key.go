package emqxcall

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// CheckConfigID is the config id in the topics of a check's account. It is not the id of a
	// mesh: those begin with cfg_.
	CheckConfigID = "check"
	checkPrefix   = "check_"
	// checkLife is how long a check's account works.
	checkLife = 10 * time.Minute
)

// Key is the hash of the shared secret. The zero Key fits no secret.
type Key [sha256.Size]byte

// NewKey returns the key of a secret.
func NewKey(secret string) Key { return sha256.Sum256([]byte(secret)) }

// ParseKey reads the hex of a key.
func ParseKey(text string) (k Key, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("not the hash of a key: %d characters", len(text))
	}
	return Key(raw), nil
}

// Fits reports whether secret belongs to the key.
func (k Key) Fits(secret string) bool {
	given := NewKey(secret)
	return subtle.ConstantTimeCompare(k[:], given[:]) == 1
}

// Check returns the account of a check that begins now: a user name in the form of a node id, and
// its password.
func (k Key) Check(now time.Time) (nodeID, password string) {
	stamp := strconv.FormatInt(now.Unix(), 36)
	nodeID = checkPrefix + stamp + "_" + k.mac("account", stamp)
	return nodeID, k.Password(nodeID)
}

// IsCheck reports whether [Key.Check] returned the user name recently.
func (k Key) IsCheck(nodeID string, now time.Time) bool {
	stamp, mac, ok := cutCheck(nodeID)
	if !ok || k == (Key{}) || !hmac.Equal([]byte(mac), []byte(k.mac("account", stamp))) {
		return false
	}
	made, err := strconv.ParseInt(stamp, 36, 64)
	age := now.Sub(time.Unix(made, 0))
	return err == nil && age > -checkLife && age < checkLife
}

// Password returns the password of a check's account.
func (k Key) Password(nodeID string) string { return k.mac("password", nodeID) }

// LeftOver reports whether the user name has the form of a check's account but is not valid.
func (k Key) LeftOver(user string, now time.Time) bool {
	_, _, ok := cutCheck(user)
	return ok && !k.IsCheck(user, now)
}

func cutCheck(user string) (stamp, mac string, ok bool) {
	rest, ok := strings.CutPrefix(user, checkPrefix)
	if !ok {
		return "", "", false
	}
	stamp, mac, ok = strings.Cut(rest, "_")
	return stamp, mac, ok && len(mac) == macLength
}

const macLength = 26

// mac returns 128 bits in lower-case base32, the alphabet of ids.
func (k Key) mac(what, text string) string {
	h := hmac.New(sha256.New, k[:])
	_, _ = h.Write([]byte(what + "\x00" + text))
	enc := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:16])
	return strings.ToLower(enc)
}
