package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"wfm/protocol"
)

var (
	bucketCommands       = []byte("commands")         // request id → Command
	bucketCommandsByNode = []byte("commands_by_node") // seqKey(node id, n) → indexed(request id, action)
	bucketCommandsOpen   = []byte("commands_open")    // seqKey(node id, n) → request id, while open
	bucketOutput         = []byte("command_output")   // seqKey(request id, n) → Output
)

// Bounds of the records kept per node and command.
const (
	commandsKept    = 200     // a node's closed commands, except detects; older ones are removed
	detectsKept     = 40      // closed detects; a watched node gets one every two minutes
	notesKept       = 20      // of a command
	outputsKept     = 16      // pieces of output of a command
	outputBytesKept = 1 << 20 // of all pieces of a command together
)

// CommandState is a stage in the life of a command.
type CommandState string

// The states. A command starts queued and ends in one of the last six, which are final.
const (
	CommandQueued     CommandState = "queued"     // written, not sent yet
	CommandSent       CommandState = "sent"       // given to the broker
	CommandAccepted   CommandState = "accepted"   // the node has received it and works on it
	CommandApplied    CommandState = "applied"    // done
	CommandFailed     CommandState = "failed"     // the node could not do it
	CommandExpired    CommandState = "expired"    // the node was away too long; never sent
	CommandSuperseded CommandState = "superseded" // replaced by a newer one
	CommandCancelled  CommandState = "cancelled"  // by an admin, or because the node must no longer get it
	CommandUnknown    CommandState = "unknown"    // sent and not answered: the outcome is unknown
)

// Ended reports whether the command has ended. The state of an ended command never changes.
func (s CommandState) Ended() bool {
	return s != CommandQueued && s != CommandSent && s != CommandAccepted
}

// Command is one command to one node, from the order to its end.
type Command struct {
	RequestID   string          `json:"request_id"`
	Seq         uint64          `json:"seq"` // counts the node's commands
	ConfigID    string          `json:"config_id"`
	NodeID      string          `json:"node_id"`
	Action      protocol.Action `json:"action"`
	Kind        protocol.Kind   `json:"kind"`
	Payload     json.RawMessage `json:"payload"`
	State       CommandState    `json:"state"`
	RequestedBy string          `json:"requested_by"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
	// ExpiresAt is when the command ends if it is still queued then.
	ExpiresAt time.Time `json:"expires_at"`
	// SentAt is when it was last given to the broker, Attempts how often it was.
	SentAt   time.Time `json:"sent_at,omitzero"`
	Attempts int       `json:"attempts"`
	// DeadlineAt is when the command ends if it was sent and is not answered by then.
	DeadlineAt time.Time     `json:"deadline_at,omitzero"`
	AckAt      time.Time     `json:"ack_at,omitzero"`
	Ack        *protocol.Ack `json:"ack,omitempty"`
	// ResolveBy is the detect that is to find out the outcome of a command that cannot be repeated;
	// empty if there is none.
	ResolveBy string `json:"resolve_by,omitempty"`
	// Lapses is set for a push that is not sent any more once another version is desired.
	Lapses bool `json:"lapses,omitempty"`
	// Starts is set for a push after which the tunnel is to run, unless the operator stopped it. Once the
	// push has ended, it says that a start follows.
	Starts bool `json:"starts,omitempty"`
	// Detail says, for people, how the command ended or which event it waits for.
	Detail string        `json:"detail"`
	Notes  []CommandNote `json:"notes,omitempty"`
}

// CommandNote records an event that did not change a command's state: a late, foreign or duplicate
// ACK, or a repetition.
type CommandNote struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Output is one piece of a command's output on the node.
type Output struct {
	At      time.Time `json:"at"`
	Stream  string    `json:"stream"` // stdout or stderr
	Message string    `json:"message,omitempty"`
	Output  string    `json:"output"`
}

// AddCommand writes a new command: it sets Seq and the times, and removes old commands.
func (tx *Tx) AddCommand(c *Command) error {
	c.Seq = tx.lastSeq(bucketCommandsByNode, c.NodeID) + 1
	c.CreatedAt, c.UpdatedAt = tx.now.UTC(), tx.now.UTC()
	key := seqKey(c.NodeID, c.Seq)
	if err := tx.putRaw(bucketCommandsByNode, key, indexed(*c)); err != nil {
		return err
	}
	if err := tx.putRaw(bucketCommandsOpen, key, []byte(c.RequestID)); err != nil {
		return err
	}
	if err := put(tx, bucketCommands, c.RequestID, c); err != nil {
		return err
	}
	tx.added++
	tx.Emit(Change{Kind: ChangeCommand, ConfigID: c.ConfigID, NodeID: c.NodeID, RequestID: c.RequestID, Created: true})
	return tx.pruneCommands(c.NodeID)
}

// indexed returns the command's entry in the index of its node. It marks detects, so that pruning
// need not read the command.
func indexed(c Command) []byte {
	if c.Action == protocol.ActionDetect {
		return []byte(c.RequestID + detectMark)
	}
	return []byte(c.RequestID)
}

// detectMark follows the request id of a detect. No id contains a zero byte.
const detectMark = "\x00detect"

func requestIDOf(entry []byte) string { return strings.TrimSuffix(string(entry), detectMark) }

// pruneCommands removes old commands, counting detects separately: probes must not push out
// people's commands.
func (tx *Tx) pruneCommands(nodeID string) error {
	var detects, others [][]byte // keys, oldest first
	prefix := seqPrefix(nodeID)
	c := tx.cursor(bucketCommandsByNode)
	for k, entry := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, entry = c.Next() {
		if k := bytes.Clone(k); bytes.HasSuffix(entry, []byte(detectMark)) {
			detects = append(detects, k)
		} else {
			others = append(others, k)
		}
	}
	if err := tx.pruneOldest(detects, detectsKept); err != nil {
		return err
	}
	return tx.pruneOldest(others, commandsKept)
}

func (tx *Tx) pruneOldest(keys [][]byte, kept int) error {
	excess := len(keys) - kept
	for _, k := range keys {
		if excess <= 0 {
			break
		}
		if tx.getRaw(bucketCommandsOpen, k) != nil {
			continue // an open command is never removed
		}
		if err := tx.deleteCommand(k); err != nil {
			return err
		}
		excess--
	}
	return nil
}

// deleteCommand removes the command under the index key, with its output.
func (tx *Tx) deleteCommand(key []byte) error {
	id := requestIDOf(tx.getRaw(bucketCommandsByNode, key))
	if err := tx.deleteUnder(bucketOutput, seqPrefix(id)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketCommands, []byte(id)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketCommandsOpen, key); err != nil {
		return err
	}
	return tx.deleteRaw(bucketCommandsByNode, key)
}

func (tx *Tx) deleteCommands(nodeID string) error {
	for _, k := range tx.keysUnder(bucketCommandsByNode, seqPrefix(nodeID), 0) {
		if err := tx.deleteCommand(k); err != nil {
			return err
		}
	}
	return nil
}

// Command returns the command, or [ErrCommandNotFound].
func (tx *Tx) Command(requestID string) (Command, error) {
	c, ok, err := get[Command](tx, bucketCommands, requestID)
	if err == nil && !ok {
		err = ErrCommandNotFound
	}
	return c, err
}

// PutCommand writes a changed command and stamps it. Errors: [ErrCommandNotFound];
// [ErrCommandEnded] for a change of state after the end.
func (tx *Tx) PutCommand(c Command) error {
	old, err := tx.Command(c.RequestID)
	if err != nil {
		return err
	}
	if old.State.Ended() && c.State != old.State {
		return fmt.Errorf("command %s is %s: %w", c.RequestID, old.State, ErrCommandEnded)
	}
	if over := len(c.Notes) - notesKept; over > 0 {
		c.Notes = c.Notes[over:]
	}
	c.UpdatedAt = tx.now.UTC()
	if c.State.Ended() && !old.State.Ended() {
		tx.ended = append(tx.ended, c.State)
	}
	if c.State.Ended() {
		if err := tx.deleteRaw(bucketCommandsOpen, seqKey(c.NodeID, c.Seq)); err != nil {
			return err
		}
	}
	tx.Emit(Change{Kind: ChangeCommand, ConfigID: c.ConfigID, NodeID: c.NodeID, RequestID: c.RequestID})
	return put(tx, bucketCommands, c.RequestID, c)
}

// AddNote appends a note to the command. Error: [ErrCommandNotFound].
func (tx *Tx) AddNote(requestID, text string) error {
	c, err := tx.Command(requestID)
	if err != nil {
		return err
	}
	c.Notes = append(c.Notes, CommandNote{tx.now.UTC(), text})
	return tx.PutCommand(c)
}

// Commands returns up to limit commands of the node, newest first, with a counter below before (0:
// from the newest).
func (tx *Tx) Commands(nodeID string, before uint64, limit int) ([]Command, error) {
	return page(tx.eachCommand(nodeID, before), limit)
}

// EachCommand yields the node's commands, newest first. Do not add any meanwhile.
func (tx *Tx) EachCommand(nodeID string) iter.Seq2[Command, error] { return tx.eachCommand(nodeID, 0) }

func (tx *Tx) eachCommand(nodeID string, before uint64) iter.Seq2[Command, error] {
	return walk(tx, bucketCommandsByNode, nodeID, before, func(_, entry []byte) (Command, error) {
		c, err := tx.Command(requestIDOf(entry))
		return c, indexError(err)
	})
}

// LastCommand returns the node's newest command other than a detect; ok is false if there is none.
func (tx *Tx) LastCommand(nodeID string) (c Command, ok bool, err error) {
	for _, entry := range tx.newestFirst(bucketCommandsByNode, nodeID, 0) {
		if !bytes.HasSuffix(entry, []byte(detectMark)) {
			c, err = tx.Command(requestIDOf(entry))
			return c, err == nil, err
		}
	}
	return c, false, nil
}

// LastPush returns the node's newest push, or [ErrCommandNotFound].
func (tx *Tx) LastPush(nodeID string) (Command, error) {
	for _, entry := range tx.newestFirst(bucketCommandsByNode, nodeID, 0) {
		if bytes.HasSuffix(entry, []byte(detectMark)) {
			continue
		}
		if c, err := tx.Command(requestIDOf(entry)); err != nil || c.Action == protocol.ActionPush {
			return c, indexError(err)
		}
	}
	return Command{}, ErrCommandNotFound
}

// OpenCommands returns the node's open commands, oldest first; those of all nodes if nodeID is
// empty.
func (tx *Tx) OpenCommands(nodeID string) ([]Command, error) {
	var prefix []byte
	if nodeID != "" {
		prefix = seqPrefix(nodeID)
	}
	var out []Command
	c := tx.cursor(bucketCommandsOpen)
	for k, id := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, id = c.Next() {
		cmd, err := tx.Command(string(id))
		if err != nil {
			return nil, fmt.Errorf("open command %s: %w", id, indexError(err))
		}
		out = append(out, cmd)
	}
	return out, nil
}

// cancelOpenCommands ends the node's open commands. A command that was already sent may still be
// carried out; its detail says so.
func (tx *Tx) cancelOpenCommands(nodeID, reason string) error {
	open, err := tx.OpenCommands(nodeID)
	if err != nil {
		return err
	}
	for _, c := range open {
		c.Detail = reason
		if c.Attempts > 0 {
			c.Detail += "; it had been sent, so the node may have carried it out"
		}
		c.State = CommandCancelled
		if err := tx.PutCommand(c); err != nil {
			return err
		}
	}
	return nil
}

// AddOutput keeps a piece of the command's output. Output beyond the bounds is dropped, which a
// note records once. Error: [ErrCommandNotFound].
func (tx *Tx) AddOutput(requestID string, o Output) error {
	c, err := tx.Command(requestID)
	if err != nil {
		return err
	}
	kept, err := tx.Output(requestID)
	if err != nil {
		return err
	}
	size := len(o.Output)
	for _, k := range kept {
		size += len(k.Output)
	}
	if len(kept) >= outputsKept || size > outputBytesKept {
		const note = "more output came than is kept; the rest was dropped"
		if n := len(c.Notes); n > 0 && c.Notes[n-1].Text == note {
			return nil
		}
		return tx.AddNote(requestID, note)
	}
	o.At = tx.now.UTC()
	raw, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode output of %s: %w", requestID, err)
	}
	tx.Emit(Change{Kind: ChangeCommand, ConfigID: c.ConfigID, NodeID: c.NodeID, RequestID: requestID})
	return tx.putRaw(bucketOutput, seqKey(requestID, tx.lastSeq(bucketOutput, requestID)+1), raw)
}

// Output returns the pieces of the command's output, in the order they arrived.
func (tx *Tx) Output(requestID string) ([]Output, error) {
	var out []Output
	prefix := seqPrefix(requestID)
	c := tx.cursor(bucketOutput)
	for k, raw := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		var o Output
		if err := decode(raw, &o); err != nil {
			return nil, fmt.Errorf("read output of %s: %w", requestID, err)
		}
		out = append(out, o)
	}
	return out, nil
}
