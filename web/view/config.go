package view

import (
	"net/netip"
	"time"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/wire"
)

// Config is a mesh.
type Config struct {
	ID             string  `json:"id"`
	ConfigID       string  `json:"config_id"`
	Name           string  `json:"name"`
	Description    string  `json:"description"`
	Enabled        bool    `json:"enabled"`
	TunnelProtocol string  `json:"tunnel_protocol"`
	AWGVersion     *string `json:"awg_version"` // null if none is set
	ConfigSettings
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
	// Warnings, only in the answer to a write, names the members that had no effect.
	Warnings []string `json:"warnings,omitzero"`
	Effect
}

// Effect is the effect of a change of a mesh. Only the answer to a write has it.
type Effect struct {
	ChangeHints     []string `json:"change_hints,omitzero"`      // sentences about what the change adjusted, or should be followed by
	AffectedNodeIDs []string `json:"affected_node_ids,omitzero"` // whose tunnel configs have a new version
}

// EffectOf returns the effect of a change.
func EffectOf(c mesh.Changed) Effect {
	return Effect{append([]string{}, c.Hints...), append([]string{}, c.NodeIDs...)}
}

// ConfigSettings are the settings of a mesh from which tunnel configs are made; null if one is not
// given.
type ConfigSettings struct {
	VirtualSubnet     *string `json:"virtual_subnet"`
	VirtualSubnet6    *string `json:"virtual_subnet6"`
	DefaultListenPort *int    `json:"default_listen_port"`
	DefaultMTU        *int    `json:"default_mtu"`
	DefaultDNS        *string `json:"default_dns"`
	AutoSync          bool    `json:"auto_sync"` // of new nodes
	AWGMesh
}

func configSettingsOf(s store.MeshSettings) ConfigSettings {
	return ConfigSettings{
		VirtualSubnet: PrefixOrNull(s.VirtualSubnet), VirtualSubnet6: PrefixOrNull(s.VirtualSubnet6),
		DefaultListenPort: positiveOrNull(s.DefaultListenPort), DefaultMTU: positiveOrNull(s.DefaultMTU), DefaultDNS: orNull(s.DefaultDNS), AutoSync: s.AutoSync,
		AWGMesh: AWGMeshOf(s.AWG),
	}
}

// PrefixOrNull returns the text of p; nil for the zero prefix.
func PrefixOrNull(p netip.Prefix) *string {
	if !p.IsValid() {
		return nil
	}
	text := p.String()
	return &text
}

func positiveOrNull(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// ConfigOf is the mesh without its nodes.
func ConfigOf(c store.Config) Config {
	return Config{
		ID: c.ID, ConfigID: c.ID, Name: c.Name, Description: c.Description, Enabled: c.Enabled,
		TunnelProtocol: c.TunnelProtocol, AWGVersion: orNull(c.AWGVersion), ConfigSettings: configSettingsOf(c.MeshSettings),
		CreatedAt: wire.When(c.CreatedAt), UpdatedAt: wire.When(c.UpdatedAt),
	}
}

// ConfigWithKey is ConfigOf with the secret among the values of AmneziaWG, for a login that may write.
func ConfigWithKey(c store.Config) Config {
	v := ConfigOf(c)
	v.AWGMesh = AWGMeshWithKey(c.AWG)
	return v
}

func orNull(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

// NodeCounts counts the nodes of a mesh. Disabled ones count only as disabled and in the first number. A node whose
// link has dropped, or that has no agent yet, counts as offline.
type NodeCounts struct {
	NodeCount         int `json:"node_count"`
	DynamicNodeCount  int `json:"dynamic_node_count"`
	OnlineNodeCount   int `json:"online_node_count"`
	OfflineNodeCount  int `json:"offline_node_count"`
	DisabledNodeCount int `json:"disabled_node_count"`
	StaticNodeCount   int `json:"static_node_count"`
	UnboundNodeCount  int `json:"unbound_node_count"` // the offline ones that have no agent
}

// Add counts the node.
func (c *NodeCounts) Add(f Facts) {
	c.NodeCount++
	switch f.State() {
	case StateDisabled:
		c.DisabledNodeCount++
		return
	case StateStatic:
		c.StaticNodeCount++
		return
	case StateOnline:
		c.OnlineNodeCount++
	case StateUnbound:
		c.UnboundNodeCount++
		c.OfflineNodeCount++
	default:
		c.OfflineNodeCount++
	}
	c.DynamicNodeCount++
}

// CountedConfig is a mesh with the numbers of its nodes.
type CountedConfig struct {
	Config
	NodeCounts
	// TopologyInvalid says that no tunnel config made from the mesh can be applied, because of the errors
	// that mesh/validate lists.
	TopologyInvalid    bool `json:"topology_invalid"`
	TopologyErrorCount int  `json:"topology_error_count"`
}

// CountedConfig counts the nodes of the mesh.
func (r *Reader) CountedConfig(tx *store.Tx, cfg store.Config) (CountedConfig, error) {
	v := CountedConfig{Config: ConfigOf(cfg)}
	return v, r.EachFacts(tx, cfg, v.Add)
}
