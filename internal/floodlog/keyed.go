package floodlog

import (
	"sync"
	"time"
)

// maxKeys limits the number of remembered keys; outsiders choose some of them.
const maxKeys = 4096

// Keyed decides which repetitions of an event deserve a log line, since one sender may repeat it
// for ever: the first, and then one in every interval, with the number of those in between.
type Keyed struct {
	every time.Duration

	mu   sync.Mutex
	seen map[string]*repeated
}

type repeated struct {
	logged  time.Time
	leftOut int
}

// NewKeyed returns a Keyed that lets each key pass once in every interval.
func NewKeyed(every time.Duration) *Keyed {
	return &Keyed{every: every, seen: make(map[string]*repeated)}
}

// Take reports whether to log the event, and how many of its kind were dropped since the last
// logged one.
func (k *Keyed) Take(key string, now time.Time) (leftOut int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.seen[key]
	if r == nil {
		if len(k.seen) >= maxKeys {
			k.forgetLocked(now)
		}
		k.seen[key] = &repeated{logged: now}
		return 0, true
	}
	if since := now.Sub(r.logged); since >= 0 && since < k.every {
		r.leftOut++
		return 0, false
	}
	leftOut, r.leftOut, r.logged = r.leftOut, 0, now
	return leftOut, true
}

// forgetLocked removes a quarter of the keys, the longest quiet first.
func (k *Keyed) forgetLocked(now time.Time) {
	for key, r := range k.seen {
		if now.Sub(r.logged) >= k.every {
			delete(k.seen, key)
		}
	}
	for key := range k.seen {
		if len(k.seen) <= maxKeys*3/4 {
			return
		}
		delete(k.seen, key)
	}
}
