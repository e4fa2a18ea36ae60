package presence

import (
	"container/heap"
	"errors"
	"log/slog"
	"sync"
	"time"

	"wfm/store"
)

const (
	// feedBuffer is how many changes may wait for the tracker before it reads everything anew.
	feedBuffer = 8192
	// lookBatch bounds the nodes that are looked at in one transaction.
	lookBatch = 256
	// retryAfter is when a history that could not be written is tried again.
	retryAfter = 5 * time.Second
)

// Tracker writes down every change of a node's state, when it happens.
type Tracker struct {
	db    *store.DB
	times Times
	log   *slog.Logger

	stopping chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup

	known map[string]known // by node id
	due   dueHeap
	look  map[string]struct{} // nodes to look at
}

type known struct {
	state State
	next  time.Time // when time alone changes the state; zero for never
}

// NewTracker makes a tracker over db; nothing runs before [Tracker.Start].
func NewTracker(db *store.DB, times Times, log *slog.Logger) *Tracker {
	return &Tracker{
		db: db, times: times, log: log, stopping: make(chan struct{}),
		known: make(map[string]known), look: make(map[string]struct{}),
	}
}

// Start looks at every node once, so that what changed while nobody looked is in the history, and
// follows the changes from then on.
func (t *Tracker) Start() error {
	changes := t.db.Subscribe(feedBuffer) // first listen, then look
	if err := t.lookAtAll(); err != nil {
		changes.Close()
		return err
	}
	t.done.Go(func() { t.run(changes) })
	return nil
}

// Stop ends the tracker and waits for it. It may be called again.
func (t *Tracker) Stop() {
	t.stopOnce.Do(func() { close(t.stopping) })
	t.done.Wait()
}

func (t *Tracker) run(changes *store.Subscription) {
	defer func() { changes.Close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.stopping:
			return
		case c, ok := <-changes.C:
			if ok {
				t.note(c)
				t.gather(changes.C)
				break
			}
			changes = t.db.Subscribe(feedBuffer)
			if err := t.lookAtAll(); errors.Is(err, store.ErrClosed) {
				return
			} else if err != nil {
				t.log.Error("cannot read the nodes", "err", err)
			}
		case <-timer.C:
		}
		timer.Reset(t.step(time.Now()))
	}
}

// gather takes what waits already, and nothing else.
func (t *Tracker) gather(changes <-chan store.Change) {
	for range lookBatch {
		select {
		case c, ok := <-changes:
			if !ok {
				return // the next receive says so again
			}
			t.note(c)
		default:
			return
		}
	}
}

// note marks the nodes whose state the change may have changed.
func (t *Tracker) note(c store.Change) {
	switch c.Kind {
	case store.ChangeConfig:
		err := t.db.View(func(tx *store.Tx) error {
			nodes, err := tx.Nodes(c.ConfigID, "", 0)
			for _, n := range nodes {
				t.look[n.ID] = struct{}{}
			}
			return err
		})
		if err != nil {
			t.log.Error("cannot read the nodes of a config", "config_id", c.ConfigID, "err", err)
		}
	case store.ChangeNode, store.ChangeEvidence:
		t.look[c.NodeID] = struct{}{}
	case store.ChangePresence, store.ChangeCommand, store.ChangeJournal, store.ChangeRollout:
		// They are no evidence.
	}
}

func (t *Tracker) lookAtAll() error {
	return t.db.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		for _, cfg := range configs {
			nodes, err := tx.Nodes(cfg.ID, "", 0)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				t.look[n.ID] = struct{}{}
			}
		}
		return err
	})
}

// step looks at the nodes that are marked or due, and returns how long nothing is due.
func (t *Tracker) step(now time.Time) time.Duration {
	for len(t.due) > 0 && !now.Before(t.due[0].at) {
		entry := heap.Pop(&t.due).(dueEntry)
		if t.known[entry.nodeID].next.Equal(entry.at) { // else it is of an earlier look
			t.look[entry.nodeID] = struct{}{}
		}
	}
	batch := make([]string, 0, min(len(t.look), lookBatch))
	for id := range t.look {
		if len(batch) == lookBatch {
			break
		}
		batch = append(batch, id)
	}
	if len(batch) > 0 {
		if err := t.record(batch); err != nil {
			if !errors.Is(err, store.ErrClosed) {
				t.log.Error("cannot write the history of nodes; trying again", "err", err)
			}
			return retryAfter
		}
	}
	switch {
	case len(t.look) > 0:
		return 0
	case len(t.due) > 0:
		return max(0, t.due[0].at.Sub(now))
	}
	return time.Hour
}

// record looks at the nodes and writes down what has changed, all in one transaction.
func (t *Tracker) record(nodeIDs []string) error {
	found := make(map[string]Status, len(nodeIDs))
	err := t.db.Update(func(tx *store.Tx) error {
		clear(found) // it may run more than once
		for _, id := range nodeIDs {
			n, err := tx.Node(id)
			if errors.Is(err, store.ErrNodeNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			s, err := t.status(tx, n)
			if err != nil {
				return err
			}
			found[id] = s
			if t.known[id].state == s.State {
				continue
			}
			at := s.Since
			if at.IsZero() {
				at = tx.Now()
			}
			if err := tx.AddTransition(n, store.Transition{At: at.UTC(), To: string(s.State), Reason: s.Reason}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range nodeIDs {
		delete(t.look, id)
		s, ok := found[id]
		if !ok {
			delete(t.known, id)
			continue
		}
		if !s.NextChange.IsZero() && !t.known[id].next.Equal(s.NextChange) {
			heap.Push(&t.due, dueEntry{s.NextChange, id})
		}
		t.known[id] = known{s.State, s.NextChange}
	}
	return nil
}

func (t *Tracker) status(tx *store.Tx, n store.Node) (Status, error) {
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return Status{}, err
	}
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return Status{}, err
	}
	return Project(n, cfg.Enabled, e, tx.Now(), t.times), nil
}

// dueEntry is a moment at which time alone changes a node's state. One that another look has
// outdated stays in the heap until its moment.
type dueEntry struct {
	at     time.Time
	nodeID string
}

type dueHeap []dueEntry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueEntry)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
