package wanted

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"wfm/appliance/command"
	"wfm/internal/bounded"
	"wfm/internal/refusal"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

const (
	// feedBuffer is the number of changes that may wait for the keeper before it reads everything
	// again.
	feedBuffer = 8192
	// settle is the delay from a change to the look at its node: most changes come in groups.
	settle = 2 * time.Second
	// tick is the time between checks for due nodes, while there are any.
	tick = time.Second
	// retryWrite is the pause before a node whose command could not be stored is looked at again.
	retryWrite = 30 * time.Second
)

// Commands gives commands to nodes.
type Commands interface {
	Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error)
	StartWanted(nodeID string, check func(*store.Tx) error) (store.Command, error)
}

// Options configures New.
type Options struct {
	Store    *store.DB
	Commands Commands
	Presence presence.Times // rules that say whether a node is online; zero times take their defaults
	Logger   *slog.Logger   // default: discard
}

// Keeper sends the starts.
type Keeper struct {
	Options
	ctx  context.Context //nolint:containedctx // it ends with the keeper
	end  context.CancelFunc
	done sync.WaitGroup
	due  map[string]time.Time // by node id: when to look at it; used by the goroutine only
}

// New makes a keeper; nothing happens before [Keeper.Start].
func New(o Options) *Keeper {
	o.Presence = o.Presence.OrDefault()
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(context.Background())
	return &Keeper{Options: o, ctx: ctx, end: end, due: make(map[string]time.Time)}
}

// Start looks at every node whose tunnel should run, and then follows the changes.
func (k *Keeper) Start() error {
	changes := k.Store.Subscribe(feedBuffer) // subscribe before reading
	if err := k.lookAtAll(); err != nil {
		changes.Close()
		return err
	}
	k.done.Go(func() { k.run(changes) })
	return nil
}

// Stop ends the keeper and waits for it, or until ctx ends. It may be called again.
func (k *Keeper) Stop(ctx context.Context) error {
	k.end()
	return bounded.Wait(ctx, "stop looking after tunnels", k.done.Wait)
}

func (k *Keeper) run(changes *store.Subscription) {
	defer func() { changes.Close() }()
	for {
		var wake <-chan time.Time
		if len(k.due) > 0 {
			wake = time.After(tick)
		}
		select {
		case <-k.ctx.Done():
			return
		case c, ok := <-changes.C:
			if ok {
				k.note(c)
				continue
			}
			changes = k.Store.Subscribe(feedBuffer)
			if err := k.lookAtAll(); errors.Is(err, store.ErrClosed) {
				return
			}
		case <-wake:
			k.lookAtDue()
		}
	}
}

func (k *Keeper) note(c store.Change) {
	switch c.Kind { //nolint:exhaustive // the others change nothing of it
	case store.ChangeEvidence, store.ChangeNode, store.ChangeCommand, store.ChangeApply:
		k.lookAt(c.NodeID, k.Store.Now().Add(settle))
	}
}

// lookAt schedules a look at the node at the given time at the latest.
func (k *Keeper) lookAt(nodeID string, at time.Time) {
	if due, ok := k.due[nodeID]; nodeID != "" && (!ok || at.Before(due)) {
		k.due[nodeID] = at
	}
}

func (k *Keeper) lookAtAll() error {
	return k.Store.View(func(tx *store.Tx) error {
		for _, id := range tx.WantedNodes() {
			k.lookAt(id, tx.Now().Add(settle))
		}
		return nil
	})
}

func (k *Keeper) lookAtDue() {
	now := k.Store.Now()
	for id, at := range k.due {
		if k.ctx.Err() != nil {
			return
		}
		if !now.Before(at) {
			delete(k.due, id)
			k.look(id)
		}
	}
}

// look carries out the verdict for the node.
func (k *Keeper) look(nodeID string) {
	v, err := store.Read(k.Store, func(tx *store.Tx) (verdict, error) { return k.decide(tx, nodeID) })
	switch {
	case err != nil:
	case v.act == actDetect:
		_, err = k.Commands.Issue(k.ctx, nodeID, protocol.ActionDetect, command.ByWantedState, false)
	case v.act == actStart:
		err = k.start(nodeID)
	case !v.again.IsZero():
		k.lookAt(nodeID, v.again)
	}
	// The end of a state that keeps the node from getting commands is a change.
	for _, e := range []error{
		nil, errNotNow, store.ErrNodeNotFound, refusal.ErrNodeOffline, store.ErrNodeDisabled, store.ErrNodeStatic, refusal.ErrNotInitialized,
		tunnel.ErrNothingToStart, store.ErrClosed,
	} {
		if errors.Is(err, e) {
			return
		}
	}
	k.Logger.Warn("a tunnel that should run cannot be started", "node_id", nodeID, "err", err)
	k.lookAt(nodeID, k.Store.Now().Add(retryWrite))
}

// errNotNow is returned if the verdict is out of date.
var errNotNow = errors.New("the node has changed since")

func (k *Keeper) start(nodeID string) error {
	attempts := 0
	_, err := k.Commands.StartWanted(nodeID, func(tx *store.Tx) error {
		v, err := k.decide(tx, nodeID)
		if err == nil && v.act != actStart {
			err = errNotNow
		}
		if err != nil {
			return err
		}
		if err := tx.UpdateWanted(nodeID, func(w *store.Wanted) {
			w.Attempts, w.LastAttemptAt = w.Attempts+1, tx.Now().UTC()
			attempts = w.Attempts
		}); err != nil || attempts != maxAttempts {
			return err
		}
		return tx.Note(nodeID, store.JournalEntry{
			Level: "error", Event: protocol.EventTunnelNotRestored,
			Message: "the tunnel should run and does not, although it was started repeatedly; this is the last attempt until the node connects again or an " +
				"operator starts it",
		})
	})
	if err == nil {
		k.Logger.Info("a tunnel that should run was found stopped and is started", "node_id", nodeID, "attempt", attempts)
	}
	return err
}
