package web

import (
	"strconv"
	"sync"
	"time"

	"wfm/store"
)

// countedEvery is how often, at most, what was only counted is written down as well.
const countedEvery = 10 * time.Minute

// auditBudget bounds what is written to the audit log, so that nobody can push out what he did by
// doing much more. The log keeps what is younger than 30 days, up to 100,000 entries; of one login at
// most 10,000 + 30 × 2,880 are made in that time.
//
// Requests that may change something are refused beyond the budget: each is to be in the log. What
// changes nothing is counted instead.
type auditBudget struct {
	writes   *limiter[string] // requests that may change something, by login
	tokens   *limiter[string] // those of all API tokens together
	refused  *limiter[string] // by login; strangers, who have none, share one
	proofs   *limiter[string] // strangers who proved who they are, together
	keyReads *limiter[string] // reads of private keys, by login
	sameKeys *limiter[string] // by login and text: a page reads it again and again

	mu      sync.Mutex
	counted map[kind]count
	written time.Time // when counted was last
}

// kind is what entries have in common that are counted together.
type kind struct{ actorID, actor, what string }

// count is what was not written down.
type count struct {
	n    int
	last store.AuditEntry
}

func newAuditBudget() *auditBudget {
	return &auditBudget{
		writes:   newLimiter[string](2, 10_000),
		tokens:   newLimiter[string](10, 30_000),
		refused:  newLimiter[string](0.5, 30),
		proofs:   newLimiter[string](1, 1000),
		keyReads: newLimiter[string](1, 300),
		sameKeys: newLimiter[string](1.0/60, 1),
		counted:  make(map[kind]count),
		written:  time.Now(),
	}
}

// takeWrite returns a *[rateError] when the login has made too many requests that may change
// something.
func (b *auditBudget) takeWrite(l login, now time.Time) error {
	wait, ok := b.writes.take(l.ID, now)
	if ok && l.scope != "" {
		if wait, ok = b.tokens.take("", now); !ok {
			b.writes.giveBack(l.ID)
		}
	}
	if ok {
		return nil
	}
	e := &rateError{wait: wait}
	e.message = "So many changes were asked for that the audit log would lose older ones; try again in " + strconv.Itoa(e.seconds()) + " seconds."
	return e
}

// admitAttempt is for what somebody without a login, or who was refused, tried.
func (b *auditBudget) admitAttempt(e *store.AuditEntry) bool {
	if e.Code == "" { // what it took was a secret; whose session it began is new each time
		return b.admit(e, b.proofs, kind{"", e.Actor, e.Action})
	}
	return b.admit(e, b.refused, kind{e.ActorID, e.Actor, e.Code})
}

func (b *auditBudget) admitKeyRead(e *store.AuditEntry) bool {
	return b.admit(e, b.keyReads, kind{e.ActorID, e.Actor, e.Action})
}

// admit reports whether the entry is to be written, and counts it otherwise.
func (b *auditBudget) admit(e *store.AuditEntry, budget *limiter[string], k kind) bool {
	_, ok := budget.take(k.actorID, time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counted[k]
	if !ok {
		b.counted[k] = count{c.n + 1, *e}
		return false
	}
	e.Repeats = c.n
	delete(b.counted, k)
	return true
}

// takeCounted returns an entry for each kind of what was only counted: the last of it, with the
// number of the others. Nothing, if that was done a short while ago, unless all is wanted.
func (b *auditBudget) takeCounted(all bool) (entries []store.AuditEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !all && now.Sub(b.written) < countedEvery {
		return nil
	}
	b.written = now
	for k, c := range b.counted {
		c.last.Repeats = c.n - 1
		entries = append(entries, c.last)
		delete(b.counted, k)
	}
	return entries
}
