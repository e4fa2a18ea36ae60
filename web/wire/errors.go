package wire

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// What only this package can find wrong with a request. answers says what a client is told.
var (
	errBodyBroken      = errors.New("request body broke off")
	ErrAuthRequired    = errors.New("no session token")
	ErrInvalidToken    = errors.New("unknown session token")
	ErrTokenExpired    = errors.New("expired session token")
	ErrAuthFailed      = errors.New("wrong user name or password")
	ErrWrongPassword   = errors.New("wrong current password")
	ErrSamePassword    = errors.New("new password equals the current one")
	ErrSessionOnly     = errors.New("not for an API token")
	ErrReadOnlyToken   = errors.New("API token of scope read")
	ErrSetupToken      = errors.New("wrong set-up token")
	ErrHostRejected    = errors.New("host not allowed")
	ErrOriginRejected  = errors.New("origin not allowed")
	ErrConfigMismatch  = errors.New("node belongs to another config")
	ErrBindNotAllowed  = errors.New("bind not allowed")
	ErrBindStatic      = errors.New("bind to a static node")
	ErrBindTooLarge    = errors.New("bind answer too large")
	ErrPanic           = errors.New("panic in a request")
	ErrUnknownPath     = errors.New("unknown path")
	ErrUnknownMethod   = errors.New("method not allowed")
	ErrRolloutAction   = errors.New("no action for a rollout")
	ErrNoCA            = errors.New("TLS for agents, but no CA")
	ErrNoServerAddress = errors.New("no usable server address")
	ErrTLSOff          = errors.New("TLS is off")
	ErrHTTPSRequired   = errors.New("request without TLS")
	ErrEmbeddedBroker  = errors.New("the broker is the embedded one")
)

// fieldsInMessage bounds the faults that the message of an answer names; its detail has them all.
const fieldsInMessage = 10

// InvalidError is a request that cannot be understood: its message, or its fields and what is wrong
// with each.
type InvalidError struct {
	Message string
	Fields  map[string]string
}

func (e *InvalidError) Error() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	words := make([]string, 0, len(e.Fields))
	for i, name := range slices.Sorted(maps.Keys(e.Fields)) {
		if i == fieldsInMessage {
			words = append(words, fmt.Sprintf("and %d more, all of them in detail.fields", len(e.Fields)-i))
			break
		}
		words = append(words, name+" "+e.Fields[name])
	}
	return "The request is not valid: " + strings.Join(words, "; ") + "."
}

// RateError is a request too many.
type RateError struct {
	Wait    time.Duration
	Message string // what to do; default: to wait
}

func (e *RateError) Error() string { return "too many attempts" }

// Seconds is the wait rounded up to what Retry-After can say.
func (e *RateError) Seconds() int { return max(1, int(math.Ceil(e.Wait.Seconds()))) }

// ErrBusy is returned while too many logins wait already.
var ErrBusy = errors.New("too many logins at once")

// ErrNoHost is returned where neither a setting nor the request says where agents find the broker.
var ErrNoHost = errors.New("no host to hand out")

// ErrTestsRunning is returned while so many tests run already.
var ErrTestsRunning = errors.New("too many tests of the MQTT settings at once")

// ErrBackupRunning is returned while another backup is downloaded: each takes room on the disk.
var ErrBackupRunning = errors.New("another backup is being downloaded")

// OriginError is a refusal for the address that a request came by whose cause is known: most likely a proxy in
// front that one of the two does not know enough of.
type OriginError struct {
	Err     error // ErrOriginRejected, ErrHostRejected, ErrHTTPSRequired or ErrUnknownPath
	Message string
}

func (e *OriginError) Error() string { return e.Message }

func (e *OriginError) Unwrap() error { return e.Err }

// RenewalError is a renewal that failed, in the words of who refused it: the administrator has to
// act on them.
type RenewalError struct {
	Err  error
	None bool // in use
}

func (e *RenewalError) Error() string {
	what := "The certificate was not renewed, and the one in use stays: "
	if e.None {
		what = "There is still no certificate: "
	}
	return what + strings.Join(strings.Fields(e.Err.Error()), " ") + "."
}

func (e *RenewalError) Unwrap() error { return e.Err }

// InterfaceNameError is a node that no agent can be bound to for its interface's name.
type InterfaceNameError struct{ Name string }

func (e *InterfaceNameError) Error() string {
	return fmt.Sprintf("This node's interface name %q cannot be used on this platform, which takes at most 15 characters. "+
		"Nothing was bound: give the node a shorter one on the server, then run the same command again.", e.Name)
}
