package broker

import (
	"context"
	"sync"
	"sync/atomic"

	"wfm/appliance/mqttcheck"
	"wfm/hooks"
	"wfm/protocol"
	"wfm/store"
)

// guests are temporary rights to use the broker, of running checks. They are in no store, and no
// record knows their nodes, so nothing they do leaves a trace.
type guests struct {
	hooks.Grants // of nodes

	mu     sync.RWMutex
	grants map[string]*guest
}

type guest struct {
	store.Grant
	asked atomic.Bool // the broker was asked about it
}

// Grant returns the grant of the node, or that of a guest.
func (g *guests) Grant(nodeID string) (store.Grant, bool) {
	if grant, ok := g.Grants.Grant(nodeID); ok {
		return grant, true
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	one, ok := g.grants[nodeID]
	if !ok {
		return store.Grant{}, false
	}
	one.asked.Store(true)
	return one.Grant, true
}

// admit creates a guest that exists until leave is called.
func (g *guests) admit() (a mqttcheck.Account, leave func()) {
	a = mqttcheck.Account{ConfigID: protocol.NewID("check"), NodeID: protocol.NewID("check"), Password: protocol.NewSecret()}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.grants == nil {
		g.grants = make(map[string]*guest)
	}
	one := &guest{Grant: store.NewGrant(a.NodeID, a.ConfigID, a.Password)}
	g.grants[a.NodeID], a.Asked = one, one.asked.Load
	return a, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.grants, a.NodeID)
	}
}

// Test connects to the target once as an agent does, with a temporary account. Its error says what
// to do.
func (b *Broker) Test(ctx context.Context, t mqttcheck.Target) error {
	account, leave := b.guests.admit()
	defer b.registry.Settle([]string{account.NodeID})
	defer leave()
	return mqttcheck.Run(ctx, t, account)
}

// Guests returns the number of accounts of running tests.
func (b *Broker) Guests() int {
	b.guests.mu.RLock()
	defer b.guests.mu.RUnlock()
	return len(b.guests.grants)
}
