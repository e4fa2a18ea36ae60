package tlsproblem

import "errors"

var (
	// ErrNotReady is returned while there is no certificate, or no root that verifies it.
	ErrNotReady = errors.New("there is no TLS certificate yet")
	// ErrHost is returned for a host that the certificate does not cover.
	ErrHost = errors.New("the TLS certificate is not for this host")
	// ErrTooManyHosts is returned for one host more than the certificate can cover.
	ErrTooManyHosts = errors.New("the TLS certificate is for too many hosts already")
)

// Error is a problem that does not pass by itself: the operator has to act on Problem.
type Error struct {
	Err     error  // ErrNotReady or ErrHost
	Problem string // the cause and the remedy, without a full stop; no secret
}

func (e *Error) Error() string { return e.Problem }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
