package ingress

import (
	"slices"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// Events that the appliance itself writes into a node's journal if the tunnel differs from the
// wanted state.
const eventUnwanted = "tunnel_unwanted" // wanted stopped, found running

// keptRunning is how long a tunnel that the appliance started must run for that start to count as a
// success: a later start begins with short pauses again.
const keptRunning = 10 * time.Minute

// tellFound records in the node's journal, once, that its tunnel differs from the wanted state, and
// later that it agrees again. An agent that looks after its tunnel reports that itself, except for
// a tunnel that runs although it should be stopped. While a command is open that may change the
// tunnel, its state says nothing.
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

// foundEntry returns the entry for the journal; nil if the agent reports it.
func foundEntry(n store.Node, w store.Wanted, runs bool) *store.JournalEntry {
	own := n.Can(protocol.CapabilityWantedState)
	switch {
	case w.State == protocol.WantedStopped && runs:
		return &store.JournalEntry{Level: "warning", Event: eventUnwanted, Message: "the tunnel runs although it should be stopped: it was started on the node"}
	case own || w.State == protocol.WantedStopped:
		return nil
	case runs:
		return &store.JournalEntry{Level: "info", Event: protocol.EventTunnelRestored, Message: "the tunnel runs again, as wanted"}
	}
	return &store.JournalEntry{Level: "warning", Event: protocol.EventTunnelDown, Message: "the tunnel should run and was found stopped"}
}

// changing reports whether an open command may start or stop the tunnel.
func changing(open []store.Command) bool {
	return slices.ContainsFunc(open, func(cmd store.Command) bool { return cmd.Kind.ChangesNode() })
}
