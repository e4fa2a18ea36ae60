package protocol

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// MaxIDLength bounds every identifier in bytes, so that it is safe in a topic, a path and a key.
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

// NewID returns prefix, an underscore and 128 random bits in lower-case base32.
// The result is a [ValidID] as long as prefix is.
func NewID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	enc := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])
	return prefix + "_" + strings.ToLower(enc)
}

// IsNewID reports whether id has the form of what [NewID] returns for the prefix.
func IsNewID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix+"_")
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// NewSecret returns 256 random bits, URL-safe: an MQTT password, a bind token, a session token.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// PropertyInstance is the user property of CONNECT (MQTT 5) in which an agent of ours names its
// process: two processes with one identity are told apart by it, wherever they come from. Ours, and
// optional.
const PropertyInstance = "wfm-instance"

// ClientID is the one MQTT client id the node may use.
func ClientID(nodeID string) string { return ClientIDPrefix + nodeID }

// ProfileID names the profile of a node on its machine.
func ProfileID(configID, nodeID string) string { return configID + "-" + nodeID }
