package store

import (
	"sync"
	"time"
)

// clock tells the time of transactions. The order of signals decides who is online, so it never goes
// back while the process runs, although the system's clock may be set back: it then goes on steadily
// from where it was, until the system's has caught up. It follows every leap forward, such as that of
// a device without a battery clock which has just learned the time.
type clock struct {
	// system is the system's clock, and one that runs steadily and nobody sets.
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

// clockSlack is how much the clock may be set back without ending what was begun before that.
const clockSlack = time.Minute

// within reports whether now lies in the life of what was made at made and ends at end (zero: never).
// What was made while the clock was ahead would else live on for as long as the clock was ahead.
func within(now, made, end time.Time) bool {
	return end.IsZero() || now.Before(end) && !made.After(now.Add(clockSlack))
}

// Now is the time by the clock of transactions, which what they have stored is to be compared with.
func (db *DB) Now() time.Time { return db.clock.now() }
