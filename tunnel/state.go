package tunnel

import (
	"encoding/json"

	"wfm/protocol"
	"wfm/store"
)

// confirmingScanned is how far back [Confirming] looks. A node has at most 64 open commands.
const confirmingScanned = 64

// Family returns the tool family of the mesh (see [protocol.ToolFamily]).
func Family(cfg store.Config) string { return protocol.ToolFamily(cfg.TunnelProtocol) }

// StagedFits reports whether the staged version was read for the tool family.
func StagedFits(s store.ConfState, family string) bool {
	return s.Staged.Version != 0 && s.StagedFor == family
}

// StagedNow reports whether the desired version is staged for the tool family.
func StagedNow(s store.ConfState, family string) bool {
	return StagedFits(s, family) && s.Staged.SHA256 == s.Desired.SHA256
}

// Confirmed reports whether the node confirmed the text of ref, for the tool family.
func Confirmed(s store.ConfState, ref store.ConfRef, family string) bool {
	// Records of early versions do not contain the family that the config was pushed for.
	return s.Confirmed.Version != 0 && s.Confirmed.SHA256 == ref.SHA256 && (s.ConfirmedFor == family || s.ConfirmedFor == "")
}

// Drifted reports whether the node last reported another text on its disk than the one it
// confirmed.
func Drifted(s store.ConfState) bool {
	return s.Confirmed.Version != 0 && !s.ReportedAt.IsZero() && s.Reported.SHA256 != s.Confirmed.SHA256
}

// Sync summarises s. family is that of the node's mesh now. A static node confirms nothing: an
// operator carries its config there by hand, once it is staged or by taking it from the appliance.
func Sync(s store.ConfState, t store.NodeType, family string) store.SyncStatus {
	switch {
	case s.Desired.Version == 0:
		return store.SyncLatest
	case t == store.NodeStatic:
		staged := s.Staged.SHA256 == s.Desired.SHA256 && (s.StagedFor == family || s.StagedFor == "")
		if staged || s.HandedOut.SHA256 == s.Desired.SHA256 {
			return store.SyncLatest
		}
		return store.SyncPending
	case Drifted(s):
		return store.SyncDrifted
	case Confirmed(s, s.Desired, family):
		return store.SyncLatest
	}
	return store.SyncPending
}

// Has reports whether the node certainly has the text of ref, so that pushing it would only restart
// its tunnel: it confirmed the text, has not drifted, and no other push was sent to it since. The
// outcome of such a push may be unknown, unless the node reported the text afterwards.
func Has(tx *store.Tx, nodeID string, s store.ConfState, ref store.ConfRef, family string) (bool, error) {
	if !Confirmed(s, ref, family) || Drifted(s) {
		return false, nil
	}
	for cmd, err := range tx.EachCommand(nodeID) {
		if err != nil {
			return false, err
		}
		if cmd.Seq <= s.ConfirmedSeq {
			break
		}
		if cmd.Action == protocol.ActionPush && cmd.Attempts > 0 {
			return cmd.State.Ended() && !s.ReportedAt.Before(cmd.UpdatedAt) && s.Reported.SHA256 == ref.SHA256, nil
		}
	}
	return true, nil
}

// Pushed returns the payload of a push. ok is false for another command.
func Pushed(cmd store.Command) (p protocol.Push, ok bool) {
	ok = cmd.Action == protocol.ActionPush && json.Unmarshal(cmd.Payload, &p) == nil
	return p, ok
}

// PushedVersion returns the config version that the command takes to its node, or 0 if it is not a
// push.
func PushedVersion(cmd store.Command) int {
	p, ok := Pushed(cmd)
	if !ok {
		return 0
	}
	return p.ConfigVersion
}

// Fits reports whether a push that waited still matches the node's interface and tools.
func Fits(p protocol.Push, cfg store.Config, n store.Node) bool {
	return p.InterfaceName == n.InterfaceName && string(p.AWGVersion) == cfg.AWGVersion &&
		protocol.WireTunnel(p.TunnelProtocol) == protocol.WireTunnel(cfg.TunnelProtocol)
}

// Confirming returns the newest change (a push or a start) before the command with the counter seq
// that the node may still be executing: it was sent and has no final answer. A push superseded by a
// newer one counts, since the node finishes it first. The zero value means that there is none.
func Confirming(tx *store.Tx, nodeID string, before uint64) (store.Command, error) {
	s, err := tx.ConfState(nodeID)
	if err != nil {
		return store.Command{}, err
	}
	newest, err := tx.Commands(nodeID, before, confirmingScanned)
	for _, cmd := range newest {
		change := cmd.Action.Spec().ConfirmTime != 0
		switch {
		case !change, cmd.Attempts == 0, cmd.Seq <= s.ConfirmedSeq:
		case cmd.State == store.CommandSent, cmd.State == store.CommandAccepted,
			cmd.State == store.CommandSuperseded && cmd.DeadlineAt.After(tx.Now()):
			return cmd, err
		}
	}
	return store.Command{}, err
}
