package command

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"wfm/internal/plaintext"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// Bounds of the parts of an ACK that are kept; a node chooses their length.
const (
	maxMessage = 4 << 10
	maxWord    = 128
	maxList    = 32
)

// Verdict says whether an ACK counts for a command.
type Verdict struct {
	// Command is the command as the ACK left it. Its Ack is the ACK as it is kept, with its texts
	// cut to their limits. Command is the zero value if the ACK was refused.
	Command store.Command
	// Refused says why the ACK does not count. It is empty if it does.
	Refused string
}

// Counts reports whether the ACK counts and has the status.
func (v Verdict) Counts(status protocol.AckStatus) bool {
	return v.Refused == "" && v.Command.Ack.Status == status
}

// Ack takes an ACK that came on topic, within the transaction that stores everything else about
// the message. It alone decides whether an ACK counts. One that does not changes no command's state:
// it leaves a note on the node's own command, or in the node's journal if there is none.
func (c *Ledger) Ack(tx *store.Tx, topic protocol.Topic, env protocol.Envelope, ack protocol.Ack) (Verdict, error) {
	bound(&ack)
	cmd, err := tx.Command(env.RequestID)
	if errors.Is(err, store.ErrCommandNotFound) || (err == nil && cmd.NodeID != topic.NodeID) {
		// The node must not learn of another node's command, nor touch it.
		const why = "for a request_id that was never sent to this node"
		return Verdict{Refused: why}, tx.Note(topic.NodeID, store.JournalEntry{
			Level: "warning", Event: "ack_unmatched", RequestID: env.RequestID, SessionID: env.SessionID,
			Message: fmt.Sprintf("%s with status %q %s", topic.Kind, Word(string(ack.Status)), why),
		})
	}
	if err != nil {
		return Verdict{}, err
	}
	if why := misfit(cmd, topic, ack); why != "" {
		return Verdict{Refused: why}, ignore(tx, cmd, topic, ack, why)
	}
	cmd.AckAt, cmd.Ack, cmd.ResolveBy = tx.Now().UTC(), &ack, ""
	err = c.take(tx, &cmd, ack)
	return Verdict{Command: cmd}, err
}

// ignore notes on the command why an ACK does not count for it. It still records the data in the
// ACK about the node itself.
func ignore(tx *store.Tx, cmd store.Command, topic protocol.Topic, ack protocol.Ack, why string) error {
	why, err := takeLate(tx, cmd, topic, ack, why)
	if err != nil {
		return err
	}
	if cmd.State == store.CommandUnknown && topic.Kind == cmd.Kind.Ack() && ack.Status == protocol.AckFailed {
		if err := withdrawStart(tx, cmd, ack); err != nil { // its outcome was unknown until now
			return err
		}
	}
	cmd.Notes = append(cmd.Notes, store.CommandNote{At: tx.Now().UTC(), Text: why})
	return tx.PutCommand(cmd)
}

// take changes the command by an ACK that counts.
func (c *Ledger) take(tx *store.Tx, cmd *store.Command, ack protocol.Ack) (err error) {
	switch ack.Status {
	case protocol.AckAccepted:
		limit, err := c.limitOf(tx, *cmd)
		if err != nil {
			return err
		}
		cmd.State, cmd.Detail = store.CommandAccepted, ack.Message
		cmd.DeadlineAt = tx.Now().Add(limit).UTC()
		tx.OnCommit(func() { c.arm(*cmd, tx.Now()) })
		return tx.PutCommand(*cmd)
	case protocol.AckFailed:
		if err := withdrawStart(tx, *cmd, ack); err != nil {
			return err
		}
		if err = c.end(tx, cmd, store.CommandFailed, failure(ack)); err == nil {
			err = c.followUp(tx, *cmd)
		}
	default:
		if cmd.Action == protocol.ActionPush {
			err = c.endApplied(tx, cmd, ack)
		} else {
			err = c.end(tx, cmd, store.CommandApplied, ack.Message)
		}
	}
	if err == nil {
		err = report(tx, *cmd, ack)
	}
	if err == nil && cmd.Action == protocol.ActionDetect && ack.Status == protocol.AckApplied {
		err = c.resolve(tx, *cmd, ack)
	}
	return err
}

// followUp asks an agent that does not report its tunnel's state by itself for it after a start,
// stop or push that failed: the former tunnel may still run, or not.
func (c *Ledger) followUp(tx *store.Tx, cmd store.Command) error {
	if !cmd.Kind.ChangesNode() {
		return nil
	}
	n, err := tx.Node(cmd.NodeID)
	if err != nil || ours(n) {
		return err
	}
	c.issueAfter(tx, cmd, protocol.ActionDetect, "system")
	return nil
}

// misfit returns the reason why the ACK does not count for the command, or "".
func misfit(cmd store.Command, topic protocol.Topic, ack protocol.Ack) string {
	status := Word(string(ack.Status))
	switch {
	case topic.Kind != cmd.Kind.Ack():
		return fmt.Sprintf("ignored a %s: the command expects a %s", topic.Kind, cmd.Kind.Ack())
	case !ack.Status.Valid():
		return fmt.Sprintf("ignored an ACK with the unknown status %q", status)
	case cmd.State == store.CommandApplied, cmd.State == store.CommandFailed:
		return fmt.Sprintf("ignored a repeated ACK (%s)", status)
	case cmd.State.Ended():
		late := fmt.Sprintf("ignored a late ACK (%s): the command was already %s", status, cmd.State)
		if cmd.State == store.CommandUnknown && ack.Message != "" { // so this is the outcome
			late += "; the node said: " + ack.Message
		}
		return late
	case cmd.Attempts == 0:
		return fmt.Sprintf("ignored an ACK (%s) that came before the command was sent", status)
	case cmd.State != store.CommandSent && ack.Status == protocol.AckAccepted:
		// Also for a command that waits to be sent again: the ACK would put off its end for ever.
		return "ignored a repeated or late ACK (accepted)"
	}
	return ""
}

// resolve uses the detect to find out the outcome of commands that cannot be repeated. If the
// tunnel is as a start or stop wanted it, the cause is unknown; otherwise the command is sent
// again. A push is sent again in any case: a detect does not show whether all of it was done, and a
// second push leaves the same text and restarts the tunnel once more.
func (c *Ledger) resolve(tx *store.Tx, detect store.Command, ack protocol.Ack) error {
	open, err := tx.OpenCommands(detect.NodeID)
	if err != nil {
		return err
	}
	for _, cmd := range open {
		push := cmd.Action == protocol.ActionPush
		if cmd.ResolveBy != detect.RequestID || (ack.WGOnline == nil && !push) {
			continue
		}
		later, err := overtaken(tx, cmd)
		if err != nil {
			return err
		}
		switch {
		case later:
			err = c.end(tx, &cmd, store.CommandUnknown,
				"the connection was lost before the answer, and a later command was sent since; the outcome is unknown")
		case !push && *ack.WGOnline == cmd.Action.Starts():
			state := map[bool]string{true: "runs", false: "is stopped"}[*ack.WGOnline]
			err = c.end(tx, &cmd, store.CommandUnknown, "the connection was lost before the answer; a check afterwards found that the tunnel "+state+", as asked")
		default:
			text := "a check found that it was not carried out; sent again"
			if push {
				text = "the node answers again, but not to this command; sent again, which does no harm if it was carried out"
			}
			cmd.Notes = append(cmd.Notes, store.CommandNote{At: tx.Now().UTC(), Text: text})
			err = c.requeue(tx, cmd)
			tx.OnCommit(func() { c.NodeReady(cmd.NodeID, time.Time{}) }) // no session is older: it only sends
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overtaken reports whether a later start or stop was sent. Then the tunnel's state says nothing
// about cmd, and sending cmd again would undo the last order.
func overtaken(tx *store.Tx, cmd store.Command) (bool, error) {
	for other, err := range tx.EachCommand(cmd.NodeID) {
		if err != nil || other.Seq <= cmd.Seq {
			return false, err
		}
		if other.Kind == cmd.Kind && other.Attempts > 0 {
			return true, nil
		}
	}
	return false, nil
}

// Output stores a piece of a command's output, in the message's transaction.
func (c *Ledger) Output(tx *store.Tx, topic protocol.Topic, env protocol.Envelope, ev protocol.Event) error {
	cmd, err := tx.Command(ev.RequestID)
	why := ""
	switch {
	case errors.Is(err, store.ErrCommandNotFound) || (err == nil && cmd.NodeID != topic.NodeID):
		why = "output for a request_id that was never sent to this node"
	case err != nil:
		return err
	case cmd.Kind != protocol.KindInfo || cmd.Attempts == 0:
		why = "output for a command that has none"
	case cmd.State.Ended():
		return tx.AddNote(cmd.RequestID, "ignored output that came after the end")
	case ev.Stream != "stdout" && ev.Stream != "stderr":
		why = "output on an unknown stream"
	}
	if why != "" {
		return tx.Note(topic.NodeID, store.JournalEntry{
			Level: "warning", Event: "output_unmatched", RequestID: Word(ev.RequestID), SessionID: env.SessionID, Message: why,
		})
	}
	return tx.AddOutput(cmd.RequestID, store.Output{
		Stream: ev.Stream, Message: Message(ev.Message, maxMessage), Output: wgconf.HideKeysWithin(ev.Output),
	})
}

// Remark adds text from a node's event to the command it names. It ignores commands that were not
// sent to that node.
func (c *Ledger) Remark(tx *store.Tx, nodeID, requestID, text string) error {
	cmd, err := tx.Command(requestID)
	if errors.Is(err, store.ErrCommandNotFound) || (err == nil && (cmd.NodeID != nodeID || cmd.Attempts == 0)) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.AddNote(requestID, text)
}

// Message bounds a message of a node and puts it on one line. It hides the keys of a tunnel config in it:
// tools quote lines that they refuse.
func Message(s string, limit int) string { return plaintext.Line(wgconf.HideKeysWithin(s), limit) }

// Platform returns the platform to keep of an agent that reports one without a bind. That is the former
// one if the reported one needs other hooks, since only a bind makes the tunnel config anew for it.
func Platform(former, reported string) string {
	if reported == "" || former != "" && !mesh.SameHooks(former, reported) {
		return former
	}
	return reported
}

// Word bounds a short text that a node chose and puts it on one line.
func Word(s string) string { return plaintext.Line(s, maxWord) }

// Words bounds a list of such texts.
func Words(list []string) []string {
	out := slices.Clone(list[:min(len(list), maxList)])
	for i, s := range out {
		out[i] = Word(s)
	}
	return out
}

// bound cuts the parts that a node can make too long.
func bound(a *protocol.Ack) {
	a.Message = Message(a.Message, maxMessage)
	a.Action = protocol.Action(Word(string(a.Action)))
	a.ConfigSHA256, a.Platform = Word(a.ConfigSHA256), Word(a.Platform)
	a.ClientVersion, a.Arch = Word(a.ClientVersion), Word(a.Arch)
	a.Capabilities, a.PublicKey = Words(a.Capabilities), Word(a.PublicKey)
	if len(a.Toolchain) > maxList {
		a.Toolchain = nil
	}
	for tool, version := range a.Toolchain {
		if len(tool) > maxWord {
			delete(a.Toolchain, tool)
			continue
		}
		a.Toolchain[tool] = Word(version)
	}
}
