package agent

import (
	"math/rand/v2"
	"sync"
	"time"

	"wfm/internal/retry"
)

// backoff decides how long to wait before a connection attempt. The wait grows exponentially with
// jitter, so that the nodes of a mesh do not come back in one wave. It is long after credentials
// that stay refused.
type backoff struct {
	least, most time.Duration
	refused     time.Duration // after the broker refused the credentials
	longest     time.Duration // longest wait after repeated takeovers by another machine
	// stable is how long a connection must last to count as a success. Two agents with the same
	// credentials push each other out at once; without this limit they would do so in a tight loop.
	stable time.Duration
	now    func() time.Time

	mu          sync.Mutex
	begun       bool // the first attempt is made at once
	streak      int  // attempts since the last stable connection
	denied      bool
	deniedSince time.Time
	denials     int  // in a row
	lasting     bool // the lasting refusal was reported
	taken       int  // takeovers in a row
	urgent      bool
	upSince     time.Time
}

// SetUrgent keeps the waits at the minimum while on is set.
func (b *backoff) SetUrgent(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.urgent = on
}

// Urgent reports whether the waits are kept at the minimum.
func (b *backoff) Urgent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.urgent
}

// Next returns how long to wait before the next attempt.
func (b *backoff) Next() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begun {
		b.begun = true
		return 0
	}
	wait := retry.Pause(b.least, b.most, b.streak)
	if b.urgent {
		wait = b.least
	} else {
		b.streak++
	}
	switch {
	case b.denied:
		wait = b.afterDenialLocked()
	case b.taken > 0 && !b.urgent:
		wait = max(wait, b.afterTakeoverLocked())
	}
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // jitter is no secret
}

// A refusal is no reason to bind again until it has lasted for softFor: after a power cut, the broker may
// not be able to ask its server yet, and the agent may never have been connected. The first wait is
// firstDenied times the minimum, and each further wait is twice as long.
const (
	softFor     = 2 * time.Minute
	firstDenied = 5
)

// afterDenialLocked returns how long to wait after a refusal.
func (b *backoff) afterDenialLocked() time.Duration {
	if !b.softLocked() {
		return b.refused
	}
	return retry.Pause(firstDenied*b.least, b.refused, b.denials-1)
}

// softLocked reports whether the refusal may pass by itself.
func (b *backoff) softLocked() bool { return b.now().Sub(b.deniedSince) < softFor }

// firstTaken is the wait after the first takeover, in multiples of the minimum wait.
const firstTaken = 5

// afterTakeoverLocked returns how long to leave the session to another machine. The wait doubles
// with each takeover, so that the two machines do not fight for ever. It stays short enough to
// return soon after the other machine is gone.
func (b *backoff) afterTakeoverLocked() time.Duration {
	return retry.Pause(firstTaken*b.least, b.longest, b.taken-1)
}

// TakenOver records that another machine took over the session. It reports whether that is news.
func (b *backoff) TakenOver() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now().Sub(b.upSince) >= 2*b.longest { // the other machine would not have left us alone for so long
		b.taken = 0
	}
	b.taken++
	return b.taken == 1
}

// refusal says how to report refused credentials.
type refusal int

const (
	refusalKnown   refusal = iota // nothing new
	refusalPassing                // may be temporary
	refusalLasting
)

// Denied records that the broker refused the credentials. It returns how to log the refusal.
func (b *backoff) Denied() refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !b.denied
	if first {
		b.denied, b.deniedSince, b.denials, b.lasting = true, b.now(), 0, false
	}
	b.denials++
	switch {
	case !b.softLocked() && !b.lasting:
		b.lasting = true
		return refusalLasting
	case first:
		return refusalPassing
	}
	return refusalKnown
}

// Failed records an attempt that failed for a reason other than the credentials.
func (b *backoff) Failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.denied = false
}

// Up records a connection.
func (b *backoff) Up() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.denied, b.upSince = false, b.now()
}

// Down records the end of a connection.
func (b *backoff) Down() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now().Sub(b.upSince) >= b.stable {
		b.streak = 0
	}
}
