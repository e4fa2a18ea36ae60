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

// Errors of requests that only this layer can find. The table answers has the text for the client.
var (
	errBodyBroken            = errors.New("request body broke off")
	ErrAuthRequired          = errors.New("no session token")
	ErrInvalidToken          = errors.New("unknown session token")
	ErrTokenExpired          = errors.New("expired session token")
	ErrAuthFailed            = errors.New("wrong user name or password")
	ErrWrongPassword         = errors.New("wrong current password")
	ErrSamePassword          = errors.New("new password equals the current one")
	ErrSessionOnly           = errors.New("not for an API token")
	ErrReadOnlyToken         = errors.New("API token of scope read")
	ErrSetupToken            = errors.New("wrong set-up token")
	ErrHostRejected          = errors.New("host not allowed")
	ErrOriginRejected        = errors.New("origin not allowed")
	ErrConfigMismatch        = errors.New("node belongs to another config")
	ErrBindNotAllowed        = errors.New("bind not allowed")
	ErrBindStatic            = errors.New("bind to a static node")
	ErrBindTooLarge          = errors.New("bind answer too large")
	ErrPanic                 = errors.New("panic in a request")
	ErrUnknownPath           = errors.New("unknown path")
	ErrUnknownMethod         = errors.New("method not allowed")
	ErrRolloutAction         = errors.New("no action for a rollout")
	ErrNoCA                  = errors.New("TLS for agents, but no CA")
	ErrNoServerAddress       = errors.New("no usable server address")
	ErrTLSOff                = errors.New("TLS is off")
	ErrHTTPSRequired         = errors.New("request without TLS")
	ErrDownloadTokenRequired = errors.New("neither a login nor a download token")
	ErrDownloadToken         = errors.New("unknown download token")
	ErrDownloadTokenScope    = errors.New("download token of another node")
	ErrPackageNotFound       = errors.New("unknown archive")
	ErrTooLongForQR          = errors.New("text too long for a QR code")
	ErrEmbeddedBroker        = errors.New("the broker is the embedded one")
)

// fieldsInMessage bounds the faults in the message of an answer. Its detail lists them all.
const fieldsInMessage = 10

// InvalidError is returned for a request that cannot be understood. It has either a message or the
// faulty fields, each with its problem.
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

// RateError is returned for a request that exceeds a rate limit.
type RateError struct {
	Wait    time.Duration
	Message string // what to do; if empty, the answer says to wait
}

func (e *RateError) Error() string { return "too many attempts" }

// Seconds returns the wait in whole seconds, rounded up, for Retry-After.
func (e *RateError) Seconds() int { return max(1, int(math.Ceil(e.Wait.Seconds()))) }

// ErrBusy is returned for a login while too many others wait.
var ErrBusy = errors.New("too many logins at once")

// ErrNoHost is returned if neither a setting nor the request names a host of the broker for agents.
var ErrNoHost = errors.New("no host to hand out")

// ErrTestsRunning is returned for a test of the MQTT settings while the maximum number of them
// runs.
var ErrTestsRunning = errors.New("too many tests of the MQTT settings at once")

// ErrBackupRunning is returned for a backup while another one is being downloaded: each takes space
// on the disk.
var ErrBackupRunning = errors.New("another backup is being downloaded")

// OriginError refuses the Host or Origin of a request and names the likely cause: a reverse proxy
// that does not forward enough, or that the appliance is not configured to trust.
type OriginError struct {
	Err     error // ErrOriginRejected, ErrHostRejected, ErrHTTPSRequired or ErrUnknownPath
	Message string
}

func (e *OriginError) Error() string { return e.Message }

func (e *OriginError) Unwrap() error { return e.Err }

// RenewalError reports a failed renewal. It quotes the issuer, because the administrator has to act
// on it.
type RenewalError struct {
	Err  error
	None bool // no certificate is in use
}

func (e *RenewalError) Error() string {
	what := "The certificate was not renewed, and the one in use stays: "
	if e.None {
		what = "There is still no certificate: "
	}
	return what + strings.Join(strings.Fields(e.Err.Error()), " ") + "."
}

func (e *RenewalError) Unwrap() error { return e.Err }

// InterfaceNameError is returned for a bind on a platform that does not support the node's
// interface name.
type InterfaceNameError struct{ Name string }

func (e *InterfaceNameError) Error() string {
	return fmt.Sprintf("This node's interface name %q cannot be used on this platform, which takes at most 15 characters. "+
		"Nothing was bound: give the node a shorter one on the server, then run the same command again.", e.Name)
}
