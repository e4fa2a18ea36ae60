package apply

import (
	"context"
	"errors"
	"sync"
	"time"

	"wfm/mesh"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// lookUpAgain is how long the result of a check is kept at most: hosts may have other addresses by then.
const lookUpAgain = 5 * time.Minute

// checked is the result of a check of a mesh. mu is held while it is made, so that many readers have one
// made.
type checked struct {
	mu       sync.Mutex
	done     bool
	revision uint64
	at       time.Time
	report   mesh.Report
	gateways map[string]bool
}

// Topology returns the findings about the mesh. They are kept until it changes. It must not be called
// within a transaction. Error: store.ErrConfigNotFound.
func (a *Applier) Topology(ctx context.Context, configID string) (mesh.Report, error) {
	c, err := a.check(ctx, configID)
	if err != nil {
		return mesh.Report{}, err
	}
	return c.report, nil
}

// Stageable returns a *mesh.Error if no tunnel config made from the mesh is to be staged, since the mesh is
// not valid. It must not be called within a transaction. Error besides: store.ErrConfigNotFound.
func (a *Applier) Stageable(ctx context.Context, configID string) error {
	r, err := a.Topology(ctx, configID)
	if err != nil {
		return err
	}
	return r.Refusal("staged")
}

// check returns a copy of the result that is up to date.
func (a *Applier) check(ctx context.Context, configID string) (result, error) {
	c, err := a.result(configID)
	if err != nil {
		return result{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, revision := a.Store.Now(), a.Store.MeshRevision(configID) // before the mesh is read
	if c.done && c.revision == revision && now.Sub(c.at) < lookUpAgain {
		return result{c.report, c.gateways}, nil
	}
	m, err := store.Read(a.Store, func(tx *store.Tx) (*mesh.Mesh, error) { return mesh.Load(tx, configID) })
	if err != nil {
		return result{}, err
	}
	around, err := a.surroundings(ctx, configID)
	if err != nil {
		return result{}, err
	}
	c.report, c.gateways = m.Validate(around), make(map[string]bool)
	for _, id := range m.All() {
		if m.Gateway(id) {
			c.gateways[id] = true
		}
	}
	c.done, c.revision, c.at = ctx.Err() == nil, revision, now
	return result{c.report, c.gateways}, nil
}

// result returns the place for the mesh's result. It forgets the results of meshes that were deleted.
func (a *Applier) result(configID string) (*checked, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.known[configID]; c != nil {
		return c, nil
	}
	if err := a.Store.View(func(tx *store.Tx) error {
		for id := range a.known {
			if _, err := tx.Config(id); errors.Is(err, store.ErrConfigNotFound) {
				delete(a.known, id)
			}
		}
		_, err := tx.Config(configID)
		return err
	}); err != nil {
		return nil, err
	}
	c := new(checked)
	a.known[configID] = c
	return c, nil
}

// result is what a check found.
type result struct {
	report   mesh.Report
	gateways map[string]bool
}

// surroundings returns what the mesh must not collide with.
func (a *Applier) surroundings(ctx context.Context, configID string) (mesh.Surroundings, error) {
	fallback := a.Host()
	reach, err := a.reach(ctx, configID, fallback)
	if err != nil {
		return mesh.Surroundings{}, err
	}
	around := mesh.Surroundings{Reach: func(n store.Node) wgconf.Reach {
		if n.Type != store.NodeDynamic {
			return wgconf.Reach{}
		}
		return reach[tunnel.BrokerHost(n, fallback)]
	}}
	for _, p := range a.Networks() {
		if !p.Addr().IsLoopback() {
			around.Addresses = append(around.Addresses, p.Addr())
		}
	}
	return around, nil
}

// reach resolves each host at which the agents of the mesh's nodes find the broker, before a transaction:
// that may take seconds.
func (a *Applier) reach(ctx context.Context, configID, fallback string) (map[string]wgconf.Reach, error) {
	hosts := make(map[string]bool)
	if err := a.Store.View(func(tx *store.Tx) error {
		nodes, err := tx.Nodes(configID, "", 0)
		for _, n := range nodes {
			if n.Type == store.NodeDynamic {
				hosts[tunnel.BrokerHost(n, fallback)] = true
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	resolved := make(map[string]wgconf.Reach, len(hosts))
	for host := range hosts {
		resolved[host] = tunnel.Reach(ctx, a.Resolver, host)
	}
	return resolved, nil
}
