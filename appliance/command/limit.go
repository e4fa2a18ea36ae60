package command

import (
	"encoding/json"
	"errors"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// timeLimit returns how long a node may take to answer, counted from sending. confirms says whether
// its agent confirms changes.
func (c *Ledger) timeLimit(a protocol.Action, confirms bool) time.Duration {
	spec := a.Spec()
	switch {
	case a == protocol.ActionDetect:
		return c.detectLimit
	case confirms && spec.ConfirmTime != 0:
		return spec.ConfirmTime
	}
	return spec.AnswerTime
}

// switches reports whether the command is a start with another protocol than that of the tunnel
// that may be running. For the node that is as much work as a push.
func switches(cmd store.Command) bool {
	var p protocol.Control
	return cmd.Action.Starts() && json.Unmarshal(cmd.Payload, &p) == nil &&
		p.PreviousTunnelProtocol != "" && protocol.ToolFamily(p.PreviousTunnelProtocol) != protocol.ToolFamily(p.TunnelProtocol)
}

// limitOf returns the time limit of the command, given the node's present agent.
func (c *Ledger) limitOf(tx *store.Tx, cmd store.Command) (time.Duration, error) {
	n, err := tx.Node(cmd.NodeID)
	// An agent that says "accepted" confirms, even if it did not announce that: it may have been
	// updated since its bind.
	confirms := n.Can(protocol.CapabilityCommitConfirm) || (cmd.Ack != nil && cmd.Ack.Status == protocol.AckAccepted)
	limit := c.timeLimit(cmd.Action, confirms)
	if confirms && switches(cmd) {
		limit = c.timeLimit(protocol.ActionPush, confirms)
	}
	if err != nil {
		return limit, err
	}
	if confirms {
		extra, err := extraTime(tx, cmd)
		if err != nil {
			return limit, err
		}
		limit += extra
	}
	if !confirms || !cmd.Kind.ChangesNode() || cmd.Ack != nil {
		return limit, nil
	}
	// The node makes one change after the other. So this one may have to wait until another is
	// confirmed, unless the node has accepted it.
	older, err := tunnel.Confirming(tx, cmd.NodeID, cmd.Seq)
	if err != nil || older.RequestID == "" {
		return limit, err
	}
	extra, err := extraTime(tx, older)
	return limit + c.timeLimit(older.Action, true) + extra, err
}

// extraTime returns the additional time that the node may work on the command because its texts are
// long. An agent gives its tools that time whenever they take a tunnel up or down.
func extraTime(tx *store.Tx, cmd store.Command) (time.Duration, error) {
	state, err := tx.ConfState(cmd.NodeID)
	if err != nil {
		return 0, err
	}
	former, err := extraOf(tx, cmd.NodeID, state.Reported.SHA256)
	if err == nil && former == 0 { // unknown, or a text from elsewhere
		former, err = extraOf(tx, cmd.NodeID, state.Confirmed.SHA256)
	}
	if err != nil {
		return 0, err
	}
	runs := time.Duration(cmd.Action.Spec().ToolRuns)
	switch {
	case cmd.Action == protocol.ActionPush:
		p, err := pushOf(cmd)
		if err != nil {
			return 0, err
		}
		pushed, err := extraOf(tx, cmd.NodeID, p.ConfigSHA256)
		return runs / 2 * (former + pushed), err // half of the runs concern either text
	case switches(cmd):
		runs = time.Duration(protocol.ActionPush.Spec().ToolRuns)
	}
	return runs * former, nil
}

// extraOf returns [wgconf.ExtraTime] of a text of the node; 0 if the text is not kept.
func extraOf(tx *store.Tx, nodeID, sha string) (time.Duration, error) {
	if sha == "" {
		return 0, nil
	}
	text, err := tx.ConfText(nodeID, sha)
	if errors.Is(err, store.ErrConfVersionNotFound) {
		return 0, nil
	}
	return wgconf.ExtraTime(text), err
}
