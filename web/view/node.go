package view

import (
	"net/netip"
	"time"

	"wfm/mesh"
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
	ClientPresenceState string   `json:"client_presence_state"` // online, dropped or offline
	PresenceReason      string   `json:"presence_reason"`
	NodeState           State    `json:"node_state"` // also tells apart the nodes that cannot be online
	WGRuntimeState      string   `json:"wg_runtime_state"`
	// WantedState is the state of the tunnel that the operator wants: running, stopped or none.
	WantedState protocol.WantedState `json:"wanted_state"`
	SyncStatus  string               `json:"sync_status"`
	NodeSettings
	// IdentityConflict is null unless two machines use the node's identity and disconnect each
	// other.
	IdentityConflict *store.IdentityConflict `json:"identity_conflict"`

	LastSeen  *time.Time `json:"last_seen"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
	// Warnings, only in the answer to a write, names the members that had no effect.
	Warnings []string `json:"warnings,omitzero"`
	Effect
}

// NodeSettings are the settings of a node from which tunnel configs are made; null if one is not given.
type NodeSettings struct {
	ConfigSource string  `json:"config_source"` // mesh or text
	KeyHolder    string  `json:"key_holder"`    // appliance or node
	PublicKey    *string `json:"public_key"`
	// PrivateKey is a secret. It is absent in lists, and in answers to those who may only read.
	PrivateKey  *string  `json:"private_key,omitempty"`
	VirtualIP   *string  `json:"virtual_ip"` // with the length of its prefix
	VirtualIP6  *string  `json:"virtual_ip6"`
	IPv4Address *string  `json:"ipv4_address"`
	IPv6Address *string  `json:"ipv6_address"`
	ListenPort  *int     `json:"listen_port"`
	MTU         *int     `json:"mtu"`
	DNS         *string  `json:"dns"`
	Routes      []string `json:"routes"`
	Masquerade  bool     `json:"masquerade"`
	AutoSync    bool     `json:"auto_sync"` // every change is applied by itself
	PreUp       []string `json:"pre_up"`
	PostUp      []string `json:"post_up"`
	PreDown     []string `json:"pre_down"`
	PostDown    []string `json:"post_down"`
	AWGNode
}

// NodeSettingsOf returns the settings as the API shows them, without the private key.
func NodeSettingsOf(s store.NodeSettings) NodeSettings {
	v := NodeSettings{
		ConfigSource: "text", KeyHolder: "appliance", PublicKey: orNull(s.PublicKey), VirtualIP: PrefixOrNull(s.VirtualIP),
		VirtualIP6: PrefixOrNull(s.VirtualIP6), IPv4Address: orNull(s.IPv4Address), IPv6Address: orNull(s.IPv6Address),
		ListenPort: positiveOrNull(s.ListenPort), MTU: positiveOrNull(s.MTU), DNS: orNull(s.DNS), Routes: []string{}, Masquerade: s.Masquerade, AutoSync: s.AutoSync,
		PreUp: append([]string{}, s.PreUp...), PostUp: append([]string{}, s.PostUp...),
		PreDown: append([]string{}, s.PreDown...), PostDown: append([]string{}, s.PostDown...), AWGNode: AWGNodeOf(s.AWG),
	}
	if s.ConfigSource == store.SourceMesh {
		v.ConfigSource = "mesh"
	}
	if s.KeyHolder == store.KeyAtNode {
		v.KeyHolder = "node"
	}
	for _, route := range s.Routes {
		v.Routes = append(v.Routes, route.String())
	}
	return v
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
		ClientPresenceState: string(f.Presence.State), PresenceReason: f.Presence.Reason, NodeState: f.State(),
		WGRuntimeState: string(f.Presence.Tunnel), WantedState: f.Wanted,
		SyncStatus: string(f.Sync()), NodeSettings: NodeSettingsOf(n.NodeSettings), IdentityConflict: f.Conflict,
		LastSeen: wire.When(f.Evidence.ReachableAt), CreatedAt: wire.When(n.CreatedAt), UpdatedAt: wire.When(n.UpdatedAt),
	}
}

// ViewWithKey is View with the node's private key, for a login that may write.
func (f Facts) ViewWithKey() Node {
	v := f.View()
	v.PrivateKey = orNull(f.Node.PrivateKey)
	return v
}

// ViewChanged is the view of a node in the answer to a write, with its private key.
func (f Facts) ViewChanged(warnings []string, changed mesh.Changed) Node {
	v := f.ViewWithKey()
	v.Warnings, v.Effect = warnings, EffectOf(changed)
	return v
}

// AddressesOf returns the addresses of the node in the tunnel: its own, or those of its hand-written
// text. A text that can no longer be parsed has none.
func AddressesOf(tx *store.Tx, cfg store.Config, n store.Node) ([]netip.Prefix, error) {
	node := mesh.Node{Node: n}
	if n.ConfigSource == store.SourceText {
		state, err := tx.ConfState(n.ID)
		if err != nil {
			return nil, err
		}
		if state.Desired.Version != 0 {
			text, err := tx.ConfText(n.ID, state.Desired.SHA256)
			if err != nil {
				return nil, err
			}
			node.Text, _ = mesh.ReadText(cfg, n.ID, text)
		}
	}
	return node.Addresses(), nil
}
