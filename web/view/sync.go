package view

import (
	"fmt"
	"time"

	"wfm/store"
	"wfm/tunnel"
	"wfm/web/wire"
)

// SyncShown returns the node's sync state; empty while it has no config.
func (f Facts) SyncShown() string {
	if f.Conf.Desired.Version == 0 {
		return ""
	}
	return string(f.Sync())
}

// The states of a static node's tunnel config, see [Facts.TextState].
const (
	TextHandedOut = "handed_out"
	TextToHandOut = "to_hand_out" // it never was, or has changed since
)

// TextStates returns all states of a tunnel config.
func TextStates() []string {
	return []string{string(store.SyncLatest), string(store.SyncPending), string(store.SyncDrifted), TextHandedOut, TextToHandOut}
}

// TextState returns the state of the node's tunnel config: the sync state of a node with an agent, and
// for a static one whether a person has the newest. It is empty while there is no config.
func (f Facts) TextState() string {
	if f.Node.Type != store.NodeStatic || f.Conf.Desired.Version == 0 {
		return f.SyncShown()
	}
	if h := f.HandedOut(); h != nil && h.State == TextHandedOut {
		return TextHandedOut
	}
	return TextToHandOut
}

// SyncDetail says why the node is not in sync; empty if it is.
func (f Facts) SyncDetail() string {
	s := f.Conf
	switch {
	case s.Desired.Version == 0 || f.Sync() == store.SyncLatest:
		return ""
	case f.Sync() == store.SyncDrifted:
		return "the node has another text"
	case f.Node.Type != store.NodeStatic && tunnel.StagedNow(s, tunnel.Family(f.Config)):
		return fmt.Sprintf("version %d is not applied yet", s.Desired.Version)
	case s.Staged.SHA256 == s.Desired.SHA256:
		return fmt.Sprintf("version %d was staged for the former tunnel protocol", s.Staged.Version)
	}
	return fmt.Sprintf("version %d is not staged", s.Desired.Version)
}

// ToStage reports whether the desired config is not staged for the mesh's tools.
func (f Facts) ToStage() bool {
	return f.Conf.Desired.Version != 0 && !tunnel.StagedNow(f.Conf, tunnel.Family(f.Config))
}

// Bound reports whether an agent is bound to the node.
func (f Facts) Bound() bool { return f.Node.Type == store.NodeDynamic && f.Node.Client != nil }

// Pushable reports whether there is a version to push and an agent to push it to.
func (f Facts) Pushable() bool { return f.Bound() && f.Conf.Desired.Version != 0 }

// SyncRefs are the versions on their way to the node. Version 0 means none. If reported_local_at is
// null, the text on the node's disk is unknown; with an empty hash there is none.
type SyncRefs struct {
	DesiredVersion       int        `json:"desired_version"`
	DesiredSHA256        string     `json:"desired_sha256"`
	StagedVersion        int        `json:"staged_version"`
	StagedSHA256         string     `json:"staged_sha256"`
	ConfirmedVersion     int        `json:"confirmed_version"`
	ConfirmedSHA256      string     `json:"confirmed_sha256"`
	ConfirmedAt          *time.Time `json:"confirmed_at"`
	ReportedLocalVersion int        `json:"reported_local_version"`
	ReportedLocalSHA256  string     `json:"reported_local_sha256"`
	ReportedLocalAt      *time.Time `json:"reported_local_at"`
}

// Sync is a node's sync state with the versions behind it.
type Sync struct {
	NodeID   string         `json:"node_id"`
	NodeName string         `json:"node_name"`
	NodeType store.NodeType `json:"node_type"`
	SyncRefs
	Status store.SyncStatus `json:"status"`
	// HandedOut is the last version of a static node that was handed out to a person; null if there
	// is none.
	HandedOut *HandedOut `json:"handed_out"`
}

// HandedOut is the version of its tunnel config that a static node has, as far as the appliance knows.
type HandedOut struct {
	Version int        `json:"version"`
	At      *time.Time `json:"at"`
	// State is handed_out, or changed_since if the desired text is another one.
	State string `json:"state"`
}

// HandedOut says which version of its tunnel config a static node has; nil if it has none, or the
// node is not static.
func (f Facts) HandedOut() *HandedOut {
	ref := f.Conf.HandedOut
	if f.Node.Type != store.NodeStatic || ref.Version == 0 {
		return nil
	}
	v := &HandedOut{ref.Version, wire.When(f.Conf.HandedOutAt), TextHandedOut}
	if ref.SHA256 != f.Conf.Desired.SHA256 {
		v.State = "changed_since"
	}
	return v
}

// Sync is the node's sync state.
func (f Facts) Sync() store.SyncStatus {
	return tunnel.Sync(f.Conf, f.Node.Type, tunnel.Family(f.Config))
}

// SyncRefs are the versions on their way to the node.
func (f Facts) SyncRefs() SyncRefs {
	s := f.Conf
	return SyncRefs{
		DesiredVersion: s.Desired.Version, DesiredSHA256: s.Desired.SHA256,
		StagedVersion: s.Staged.Version, StagedSHA256: s.Staged.SHA256,
		ConfirmedVersion: s.Confirmed.Version, ConfirmedSHA256: s.Confirmed.SHA256, ConfirmedAt: wire.When(s.ConfirmedAt),
		ReportedLocalVersion: s.Reported.Version, ReportedLocalSHA256: s.Reported.SHA256, ReportedLocalAt: wire.When(s.ReportedAt),
	}
}

// SyncView is the node's sync state with the versions behind it.
func (f Facts) SyncView() Sync {
	return Sync{f.Node.ID, f.Node.Name, f.Node.Type, f.SyncRefs(), f.Sync(), f.HandedOut()}
}
