package nodekey

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"

	"wfm/internal/bounded"
	"wfm/mesh"
	"wfm/store"
)

// feedBuffer is the number of changes that may wait for the keeper before it reads everything again.
const feedBuffer = 8192

// Options configures New.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger // default: discard
}

// Keeper takes the keys.
type Keeper struct {
	Options
	ctx     context.Context //nolint:containedctx // it ends with the keeper
	end     context.CancelFunc
	done    sync.WaitGroup
	refused map[string]string // by node id: the key whose refusal is in the journal; used by the goroutine only
}

// New makes a keeper; nothing happens before [Keeper.Start].
func New(o Options) *Keeper {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(context.Background())
	return &Keeper{Options: o, ctx: ctx, end: end, refused: make(map[string]string)}
}

// Start takes the keys that were reported before, and then follows the changes.
func (k *Keeper) Start() error {
	changes := k.Store.Subscribe(feedBuffer) // subscribe before reading
	differing, err := k.differing()
	if err != nil {
		changes.Close()
		return err
	}
	k.done.Go(func() { k.run(changes, differing) })
	return nil
}

// Stop ends the keeper and waits for it, or until ctx ends. It may be called again.
func (k *Keeper) Stop(ctx context.Context) error {
	k.end()
	return bounded.Wait(ctx, "stop taking keys", k.done.Wait)
}

func (k *Keeper) run(changes *store.Subscription, differing []string) {
	defer func() { changes.Close() }()
	for {
		for _, id := range differing {
			k.take(id)
		}
		differing = nil
		select {
		case <-k.ctx.Done():
			return
		case c, ok := <-changes.C:
			if ok {
				if c.Kind == store.ChangeNode {
					k.look(c.NodeID)
				}
				continue
			}
			changes = k.Store.Subscribe(feedBuffer)
			var err error
			if differing, err = k.differing(); errors.Is(err, store.ErrClosed) {
				return
			}
		}
	}
}

// differing returns the nodes whose reported key the others do not have.
func (k *Keeper) differing() (ids []string, err error) {
	err = k.Store.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			nodes, err := tx.Nodes(cfg.ID, "", 0)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if mesh.KeyDiffers(n) {
					ids = append(ids, n.ID)
				}
			}
		}
		return nil
	})
	return ids, err
}

// look takes the node's key if the others do not have it.
func (k *Keeper) look(nodeID string) {
	n, err := store.Read(k.Store, func(tx *store.Tx) (store.Node, error) { return tx.Node(nodeID) })
	if err == nil && mesh.KeyDiffers(n) && k.refused[nodeID] != n.Client.PublicKey {
		k.take(nodeID)
	}
}

func (k *Keeper) take(nodeID string) {
	var key string
	changed, err := store.Write(k.Store, func(tx *store.Tx) (mesh.Changed, error) {
		n, err := tx.Node(nodeID)
		if err != nil || n.Client == nil {
			return mesh.Changed{}, err
		}
		key = n.Client.PublicKey
		return mesh.TakeKey(tx, nodeID, rand.Reader)
	})
	why, refused := errors.AsType[*mesh.Error](err)
	switch {
	case err == nil:
		delete(k.refused, nodeID)
		if len(changed.NodeIDs) > 0 {
			k.Logger.Info("a node has a new key", "node_id", nodeID, "new_configs", len(changed.NodeIDs))
		}
	case refused:
		k.refused[nodeID] = key
		k.Logger.Warn("the key of a node is refused", "node_id", nodeID, "err", err)
		if err := k.Store.Update(func(tx *store.Tx) error { return mesh.KeyRefused(tx, nodeID, why) }); err != nil {
			k.Logger.Error("cannot note in the journal that a key is refused", "node_id", nodeID, "err", err)
		}
	case errors.Is(err, store.ErrNodeNotFound), errors.Is(err, store.ErrClosed):
	default: // the node's next message brings it here again
		k.Logger.Error("cannot take the key of a node", "node_id", nodeID, "err", err)
	}
}
