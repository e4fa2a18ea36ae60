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

// timeLimit is how long a node may take to answer, from sending. An agent that confirms answers a
// push or a start only when it knows that it was not cut off: it looks for its server for 60 s,
// may take the change back then, and has to reconnect to tell. Its true outcome is worth the wait.
func (c *Ledger) timeLimit(a protocol.Action, confirms bool) time.Duration {
	switch {
	case a == protocol.ActionDetect:
		return c.detectLimit
	case a == protocol.ActionPush && confirms:
		return 180 * time.Second
	case a == protocol.ActionStart && confirms:
		return 120 * time.Second
	case a == protocol.ActionPush:
		return 60 * time.Second
	default:
		return 30 * time.Second
	}
}

// switches reports whether the start is to change the protocol of a tunnel that may run: for the node
// that is as much work as a push.
func switches(cmd store.Command) bool {
	var p protocol.Control
	return cmd.Action == protocol.ActionStart && json.Unmarshal(cmd.Payload, &p) == nil &&
		p.PreviousTunnelProtocol != "" && protocol.ToolFamily(p.PreviousTunnelProtocol) != protocol.ToolFamily(p.TunnelProtocol)
}

// limitOf is the time limit of the command with the node's agent as it is now.
func (c *Ledger) limitOf(tx *store.Tx, cmd store.Command) (time.Duration, error) {
	n, err := tx.Node(cmd.NodeID)
	// One that says "accepted" confirms, also if it was not known to: it may be newer than its bind.
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
	changes := cmd.Kind == protocol.KindControl || cmd.Kind == protocol.KindPush
	if !confirms || !changes || cmd.Ack != nil {
		return limit, nil
	}
	// The node makes one change after the other, so this one may have to wait until another is
	// confirmed, unless it says that its turn has come.
	older, err := tunnel.Confirming(tx, cmd.NodeID, cmd.Seq)
	if err != nil || older.RequestID == "" {
		return limit, err
	}
	extra, err := extraTime(tx, older)
	return limit + c.timeLimit(older.Action, true) + extra, err
}

// extraTime is how much longer than usual the node may work on the command, since its texts are long. An
// agent gives its tools that much more, each time one takes a tunnel up or down: a push takes the former
// down and the new one up, and both back if it fails.
func extraTime(tx *store.Tx, cmd store.Command) (time.Duration, error) {
	state, err := tx.ConfState(cmd.NodeID)
	if err != nil {
		return 0, err
	}
	former, err := extraOf(tx, cmd.NodeID, state.Reported.SHA256)
	if err == nil && former == 0 { // not known, or a text from elsewhere
		former, err = extraOf(tx, cmd.NodeID, state.Confirmed.SHA256)
	}
	if err != nil {
		return 0, err
	}
	switch {
	case cmd.Action == protocol.ActionPush:
		p, err := pushOf(cmd)
		if err != nil {
			return 0, err
		}
		pushed, err := extraOf(tx, cmd.NodeID, p.ConfigSHA256)
		return 2 * (former + pushed), err
	case switches(cmd):
		return 4 * former, nil
	case cmd.Action == protocol.ActionStart:
		return 2 * former, nil
	case cmd.Action == protocol.ActionStop:
		return former, nil
	}
	return 0, nil
}

// extraOf is [wgconf.ExtraTime] of a text of the node; 0 if the text is not kept.
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
