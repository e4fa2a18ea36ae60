package access

import (
	"sync"
	"time"

	"wfm/store"
)

// countedEvery is how often, at most, what was only counted is written down as well.
const countedEvery = 10 * time.Minute

// auditBudget bounds how fast the audit log grows, so that no flood, by anybody, pushes real entries
// out of it.
//
// The log keeps AuditTime (30 days) of entries, up to AuditMost (100,000). Each class of entries has a
// budget over all who cause them, in tokens: a burst at once and a rate after that. What all classes
// together can add in 30 days, bursts included, is less than AuditMost, so what somebody did cannot be
// made to disappear by doing, or failing at, much more. Budgets of single logins below those of the
// class keep one login from spending what the others are recorded with.
//
// Nothing is refused for the budget's sake. An administrator has to be able to act at any time, above
// all to reset or disable nodes while a script runs wild, and a log that stops the work to stay whole
// would be the more dangerous tool. Beyond its budget, a login's write is summed up: its beginning is
// on disk before it is done, as with any other, and its end goes into one entry for many with every
// kind and result, how often each came, and the ids concerned ([store.AuditSum]). Sums are closed when
// they are full, after countedEvery, and when somebody reads the log, as far as the budget of sums goes;
// until then they grow. A sum is part of the hash chain as any entry is. What changes nothing (refused
// requests, proofs, reads of keys) is counted in memory and told by the next entry like it.
//
// Budgets are in memory: a restart, which only the operator can make, begins them anew.
type auditBudget struct {
	writes    *Limiter[string] // requests that may change something, by login
	allWrites *Limiter[string]
	sums      *Limiter[string] // entries for many requests
	refused   *Limiter[string] // by login; strangers, who have none, share one
	allKnown  *Limiter[string] // refused requests of all logins together
	proofs    *Limiter[string] // strangers who proved who they are, together
	keyReads  *Limiter[string] // reads of private keys, by login
	allReads  *Limiter[string]
	sameKeys  *Limiter[string] // by login and text: a page reads it again and again

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

// mostIn bounds how many entries the classes together can add in d. The refused requests of strangers
// have no class of their own: all share one key.
func (b *auditBudget) mostIn(d time.Duration) (entries float64) {
	for _, class := range []*Limiter[string]{b.allWrites, b.sums, b.refused, b.allKnown, b.proofs, b.allReads} {
		entries += class.burst + d.Seconds()*class.perSecond
	}
	return entries
}

// takeBoth spends a token of the key's budget and one of the whole class, or none.
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

// takeWrite reports whether the login's write gets an entry of its own; otherwise it is summed up.
func (b *auditBudget) takeWrite(l Login, now time.Time) bool {
	return takeBoth(b.writes, b.allWrites, l.ID, now)
}

// Spend takes n writes from the budget of the login with the id, as that many requests of it would.
func (a *Auditor) Spend(id string, n int) {
	for range n {
		a.budget.takeWrite(Login{Session: store.Session{ID: id}}, time.Now())
	}
}

// takeSum reports whether the sum is to be closed now.
func (b *auditBudget) takeSum(sum store.AuditEntry, now time.Time) bool {
	if !sum.Sum.Full() && now.Sub(sum.At) < countedEvery {
		return false
	}
	_, ok := b.sums.Take("", now)
	return ok
}

// admitAttempt is for what somebody without a login, or who was refused, tried.
func (b *auditBudget) admitAttempt(e *store.AuditEntry) bool {
	if e.Code == "" { // what it took was a secret; whose session it began is new each time
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

// admit counts the entry unless it is within the budget. It returns within.
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

// takeCounted returns an entry for each kind of what was only counted, as far as the budget of sums
// goes: the last of it, with the number of the others. Nothing, if that was done a short while ago.
// With all it returns all.
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
