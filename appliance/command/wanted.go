package command

import (
	"context"

	"wfm/protocol"
	"wfm/store"
)

// ByWantedState is the author of the starts that the appliance sends on its own.
const ByWantedState = "wanted state"

// StartWanted sends the start of a tunnel that should run and was found stopped. It is not an order
// of the operator, so it changes no wanted state. check is called in the transaction that writes
// the command; if it returns an error, the command is not written. Errors: those of [Ledger.Issue].
func (c *Ledger) StartWanted(nodeID string, check func(*store.Tx) error) (store.Command, error) {
	return c.give(context.Background(), nodeID, func(tx *store.Tx) (store.Command, error) {
		if err := check(tx); err != nil {
			return store.Command{}, err
		}
		return c.writeIn(tx, nodeID, protocol.ActionStart, ByWantedState, false)
	})
}

// startFollows makes the tunnel of an applied push wanted, and reports whether a start has to follow: unless
// it runs or the operator stopped it. If the appliance ends before the start is written, the word in the
// store has the tunnel started (package wanted).
func startFollows(tx *store.Tx, push store.Command, ack protocol.Ack) (bool, error) {
	word, err := tx.WantRunning(push)
	if err != nil {
		return false, err
	}
	runs := ack.WGOnline
	if runs == nil { // a deployed agent's ACK does not say it
		e, err := tx.Evidence(push.NodeID)
		if err != nil {
			return false, err
		}
		runs = e.TunnelRunning
	}
	return word.State == protocol.WantedRunning && (runs == nil || !*runs), nil
}

// issueAfter gives the node of a command another one once the transaction is committed.
func (c *Ledger) issueAfter(tx *store.Tx, cmd store.Command, next protocol.Action, requestedBy string) {
	tx.OnCommit(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stopped {
			return
		}
		c.running.Go(func() { // the caller is the session's own goroutine, which should go on reading
			if _, err := c.Issue(context.Background(), cmd.NodeID, next, requestedBy, false); err != nil {
				c.log.Info("cannot give a node the command that follows", "node_id", cmd.NodeID, "action", next, "request_id", cmd.RequestID, "err", err)
			}
		})
	})
}

// withdrawStart withdraws the wanted state that a failed start set: if the agent took the tunnel
// back, for instance since it cut the node off, only the operator may start it again. If the tunnel
// was wanted before and the node says that it runs as before, the former wanted state is valid
// again. Deployed agents fail a start of a tunnel that already runs, and take nothing back: if it
// was last known to run, it runs as ordered. After a failed stop, the tunnel is still wanted
// stopped.
func withdrawStart(tx *store.Tx, cmd store.Command, ack protocol.Ack) error {
	if !cmd.Action.Starts() {
		return nil
	}
	n, err := tx.Node(cmd.NodeID)
	if err != nil {
		return err
	}
	e, err := tx.Evidence(cmd.NodeID)
	if err != nil || (!ours(n) && e.TunnelRunning != nil && *e.TunnelRunning) {
		return err
	}
	runs := ack.WGOnline != nil && *ack.WGOnline
	return tx.WithdrawWanted(cmd, !runs)
}
