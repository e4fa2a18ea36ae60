package store

import "sync"

// ChangeKind says what changed.
type ChangeKind string

// The kinds of change. They are hints to read anew, not deltas.
const (
	ChangeConfig   ChangeKind = "config"   // created, changed or deleted
	ChangeNode     ChangeKind = "node"     // created, changed, bound, reset or deleted
	ChangeEvidence ChangeKind = "evidence" // what presence rests on
	ChangePresence ChangeKind = "presence" // a node's state or its tunnel's changed, not only its evidence
	ChangeCommand  ChangeKind = "command"  // created or changed
	ChangeApply    ChangeKind = "apply"    // what is desired, staged, confirmed or reported of a node's config
	ChangeJournal  ChangeKind = "journal"  // a line was added
	ChangeRollout  ChangeKind = "rollout"  // created or changed, or one of its nodes
	ChangeSettings ChangeKind = "settings" // changed
)

// Change is one committed change. Ids that do not apply are empty.
type Change struct {
	Kind      ChangeKind
	ConfigID  string
	NodeID    string
	RequestID string
	State     string // of ChangePresence: the state the node is in now
	RolloutID string
	Created   bool
}

// Subscription receives committed changes in order until it is closed or too slow.
type Subscription struct {
	// C is closed when the subscription ends: by Close, by the store closing, or because the
	// subscriber lagged and must read everything anew.
	C <-chan Change

	c    chan Change
	feed *feed
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() { s.feed.remove(s) }

// feed fans changes out. It never waits for a subscriber: one whose buffer is full is dropped.
type feed struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	closed bool
}

// Subscribe starts to deliver changes committed from now on, buffering up to buffer of them.
func (db *DB) Subscribe(buffer int) *Subscription {
	c := make(chan Change, buffer)
	s := &Subscription{C: c, c: c, feed: &db.feed}
	db.feed.mu.Lock()
	defer db.feed.mu.Unlock()
	if db.feed.closed {
		close(c)
		return s
	}
	if db.feed.subs == nil {
		db.feed.subs = make(map[*Subscription]struct{})
	}
	db.feed.subs[s] = struct{}{}
	return s
}

func (f *feed) publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		for _, c := range changes {
			select {
			case s.c <- c:
				continue
			default:
			}
			delete(f.subs, s)
			close(s.c)
			break
		}
	}
}

func (f *feed) remove(s *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.subs[s]; ok {
		delete(f.subs, s)
		close(s.c)
	}
}

func (f *feed) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.subs {
		delete(f.subs, s)
		close(s.c)
	}
}
