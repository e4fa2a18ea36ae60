package store

import "sync"

// ChangeKind is the kind of object that changed.
type ChangeKind string

// The kinds of change. They are hints to read the object again, not deltas.
const (
	ChangeConfig   ChangeKind = "config"   // created, changed or deleted
	ChangeNode     ChangeKind = "node"     // created, changed, bound, reset or deleted
	ChangeEvidence ChangeKind = "evidence" // the evidence that presence is computed from
	ChangePresence ChangeKind = "presence" // a node's state or its tunnel's changed, not just its evidence
	ChangeCommand  ChangeKind = "command"  // created or changed
	ChangeApply    ChangeKind = "apply"    // a node's desired, staged, confirmed or reported config
	ChangeJournal  ChangeKind = "journal"  // a line was added
	ChangeRollout  ChangeKind = "rollout"  // created or changed, or one of its nodes
	ChangeSettings ChangeKind = "settings" // changed
	ChangeMesh     ChangeKind = "mesh"     // a link or a port forward was created, changed or deleted
)

// Change is one committed change. Ids that do not apply are empty.
type Change struct {
	Kind      ChangeKind
	ConfigID  string
	NodeID    string
	RequestID string
	State     string // of ChangePresence: the node's state now
	RolloutID string
	Created   bool
}

// Subscription delivers committed changes in order until it is closed or falls behind.
type Subscription struct {
	// C is closed when the subscription ends: through Close, when the store closes, or because the
	// subscriber fell behind and has to read everything again.
	C <-chan Change

	c    chan Change
	feed *feed
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() { s.feed.remove(s) }

// feed distributes changes. It never waits for a subscriber: one with a full buffer is dropped.
type feed struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	closed bool
}

// Subscribe delivers the changes committed from now on, buffering up to buffer of them.
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
