package ingress

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"wfm/presence"
	"wfm/store"
)

// Bounds of the takeovers kept of a node.
const (
	arrivalsKept  = 32
	addressesKept = 8
)

// identities remembers recent takeovers, of nodes whose session was taken over.
type identities struct {
	mu      sync.Mutex
	nodes   map[string]*takeovers
	stopped bool
}

// takeovers are sessions of a node that each replaced the one before.
type takeovers struct {
	generation uint64
	arrivals   []presence.Arrival
	ends       *time.Timer // reports the end of a conflict; nil if there is none
}

// noteTakeover records that the session replaced a live one, whose last message had the boot id. It
// reports whether that shows two machines, and returns the addresses of the sessions.
func (i *identities) noteTakeover(s Session, bootID string, now time.Time) (two bool, addresses []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.nodes == nil {
		i.nodes = make(map[string]*takeovers)
	}
	t := i.nodes[s.NodeID]
	if t == nil || t.generation != s.Generation || now.Sub(t.arrivals[len(t.arrivals)-1].At) > presence.ConflictEnds {
		i.tidyLocked(now)
		if t != nil && t.ends != nil {
			t.ends.Stop()
		}
		t = &takeovers{generation: s.Generation, arrivals: []presence.Arrival{
			{At: s.Replaced.Since, Address: host(s.Replaced.Remote), Instance: s.Replaced.Instance},
		}}
		i.nodes[s.NodeID] = t
	}
	t.arrivals[len(t.arrivals)-1].BootID = bootID
	t.arrivals = append(t.arrivals, presence.Arrival{At: now, Address: host(s.Remote), Instance: s.Instance})
	t.arrivals = t.arrivals[max(0, len(t.arrivals)-arrivalsKept):]
	for _, a := range t.arrivals {
		addresses = append(slices.DeleteFunc(addresses, func(known string) bool { return known == a.Address }), a.Address)
	}
	return presence.TwoMachines(t.arrivals, now), addresses[max(0, len(addresses)-addressesKept):]
}

// tidyLocked forgets nodes without recent takeovers.
func (i *identities) tidyLocked(now time.Time) {
	for id, t := range i.nodes {
		if t.ends == nil && now.Sub(t.arrivals[len(t.arrivals)-1].At) > presence.ConflictEnds {
			delete(i.nodes, id)
		}
	}
}

// endsLater calls end when no takeover has come for as long as a conflict lasts.
func (i *identities) endsLater(nodeID string, end func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.nodes[nodeID]
	if t == nil || i.stopped {
		return
	}
	if t.ends != nil {
		t.ends.Stop()
	}
	t.ends = time.AfterFunc(presence.ConflictEnds, func() {
		i.mu.Lock()
		t.ends = nil
		i.mu.Unlock()
		end()
	})
}

func (i *identities) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	for _, t := range i.nodes {
		if t.ends != nil {
			t.ends.Stop()
		}
	}
}

// host returns the address without its port.
func host(remote string) string {
	if h, _, err := net.SplitHostPort(remote); err == nil {
		return h
	}
	return remote
}

// noteArrival remembers that the session replaced another one, and checks whether that shows that two
// machines use its node's identity. The returned function records a conflict in the evidence, and returns
// an entry if it is new.
func (g *Ingress) noteArrival(s Session) func(e *store.Evidence, now time.Time) *store.JournalEntry {
	none := func(*store.Evidence, time.Time) *store.JournalEntry { return nil }
	if s.Replaced == nil {
		return none
	}
	// At worst the boot id stays unknown.
	e, _ := store.Read(g.db, func(tx *store.Tx) (store.Evidence, error) { return tx.Evidence(s.NodeID) })
	now := g.db.Now()
	two, addresses := g.identities.noteTakeover(s, e.BootID, now)
	known := presence.Conflict(e, now) != nil
	if !two && !known {
		return none
	}
	g.identities.endsLater(s.NodeID, func() { g.conflictEnded(s) })
	if !known {
		g.log.Warn("two machines use the identity of one node, and end each other's sessions: bind one of them as a node of its own",
			"node_id", s.NodeID, "addresses", strings.Join(addresses, " "))
	}
	return func(e *store.Evidence, now time.Time) *store.JournalEntry {
		before := presence.Conflict(*e, now)
		e.IdentityConflict = &store.IdentityConflict{Since: now, TakenOverAt: now, Addresses: addresses}
		if before != nil {
			e.IdentityConflict.Since = before.Since
			return nil
		}
		return &store.JournalEntry{
			Level: "error", Event: "identity_conflict",
			Message: fmt.Sprintf("two machines use this node's identity and end each other's sessions (seen from %s): bind one of them as a node of its own",
				strings.Join(addresses, ", ")),
		}
	}
}

// conflictEnded records that no machine has replaced another for a while.
func (g *Ingress) conflictEnded(s Session) {
	g.recordSeen(s, "end of an identity conflict", func(e *store.Evidence, now time.Time) *store.JournalEntry {
		if e.IdentityConflict == nil || presence.Conflict(*e, now) != nil {
			return nil
		}
		e.IdentityConflict = nil
		return &store.JournalEntry{Event: "identity_conflict_ended", Message: "no other machine has taken over this node's session for ten minutes"}
	})
}
