package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"wfm/protocol"
	"wfm/store"
)

// actionSetUp is the action in the audit log of a set-up without a request.
const actionSetUp = "set up at the start"

// AdminUser is the name of the one account.
const AdminUser = "admin"

// Bounds of a password. Characters make it hard to guess; bytes make a hash expensive.
const (
	MinPassword = 10   // characters
	maxPassword = 1024 // bytes
)

func fitsPassword(password string) bool {
	return utf8.RuneCountInString(password) >= MinPassword && len(password) <= maxPassword
}

// Cost of one hash, as OWASP's password storage cheat sheet recommends for argon2id.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// ErrPasswordLength is returned by [SetUpAdmin] for a password that is too short or too long.
var ErrPasswordLength = fmt.Errorf("the admin password must have at least %d characters and at most %d bytes", MinPassword, maxPassword)

// errHash is returned for a stored hash that this program did not write.
var errHash = errors.New("the stored password hash has an unknown form")

// SetUpAdmin creates the account "admin" without a request, for unattended set-up. Errors:
// [ErrPasswordLength], [store.ErrAdminExists].
func SetUpAdmin(db *store.DB, password string) error {
	if !fitsPassword(password) {
		return ErrPasswordLength
	}
	hash := hashPassword(password)
	requestID := protocol.NewID("req")
	return db.Update(func(tx *store.Tx) error {
		if err := tx.CreateAdmin(AdminUser, hash); err != nil {
			return err
		}
		return tx.CloseAudit(store.AuditEntry{
			At: tx.Now().UTC(), Actor: AdminUser, Action: actionSetUp, RequestID: requestID, Status: http.StatusOK,
		})
	})
}

// hashPassword returns the PHC string of the password with a new salt.
func hashPassword(password string) string {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	return phc(salt, argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey))
}

func phc(salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key))
}

// checkPassword reports whether the password has the hash. It uses the parameters of the hash and
// compares in constant time.
func checkPassword(hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errHash
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil ||
		memory == 0 || memory > 1<<20 || time == 0 || time > 16 || threads == 0 {
		return false, errHash
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errKey := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errKey != nil || len(want) != argonKey {
		return false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, argonKey)
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// Password checks the length of a new password. Its message does not depend on the value.
func Password(v string) (clean, problem string) {
	if !fitsPassword(v) {
		return "", fmt.Sprintf("must have at least %d characters and at most %d bytes", MinPassword, maxPassword)
	}
	return v, ""
}

// Secret accepts any string that is worth comparing with a secret.
func Secret(v string) (clean, problem string) {
	if v == "" || len(v) > maxPassword {
		return "", fmt.Sprintf("must have 1 to %d bytes", maxPassword)
	}
	return v, ""
}

// hasher computes hashes when its queue allows it.
type hasher struct {
	queue *loginQueue
	dummy string // checked for an unknown user name, so that it takes as long
}

func newHasher() *hasher {
	return &hasher{queue: newLoginQueue(), dummy: phc(make([]byte, argonSalt), make([]byte, argonKey))}
}

func (h *hasher) hash(ctx context.Context, from place, password string) (string, error) {
	if err := h.queue.acquire(ctx, from); err != nil {
		return "", err
	}
	defer h.queue.release()
	return hashPassword(password), nil
}

// check compares the password with hash. An empty hash takes as long and fails.
func (h *hasher) check(ctx context.Context, from place, hash, password string) (bool, error) {
	if err := h.queue.acquire(ctx, from); err != nil {
		return false, err
	}
	defer h.queue.release()
	if hash == "" {
		_, err := checkPassword(h.dummy, password)
		return false, err
	}
	return checkPassword(hash, password)
}
