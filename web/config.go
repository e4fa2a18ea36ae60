package web

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// meshAPI answers the calls about configs, nodes and tags.
type meshAPI struct {
	db     *store.DB
	log    *slog.Logger
	audit  *auditor
	reader *reader
}

// What the bodies of the calls have in common.
const (
	configMembers = "description, enabled bool, tunnel_protocol, awg_version"
)

func (a *meshAPI) configRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/configs", Access: wire.Session, Handle: a.listConfigs,
			Summary: "The meshes, by name.",
			Data:    []countedConfigView{}, Paged: true,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/configs", Access: wire.Session, Handle: a.createConfig, OneWrite: true,
			Summary: "Creates a mesh.",
			Body:    "name!, " + configMembers, Data: configView{}, Codes: "CONFIG_NAME_EXISTS",
		},
		{
			Method: http.MethodGet, Path: wire.PathConfig, Access: wire.Session, Handle: a.getConfig,
			Summary: "A mesh.",
			Data:    countedConfigView{},
		},
		{
			Method: http.MethodPut, Path: wire.PathConfig, Access: wire.Session, Handle: a.updateConfig, OneWrite: true,
			Summary: "Changes a mesh; members that are absent stay as they are.",
			Body:    "name, " + configMembers, Data: configView{}, Codes: "CONFIG_NAME_EXISTS",
		},
		{
			Method: http.MethodDelete, Path: wire.PathConfig, Access: wire.Session, Handle: a.deleteConfig, OneWrite: true,
			Summary: "Deletes a mesh and its nodes.",
			Data:    deletedConfig{},
		},
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/overview", Access: wire.Session, Handle: a.overview,
			Summary: "A mesh, its nodes, and their number by state.",
			Data:    overviewView{},
		},
	}
}

// ignoredConfig are members of a config that mean something to WG Free Mesh and nothing here yet. They are
// answered in warnings, so that a script learns of it. A member that gets a meaning leaves the list.
var ignoredConfig = []string{
	"virtual_subnet", "default_listen_port", "default_mtu", "default_dns", "auto_sync", "awg_s1", "awg_s2", "awg_s3", "awg_s4",
	"awg_h1", "awg_h2", "awg_h3", "awg_h4", "awg_options", "awg_node_updates",
}

type configView struct {
	ID             string     `json:"id"`
	ConfigID       string     `json:"config_id"`
	Name           string     `json:"name"`
	Description    string     `json:"description"`
	Enabled        bool       `json:"enabled"`
	TunnelProtocol string     `json:"tunnel_protocol"`
	AWGVersion     *string    `json:"awg_version"` // null: none is set
	CreatedAt      *time.Time `json:"created_at"`
	UpdatedAt      *time.Time `json:"updated_at"`
	// Warnings, of a write, names what it asked for and did not get.
	Warnings []string `json:"warnings,omitzero"`
}

func viewConfig(c store.Config) configView {
	return configView{
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

// nodeCounts counts the nodes of a config. Disabled ones count in the first and the last only, and a
// node whose link has dropped is offline.
type nodeCounts struct {
	NodeCount         int `json:"node_count"`
	DynamicNodeCount  int `json:"dynamic_node_count"`
	OnlineNodeCount   int `json:"online_node_count"`
	OfflineNodeCount  int `json:"offline_node_count"`
	DisabledNodeCount int `json:"disabled_node_count"`
}

func (c *nodeCounts) add(f facts) {
	c.NodeCount++
	switch {
	case !f.node.Enabled:
		c.DisabledNodeCount++
		return
	case f.node.Type != store.NodeDynamic:
		return
	}
	c.DynamicNodeCount++
	if f.presence.State == presence.Online {
		c.OnlineNodeCount++
	} else {
		c.OfflineNodeCount++
	}
}

// countedConfigView is a config with the number of its nodes.
type countedConfigView struct {
	configView
	nodeCounts
}

func (r *reader) countedConfig(tx *store.Tx, cfg store.Config) (countedConfigView, error) {
	v := countedConfigView{configView: viewConfig(cfg)}
	return v, r.eachFacts(tx, cfg, v.add)
}

// configPatch is what a request wants of a config; nil is not mentioned.
type configPatch struct {
	name, description          *string
	enabled                    *bool
	tunnelProtocol, awgVersion *string
}

func readConfigPatch(f *wire.Fields) configPatch {
	return configPatch{
		name:           f.Text("name", wire.Line(1, 32)),
		description:    f.Text("description", wire.Prose(1000)),
		enabled:        f.Flag("enabled"),
		tunnelProtocol: f.Text("tunnel_protocol", wire.OneOf(protocol.TunnelWireGuard, protocol.TunnelAmneziaWG, protocol.TunnelAmneziaWG2)),
		awgVersion:     f.Text("awg_version", wire.AWGVersion),
	}
}

// apply changes c by the patch. A version of AmneziaWG goes with the tunnel protocol it belonged to.
func (p configPatch) apply(c *store.Config) error {
	c.Name = wire.Or(p.name, c.Name)
	c.Description = wire.Or(p.description, c.Description)
	c.Enabled = wire.Or(p.enabled, c.Enabled)
	c.TunnelProtocol = wire.Or(p.tunnelProtocol, c.TunnelProtocol)
	c.AWGVersion = wire.Or(p.awgVersion, c.AWGVersion)
	if protocol.ToolFamily(c.TunnelProtocol) == "awg" {
		return nil
	}
	if wire.Or(p.awgVersion, "") != "" {
		f := &wire.Fields{}
		f.Reject("awg_version", "is only for the tunnel_protocol amneziawg or amneziawg_2")
		return f.Err()
	}
	c.AWGVersion = ""
	return nil
}

func (a *meshAPI) listConfigs(c echo.Context) error {
	limit, after, err := wire.ReadPage(c)
	if err != nil {
		return err
	}
	var views []countedConfigView
	var next string
	if err := a.db.View(func(tx *store.Tx) error {
		configs, err := tx.Configs(after, limit+1)
		if err != nil {
			return err
		}
		configs, next = wire.Cut(configs, limit, func(c store.Config) string { return c.Name })
		for _, cfg := range configs {
			v, err := a.reader.countedConfig(tx, cfg)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
		return nil
	}); err != nil {
		return err
	}
	return wire.RespondList(c, views, next)
}

func (a *meshAPI) createConfig(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readConfigPatch(f)
	f.Require("name", patch.name != nil)
	if err := f.Err(); err != nil {
		return err
	}
	id := protocol.NewID("cfg")
	cfg, err := store.WriteFor(c.Request().Context(), a.db, func(tx *store.Tx) (store.Config, error) {
		cfg := store.Config{ID: id, Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
		if err := patch.apply(&cfg); err != nil {
			return cfg, err
		}
		if err := tx.PutConfig(&cfg); err != nil {
			return cfg, err
		}
		noteID(c, "config_id", id)
		return cfg, nil
	})
	if err != nil {
		return err
	}
	a.log.Info("config created", "config_id", id, "by", loginOf(c).Username)
	v := viewConfig(cfg)
	v.Warnings = f.Ignored(ignoredConfig)
	return wire.Respond(c, v)
}

func (a *meshAPI) getConfig(c echo.Context) error {
	v, err := store.Read(a.db, func(tx *store.Tx) (countedConfigView, error) {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return countedConfigView{}, err
		}
		return a.reader.countedConfig(tx, cfg)
	})
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

func (a *meshAPI) updateConfig(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readConfigPatch(f)
	if err := f.Err(); err != nil {
		return err
	}
	cfg, err := store.WriteFor(c.Request().Context(), a.db, func(tx *store.Tx) (cfg store.Config, err error) {
		if cfg, err = tx.Config(c.Param("config_id")); err != nil {
			return cfg, err
		}
		if err := patch.apply(&cfg); err != nil {
			return cfg, err
		}
		return cfg, tx.PutConfig(&cfg)
	})
	if err != nil {
		return err
	}
	a.log.Info("config changed", "config_id", cfg.ID, "enabled", cfg.Enabled, "by", loginOf(c).Username)
	v := viewConfig(cfg)
	v.Warnings = f.Ignored(ignoredConfig)
	return wire.Respond(c, v)
}

type deletedConfig struct {
	Message  string `json:"message"`
	ConfigID string `json:"config_id"`
}

func (a *meshAPI) deleteConfig(c echo.Context) error {
	id := c.Param("config_id")
	if err := a.audit.update(c, func(tx *store.Tx) error { return tx.DeleteConfig(id) }); err != nil {
		return err
	}
	a.log.Info("config deleted", "config_id", id, "by", loginOf(c).Username)
	return wire.Respond(c, deletedConfig{"The mesh and its nodes were deleted.", id})
}

type overviewView struct {
	Config    configView `json:"config"`
	NodeCount int        `json:"node_count"`
	Stats     nodeCounts `json:"stats"`
	// Presence and Sync count the nodes by state.
	Presence map[string]int           `json:"presence"`
	Sync     map[store.SyncStatus]int `json:"sync"`
	Nodes    []nodeView               `json:"nodes"`
}

func (a *meshAPI) overview(c echo.Context) error {
	var v overviewView
	if err := a.db.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, "", 0)
		if err != nil {
			return err
		}
		v = overviewView{
			Config: viewConfig(cfg), NodeCount: len(nodes), Nodes: make([]nodeView, 0, len(nodes)),
			Presence: noPresence(),
			Sync:     noSyncYet(),
		}
		for _, n := range nodes {
			facts, err := a.reader.facts(tx, cfg, n)
			if err != nil {
				return err
			}
			v.Stats.add(facts)
			v.Presence[string(facts.presence.State)]++
			v.Sync[facts.sync()]++
			v.Nodes = append(v.Nodes, facts.view())
		}
		return nil
	}); err != nil {
		return err
	}
	return wire.Respond(c, v)
}
