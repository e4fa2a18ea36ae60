package store

import (
	"time"

	"wfm/protocol"
)

var bucketWanted = []byte("wanted") // node id → Wanted

// Wanted records whether the operator wants the node's tunnel to run, and the appliance's attempts
// to achieve that. It is not evidence: reports of the node do not change it.
type Wanted struct {
	Word
	// Former is the word before, while the command of the newer one can still be withdrawn.
	Former Word `json:"former,omitzero"`
	// Told is set once the journal says that the tunnel differs from the wanted state, until it
	// agrees again.
	Told bool `json:"told,omitempty"`
	// Attempts counts the starts in a row that the appliance sent on its own. LastAttemptAt is when
	// it sent the last one.
	Attempts      int       `json:"attempts,omitempty"`
	LastAttemptAt time.Time `json:"last_attempt_at,omitzero"`
}

// Word is one order of the operator about a tunnel.
type Word struct {
	// State is protocol.WantedRunning or WantedStopped, or WantedNone if there is no word.
	State protocol.WantedState `json:"state"`
	At    time.Time            `json:"at,omitzero"`
	// RequestID is the start or stop that set the word.
	RequestID string `json:"request_id,omitempty"`
}

// Wanted returns the operator's word on the node's tunnel. Without one, State is
// protocol.WantedNone.
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

// SetWanted records the word of a start or stop, in the transaction that writes the command.
func (tx *Tx) SetWanted(cmd Command) error {
	old, err := tx.Wanted(cmd.NodeID)
	if err != nil {
		return err
	}
	word := Word{State: cmd.Action.Leaves(), At: tx.now.UTC(), RequestID: cmd.RequestID}
	return tx.putWanted(cmd.NodeID, Wanted{Word: word, Former: old.Word})
}

// WantRunning records that the tunnel should run because of the push, unless there is a word on it
// already. It returns the word that is valid then.
func (tx *Tx) WantRunning(push Command) (Wanted, error) {
	w, err := tx.Wanted(push.NodeID)
	if err != nil || w.State != protocol.WantedNone {
		return w, err
	}
	w = Wanted{Word: Word{State: protocol.WantedRunning, At: tx.now.UTC(), RequestID: push.RequestID}}
	return w, tx.putWanted(push.NodeID, w)
}

// WithdrawWanted takes back the word that a command set, unless a later command has set another.
// The word before is valid again; with forget, none is.
func (tx *Tx) WithdrawWanted(cmd Command, forget bool) error {
	w, err := tx.Wanted(cmd.NodeID)
	switch {
	case err != nil:
		return err
	case w.Former.RequestID == cmd.RequestID: // it must not return if the newer word is withdrawn
		w.Former = Word{State: protocol.WantedNone}
		return tx.putWanted(cmd.NodeID, w)
	case w.RequestID != cmd.RequestID || w.RequestID == "":
		return nil
	case forget || w.Former.State == "" || w.Former.State == protocol.WantedNone:
		return tx.forgetWanted(cmd.NodeID)
	}
	return tx.putWanted(cmd.NodeID, Wanted{Word: w.Former})
}

// UpdateWanted changes the record of the node's word. It does nothing if there is no word.
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

// keepStopped forgets the word of a node that was disabled, unless it is that the tunnel is stopped: once
// the node is enabled again, applying its mesh must not start the tunnel.
func (tx *Tx) keepStopped(nodeID string) error {
	w, err := tx.Wanted(nodeID)
	if err != nil || w.State == protocol.WantedStopped {
		return err
	}
	return tx.forgetWanted(nodeID)
}

// forgetWanted removes the word if it no longer applies: a start was taken back, the node was
// reset, turned static or deleted, or its interface has another name. See also keepStopped.
func (tx *Tx) forgetWanted(nodeID string) error { return tx.deleteRaw(bucketWanted, []byte(nodeID)) }
