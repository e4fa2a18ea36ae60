package command

import (
	"context"

	"wfm/protocol"
	"wfm/store"
)

// ByWantedState is the author of the starts that the appliance sends by itself.
const ByWantedState = "wanted state"

// StartWanted sends the start of a tunnel that is wanted and was found stopped. It is no word of the
// operator, so it changes no wanted state. check is called in the transaction that writes the
// command; its error keeps the command from being written. Errors: those of [Ledger.Issue].
func (c *Ledger) StartWanted(nodeID string, check func(*store.Tx) error) (store.Command, error) {
	return c.give(context.Background(), nodeID, func(tx *store.Tx) (store.Command, error) {
		if err := check(tx); err != nil {
			return store.Command{}, err
		}
		return c.writeIn(tx, nodeID, protocol.ActionStart, ByWantedState, false)
	})
}

// refusedStart takes the word back that a start gave which failed: a tunnel that was taken back, since it
// cut the node off say, must not be started again by anybody but the operator. If the tunnel was wanted
// before and the node says that it runs as before, the former word counts. Deployed agents fail a start
// of what runs already, and take nothing back: if it was last known to run, it runs as asked. A stop that
// failed is wanted still.
func refusedStart(tx *store.Tx, cmd store.Command, ack protocol.Ack) error {
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
