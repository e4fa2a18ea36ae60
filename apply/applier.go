package apply

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"wfm/mesh"
	"wfm/presence"
	"wfm/store"
	"wfm/tunnel"
)

// Rollouts begins rollouts; see appliance/rollout.
type Rollouts interface {
	Begin(ctx context.Context, r store.Rollout, nodeIDs []string) (store.Rollout, error)
}

// Options configures New.
type Options struct {
	Store    *store.DB
	Rollouts Rollouts // nil: plans only
	// Evidence completes a node's stored evidence by facts that could not be stored. Default: the stored
	// one.
	Evidence func(store.Evidence) store.Evidence
	Presence presence.Times // zero ones mean the defaults
	// Host returns the broker's host for a node whose bind recorded none; "" while none is configured.
	// Default: always "".
	Host func() string
	// Resolver resolves hosts. Default: the system's.
	Resolver *net.Resolver
	// Networks returns the addresses of the appliance's own interfaces. Default: none.
	Networks func() []netip.Prefix
	Logger   *slog.Logger // default: discard
}

// Applier plans and applies. Its methods may be called concurrently.
type Applier struct {
	Options
	door tunnel.Door

	mu    sync.Mutex
	known map[string]*checked // by mesh
}

// New makes an applier.
func New(o Options) *Applier {
	o.Presence = o.Presence.OrDefault()
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Evidence == nil {
		o.Evidence = func(e store.Evidence) store.Evidence { return e }
	}
	if o.Host == nil {
		o.Host = func() string { return "" }
	}
	if o.Networks == nil {
		o.Networks = func() []netip.Prefix { return nil }
	}
	return &Applier{Options: o, door: mesh.Door(o.Store, o.Resolver), known: make(map[string]*checked)}
}
