package command

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// pushPayload is the payload of a push in the ledger: without the text, which holds the node's
// private key. The text is stored once, in the store's history, and is added when the push is sent.
type pushPayload struct {
	protocol.Push
	ConfigText string `json:"config_text,omitempty"` // shadows the field of Push and is never set
}

// Push pushes a version of the node's config: see [tunnel.Order] for which, and [tunnel.Door] for
// the checks. It waits for a node that is away, and supersedes an open push. Errors: those of
// [tunnel.Door.Push], where *tunnel.UpToDateError comes with the version taken, and those of
// [Ledger.Issue] except ErrNodeOffline. Push returns the command as it is after the attempt to send
// it.
func (c *Ledger) Push(ctx context.Context, nodeID string, o tunnel.Order, requestedBy string) (store.Command, tunnel.Taken, error) {
	// If the node can get no command, that is a better answer than a fault of its config.
	if err := c.db.View(func(tx *store.Tx) error { _, _, err := addressee(tx, nodeID); return err }); err != nil {
		return store.Command{}, tunnel.Taken{}, err
	}
	var cmd store.Command
	// The door resolves names before its transaction. The push is sent from that transaction only.
	joined := store.WithUpdate(ctx, func(door func(*store.Tx) error) (err error) {
		cmd, err = c.give(ctx, nodeID, func(tx *store.Tx) (store.Command, error) {
			cmd = store.Command{}
			err := door(tx) // sets cmd, unless the node already has the version
			return cmd, err
		})
		return err
	})
	taken, err := c.door.Push(joined, nodeID, o, func(tx *store.Tx, t tunnel.Taken) (err error) {
		cmd, err = c.writePush(tx, nodeID, t.Ref, o, requestedBy)
		return err
	})
	if err != nil {
		return store.Command{}, taken, err
	}
	return cmd, taken, nil
}

// writePush adds the push of the version to the ledger, superseding the open one.
func (c *Ledger) writePush(tx *store.Tx, nodeID string, ref store.ConfRef, o tunnel.Order, requestedBy string) (cmd store.Command, err error) {
	node, cfg, err := addressee(tx, nodeID)
	if err != nil {
		return cmd, err
	}
	cmd = store.Command{
		RequestID: protocol.NewID("req"), ConfigID: cfg.ID, NodeID: nodeID, Action: protocol.ActionPush, RequestedBy: requestedBy,
		ExpiresAt: tx.Now().Add(protocol.ActionPush.Spec().QueueTime).UTC(), Lapses: o.Lapses, Starts: o.Starts,
	}
	if err := c.supersede(tx, nodeID, cmd.RequestID); err != nil {
		return cmd, err
	}
	err = c.add(tx, &cmd, pushPayload{Push: protocol.Push{
		Action: protocol.ActionPush, TunnelProtocol: protocol.WireTunnel(cfg.TunnelProtocol), PreviousTunnelProtocol: previousProtocol(cfg),
		InterfaceName: node.InterfaceName, ConfigVersion: ref.Version, ConfigSHA256: ref.SHA256, AWGVersion: protocol.AWGVersion(cfg.AWGVersion),
	}})
	return cmd, err
}

func pushOf(cmd store.Command) (protocol.Push, error) {
	var p protocol.Push
	if err := json.Unmarshal(cmd.Payload, &p); err != nil {
		return p, fmt.Errorf("read payload of %s: %w", cmd.RequestID, err)
	}
	return p, nil
}

// withText returns the payload of a push for the node.
func withText(tx *store.Tx, cmd store.Command) (any, error) {
	p, err := pushOf(cmd)
	if err != nil {
		return nil, err
	}
	p.TunnelProtocol, p.PreviousTunnelProtocol = protocol.WireTunnel(p.TunnelProtocol), protocol.WireTunnel(p.PreviousTunnelProtocol)
	p.ConfigText, err = tx.ConfText(cmd.NodeID, p.ConfigSHA256)
	return p, err
}

// supersede ends the node's open pushes, since a newer one replaces them.
func (c *Ledger) supersede(tx *store.Tx, nodeID, by string) error {
	open, err := tx.OpenCommands(nodeID)
	if err != nil {
		return err
	}
	for _, cmd := range open {
		if cmd.Action != protocol.ActionPush {
			continue
		}
		detail := "superseded by " + by
		if cmd.Attempts > 0 {
			detail += "; it had been sent, so the node may have carried it out"
		}
		if err := c.end(tx, &cmd, store.CommandSuperseded, detail); err != nil {
			return err
		}
	}
	return nil
}

// outdated returns the reason why a command that waited no longer fits the node, or "".
func outdated(tx *store.Tx, cmd store.Command) (string, error) {
	if !cmd.Kind.ChangesNode() {
		return "", nil
	}
	n, err := tx.Node(cmd.NodeID)
	if err != nil {
		return "", err
	}
	if cmd.Kind == protocol.KindControl {
		return outdatedControl(tx, n, cmd)
	}
	p, err := pushOf(cmd)
	if err != nil {
		return "", err
	}
	cfg, err := tx.Config(cmd.ConfigID)
	if err == nil && !tunnel.Fits(p, cfg, n) {
		return "the node's interface or the tunnel protocol or its version was changed while it waited; it was never sent: push again", nil
	}
	if err != nil {
		return "", err
	}
	s, err := tx.ConfState(cmd.NodeID)
	if err == nil && cmd.Lapses && s.Desired.SHA256 != p.ConfigSHA256 {
		return fmt.Sprintf("the tunnel config was changed while version %d waited for the node; it was never sent: apply version %d", p.ConfigVersion,
			s.Desired.Version), nil
	}
	if err != nil || n.Can(protocol.CapabilityNodeKey) {
		return "", err
	}
	text, err := tx.ConfText(n.ID, p.ConfigSHA256)
	if kept, _ := wgconf.Kept(text); kept {
		return "the node's agent was replaced by one that keeps no key of its own while it waited; it was never sent", nil
	}
	if errors.Is(err, store.ErrConfVersionNotFound) { // sending it says so
		err = nil
	}
	return "", err
}

// outdatedControl is outdated for a start or stop. After a change of the protocol it still fits the
// node: the config there was pushed with the former protocol.
func outdatedControl(tx *store.Tx, n store.Node, cmd store.Command) (string, error) {
	var p protocol.Control
	if err := json.Unmarshal(cmd.Payload, &p); err != nil {
		return "", fmt.Errorf("read payload of %s: %w", cmd.RequestID, err)
	}
	if p.InterfaceName != "" && p.InterfaceName != n.InterfaceName {
		return "the node's interface was changed while it waited; it was never sent: give the command again", nil
	}
	err := able(tx, n, cmd.Action)
	if errors.Is(err, tunnel.ErrNothingToStart) {
		return "never sent: the push that it waited for failed, so the node has no tunnel config to start. Push, then start again", nil
	}
	return "", err
}

// endApplied ends the push after the node reported it applied. The version that was pushed is
// confirmed, not the one staged by now.
func (c *Ledger) endApplied(tx *store.Tx, cmd *store.Command, ack protocol.Ack) error {
	confirmed, err := confirm(tx, *cmd, ack)
	if errors.Is(err, errOtherText) {
		return c.end(tx, cmd, store.CommandFailed, err.Error())
	}
	if err != nil {
		return err
	}
	if !confirmed {
		cmd.Notes = append(cmd.Notes, store.CommandNote{At: tx.Now().UTC(), Text: "a later push is confirmed already, so this one is not"})
	}
	if cmd.Starts {
		if cmd.Starts, err = startFollows(tx, *cmd, ack); err != nil {
			return err
		}
		if cmd.Starts {
			c.issueAfter(tx, *cmd, protocol.ActionStart, ByWantedState)
		}
	}
	return c.end(tx, cmd, store.CommandApplied, ack.Message)
}

var errOtherText = errors.New("the node says it stored another text than was pushed; push again")

// confirm reports whether the ACK made the pushed version the node's confirmed config. Error:
// errOtherText.
func confirm(tx *store.Tx, cmd store.Command, ack protocol.Ack) (bool, error) {
	p, err := pushOf(cmd)
	if err != nil {
		return false, err
	}
	if ack.ConfigSHA256 != "" && !strings.EqualFold(ack.ConfigSHA256, p.ConfigSHA256) {
		return false, errOtherText
	}
	return tx.ConfirmApplied(cmd.NodeID, store.ConfRef{Version: p.ConfigVersion, SHA256: p.ConfigSHA256}, protocol.ToolFamily(p.TunnelProtocol), cmd.Seq)
}

// takeLate processes the ACK of a push that ended without one: superseded, cancelled or not
// answered in time. The command stays as it ended, but the config that the node reports is
// recorded, unless the node has confirmed a later push. lateWord returns the note to leave;
// otherwise is the note for an ACK that changes nothing.
func takeLate(tx *store.Tx, cmd store.Command, topic protocol.Topic, ack protocol.Ack, otherwise string) (string, error) {
	unanswered := cmd.State == store.CommandUnknown || cmd.State == store.CommandSuperseded || cmd.State == store.CommandCancelled
	if cmd.Action != protocol.ActionPush || !unanswered || cmd.Attempts == 0 || topic.Kind != protocol.KindPushAck {
		return otherwise, nil
	}
	s, err := tx.ConfState(cmd.NodeID)
	if err != nil || cmd.Seq <= s.ConfirmedSeq {
		return otherwise, err
	}
	note := ""
	switch ack.Status {
	case protocol.AckApplied:
		_, err := confirm(tx, cmd, ack)
		switch {
		case errors.Is(err, errOtherText):
			note = "a late ACK (applied): " + err.Error()
		case err != nil:
			return "", err
		default:
			note = fmt.Sprintf("a late ACK (applied): the command stays %s, but the node has carried it out and its tunnel config counts as confirmed", cmd.State)
		}
	case protocol.AckFailed:
		note = fmt.Sprintf("a late ACK (failed): the command stays %s; the node said: %s", cmd.State, failure(ack))
	default:
		return otherwise, nil
	}
	return note, report(tx, cmd, ack)
}

// failure returns the node's reason for a failure, and whether the node took the change back.
func failure(ack protocol.Ack) string {
	switch {
	case !ack.RolledBack:
		return ack.Message
	case ack.Message == "":
		return "rolled back"
	}
	return "rolled back: " + ack.Message
}

// report records the text on the node's disk according to an ACK that counts.
func report(tx *store.Tx, cmd store.Command, ack protocol.Ack) error {
	told, err := tellsStored(tx, cmd, ack)
	if err != nil || !told {
		return err
	}
	ref := store.ConfRef{Version: max(0, ack.ConfigVersion), SHA256: strings.ToLower(ack.ConfigSHA256)}
	if cmd.Action != protocol.ActionPush {
		// An open push has put its text there, and may take it back: its own ACK decides.
		open, err := tx.OpenCommands(cmd.NodeID)
		if err != nil {
			return err
		}
		for _, other := range open {
			if other.Action != protocol.ActionPush || other.Attempts == 0 {
				continue
			}
			if p, err := pushOf(other); err != nil || p.ConfigSHA256 == ref.SHA256 {
				return err
			}
		}
	}
	return tx.ReportStored(cmd.NodeID, ref)
}

// tellsStored reports whether the ACK says which text is on the node's disk. An applied detect or
// describe without a hash means that none is, if the agent confirms changes; from another agent it
// says nothing.
func tellsStored(tx *store.Tx, cmd store.Command, ack protocol.Ack) (bool, error) {
	if !cmd.Action.Spec().ReportsStored {
		return false, nil
	}
	if ack.ConfigSHA256 != "" {
		raw, err := hex.DecodeString(ack.ConfigSHA256)
		return err == nil && len(raw) == 32, nil // an invalid hash says nothing either
	}
	if cmd.Action == protocol.ActionPush || ack.Status != protocol.AckApplied {
		return false, nil
	}
	if cmd.Action == protocol.ActionDescribe {
		return slices.Contains(ack.Capabilities, protocol.CapabilityCommitConfirm), nil
	}
	n, err := tx.Node(cmd.NodeID)
	return n.Can(protocol.CapabilityCommitConfirm), err
}
