package nodekey

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/mesh"
	"wfm/store"
)

const (
	// feedBuffer is the number of changes that may wait for the keeper before it reads everything again.
	feedBuffer = 8192
	// keyBurst keys of a node are taken at once, and then one each keyPause. Each of them changes the tunnel
	// configs of the node's peers, so an agent that never stops would keep the mesh from being applied.
	keyBurst = 5
	keyPause = 10 * time.Minute
)

var errTooOften = &mesh.Error{
	Code:    mesh.CodeInvalidKey,
	Message: fmt.Sprintf("The node changes its key too often; from now on, its newest one is taken every %d minutes. Check its agent.", keyPause/time.Minute),
}

// Options configures New.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger // default: discard
}

// Keeper takes the keys.
type Keeper struct {
	Options
	ctx  context.Context //nolint:containedctx // it ends with the keeper
	end  context.CancelFunc
	done sync.WaitGroup
	// The rest is used by the goroutine only.
	refused map[string]string    // by node id: the key whose refusal is in the journal
	used    map[string]time.Time // by node id: when the node may again change its key keyBurst times
	later   map[string]string    // by node id: the mesh of a node whose key has to wait
}

// New makes a keeper; nothing happens before [Keeper.Start].
func New(o Options) *Keeper {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(context.Background())
	return &Keeper{Options: o, ctx: ctx, end: end, refused: make(map[string]string), used: make(map[string]time.Time), later: make(map[string]string)}
}

// nodes are ids of nodes by the mesh.
type nodes map[string][]string

// Start takes the keys that were reported before, and then follows the changes.
func (k *Keeper) Start() error {
	changes := k.Store.Subscribe(feedBuffer) // subscribe before reading
	due, err := k.differing()
	if err != nil {
		changes.Close()
		return err
	}
	k.done.Go(func() { k.run(changes, due) })
	return nil
}

// Stop ends the keeper and waits for it, or until ctx ends. It may be called again.
func (k *Keeper) Stop(ctx context.Context) error {
	k.end()
	return bounded.Wait(ctx, "stop taking keys", k.done.Wait)
}

func (k *Keeper) run(changes *store.Subscription, due nodes) {
	defer func() { changes.Close() }()
	for {
		for configID, ids := range due {
			if ids = k.admit(configID, ids); len(ids) > 0 {
				k.take(configID, ids)
			}
		}
		due = nodes{}
		var wake <-chan time.Time
		if next, ok := k.next(); ok {
			wake = time.After(next.Sub(k.Store.Now()))
		}
		select {
		case <-k.ctx.Done():
			return
		case <-wake:
			k.waited(due)
		case c, ok := <-changes.C:
			if k.drain(changes, due, c, ok) {
				continue
			}
			changes = k.Store.Subscribe(feedBuffer)
			var err error
			if due, err = k.differing(); errors.Is(err, store.ErrClosed) {
				return
			}
		}
	}
}

// admit returns the nodes whose keys may be taken now. The others have to wait.
func (k *Keeper) admit(configID string, ids []string) (admitted []string) {
	now := k.Store.Now()
	maps.DeleteFunc(k.used, func(_ string, at time.Time) bool { return !at.After(now) })
	for _, id := range ids {
		switch used, some := k.used[id]; {
		case !some:
			used = now
			fallthrough
		case !now.Before(free(used)):
			k.used[id] = used.Add(keyPause)
			admitted = append(admitted, id)
		default:
			k.later[id] = configID
			k.refuse(id, errTooOften)
		}
	}
	return admitted
}

// free returns when a node may change its key again.
func free(used time.Time) time.Time { return used.Add(-(keyBurst - 1) * keyPause) }

// next returns when the key of a node has waited long enough.
func (k *Keeper) next() (next time.Time, ok bool) {
	for id := range k.later {
		if at := free(k.used[id]); !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	return next, ok
}

// waited adds the nodes to due that have waited long enough.
func (k *Keeper) waited(due nodes) {
	now := k.Store.Now()
	for id, configID := range k.later {
		if !now.Before(free(k.used[id])) {
			delete(k.later, id)
			delete(k.refused, id)
			due[configID] = append(due[configID], id)
		}
	}
}

// drain notes the change, and those that wait behind it: the keys of nodes that are bound at the same time
// are taken together. It returns false once the subscription has ended.
func (k *Keeper) drain(changes *store.Subscription, due nodes, c store.Change, ok bool) bool {
	for ok {
		k.note(due, c)
		select {
		case c, ok = <-changes.C:
		default:
			return true
		}
	}
	return false
}

// note adds the node of the change to due if the others lack its key.
func (k *Keeper) note(due nodes, c store.Change) {
	if c.Kind != store.ChangeNode || k.later[c.NodeID] != "" || slices.Contains(due[c.ConfigID], c.NodeID) {
		return
	}
	n, err := store.Read(k.Store, func(tx *store.Tx) (store.Node, error) { return tx.Node(c.NodeID) })
	if err == nil && mesh.KeyDiffers(n) && k.refused[n.ID] != n.Client.PublicKey {
		due[n.ConfigID] = append(due[n.ConfigID], n.ID)
	}
}

// differing returns the nodes whose keys the others lack.
func (k *Keeper) differing() (nodes, error) {
	due := nodes{}
	err := k.Store.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			all, err := tx.Nodes(cfg.ID, "", 0)
			if err != nil {
				return err
			}
			for _, n := range all {
				if mesh.KeyDiffers(n) {
					due[cfg.ID] = append(due[cfg.ID], n.ID)
				}
			}
		}
		return nil
	})
	return due, err
}

// take takes the keys of the nodes of a mesh. If that fails because of one of them, it takes each key by
// itself.
func (k *Keeper) take(configID string, ids []string) {
	var refused map[string]*mesh.Error
	changed, err := store.Write(k.Store, func(tx *store.Tx) (changed mesh.Changed, err error) {
		changed, refused, err = mesh.TakeKeys(tx, configID, ids, rand.Reader)
		return changed, err
	})
	why, isRefusal := errors.AsType[*mesh.Error](err)
	switch {
	case err == nil:
		for id, why := range refused {
			k.refuse(id, why)
		}
		if len(changed.NodeIDs) > 0 {
			k.Logger.Info("nodes have new keys", "config_id", configID, "nodes", len(ids)-len(refused), "new_configs", len(changed.NodeIDs))
		}
	case isRefusal && len(ids) == 1:
		k.refuse(ids[0], why)
	case isRefusal:
		for _, id := range ids {
			k.take(configID, []string{id})
		}
	case errors.Is(err, store.ErrConfigNotFound), errors.Is(err, store.ErrClosed):
	default: // the nodes' next messages bring them here again
		k.Logger.Error("cannot take the keys of nodes", "config_id", configID, "nodes", len(ids), "err", err)
	}
}

// refuse notes in the node's journal why its key was not taken.
func (k *Keeper) refuse(nodeID string, why *mesh.Error) {
	k.Logger.Warn("the key of a node is refused", "node_id", nodeID, "err", why)
	err := k.Store.Update(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err != nil {
			return err
		}
		if n.Client != nil {
			k.refused[nodeID] = n.Client.PublicKey
		}
		return mesh.KeyRefused(tx, nodeID, why)
	})
	if err != nil && !errors.Is(err, store.ErrNodeNotFound) && !errors.Is(err, store.ErrClosed) {
		k.Logger.Error("cannot note in the journal that a key is refused", "node_id", nodeID, "err", err)
	}
}
