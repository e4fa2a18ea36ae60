package access

import (
	"sync"
	"time"

	"wfm/store"
)

// countedEvery is the shortest time between two writes of the counts.
const countedEvery = 10 * time.Minute

// auditBudget bounds the growth of the audit log, so that no flood of requests pushes real entries
// out of it.
//
// The log keeps the entries of AuditTime (30 days), at most AuditMost (100,000). Each class of
// entries has a budget in tokens over all its actors: a burst and a rate. All classes together,
// bursts included, can add fewer than AuditMost entries in 30 days, so no actor can make an entry
// disappear by sending many more requests, good or bad. Below the budget of its class, each login
// has a smaller one, so that one login cannot spend the tokens of the others.
//
// An exhausted budget refuses no request. An administrator must be able to act at any time, above
// all to reset or disable nodes while a script runs wild; a log that stops this work would be more
// dangerous than one with summed entries. Beyond the budget of a login, its writes are summed: the
// beginning is on disk before the write is done, as always, and the end goes into one entry for
// many requests, with each kind and result, its number, and the ids concerned ([store.AuditSum]).
// Sums are closed when they are full, after countedEvery, and before the log is read, as far as the
// budget of sums allows; until then they grow. A sum is part of the hash chain like any entry.
// Requests that change nothing (refused ones, proofs, reads of keys) are counted in memory, and the
// next entry of the same kind gives their number.
//
// Budgets are in memory. A restart, which only the operator can cause, fills them again.
type auditBudget struct {
	writes    *Limiter[string] // requests that may change something, by login
	allWrites *Limiter[string]
	sums      *Limiter[string] // entries for many requests
	refused   *Limiter[string] // by login; all requests without a login share one
	allKnown  *Limiter[string] // refused requests of all logins together
	proofs    *Limiter[string] // successful proofs without a login, together
	keyReads  *Limiter[string] // reads of private keys, by login
	allReads  *Limiter[string]
	sameKeys  *Limiter[string] // by login and text, since a page reads the same text repeatedly

	mu      sync.Mutex
	counted map[kind]count
	written time.Time // when the counts were last written
}

// kind identifies the entries that are counted together.
type kind struct{ actorID, actor, what string }

// count counts entries that were not written.
type count struct {
	n    int
	last store.AuditEntry
}

func newAuditBudget() *auditBudget {
	return &auditBudget{
		writes:    NewLimiter[string](0.25, 10_000),
		allWrites: NewLimiter[string](0.25, 40_000),
		sums:      NewLimiter[string](0.25, 1_000),
		refused:   NewLimiter[string](0.1, 30),
		allKnown:  NewLimiter[string](0.1, 2_000),
		proofs:    NewLimiter[string](0.2, 6_000),
		keyReads:  NewLimiter[string](0.1, 300),
		allReads:  NewLimiter[string](0.1, 3_000),
		sameKeys:  NewLimiter[string](1.0/60, 1),
		counted:   make(map[kind]count),
		written:   time.Now(),
	}
}

// takeBoth spends a token of the key's budget and one of the whole class, or neither.
func takeBoth(each, all *Limiter[string], key string, now time.Time) bool {
	if _, ok := each.Take(key, now); !ok {
		return false
	}
	if _, ok := all.Take("", now); !ok {
		each.giveBack(key)
		return false
	}
	return true
}

// takeWrite reports whether the login's write gets an entry of its own. If not, it is summed.
func (b *auditBudget) takeWrite(l Login, now time.Time) bool {
	return takeBoth(b.writes, b.allWrites, l.ID, now)
}

// Spend takes n writes from the budget of the login with the id, as that many requests of it would.
func (a *Auditor) Spend(id string, n int) {
	for range n {
		a.budget.takeWrite(Login{Session: store.Session{ID: id}}, time.Now())
	}
}

// takeSum reports whether to close the sum now.
func (b *auditBudget) takeSum(sum store.AuditEntry, now time.Time) bool {
	if !sum.Sum.Full() && now.Sub(sum.At) < countedEvery {
		return false
	}
	_, ok := b.sums.Take("", now)
	return ok
}

// admitAttempt reports whether to write the entry of a request that had no login or was refused.
func (b *auditBudget) admitAttempt(e *store.AuditEntry) bool {
	if e.Code == "" { // a successful proof; the id of its new session differs each time
		_, ok := b.proofs.Take("", time.Now())
		return b.admit(e, ok, kind{"", e.Actor, e.Action})
	}
	now, ok := time.Now(), false
	if e.ActorID == "" {
		_, ok = b.refused.Take("", now)
	} else {
		ok = takeBoth(b.refused, b.allKnown, e.ActorID, now)
	}
	return b.admit(e, ok, kind{e.ActorID, e.Actor, e.Code})
}

func (b *auditBudget) admitKeyRead(e *store.AuditEntry) bool {
	return b.admit(e, takeBoth(b.keyReads, b.allReads, e.ActorID, time.Now()), kind{e.ActorID, e.Actor, e.Action})
}

// admit counts the entry if it is not within the budget. It returns within.
func (b *auditBudget) admit(e *store.AuditEntry, within bool, k kind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counted[k]
	if !within {
		b.counted[k] = count{c.n + 1, *e}
		return false
	}
	e.Repeats = c.n
	delete(b.counted, k)
	return true
}

// takeCounted returns the last entry of each kind that was only counted, with the number of the
// others, as far as the budget of sums allows. It returns nothing within countedEvery of its last
// call. With all, it ignores both limits.
func (b *auditBudget) takeCounted(all bool) (entries []store.AuditEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !all && now.Sub(b.written) < countedEvery {
		return nil
	}
	b.written = now
	for k, c := range b.counted {
		if _, ok := b.sums.Take("", now); !ok && !all {
			break
		}
		c.last.Repeats = c.n - 1
		entries = append(entries, c.last)
		delete(b.counted, k)
	}
	return entries
}
