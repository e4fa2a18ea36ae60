package view

import (
	"time"

	"wfm/presence"
	"wfm/store"
	"wfm/web/wire"
)

// Config is a mesh.
type Config struct {
	ID             string     `json:"id"`
	ConfigID       string     `json:"config_id"`
	Name           string     `json:"name"`
	Description    string     `json:"description"`
	Enabled        bool       `json:"enabled"`
	TunnelProtocol string     `json:"tunnel_protocol"`
	AWGVersion     *string    `json:"awg_version"` // null if none is set
	CreatedAt      *time.Time `json:"created_at"`
	UpdatedAt      *time.Time `json:"updated_at"`
	// Warnings, only in the answer to a write, names the members that had no effect.
	Warnings []string `json:"warnings,omitzero"`
}

// ConfigOf is the mesh without its nodes.
func ConfigOf(c store.Config) Config {
	return Config{
		ID: c.ID, ConfigID: c.ID, Name: c.Name, Description: c.Description, Enabled: c.Enabled,
		TunnelProtocol: c.TunnelProtocol, AWGVersion: orNull(c.AWGVersion),
		CreatedAt: wire.When(c.CreatedAt), UpdatedAt: wire.When(c.UpdatedAt),
	}
}

func orNull(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

// NodeCounts counts the nodes of a mesh. Disabled ones count only in the first and the last. A node
// whose link has dropped counts as offline.
type NodeCounts struct {
	NodeCount         int `json:"node_count"`
	DynamicNodeCount  int `json:"dynamic_node_count"`
	OnlineNodeCount   int `json:"online_node_count"`
	OfflineNodeCount  int `json:"offline_node_count"`
	DisabledNodeCount int `json:"disabled_node_count"`
}

// Add counts the node.
func (c *NodeCounts) Add(f Facts) {
	c.NodeCount++
	switch {
	case !f.Node.Enabled:
		c.DisabledNodeCount++
		return
	case f.Node.Type != store.NodeDynamic:
		return
	}
	c.DynamicNodeCount++
	if f.Presence.State == presence.Online {
		c.OnlineNodeCount++
	} else {
		c.OfflineNodeCount++
	}
}

// CountedConfig is a mesh with the numbers of its nodes.
type CountedConfig struct {
	Config
	NodeCounts
}

// CountedConfig counts the nodes of the mesh.
func (r *Reader) CountedConfig(tx *store.Tx, cfg store.Config) (CountedConfig, error) {
	v := CountedConfig{Config: ConfigOf(cfg)}
	return v, r.EachFacts(tx, cfg, v.Add)
}
