package store

import (
	"sync"
	"time"
)

// clock tells the time of transactions. The order of signals decides whether a node is online, so
// it never goes back while the process runs. If the system's clock is set back, clock continues
// steadily from where it was, until the system's clock has caught up. It follows every leap
// forward, for instance when a device without a battery clock learns the time.
type clock struct {
	// system returns the time of the system's clock, and that of a steady clock that cannot be set.
	system func() (wall time.Time, steady time.Duration)

	mu   sync.Mutex
	last time.Time
	at   time.Duration
}

func newClock() *clock {
	start := time.Now()
	return &clock{system: func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start)
	}}
}

func (c *clock) now() time.Time {
	wall, steady := c.system()
	c.mu.Lock()
	defer c.mu.Unlock()
	if least := c.last.Add(steady - c.at); !c.last.IsZero() && wall.Before(least) {
		wall = least
	}
	c.last, c.at = wall, steady
	return wall
}

// clockSlack is how far the clock may be set back without ending objects created before that.
const clockSlack = time.Minute

// within reports whether now lies between made and end (zero: never ends). Without the check of
// made, an object created while the clock was ahead would live longer by that much.
func within(now, made, end time.Time) bool {
	return end.IsZero() || now.Before(end) && !made.After(now.Add(clockSlack))
}

// Now returns the time of the clock of transactions, the one to compare with stored times.
func (db *DB) Now() time.Time { return db.clock.now() }
