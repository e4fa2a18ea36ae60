package store

import (
	"encoding/json"
	"fmt"
	"time"
)

var bucketJournal = []byte("journal") // seqKey(node id, n) → JournalEntry

// journalKept bounds a node's journal; older entries are removed.
const journalKept = 200

// JournalEntry records something that happened to a node: an event it sent, a refused message, an
// ACK that matched no command, a reset. It never holds a payload.
type JournalEntry struct {
	ID        uint64    `json:"id"`
	At        time.Time `json:"at"`
	Level     string    `json:"level"` // info, warning, error; default info
	Event     string    `json:"event"`
	Message   string    `json:"message"`
	RequestID string    `json:"request_id,omitempty"`
	SessionID string    `json:"session_id,omitempty"`
}

// Note appends e to the node's journal, stamped with the transaction's time. It does not check that
// the node exists.
func (tx *Tx) Note(nodeID string, e JournalEntry) error {
	e.ID, e.At = tx.lastSeq(bucketJournal, nodeID)+1, tx.now.UTC()
	if e.Level == "" {
		e.Level = "info"
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode journal entry: %w", err)
	}
	if err := tx.putRaw(bucketJournal, seqKey(nodeID, e.ID), raw); err != nil {
		return err
	}
	for _, k := range tx.keysUnder(bucketJournal, seqPrefix(nodeID), 2) {
		if seqOf(k)+journalKept <= e.ID {
			if err := tx.deleteRaw(bucketJournal, k); err != nil {
				return err
			}
		}
	}
	tx.Emit(Change{Kind: ChangeJournal, NodeID: nodeID})
	return nil
}

// Journal returns up to limit entries of the node, newest first, with an id below before (0: from
// the newest).
func (tx *Tx) Journal(nodeID string, before uint64, limit int) ([]JournalEntry, error) {
	return page(walk(tx, bucketJournal, nodeID, before, func(_, raw []byte) (e JournalEntry, err error) {
		if err := decode(raw, &e); err != nil {
			return e, fmt.Errorf("read journal of %q: %w", nodeID, err)
		}
		return e, nil
	}), limit)
}
