package tracker

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
)

const (
	// probeSlots is the number of parts of an interval. A node's id decides in which part it is
	// probed.
	probeSlots = 120
	// probesInFlight bounds the unanswered detects. A node that never answers occupies one for 10
	// s, so with 120 s between two turns, 768 such nodes can all be probed.
	probesInFlight = 64
)

// DefaultInterval is the time between two probes of a node while somebody watches.
const DefaultInterval = 120 * time.Second

// Commands gives commands and waits for their end.
type Commands interface {
	Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error)
	Wait(ctx context.Context, requestID string) (store.Command, error)
}

// Prober sends a detect to every node once per interval, but only while somebody watches. The nodes
// are spread over the interval, each always at the same place, so that the first watcher causes no
// burst.
type Prober struct {
	db       *store.DB
	commands Commands
	slot     time.Duration
	log      *slog.Logger

	inFlight chan struct{} // one place per unanswered detect, for all watchers together

	mu       sync.Mutex
	stopped  bool
	watchers int
	cancel   context.CancelFunc // ends the running loop; nil without watchers
	running  sync.WaitGroup
}

// ProberOptions configures NewProber.
type ProberOptions struct {
	Store    *store.DB
	Commands Commands
	Interval time.Duration // between two probes of a node; default: DefaultInterval
	Logger   *slog.Logger  // default: discard
}

// NewProber returns a prober. Nothing runs before [Prober.Watch].
func NewProber(o ProberOptions) *Prober {
	return &Prober{
		db: o.Store, commands: o.Commands, slot: cmp.Or(o.Interval, DefaultInterval) / probeSlots,
		log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), inFlight: make(chan struct{}, probesInFlight),
	}
}

// Watch keeps the prober running until release is called. release may be called again.
func (p *Prober) Watch() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers++
	if p.cancel == nil && !p.stopped {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel = cancel
		p.running.Go(func() { p.loop(ctx) })
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.watchers--; p.watchers == 0 && p.cancel != nil {
			p.cancel()
			p.cancel = nil
		}
	})
}

// Stop ends probing for good and waits for its goroutines. It may be called again.
func (p *Prober) Stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopped = true
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
	p.mu.Unlock()
	return bounded.Wait(ctx, "stop the prober", p.running.Wait)
}

func (p *Prober) loop(ctx context.Context) {
	ticks := time.NewTicker(p.slot)
	defer ticks.Stop()
	var slots [probeSlots][]string
	read := false
	var waiting turns
	for {
		var place chan<- struct{} // nil, so never ready, while no node waits for a place
		if len(waiting.order) > 0 {
			place = p.inFlight
		}
		select {
		case <-ctx.Done():
			return
		case place <- struct{}{}:
			id := waiting.next()
			p.running.Go(func() {
				defer func() { <-p.inFlight }()
				p.probe(ctx, id)
			})
		case now := <-ticks.C:
			k := now.UnixNano() / int64(p.slot) % probeSlots
			if k == 0 || !read { // once per interval is often enough to notice new nodes
				var err error
				if slots, err = p.nodes(); err != nil {
					p.log.Error("cannot read the nodes to probe", "err", err)
					continue
				}
				read = true
			}
			for _, id := range slots[k] {
				waiting.add(id)
			}
		}
	}
}

// turns has the nodes whose turn has come and which wait for a place, in order of arrival. However
// many nodes never answer, each node gets its turn before another gets a second one.
type turns struct {
	order []string
	in    map[string]struct{}
}

// add appends the node, unless it already waits.
func (t *turns) add(nodeID string) {
	if _, waits := t.in[nodeID]; waits {
		return
	}
	if t.in == nil {
		t.in = make(map[string]struct{})
	}
	t.in[nodeID] = struct{}{}
	t.order = append(t.order, nodeID)
}

// next removes the node that has waited longest.
func (t *turns) next() string {
	id := t.order[0]
	t.order = t.order[1:]
	delete(t.in, id)
	return id
}

// nodes returns the ids of the nodes that can be probed, by slot.
func (p *Prober) nodes() ([probeSlots][]string, error) {
	return store.Read(p.db, func(tx *store.Tx) (slots [probeSlots][]string, err error) {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return slots, err
		}
		for _, cfg := range configs {
			if !cfg.Enabled {
				continue
			}
			nodes, err := tx.Nodes(cfg.ID, "", 0)
			if err != nil {
				return slots, err
			}
			for _, n := range nodes {
				if n.Type == store.NodeDynamic && n.Enabled && n.Client != nil {
					k := slotOf(n.ID)
					slots[k] = append(slots[k], n.ID)
				}
			}
		}
		return slots, nil
	})
}

func slotOf(nodeID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(nodeID))
	return int(h.Sum32() % probeSlots)
}

// probe sends the node a detect and waits for its end. If the node is away or was deleted, that is
// not an error.
func (p *Prober) probe(ctx context.Context, nodeID string) {
	cmd, err := p.commands.Issue(ctx, nodeID, protocol.ActionDetect, "system", false)
	switch {
	case err == nil:
		_, _ = p.commands.Wait(ctx, cmd.RequestID)
	case errors.Is(err, refusal.ErrNodeOffline), errors.Is(err, store.ErrNodeNotFound), errors.Is(err, store.ErrNodeDisabled),
		errors.Is(err, refusal.ErrNotInitialized), errors.Is(err, store.ErrNodeStatic), errors.Is(err, store.ErrClosed):
	default:
		p.log.Warn("cannot probe a node", "node_id", nodeID, "err", err)
	}
}
