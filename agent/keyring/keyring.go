package keyring

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"wfm/internal/atomicfile"
)

// Kept bounds the pairs of a profile: the one in use, and new ones that no config names yet.
const Kept = 8

// ErrNoKey is returned for a public key of which the node does not have the private one. Its text is for
// the operator.
var ErrNoKey = errors.New("this node does not have the private key that the config asks for: push the node's latest tunnel config")

// Pair is a key pair for the tunnel, in base64.
type Pair struct{ Private, Public string }

// String keeps the private key out of formatted text.
func (p Pair) String() string { return p.Public }

// GoString keeps the private key out of %#v.
func (p Pair) GoString() string { return "keyring.Pair(" + p.Public + ")" }

// NewPair makes a pair, clamped as wg genkey does.
func NewPair() (Pair, error) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	b[0] &= 248
	b[31] = b[31]&127 | 64
	return pairOf(base64.StdEncoding.EncodeToString(b))
}

// pairOf derives the public key.
func pairOf(private string) (Pair, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(private)
	if err != nil {
		return Pair{}, errors.New("a private key is not in base64")
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return Pair{}, errors.New("a private key has not 32 bytes")
	}
	return Pair{private, base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())}, nil
}

// Ring has the pairs of all profiles of a machine. It may be used by several goroutines.
type Ring struct {
	dir string

	mu sync.Mutex
}

// New returns the pairs in the files below dir.
func New(dir string) *Ring { return &Ring{dir: dir} }

// file is the form of a profile's pairs on disk.
type file struct {
	PrivateKeys []string `json:"private_keys"` // oldest first
}

// Path returns the file of the profile, whose id must be safe in a path.
func (r *Ring) Path(profileID string) string { return filepath.Join(r.dir, profileID+".key") }

// Pairs returns the profile's pairs, oldest first. It is not an error if there are none.
func (r *Ring) Pairs(profileID string) ([]Pair, error) {
	data, err := os.ReadFile(r.Path(profileID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		// The decoder's error may quote the file.
		return nil, fmt.Errorf("the keys of %q are damaged", profileID)
	}
	pairs := make([]Pair, len(f.PrivateKeys))
	for i, private := range f.PrivateKeys {
		if pairs[i], err = pairOf(private); err != nil {
			return nil, fmt.Errorf("the keys of %q are damaged: %w", profileID, err)
		}
	}
	return pairs, nil
}

func (r *Ring) write(profileID string, pairs []Pair) error {
	var f file
	for _, p := range pairs {
		f.PrivateKeys = append(f.PrivateKeys, p.Private)
	}
	data, err := json.Marshal(f) //nolint:gosec // the file is where the keys are kept
	if err != nil {
		return fmt.Errorf("encode keys of %q", profileID)
	}
	if err := atomicfile.Write(r.Path(profileID), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	return nil
}

// Public returns the newest public key of the profile, "" if it has none that can be read.
func (r *Ring) Public(profileID string) string {
	pairs, err := r.Pairs(profileID)
	if err != nil || len(pairs) == 0 {
		return ""
	}
	return pairs[len(pairs)-1].Public
}

// Find returns the pair with the public key; for "", the newest one. Error: [ErrNoKey], and those of
// reading.
func (r *Ring) Find(profileID, public string) (Pair, error) {
	pairs, err := r.Pairs(profileID)
	if err != nil {
		return Pair{}, err
	}
	for _, p := range slices.Backward(pairs) {
		if public == "" || p.Public == public {
			return p, nil
		}
	}
	return Pair{}, ErrNoKey
}

// Add makes the pair the newest one of the profile. Damaged older ones are given up.
func (r *Ring) Add(profileID string, p Pair) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pairs, _ := r.Pairs(profileID)
	if len(pairs) >= Kept { // the oldest one is probably in use
		pairs = slices.Delete(pairs, 1, 2+len(pairs)-Kept)
	}
	return r.write(profileID, append(pairs, p))
}

// Ensure makes the first pair of a profile that has none. It reports whether it made one.
func (r *Ring) Ensure(profileID string) (made bool, err error) {
	if pairs, err := r.Pairs(profileID); err == nil && len(pairs) > 0 {
		return false, nil
	}
	p, err := NewPair()
	if err != nil {
		return false, err
	}
	return true, r.Add(profileID, p)
}

// Prune removes the pairs that are older than every one in use, which are given by their public keys. If
// none is in use, all stay.
func (r *Ring) Prune(profileID string, used map[string]struct{}) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pairs, err := r.Pairs(profileID)
	if err != nil {
		return err
	}
	first := slices.IndexFunc(pairs, func(p Pair) bool { _, ok := used[p.Public]; return ok })
	if first <= 0 {
		return nil
	}
	return r.write(profileID, pairs[first:])
}

// Remove removes all pairs of the profile.
func (r *Ring) Remove(profileID string) error {
	if err := os.Remove(r.Path(profileID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove keys: %w", err)
	}
	return nil
}
