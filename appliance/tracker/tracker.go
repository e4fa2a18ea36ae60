package tracker

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/presence"
	"wfm/store"
)

const (
	// feedBuffer is the number of changes that may wait for the tracker before it reads everything
	// again.
	feedBuffer = 8192
	// lookBatch bounds the nodes processed in one transaction.
	lookBatch = 256
	// retryAfter is the pause before a history that could not be written is tried again.
	retryAfter = 5 * time.Second
)

// Tracker records every change of a node's state when it happens.
type Tracker struct {
	db    *store.DB
	times presence.Times
	log   *slog.Logger

	stopping chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup

	known map[string]*known // by node id
	due   dueHeap
	look  map[string]struct{} // nodes to look at
	lost  bool                // changes were missed: look at every node
}

// known is the last known state of a node.
type known struct {
	nodeID string
	state  presence.State
	tunnel presence.Tunnel
	next   time.Time // when time alone changes the state; zero for never
	place  int       // in the heap, while next is not zero
}

// Options configures New.
type Options struct {
	Store    *store.DB
	Presence presence.Times // rules that say whether a node is online; zero times take their defaults
	Logger   *slog.Logger   // default: discard
}

// New makes a tracker. Nothing runs before [Tracker.Start].
func New(o Options) *Tracker {
	return &Tracker{
		db: o.Store, times: o.Presence.OrDefault(), log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), stopping: make(chan struct{}),
		known: make(map[string]*known), look: make(map[string]struct{}),
	}
}

// Start looks at every node once, so that changes since the last run are in the history, and then
// follows the changes.
func (t *Tracker) Start() error {
	changes := t.db.Subscribe(feedBuffer) // subscribe before reading
	if err := t.lookAtAll(); err != nil {
		changes.Close()
		return err
	}
	t.done.Go(func() { t.run(changes) })
	t.done.Go(t.markAlive)
	return nil
}

// Stop ends the tracker and waits for it, or until ctx ends. It may be called again.
func (t *Tracker) Stop(ctx context.Context) error {
	t.stopOnce.Do(func() { close(t.stopping) })
	return bounded.Wait(ctx, "stop the tracker", t.done.Wait)
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
			t.lost = true
		case <-timer.C:
		}
		wait, err := t.step(t.db.Now())
		if errors.Is(err, store.ErrClosed) {
			return
		}
		if err != nil {
			t.log.Error("cannot keep the history of nodes; trying again", "err", err)
			wait = retryAfter
		}
		timer.Reset(wait)
	}
}

// gather takes the waiting changes, without waiting for more.
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
			t.log.Error("cannot read the nodes of a config; trying again", "config_id", c.ConfigID, "err", err)
			t.lost = true
		}
	case store.ChangeNode, store.ChangeEvidence:
		t.look[c.NodeID] = struct{}{}
	case store.ChangePresence, store.ChangeCommand, store.ChangeJournal, store.ChangeApply, store.ChangeRollout, store.ChangeSettings,
		store.ChangeMesh:
		// They are not evidence.
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

// step looks at the nodes that are marked or due, and returns the time until the next one is due.
func (t *Tracker) step(now time.Time) (time.Duration, error) {
	if t.lost {
		if err := t.lookAtAll(); err != nil {
			return 0, err
		}
		t.lost = false
	}
	for len(t.due) > 0 && !now.Before(t.due[0].next) {
		k := heap.Pop(&t.due).(*known)
		k.next = time.Time{}
		t.look[k.nodeID] = struct{}{}
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
			return 0, err
		}
	}
	switch {
	case len(t.look) > 0:
		return 0, nil
	case len(t.due) > 0:
		return max(0, t.due[0].next.Sub(now)), nil
	}
	return time.Hour, nil
}

// record looks at the nodes, and writes their changes in one transaction. Usually there are none,
// and then the writer's goroutine is not needed.
func (t *Tracker) record(nodeIDs []string) error {
	found, err := store.Read(t.db, func(tx *store.Tx) (map[string]presence.Status, error) {
		return t.eachStatus(tx, nodeIDs, func(store.Node, presence.Status) error { return nil })
	})
	if err != nil {
		return err
	}
	var changed []string
	for id, s := range found {
		if k := t.known[id]; k == nil || k.state != s.State || k.tunnel != s.Tunnel {
			changed = append(changed, id)
		}
	}
	if len(changed) > 0 {
		written, err := store.Write(t.db, func(tx *store.Tx) (map[string]presence.Status, error) {
			return t.eachStatus(tx, changed, func(n store.Node, s presence.Status) error { return t.write(tx, n, s) })
		})
		if err != nil {
			return err
		}
		for _, id := range changed {
			delete(found, id) // it may be deleted by now
		}
		maps.Copy(found, written)
	}
	for _, id := range nodeIDs {
		delete(t.look, id)
		s, ok := found[id]
		k := t.known[id]
		switch {
		case k == nil && !ok:
			continue
		case k == nil:
			k = &known{nodeID: id}
			t.known[id] = k
		case !ok:
			delete(t.known, id)
		}
		k.state, k.tunnel = s.State, s.Tunnel
		t.schedule(k, s.NextChange)
	}
	return nil
}

// eachStatus calls fn with the status of each node that exists, and returns the statuses.
func (t *Tracker) eachStatus(tx *store.Tx, nodeIDs []string, fn func(store.Node, presence.Status) error) (map[string]presence.Status, error) {
	found := make(map[string]presence.Status, len(nodeIDs))
	for _, id := range nodeIDs {
		n, err := tx.Node(id)
		if errors.Is(err, store.ErrNodeNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := statusOf(tx, n, t.times)
		if err == nil {
			err = fn(n, s)
		}
		if err != nil {
			return nil, err
		}
		found[id] = s
	}
	return found, nil
}

// write records a change of the node's state; a change of its tunnel is only announced.
func (t *Tracker) write(tx *store.Tx, n store.Node, s presence.Status) error {
	switch k := t.known[n.ID]; {
	case k == nil || k.state != s.State:
		return write(tx, n, s)
	case k.tunnel != s.Tunnel:
		tx.Emit(store.Change{Kind: store.ChangePresence, ConfigID: n.ConfigID, NodeID: n.ID, State: string(s.State)})
	}
	return nil
}

// schedule moves the node in the heap to the time next; zero removes it.
func (t *Tracker) schedule(k *known, next time.Time) {
	was := !k.next.IsZero()
	switch {
	case was && next.IsZero():
		heap.Remove(&t.due, k.place) // before next changes, which orders the heap
		k.next = next
	case was:
		k.next = next
		heap.Fix(&t.due, k.place)
	case !next.IsZero():
		k.next = next
		heap.Push(&t.due, k)
	}
}

// Witness returns a function for store.Options that records a node's change of state in the
// transaction that makes it. So none is missed, however many happen at once. The tracker adds the
// changes that time alone makes.
func Witness(times presence.Times) func(*store.Tx, store.Node) error {
	return func(tx *store.Tx, n store.Node) error {
		s, err := statusOf(tx, n, times)
		if err != nil {
			return err
		}
		return write(tx, n, s)
	}
}

// statusOf returns the node's status as seen by the transaction.
func statusOf(tx *store.Tx, n store.Node, times presence.Times) (presence.Status, error) {
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return presence.Status{}, err
	}
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return presence.Status{}, err
	}
	return presence.Project(n, cfg.Enabled, e, tx.Now(), times), nil
}

// write adds the state to the node's history, unless it is the last one there.
func write(tx *store.Tx, n store.Node, s presence.Status) error {
	at := s.Since
	if at.IsZero() {
		at = tx.Now()
	}
	return tx.AddTransition(n, store.Transition{At: at.UTC(), To: string(s.State), Reason: s.Reason})
}

// dueHeap has the nodes whose state time alone will change, soonest first, each of them once.
type dueHeap []*known

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	k := x.(*known)
	k.place = len(*h)
	*h = append(*h, k)
}

func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
