package ingress

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/store"
)

// storeAgainAfter is the pause before storing is tried again.
const storeAgainAfter = 5 * time.Second

// unstored has sightings of nodes that could not be stored, as on a full disk. They happened
// nevertheless: readers see them, and the store gets them with their true times once it can.
type unstored struct {
	// turn is held while a sighting is stored again, and by everything that adds or removes one, so
	// that none changes in between. It comes before mu. Readers must not take it: they run in
	// transactions, which the store may have to end before it can store the sighting.
	turn sync.Mutex

	mu      sync.Mutex // never held while the store is used
	nodes   map[string]sighting
	again   *time.Timer // nil while nodes is empty
	stopped bool
}

// sighting is a node's evidence as it should be in the store.
type sighting struct {
	session  Session // the newest session in it
	evidence store.Evidence
	notes    []store.JournalEntry
}

// notesUnstored bounds the journal entries of a node that wait to be stored.
const notesUnstored = 10

// recordSeen changes the node's evidence by a sighting of the broker, and adds the entry that change
// returns to its journal. No caller waits for the result: if it cannot be stored now, it is stored
// later. From a session that has lost its right, only the end counts. change may run more than
// once.
func (g *Ingress) recordSeen(s Session, what string, change func(e *store.Evidence, now time.Time) *store.JournalEntry) {
	waiting, waits := g.unstored.waiting(s.NodeID)
	err := g.db.Update(func(tx *store.Tx) error {
		if waits {
			if err := waiting.store(tx); err != nil {
				return err
			}
		}
		revoked, err := lostRight(tx, s)
		if err != nil {
			return err
		}
		var note *store.JournalEntry
		err = tx.UpdateEvidence(s.NodeID, func(e *store.Evidence) {
			changed := *e
			note = change(&changed, tx.Now().UTC())
			if revoked {
				changed, note = ended(*e, s, changed), nil
			}
			*e = changed
		})
		if err != nil || note == nil {
			return err
		}
		return tx.Note(s.NodeID, *note)
	})
	switch {
	case err == nil:
		g.forget(s.NodeID)
	case errors.Is(err, store.ErrNodeNotFound), errors.Is(err, store.ErrClosed):
	default:
		g.log.Error("an event of the broker could not be stored; trying again", "node_id", s.NodeID, "what", what, "err", err)
		g.remember(s, change)
	}
}

// lostRight reports whether the session has lost its right.
func lostRight(tx *store.Tx, s Session) (bool, error) {
	err := allowed(tx, s)
	if errors.Is(err, errRevoked) {
		return true, nil
	}
	return false, err
}

// ended returns e with the end of the session and nothing else from changed.
func ended(e store.Evidence, s Session, changed store.Evidence) store.Evidence {
	if e.ConnectionID == s.ID && changed.ConnectionID == 0 {
		e.ConnectionID, e.DisconnectedAt, e.DisconnectReason = 0, changed.DisconnectedAt, changed.DisconnectReason
	}
	return e
}

func (g *Ingress) remember(s Session, change func(e *store.Evidence, now time.Time) *store.JournalEntry) {
	u := &g.unstored
	u.turn.Lock()
	defer u.turn.Unlock()
	seen, ok := u.get(s.NodeID)
	if !ok {
		var err error
		seen.evidence, err = store.Read(g.db, func(tx *store.Tx) (store.Evidence, error) { return tx.Evidence(s.NodeID) })
		if err != nil {
			g.log.Error("the evidence of a node cannot be read", "node_id", s.NodeID, "err", err)
			return
		}
	}
	seen.session = s
	if note := change(&seen.evidence, g.db.Now().UTC()); note != nil && len(seen.notes) < notesUnstored {
		seen.notes = append(slices.Clip(seen.notes), *note)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return
	}
	if u.nodes == nil {
		u.nodes = make(map[string]sighting)
	}
	u.nodes[s.NodeID] = seen
	g.storeLaterLocked()
}

func (g *Ingress) storeLaterLocked() {
	if u := &g.unstored; u.again == nil && !u.stopped {
		u.again = time.AfterFunc(storeAgainAfter, g.storeUnstored)
	}
}

func (g *Ingress) forget(nodeID string) {
	g.unstored.turn.Lock()
	defer g.unstored.turn.Unlock()
	g.unstored.remove(nodeID)
}

// get returns the sighting of the node that waits to be stored.
func (u *unstored) get(nodeID string) (seen sighting, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen, ok = u.nodes[nodeID]
	return seen, ok
}

// waiting is get after an attempt to store that runs.
func (u *unstored) waiting(nodeID string) (sighting, bool) {
	u.turn.Lock()
	defer u.turn.Unlock()
	return u.get(nodeID)
}

// remove removes the sighting of the node. The caller has the turn.
func (u *unstored) remove(nodeID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.nodes, nodeID)
}

// storeUnstored tries to store the waiting sightings.
func (g *Ingress) storeUnstored() {
	u := &g.unstored
	u.mu.Lock()
	u.again = nil
	var sessions []Session
	for _, seen := range u.nodes {
		sessions = append(sessions, seen.session)
	}
	u.mu.Unlock()
	for _, s := range sessions {
		g.storeAgain(s)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.nodes) > 0 {
		g.storeLaterLocked()
	}
}

func (g *Ingress) storeAgain(s Session) {
	u := &g.unstored
	u.turn.Lock()
	defer u.turn.Unlock()
	seen, ok := u.get(s.NodeID)
	if !ok || u.isStopped() {
		return
	}
	err := g.db.Update(seen.store)
	if err == nil || errors.Is(err, store.ErrNodeNotFound) {
		u.remove(s.NodeID)
	}
}

// store writes the sighting.
func (s sighting) store(tx *store.Tx) error {
	revoked, err := lostRight(tx, s.session)
	if err == nil {
		err = tx.UpdateEvidence(s.session.NodeID, func(e *store.Evidence) {
			if revoked {
				*e = ended(*e, s.session, s.evidence)
			} else {
				s.addTo(e)
			}
		})
	}
	if err != nil || revoked {
		return err
	}
	for _, n := range s.notes {
		if err := tx.Note(s.session.NodeID, n); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds the sighting to evidence that may have got messages since.
func (s sighting) addTo(e *store.Evidence) {
	seen := s.evidence
	e.ConnectionID, e.LostConnectionID, e.ConnectedAt = seen.ConnectionID, seen.LostConnectionID, seen.ConnectedAt
	e.IdentityConflict = seen.IdentityConflict
	e.DisconnectedAt, e.DisconnectReason, e.WillAt = seen.DisconnectedAt, seen.DisconnectReason, seen.WillAt
	if seen.OfflineAt.After(e.OfflineAt) {
		e.OfflineAt, e.OfflineReason = seen.OfflineAt, seen.OfflineReason
	}
	if seen.EventAt.After(e.EventAt) {
		e.EventAt, e.LastEvent, e.LastEventMessage = seen.EventAt, seen.LastEvent, seen.LastEventMessage
	}
}

// Evidence returns the stored evidence of a node, completed by sightings that wait to be stored. It
// may be called within a transaction, even in the store's own goroutine.
func (g *Ingress) Evidence(e store.Evidence) store.Evidence {
	if seen, ok := g.unstored.get(e.NodeID); ok {
		seen.addTo(&e)
	}
	return e
}

// Stop ends the attempts to store, and waits for one that runs, or until ctx ends. It may be called
// again.
func (g *Ingress) Stop(ctx context.Context) error {
	g.identities.stop()
	return bounded.Wait(ctx, "stop the ingress", g.unstored.stop)
}

func (u *unstored) isStopped() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stopped
}

func (u *unstored) stop() {
	u.turn.Lock()
	defer u.turn.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	if u.again != nil {
		u.again.Stop()
	}
}
