package store

import (
	"time"

	"wfm/protocol"
)

var bucketWanted = []byte("wanted") // node id → Wanted

// Wanted is the operator's word on whether the node's tunnel should run, and what the appliance has
// done to make it so. It is never evidence: what the node reports does not change it.
type Wanted struct {
	Word
	// Former is the word before, while the command that gave the newer one may still be taken back.
	Former Word `json:"former,omitzero"`
	// Told is set once the journal says that the tunnel was found otherwise, until it is as wanted again.
	Told bool `json:"told,omitempty"`
	// Attempts counts the starts in a row that the appliance has sent by itself, LastAttemptAt is
	// when it sent the last one.
	Attempts      int       `json:"attempts,omitempty"`
	LastAttemptAt time.Time `json:"last_attempt_at,omitzero"`
}

// Word is one word of the operator.
type Word struct {
	// State is protocol.WantedRunning, WantedStopped, or WantedNone when there is no word.
	State protocol.WantedState `json:"state"`
	At    time.Time            `json:"at,omitzero"`
	// RequestID is the start or stop that gave the word.
	RequestID string `json:"request_id,omitempty"`
}

// Wanted returns the operator's word on the node's tunnel; State is protocol.WantedNone without one.
func (tx *Tx) Wanted(nodeID string) (Wanted, error) {
	w, ok, err := recall(tx, recentWanted, bucketWanted, nodeID)
	if !ok {
		w.State = protocol.WantedNone
	}
	return w, err
}

// WantedNodes returns the ids of all nodes that have a word on their tunnel.
func (tx *Tx) WantedNodes() (ids []string) {
	c := tx.cursor(bucketWanted)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		ids = append(ids, string(k))
	}
	return ids
}

// SetWanted records the word that a start or stop gives, in the transaction that writes the command.
func (tx *Tx) SetWanted(cmd Command) error {
	old, err := tx.Wanted(cmd.NodeID)
	if err != nil {
		return err
	}
	word := Word{State: cmd.Action.Leaves(), At: tx.now.UTC(), RequestID: cmd.RequestID}
	return tx.putWanted(cmd.NodeID, Wanted{Word: word, Former: old.Word})
}

// WithdrawWanted takes back the word that a command gave, unless a later command has given another:
// the one before counts again, or, with forget, none.
func (tx *Tx) WithdrawWanted(cmd Command, forget bool) error {
	w, err := tx.Wanted(cmd.NodeID)
	switch {
	case err != nil:
		return err
	case w.Former.RequestID == cmd.RequestID: // it must not come back should the newer word be withdrawn
		w.Former = Word{State: protocol.WantedNone}
		return tx.putWanted(cmd.NodeID, w)
	case w.RequestID != cmd.RequestID || w.RequestID == "":
		return nil
	case forget || w.Former.State == "" || w.Former.State == protocol.WantedNone:
		return tx.forgetWanted(cmd.NodeID)
	}
	return tx.putWanted(cmd.NodeID, Wanted{Word: w.Former})
}

// UpdateWanted changes what is kept beside the word. Without a word it does nothing.
func (tx *Tx) UpdateWanted(nodeID string, change func(*Wanted)) error {
	w, err := tx.Wanted(nodeID)
	if err != nil || w.State == protocol.WantedNone {
		return err
	}
	change(&w)
	return tx.putWanted(nodeID, w)
}

func (tx *Tx) putWanted(nodeID string, w Wanted) error {
	n, err := tx.Node(nodeID)
	if err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return put(tx, bucketWanted, nodeID, w)
}

// forgetWanted is for a node whose tunnel is nobody's wish any more: a start that was taken back, a
// reset, a node that was disabled, turned static or deleted, an interface that has another name.
func (tx *Tx) forgetWanted(nodeID string) error { return tx.deleteRaw(bucketWanted, []byte(nodeID)) }
