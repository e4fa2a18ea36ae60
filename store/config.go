package store

import (
	"fmt"
	"time"

	"wfm/protocol"
)

var (
	bucketConfigs     = []byte("configs")      // id → Config
	bucketConfigNames = []byte("config_names") // name → id
)

// Config is one mesh.
type Config struct {
	ID             string `json:"id"`
	Name           string `json:"name"` // unique
	Description    string `json:"description"`
	Enabled        bool   `json:"enabled"`
	TunnelProtocol string `json:"tunnel_protocol"`
	// PreviousTunnelProtocol is the value of TunnelProtocol before its last change, not counting
	// other spellings of the same protocol; empty if it never changed. An agent needs it to take
	// the old tunnel down. PutConfig sets it.
	PreviousTunnelProtocol string    `json:"previous_tunnel_protocol,omitempty"`
	AWGVersion             string    `json:"awg_version,omitempty"`
	CreatedAt              time.Time `json:"created_at"`
	UpdatedAt              time.Time `json:"updated_at"`

	MeshSettings
}

// Config returns the config, or [ErrConfigNotFound].
func (tx *Tx) Config(id string) (Config, error) {
	c, ok, err := recall(tx, recentConfigs, bucketConfigs, id)
	if err == nil && !ok {
		err = ErrConfigNotFound
	}
	return c, err
}

// Configs returns up to limit configs (0: all), by name, beginning after the given name.
func (tx *Tx) Configs(after string, limit int) ([]Config, error) {
	var out []Config
	c := tx.cursor(bucketConfigNames)
	for name, id := c.Seek([]byte(after)); name != nil && (limit == 0 || len(out) < limit); name, id = c.Next() {
		if after != "" && string(name) == after {
			continue
		}
		cfg, err := tx.Config(string(id))
		if err != nil {
			return nil, fmt.Errorf("config named %q: %w", name, indexError(err))
		}
		out = append(out, cfg)
	}
	return out, nil
}

// PutConfig creates or changes the config and stamps it. Disabling a config takes its nodes
// offline: open commands are cancelled, bind tokens invalidated, and grants end with the commit.
// Error: [ErrConfigNameExists].
func (tx *Tx) PutConfig(c *Config) error {
	if id := tx.getRaw(bucketConfigNames, []byte(c.Name)); id != nil && string(id) != c.ID {
		return ErrConfigNameExists
	}
	old, exists, err := get[Config](tx, bucketConfigs, c.ID)
	if err != nil {
		return err
	}
	c.UpdatedAt = tx.now.UTC()
	c.CreatedAt = c.UpdatedAt
	if exists {
		c.CreatedAt, c.PreviousTunnelProtocol = old.CreatedAt, old.PreviousTunnelProtocol
		if protocol.WireTunnel(old.TunnelProtocol) != protocol.WireTunnel(c.TunnelProtocol) {
			c.PreviousTunnelProtocol = old.TunnelProtocol
		}
		if err := tx.deleteRaw(bucketConfigNames, []byte(old.Name)); err != nil {
			return err
		}
	}
	if err := tx.putRaw(bucketConfigNames, []byte(c.Name), []byte(c.ID)); err != nil {
		return err
	}
	if err := put(tx, bucketConfigs, c.ID, c); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeConfig, ConfigID: c.ID, Created: !exists})
	if exists && old.Enabled != c.Enabled {
		return tx.eachNode(c.ID, func(n Node) error {
			tx.touchGrant(n.ID)
			if c.Enabled {
				return nil
			}
			return tx.cutOff(n, "the mesh was disabled")
		})
	}
	return nil
}

// DeleteConfig removes the config, its rollouts and all its nodes. Error: [ErrConfigNotFound].
func (tx *Tx) DeleteConfig(id string) error {
	c, err := tx.Config(id)
	if err != nil {
		return err
	}
	if err := tx.eachNode(id, func(n Node) error { return tx.DeleteNode(n.ID) }); err != nil {
		return err
	}
	if err := tx.deleteRollouts(id); err != nil {
		return err
	}
	if err := tx.deleteUnder(bucketTags, nodeNameKey(id, "")); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketConfigNames, []byte(c.Name)); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeConfig, ConfigID: id})
	return tx.deleteRaw(bucketConfigs, []byte(id))
}

// eachNode calls fn for every node of the config. fn may change or delete the node.
func (tx *Tx) eachNode(configID string, fn func(Node) error) error {
	nodes, err := tx.Nodes(configID, "", 0)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := fn(n); err != nil {
			return err
		}
	}
	return nil
}
