package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

var bucketTransitions = []byte("transitions") // seqKey(node id, n) → Transition

// transitionsKept bounds a node's history; older entries are removed.
const transitionsKept = 500

// Transition is one change of a node's presence.
type Transition struct {
	ID     uint64    `json:"id"`
	At     time.Time `json:"at"`
	From   string    `json:"from"` // empty for the first
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// AddTransition appends to the node's history, unless its last entry has the same state. The caller
// sets At to when the state began. That may be before it was noticed, but not before the last
// entry.
func (tx *Tx) AddTransition(n Node, t Transition) error {
	last, ok, err := tx.lastTransition(n.ID)
	if err != nil {
		return err
	}
	if ok {
		if last.To == t.To {
			return nil
		}
		t.From = last.To
		if t.At.Before(last.At) {
			t.At = last.At
		}
	}
	t.ID = tx.lastSeq(bucketTransitions, n.ID) + 1
	raw, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode transition: %w", err)
	}
	if err := tx.putRaw(bucketTransitions, seqKey(n.ID, t.ID), raw); err != nil {
		return err
	}
	for _, k := range tx.keysUnder(bucketTransitions, seqPrefix(n.ID), 2) {
		if seqOf(k)+transitionsKept <= t.ID {
			if err := tx.deleteRaw(bucketTransitions, k); err != nil {
				return err
			}
		}
	}
	tx.Emit(Change{Kind: ChangePresence, ConfigID: n.ConfigID, NodeID: n.ID, State: t.To})
	return nil
}

// lastTransition returns the newest entry of the node's history; ok is false if there is none.
func (tx *Tx) lastTransition(nodeID string) (t Transition, ok bool, err error) {
	if tx.recent != nil {
		if k, known := tx.recent.transitions[nodeID]; known {
			return k.value, k.ok, nil
		}
	}
	for t, err = range tx.EachTransition(nodeID) {
		if err != nil {
			return t, false, err
		}
		ok = true
		break
	}
	if tx.recent != nil {
		tx.recent.decoded++
		tx.recent.transitions.add(nodeID, t, ok)
	}
	return t, ok, nil
}

// Transitions returns up to limit entries of the node's history, newest first, with an id below
// before (0: from the newest).
func (tx *Tx) Transitions(nodeID string, before uint64, limit int) ([]Transition, error) {
	return page(tx.eachTransition(nodeID, before), limit)
}

// EachTransition yields the node's history, newest first. Do not add to it meanwhile.
func (tx *Tx) EachTransition(nodeID string) iter.Seq2[Transition, error] {
	return tx.eachTransition(nodeID, 0)
}

func (tx *Tx) eachTransition(nodeID string, before uint64) iter.Seq2[Transition, error] {
	return walk(tx, bucketTransitions, nodeID, before, func(_, raw []byte) (t Transition, err error) {
		if err := decode(raw, &t); err != nil {
			return t, fmt.Errorf("read history of %q: %w", nodeID, err)
		}
		return t, nil
	})
}
