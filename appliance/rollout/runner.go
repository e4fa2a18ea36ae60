package rollout

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/internal/refusal"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// Commands gives commands to nodes.
type Commands interface {
	// Issue writes a command and sends it; see command.Ledger.Issue for its errors.
	Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error)
	// Push pushes a version of the node's config; see command.Ledger.Push for its errors.
	Push(ctx context.Context, nodeID string, o tunnel.Order, requestedBy string) (store.Command, tunnel.Taken, error)
	// Cancel ends an open command. Errors: store.ErrCommandNotFound, ErrCommandEnded.
	Cancel(ctx context.Context, requestID, by string) (store.Command, error)
}

// Options configures New.
type Options struct {
	Store    *store.DB
	Commands Commands
	Presence presence.Times // rules that say whether a node is online
	// Reachable reports whether the broker can be reached. While it cannot, no node has its turn,
	// since it is unknown which nodes are away. Default: it always can.
	Reachable func() bool
	Logger    *slog.Logger // default: discard
}

// Runner runs the rollouts of all configs, each on a goroutine of its own. Its methods may be
// called concurrently.
type Runner struct {
	db       *store.DB
	commands Commands
	times    presence.Times
	log      *slog.Logger

	reachable func() bool

	stopping context.Context // ends when Stop begins, and cancels commands being issued
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	workers map[string]*worker // by rollout id, while it is not finished
}

// New makes a runner. Nothing happens before [Runner.Start].
func New(o Options) *Runner {
	r := &Runner{
		db: o.Store, commands: o.Commands, times: o.Presence, reachable: o.Reachable,
		log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), workers: make(map[string]*worker),
	}
	if r.reachable == nil {
		r.reachable = func() bool { return true }
	}
	r.stopping, r.stop = context.WithCancel(context.Background())
	return r
}

// Start continues the rollouts that were not finished when the appliance last stopped, even if it
// was killed. Paused ones stay paused.
func (r *Runner) Start() error {
	open, err := store.Read(r.db, (*store.Tx).UnfinishedRollouts)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, ro := range open {
		w := newWorker(r, ro, now)
		w.adopt, w.patience = true, now.Add(comeBack)
		r.launch(w)
	}
	return nil
}

// Stop ends the work and waits for it, or until ctx ends. The rollouts stay unchanged in the store. Stop may be called
// again.
func (r *Runner) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.stop()
	return bounded.Wait(ctx, "stop the rollouts", r.running.Wait)
}

func (r *Runner) launch(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped { // the next start continues it
		return
	}
	r.workers[w.id] = w
	r.running.Go(func() {
		w.run()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.workers, w.id)
	})
}

// Begin writes a new rollout with ro's config, action, author, bounds and version over the nodes,
// in this order, and begins the first wave. Errors: those of store.AddRollout, and of writing.
func (r *Runner) Begin(ctx context.Context, ro store.Rollout, nodeIDs []string) (store.Rollout, error) {
	ro.ID = protocol.NewID("rol")
	if err := r.db.UpdateFor(ctx, func(tx *store.Tx) error { return tx.AddRollout(&ro, nodeIDs) }); err != nil {
		return store.Rollout{}, err
	}
	r.log.Info("rollout begun", "rollout_id", ro.ID, "config_id", ro.ConfigID, "action", ro.Action, "nodes", len(nodeIDs), "by", ro.RequestedBy)
	r.launch(newWorker(r, ro, ro.CreatedAt))
	return ro, nil
}

// Pause keeps the rollout from giving commands until it is resumed. Errors:
// store.ErrRolloutNotFound, refusal.ErrRolloutEnded.
func (r *Runner) Pause(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turnTo(ctx, id, store.RolloutPaused, "paused by "+by)
}

// Resume continues a paused rollout. Errors: store.ErrRolloutNotFound, refusal.ErrRolloutEnded.
func (r *Runner) Resume(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turnTo(ctx, id, store.RolloutRunning, "resumed by "+by)
}

// Cancel ends the rollout. Commands that were sent are followed to their end; queued ones are
// cancelled. Errors: store.ErrRolloutNotFound, refusal.ErrRolloutEnded.
func (r *Runner) Cancel(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turnTo(ctx, id, store.RolloutCancelled, "cancelled by "+by)
}

// turnTo changes the state of an active rollout, or does nothing if it is in that state. The worker
// learns of it from the change feed.
func (r *Runner) turnTo(ctx context.Context, id string, state store.RolloutState, reason string) (store.Rollout, error) {
	r.mu.Lock()
	w := r.workers[id]
	r.mu.Unlock()
	if w != nil { // so that no command is given after the return
		select {
		case w.turn <- struct{}{}:
			defer func() { <-w.turn }()
		case <-ctx.Done():
			return store.Rollout{}, ctx.Err()
		}
	}
	ro, err := store.WriteFor(ctx, r.db, func(tx *store.Tx) (store.Rollout, error) {
		ro, err := tx.Rollout(id)
		if err != nil || ro.State == state {
			return ro, err
		}
		if !ro.State.Active() {
			return ro, refusal.ErrRolloutEnded
		}
		ro.State, ro.Reason = state, reason
		if err := tx.PutRollout(ro); err != nil {
			return ro, err
		}
		return tx.Rollout(id)
	})
	if w != nil {
		clear(w.refused) // time passes while it is paused
	}
	if err == nil {
		r.log.Info("rollout changed", "rollout_id", id, "state", ro.State, "reason", ro.Reason)
	}
	return ro, err
}
