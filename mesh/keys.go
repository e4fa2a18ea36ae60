package mesh

import (
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"io"
)

// keySize is the size of every key of WireGuard, in bytes.
const keySize = 32

// Keys are the key pair of a node, in base64 as wg(8) writes them.
type Keys struct {
	Private string
	Public  string
}

// NewKeys makes a key pair from the random bytes, clamped as wg genkey does.
func NewKeys(random io.Reader) (Keys, error) {
	b, err := randomKey(random)
	if err != nil {
		return Keys{}, err
	}
	b[0] &= 248
	b[31] = b[31]&127 | 64
	private := base64.StdEncoding.EncodeToString(b)
	public, err := PublicKey(private)
	return Keys{private, public}, err
}

// PublicKey derives the public key from a private one. Error: an [*Error], without the key.
func PublicKey(private string) (string, error) {
	b, ok := decodeKey(private)
	if !ok {
		return "", refuse(CodeInvalidKey, "private_key is not a key; give 32 bytes in base64, 44 characters, as wg genkey prints them.")
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return "", refuse(CodeInvalidKey, "private_key is not a key of Curve25519; make one with wg genkey.")
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}

// NewPresharedKey makes a preshared key, as wg genpsk does.
func NewPresharedKey(random io.Reader) (string, error) {
	b, err := randomKey(random)
	return base64.StdEncoding.EncodeToString(b), err
}

// ValidKey reports whether s is a key in base64 that the tools take: all zeros mean none to them.
func ValidKey(s string) bool {
	_, ok := decodeKey(s)
	return ok
}

func randomKey(random io.Reader) ([]byte, error) {
	b := make([]byte, keySize)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("random key: %w", err)
	}
	return b, nil
}

func decodeKey(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != keySize || len(s) != base64.StdEncoding.EncodedLen(keySize) {
		return nil, false
	}
	return b, [keySize]byte(b) != [keySize]byte{}
}
