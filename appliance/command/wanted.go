package command

import (
	"cmp"
	"context"

	"wfm/protocol"
	"wfm/store"
)

// ByWantedState is the author of the starts that the appliance sends on its own.
const ByWantedState = "wanted state"

// StartWanted sends the start of a tunnel that should run and was found stopped. It is not an order
// of the operator, so it changes no wanted state; but if no command has given the operator's word yet,
// the word ends with this one, should it fail. check is called in the transaction that writes
// the command; if it returns an error, the command is not written. Errors: those of [Ledger.Issue].
func (c *Ledger) StartWanted(nodeID string, check func(*store.Tx) error) (store.Command, error) {
	return c.give(context.Background(), nodeID, func(tx *store.Tx) (store.Command, error) {
		if err := check(tx); err != nil {
			return store.Command{}, err
		}
		cmd, err := c.writeIn(tx, nodeID, protocol.ActionStart, ByWantedState, false)
		if err == nil {
			err = tx.UpdateWanted(nodeID, func(w *store.Wanted) { w.RequestID = cmp.Or(w.RequestID, cmd.RequestID) })
		}
		return cmd, err
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
