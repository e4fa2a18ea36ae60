package protocol

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// MaxIDLength is the limit of every identifier in bytes. Such an identifier is safe in a topic, a
// path and a key.
const MaxIDLength = 64

// ClientIDPrefix precedes the node id in an agent's MQTT client id.
const ClientIDPrefix = "wfm-"

// ValidID reports whether id may name a config or a node: 1 to [MaxIDLength] bytes of [a-z0-9_-].
func ValidID(id string) bool {
	if id == "" || len(id) > MaxIDLength {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// NewID returns prefix, an underscore and 128 random bits in lower-case base32. The result
// satisfies [ValidID] if prefix does.
func NewID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	enc := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])
	return prefix + "_" + strings.ToLower(enc)
}

// IsNewID reports whether id has the form that [NewID] returns for prefix.
func IsNewID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix+"_")
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// NewSecret returns 256 random bits, URL-safe. It serves as MQTT password, bind token or login
// session token.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// PropertyInstance is the user property of CONNECT (MQTT 5) in which our agents name their process.
// It distinguishes two processes with one identity, wherever they connect from. It is an extension,
// and optional.
const PropertyInstance = "wfm-instance"

// ClientID returns the one MQTT client id that the node may use.
func ClientID(nodeID string) string { return ClientIDPrefix + nodeID }

// ProfileID returns the name of the node's profile on its machine.
func ProfileID(configID, nodeID string) string { return configID + "-" + nodeID }
