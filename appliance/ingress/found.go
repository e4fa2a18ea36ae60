package ingress

import (
	"slices"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// Events in a node's journal that the appliance itself writes when what is found is not what is wanted.
const eventUnwanted = "tunnel_unwanted" // wanted stopped, found running

// keptRunning is how long a tunnel must run that the appliance has started for that start to count as
// a success: a later one begins with short pauses again.
const keptRunning = 10 * time.Minute

// tellFound writes into the node's journal that its tunnel was found otherwise than wanted, once,
// and that it is as wanted again. An agent that looks after its tunnel tells so itself, but of one
// that runs although it is to be stopped. While a command is open that may change the tunnel, what
// is found says nothing.
func tellFound(tx *store.Tx, nodeID string) error {
	n, err := tx.Node(nodeID)
	if err != nil {
		return err
	}
	e, err := tx.Evidence(nodeID)
	if err != nil {
		return err
	}
	w, err := tx.Wanted(nodeID)
	if err != nil || w.State == protocol.WantedNone || e.TunnelRunning == nil || !e.TunnelAt.After(w.At) {
		return err
	}
	open, err := tx.OpenCommands(nodeID)
	if err != nil || changing(open) {
		return err
	}
	if w.Attempts > 0 && *e.TunnelRunning && e.TunnelAt.After(w.LastAttemptAt.Add(keptRunning)) {
		if err := tx.UpdateWanted(nodeID, func(w *store.Wanted) { w.Attempts = 0 }); err != nil {
			return err
		}
	}
	entry := foundEntry(n, w, *e.TunnelRunning)
	if differs := *e.TunnelRunning != (w.State == protocol.WantedRunning); differs != w.Told {
		if err := tx.UpdateWanted(nodeID, func(w *store.Wanted) { w.Told = differs }); err != nil {
			return err
		}
		if entry != nil {
			return tx.Note(nodeID, *entry)
		}
	}
	return nil
}

// foundEntry is what the journal says; nil when the agent says it.
func foundEntry(n store.Node, w store.Wanted, runs bool) *store.JournalEntry {
	own := n.Can(protocol.CapabilityWantedState)
	switch {
	case w.State == protocol.WantedStopped && runs:
		return &store.JournalEntry{Level: "warning", Event: eventUnwanted, Message: "the tunnel runs although it is to be stopped: it was started on the node"}
	case own || w.State == protocol.WantedStopped:
		return nil
	case runs:
		return &store.JournalEntry{Level: "info", Event: protocol.EventTunnelRestored, Message: "the tunnel runs again, as wanted"}
	}
	return &store.JournalEntry{Level: "warning", Event: protocol.EventTunnelDown, Message: "the tunnel is to run and was found stopped"}
}

// changing reports whether a command is open that may start or stop the tunnel.
func changing(open []store.Command) bool {
	return slices.ContainsFunc(open, func(cmd store.Command) bool { return cmd.Kind.ChangesNode() })
}
