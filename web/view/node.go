package view

import (
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// Node is a node and its state in short.
type Node struct {
	ID                  string   `json:"id"`
	NodeID              string   `json:"node_id"`
	ConfigID            string   `json:"config_id"`
	Name                string   `json:"name"`
	Enabled             bool     `json:"enabled"`
	NodeType            string   `json:"node_type"`
	InterfaceName       string   `json:"interface_name"`
	Tags                []string `json:"tags"`
	ClientInitialized   bool     `json:"client_initialized"`
	ClientPresenceState string   `json:"client_presence_state"`
	PresenceReason      string   `json:"presence_reason"`
	WGRuntimeState      string   `json:"wg_runtime_state"`
	// WantedState is the state of the tunnel that the operator wants: running, stopped or none.
	WantedState protocol.WantedState `json:"wanted_state"`
	SyncStatus  string               `json:"sync_status"`
	// IdentityConflict is null unless two machines use the node's identity and disconnect each
	// other.
	IdentityConflict *store.IdentityConflict `json:"identity_conflict"`

	LastSeen  *time.Time `json:"last_seen"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
	// Warnings, only in the answer to a write, names the members that had no effect.
	Warnings []string `json:"warnings,omitzero"`
}

// View is the node and its state in short.
func (f Facts) View() Node {
	n := f.Node
	tags := n.Tags
	if tags == nil {
		tags = []string{}
	}
	return Node{
		ID: n.ID, NodeID: n.ID, ConfigID: n.ConfigID, Name: n.Name, Enabled: n.Enabled, NodeType: string(n.Type),
		InterfaceName: n.InterfaceName, Tags: tags, ClientInitialized: n.Client != nil,
		ClientPresenceState: string(f.Presence.State), PresenceReason: f.Presence.Reason, WGRuntimeState: string(f.Presence.Tunnel), WantedState: f.Wanted,
		SyncStatus: string(f.Sync()), IdentityConflict: f.Conflict,
		LastSeen: wire.When(f.Evidence.ReachableAt), CreatedAt: wire.When(n.CreatedAt), UpdatedAt: wire.When(n.UpdatedAt),
	}
}

// ViewWarned is View with the warnings of a write.
func (f Facts) ViewWarned(warnings []string) Node {
	v := f.View()
	v.Warnings = warnings
	return v
}
