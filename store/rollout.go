package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"wfm/protocol"
)

var (
	bucketRollouts         = []byte("rollouts")           // id → Rollout
	bucketRolloutsByConfig = []byte("rollouts_by_config") // seqKey(config id, n) → id
	bucketRolloutNodes     = []byte("rollout_nodes")      // seqKey(rollout id, position) → RolloutNode
)

// rolloutsKept bounds the finished rollouts of a config; older ones are removed.
const rolloutsKept = 50

// RolloutState is a stage in the life of a rollout.
type RolloutState string

// The states. The last three are final.
const (
	RolloutRunning   RolloutState = "running"
	RolloutPaused    RolloutState = "paused"    // sends nothing until it is resumed
	RolloutStopped   RolloutState = "stopped"   // by itself: max_failures nodes failed
	RolloutCancelled RolloutState = "cancelled" // by an admin
	RolloutDone      RolloutState = "done"      // every node had its turn
)

// Active reports whether the rollout may still send commands, possibly only after it is resumed.
func (s RolloutState) Active() bool { return s == RolloutRunning || s == RolloutPaused }

// RolloutOutcome is the result of one node of a rollout.
type RolloutOutcome string

// The outcomes. The last five are final.
const (
	RolloutNodeWaiting    RolloutOutcome = "waiting"    // for its turn
	RolloutNodeSent       RolloutOutcome = "sent"       // its command was given and has not ended
	RolloutNodeConfirming RolloutOutcome = "confirming" // its command is applied; it has yet to be seen online
	RolloutNodeDone       RolloutOutcome = "done"       // applied, and online since
	RolloutNodeFailed     RolloutOutcome = "failed"
	RolloutNodeSkipped    RolloutOutcome = "skipped"   // at its turn it was away or had the config already; nothing was done to it
	RolloutNodeLater      RolloutOutcome = "later"     // at its turn it was away; its push waits for it, see Rollout.Later
	RolloutNodeCancelled  RolloutOutcome = "cancelled" // the rollout ended before its turn
)

// Decided reports whether the outcome is final.
func (o RolloutOutcome) Decided() bool {
	return o != RolloutNodeWaiting && o != RolloutNodeSent && o != RolloutNodeConfirming
}

// Rollout is one action carried out on many nodes of a config, wave after wave.
type Rollout struct {
	ID          string          `json:"id"`
	Seq         uint64          `json:"seq"` // counts the config's rollouts
	ConfigID    string          `json:"config_id"`
	Action      protocol.Action `json:"action"`
	RequestedBy string          `json:"requested_by"`
	// Staged and Version say which version a push takes to each node: by default the one desired at
	// its turn; with Staged the staged one; with Version (not 0) that one. Force pushes even a
	// version that may cut the node off or that the node already has.
	Staged  bool `json:"staged,omitempty"`
	Version int  `json:"version,omitempty"`
	Force   bool `json:"force,omitempty"`
	// Later has a push wait for nodes that are away at their turn. It is sent once they are back, while
	// the version is still the desired one. When the rollout stops or is cancelled, pushes that still
	// wait are withdrawn.
	Later bool `json:"later,omitempty"`
	// Starts has a push also start the tunnel, unless it runs or the operator stopped it.
	Starts bool `json:"starts,omitempty"`
	// Last is the number of nodes, at the end, whose waves have no others: a wave begins when all
	// before it are decided.
	Last int `json:"last,omitempty"`
	// BrokerHost is the broker's host for nodes whose bind recorded none; may be empty.
	BrokerHost string `json:"broker_host,omitempty"`
	// WaveSize is the number of nodes that have their turn at the same time. MaxFailures is the
	// number of failed nodes that stops the rollout. Both are at least 1.
	WaveSize    int          `json:"wave_size"`
	MaxFailures int          `json:"max_failures"`
	State       RolloutState `json:"state"`
	Reason      string       `json:"reason"` // why it is in this state, for people; may be empty
	// Wave is the current wave, Waves their number; both count from 1.
	Wave  int `json:"wave"`
	Waves int `json:"waves"`
	// Counts is the number of nodes with each outcome; see [Tx.PutRolloutNode].
	Counts    map[RolloutOutcome]int `json:"counts"`
	CreatedAt time.Time              `json:"created_at"`
	UpdatedAt time.Time              `json:"updated_at"`
	// FinishedAt is when the last of its nodes was decided. For a stopped or cancelled rollout,
	// that can be later than its end, because commands already sent are still followed.
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Turns returns the nodes of the wave: those of count positions after the given one.
func (r Rollout) Turns(wave int) (after uint64, count int) {
	first := r.Total() - r.Last // the number of nodes in the other waves
	waves := wavesOf(first, r.WaveSize)
	begin, end := (wave-1)*r.WaveSize, first
	if wave > waves {
		begin, end = first+(wave-waves-1)*r.WaveSize, r.Total()
	}
	return uint64(begin), min(r.WaveSize, end-begin) //nolint:gosec // waves count from 1
}

// wavesOf returns how many waves n nodes need.
func wavesOf(n, size int) int { return (n + size - 1) / size }

// Total returns the number of the rollout's nodes.
func (r Rollout) Total() (n int) {
	for _, count := range r.Counts {
		n += count
	}
	return n
}

// RolloutNode is one node's part in a rollout.
type RolloutNode struct {
	Position uint64         `json:"position"` // in the rollout, from 1
	Wave     int            `json:"wave"`     // from 1
	NodeID   string         `json:"node_id"`
	Name     string         `json:"name"` // of the node when the rollout was made
	Outcome  RolloutOutcome `json:"outcome"`
	// RequestID names the node's command; empty before it is given.
	RequestID string `json:"request_id,omitempty"`
	// ConfigVersion is the version that was pushed, or that the node already had; 0 before its
	// turn.
	ConfigVersion int    `json:"config_version,omitempty"`
	Detail        string `json:"detail,omitempty"` // for people
	// Withdrawn is set before the rollout cancels its own command.
	Withdrawn bool      `json:"withdrawn,omitempty"`
	SentAt    time.Time `json:"sent_at,omitzero"`    // when its command was given
	AppliedAt time.Time `json:"applied_at,omitzero"` // when the node reported it done
	DecidedAt time.Time `json:"decided_at,omitzero"`
}

// RolloutActiveError is returned by [Tx.AddRollout] if another rollout of the config has not ended.
type RolloutActiveError struct{ ID string }

func (e *RolloutActiveError) Error() string { return "rollout " + e.ID + " of this config is not over" }

// AddRollout writes a new rollout over the nodes, in this order, in waves, all waiting. It removes
// old rollouts. It sets all of r except its id, config, action, author and bounds. A config has one
// active rollout at a time, so that no two work on the same node. Errors: [ErrConfigNotFound],
// [ErrNodeNotFound] for a node of another config, *[RolloutActiveError].
func (tx *Tx) AddRollout(r *Rollout, nodeIDs []string) error {
	if _, err := tx.Config(r.ConfigID); err != nil {
		return err
	}
	newest, err := tx.Rollouts(r.ConfigID, 0, 1)
	if err != nil {
		return err
	}
	// No rollout is added while one is active, and none becomes active again, so only the newest
	// can be.
	if len(newest) == 1 && newest[0].State.Active() {
		return &RolloutActiveError{newest[0].ID}
	}
	r.Seq = tx.lastSeq(bucketRolloutsByConfig, r.ConfigID) + 1
	r.Last = min(r.Last, len(nodeIDs))
	first := len(nodeIDs) - r.Last // the number of nodes in the other waves
	waves := wavesOf(first, r.WaveSize)
	r.State, r.Wave, r.Waves = RolloutRunning, 1, waves+wavesOf(r.Last, r.WaveSize)
	r.Counts = map[RolloutOutcome]int{RolloutNodeWaiting: len(nodeIDs)}
	r.CreatedAt, r.UpdatedAt, r.FinishedAt = tx.now.UTC(), tx.now.UTC(), time.Time{}
	for i, id := range nodeIDs {
		n, err := tx.Node(id)
		if err == nil && n.ConfigID != r.ConfigID {
			err = ErrNodeNotFound
		}
		if err != nil {
			return err
		}
		wave := i/r.WaveSize + 1
		if i >= first {
			wave = waves + (i-first)/r.WaveSize + 1
		}
		if err := tx.writeRolloutNode(r.ID, RolloutNode{
			Position: uint64(i) + 1, Wave: wave, NodeID: id, Name: n.Name, Outcome: RolloutNodeWaiting,
		}); err != nil {
			return err
		}
	}
	if err := tx.putRaw(bucketRolloutsByConfig, seqKey(r.ConfigID, r.Seq), []byte(r.ID)); err != nil {
		return err
	}
	if err := put(tx, bucketRollouts, r.ID, r); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeRollout, ConfigID: r.ConfigID, RolloutID: r.ID, Created: true})
	return tx.pruneRollouts(r.ConfigID)
}

func (tx *Tx) pruneRollouts(configID string) error {
	keys := tx.keysUnder(bucketRolloutsByConfig, seqPrefix(configID), 0)
	excess := len(keys) - rolloutsKept
	for _, k := range keys {
		if excess <= 0 {
			break
		}
		r, err := tx.Rollout(string(tx.getRaw(bucketRolloutsByConfig, k)))
		if err != nil {
			return err
		}
		if r.FinishedAt.IsZero() {
			continue // an unfinished rollout is never removed
		}
		if err := tx.deleteRollout(k); err != nil {
			return err
		}
		excess--
	}
	return nil
}

// deleteRollout removes everything about the rollout under the index key.
func (tx *Tx) deleteRollout(key []byte) error {
	id := string(tx.getRaw(bucketRolloutsByConfig, key))
	if err := tx.deleteUnder(bucketRolloutNodes, seqPrefix(id)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketRollouts, []byte(id)); err != nil {
		return err
	}
	return tx.deleteRaw(bucketRolloutsByConfig, key)
}

func (tx *Tx) deleteRollouts(configID string) error {
	for _, k := range tx.keysUnder(bucketRolloutsByConfig, seqPrefix(configID), 0) {
		if err := tx.deleteRollout(k); err != nil {
			return err
		}
	}
	return nil
}

// Rollout returns the rollout, or [ErrRolloutNotFound].
func (tx *Tx) Rollout(id string) (Rollout, error) {
	r, ok, err := get[Rollout](tx, bucketRollouts, id)
	if err == nil && !ok {
		err = ErrRolloutNotFound
	}
	return r, err
}

// Rollouts returns up to limit rollouts of the config, newest first, with a counter below before
// (0: from the newest).
func (tx *Tx) Rollouts(configID string, before uint64, limit int) ([]Rollout, error) {
	return page(walk(tx, bucketRolloutsByConfig, configID, before, func(_, id []byte) (Rollout, error) {
		r, err := tx.Rollout(string(id))
		return r, indexError(err)
	}), limit)
}

// UnfinishedRollouts returns the rollouts with a node that is not decided yet.
func (tx *Tx) UnfinishedRollouts() ([]Rollout, error) {
	var out []Rollout
	c := tx.cursor(bucketRollouts)
	for k, raw := c.First(); k != nil; k, raw = c.Next() {
		var r Rollout
		if err := decode(raw, &r); err != nil {
			return nil, fmt.Errorf("read rollout %q: %w", k, err)
		}
		if r.FinishedAt.IsZero() {
			out = append(out, r)
		}
	}
	return out, nil
}

// PutRollout writes a changed rollout and stamps it. Error: [ErrRolloutNotFound].
func (tx *Tx) PutRollout(r Rollout) error {
	if tx.getRaw(bucketRollouts, []byte(r.ID)) == nil {
		return ErrRolloutNotFound
	}
	r.UpdatedAt = tx.now.UTC()
	tx.Emit(Change{Kind: ChangeRollout, ConfigID: r.ConfigID, RolloutID: r.ID})
	return put(tx, bucketRollouts, r.ID, r)
}

// RolloutNodes returns up to limit nodes (0: all) of the rollout, by position, beginning after the
// given position.
func (tx *Tx) RolloutNodes(id string, after uint64, limit int) ([]RolloutNode, error) {
	var out []RolloutNode
	c, prefix := tx.cursor(bucketRolloutNodes), seqPrefix(id)
	for k, raw := c.Seek(seqKey(id, after+1)); bytes.HasPrefix(k, prefix) && (limit == 0 || len(out) < limit); k, raw = c.Next() {
		n, err := readRolloutNode(id, k, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// RolloutNode returns the node at the position, or [ErrRolloutNotFound].
func (tx *Tx) RolloutNode(id string, position uint64) (RolloutNode, error) {
	key := seqKey(id, position)
	raw := tx.getRaw(bucketRolloutNodes, key)
	if raw == nil {
		return RolloutNode{}, ErrRolloutNotFound
	}
	return readRolloutNode(id, key, raw)
}

func readRolloutNode(id string, key, raw []byte) (n RolloutNode, err error) {
	if err := decode(raw, &n); err != nil {
		return n, fmt.Errorf("read node %d of rollout %q: %w", seqOf(key), id, err)
	}
	return n, nil
}

// PutRolloutNode writes a changed node of a rollout and counts it in r, which the caller writes
// with [Tx.PutRollout] in the same transaction. A final outcome is stamped and cannot change any
// more. Errors: [ErrRolloutNotFound], [ErrRolloutNodeDecided].
func (tx *Tx) PutRolloutNode(r *Rollout, n *RolloutNode) error {
	old, err := tx.RolloutNode(r.ID, n.Position)
	if err != nil {
		return err
	}
	if old.Outcome.Decided() {
		return fmt.Errorf("node %s of rollout %s is %s: %w", n.NodeID, r.ID, old.Outcome, ErrRolloutNodeDecided)
	}
	r.Counts[old.Outcome]--
	r.Counts[n.Outcome]++
	if n.Outcome.Decided() {
		n.DecidedAt = tx.now.UTC()
	}
	return tx.writeRolloutNode(r.ID, *n)
}

func (tx *Tx) writeRolloutNode(id string, n RolloutNode) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode node %s of rollout %q: %w", n.NodeID, id, err)
	}
	return tx.putRaw(bucketRolloutNodes, seqKey(id, n.Position), raw)
}

// CommandRequestedBy returns the newest command to the node whose author is by, or
// [ErrCommandNotFound].
func (tx *Tx) CommandRequestedBy(nodeID, by string) (Command, error) {
	for c, err := range tx.EachCommand(nodeID) {
		if err != nil {
			return Command{}, err
		}
		if c.RequestedBy == by {
			return c, nil
		}
	}
	return Command{}, ErrCommandNotFound
}
