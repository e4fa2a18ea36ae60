package mesh

import (
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	rules "wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// Parts that several calls' bodies share.
const (
	configMembers = "description, enabled bool, tunnel_protocol, awg_version, " + settingsMembers
	configCodes   = rules.CodeInvalidSubnet + " " + rules.CodeInvalidAWG + " " + rules.CodeInvalidValue + " " + rules.CodeInvalidText + " " +
		rules.CodeIPPoolExhausted
)

var configObjects = map[string]string{"awg_options": wire.AWGOptions}

func (a *API) configRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/configs", Access: wire.Session, Handle: a.listConfigs,
			Summary: "The meshes, by name.",
			Data:    []view.CountedConfig{}, Paged: true,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/configs", Access: wire.Session, Handle: a.createConfig, OneWrite: true,
			Summary: "Creates a mesh. Without virtual_subnet, it gets a free network; with null, it has none, and its nodes' tunnel configs are written by hand.",
			Body:    "name!, " + configMembers, Objects: configObjects, Data: view.Config{}, Codes: "CONFIG_NAME_EXISTS " + configCodes,
		},
		{
			Method: http.MethodGet, Path: wire.PathConfig, Access: wire.Session, Handle: a.getConfig,
			Summary: "A mesh.",
			Data:    view.CountedConfig{},
		},
		{
			Method: http.MethodPut, Path: wire.PathConfig, Access: wire.Session, Handle: a.updateConfig, OneWrite: true,
			Summary: "Changes a mesh; absent members stay as they are. awg_node_updates has values of AmneziaWG of nodes, by their ids, which are changed with it.",
			Body:    "name, awg_node_updates object, " + configMembers, Objects: configObjects, Data: view.Config{}, Codes: "CONFIG_NAME_EXISTS " + configCodes,
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

// configPatch holds the changes that a request makes to a mesh. Nil members do not change.
type configPatch struct {
	name, description          *string
	enabled                    *bool
	tunnelProtocol, awgVersion *string
	settings                   settingsPatch
}

func readConfigPatch(f *wire.Fields) configPatch {
	return configPatch{
		name:           f.Text("name", wire.Line(1, 32)),
		description:    f.Text("description", wire.Prose(1000)),
		enabled:        f.Flag("enabled"),
		tunnelProtocol: f.Text("tunnel_protocol", wire.OneOf(protocol.TunnelWireGuard, protocol.TunnelAmneziaWG, protocol.TunnelAmneziaWG2)),
		awgVersion:     f.Text("awg_version", wire.AWGVersion),
		settings:       readSettingsPatch(f),
	}
}

// apply applies the patch to c. It clears the version of AmneziaWG if the tunnel protocol is not
// AmneziaWG.
func (p configPatch) apply(c *store.Config) error {
	c.Name = wire.Or(p.name, c.Name)
	c.Description = wire.Or(p.description, c.Description)
	c.Enabled = wire.Or(p.enabled, c.Enabled)
	c.TunnelProtocol = wire.Or(p.tunnelProtocol, c.TunnelProtocol)
	c.AWGVersion = wire.Or(p.awgVersion, c.AWGVersion)
	if protocol.ToolFamily(c.TunnelProtocol) == "awg" {
		return p.settings.apply(c)
	}
	if wire.Or(p.awgVersion, "") != "" {
		f := &wire.Fields{}
		f.Reject("awg_version", "is only for the tunnel_protocol amneziawg or amneziawg_2")
		return f.Err()
	}
	c.AWGVersion, c.AWG = "", store.AWGMesh{}
	return p.settings.apply(c)
}

func (a *API) listConfigs(c echo.Context) error {
	limit, after, err := wire.ReadPage(c)
	if err != nil {
		return err
	}
	var views []view.CountedConfig
	var next string
	if err := a.DB.View(func(tx *store.Tx) error {
		configs, err := tx.Configs(after, limit+1)
		if err != nil {
			return err
		}
		configs, next = wire.Cut(configs, limit, func(c store.Config) string { return c.Name })
		for _, cfg := range configs {
			v, err := a.Reader.CountedConfig(tx, cfg)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range views {
		if err := a.judge(c, &views[i]); err != nil && !errors.Is(err, store.ErrConfigNotFound) {
			return err
		}
	}
	return wire.RespondList(c, views, next)
}

// judge says whether the mesh is valid.
func (a *API) judge(c echo.Context, v *view.CountedConfig) error {
	report, err := a.Applier.Topology(c.Request().Context(), v.ID)
	v.TopologyErrorCount = len(report.Topology())
	v.TopologyInvalid = v.TopologyErrorCount > 0
	return err
}

func (a *API) createConfig(c echo.Context) error {
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
	var cfg store.Config
	changed, err := a.change(c, id, func(e *rules.Edit, tx *store.Tx) (err error) {
		cfg = store.Config{ID: id, Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
		if err := patch.apply(&cfg); err != nil {
			return err
		}
		if patch.settings.subnet == nil {
			if cfg.VirtualSubnet, err = rules.FreeSubnet(tx, a.Networks()); err != nil {
				return err
			}
		}
		access.NoteID(c, "config_id", id)
		return e.PutConfig(&cfg)
	})
	if err != nil {
		return err
	}
	a.Log.Info("config created", "config_id", id, "by", access.LoginOf(c).Username)
	return wire.Respond(c, patch.answer(f, cfg, changed))
}

// answer is the mesh in the answer to a write.
func (p configPatch) answer(f *wire.Fields, cfg store.Config, changed rules.Changed) view.Config {
	v := view.ConfigWithKey(cfg)
	v.Warnings, v.Effect = p.settings.ignored(f, cfg), view.EffectOf(changed)
	return v
}

// change changes the mesh in the one transaction of the request, with the tunnel configs that follow
// from it.
func (a *API) change(c echo.Context, configID string, edit func(*rules.Edit, *store.Tx) error) (changed rules.Changed, err error) {
	err = a.Audit.Update(c, func(tx *store.Tx) error {
		changed, err = rules.Change(tx, configID, access.LoginOf(c).Username, rand.Reader, func(e *rules.Edit) error { return edit(e, tx) })
		return err
	})
	return changed, err
}

func (a *API) getConfig(c echo.Context) error {
	v, err := store.Read(a.DB, func(tx *store.Tx) (view.CountedConfig, error) {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return view.CountedConfig{}, err
		}
		v, err := a.Reader.CountedConfig(tx, cfg)
		if access.MayWrite(access.LoginOf(c)) {
			v.Config = view.ConfigWithKey(cfg)
		}
		return v, err
	})
	if err == nil {
		err = a.judge(c, &v)
	}
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

func (a *API) updateConfig(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	patch, nodes := readConfigPatch(f), readNodeUpdates(f)
	if err := f.Err(); err != nil {
		return err
	}
	var cfg store.Config
	changed, err := a.change(c, c.Param("config_id"), func(e *rules.Edit, tx *store.Tx) (err error) {
		if cfg, err = tx.Config(c.Param("config_id")); err != nil {
			return err
		}
		if err := patch.apply(&cfg); err != nil {
			return err
		}
		if err := e.PutConfig(&cfg); err != nil || protocol.ToolFamily(cfg.TunnelProtocol) != "awg" {
			return err
		}
		return nodes.apply(e)
	})
	if err != nil {
		return err
	}
	a.Log.Info("config changed", "config_id", cfg.ID, "enabled", cfg.Enabled, "by", access.LoginOf(c).Username)
	return wire.Respond(c, patch.answer(f, cfg, changed))
}

type deletedConfig struct {
	Message  string `json:"message"`
	ConfigID string `json:"config_id"`
}

func (a *API) deleteConfig(c echo.Context) error {
	id := c.Param("config_id")
	if err := a.Audit.Update(c, func(tx *store.Tx) error { return tx.DeleteConfig(id) }); err != nil {
		return err
	}
	a.Log.Info("config deleted", "config_id", id, "by", access.LoginOf(c).Username)
	return wire.Respond(c, deletedConfig{"The mesh and its nodes were deleted.", id})
}

type overviewView struct {
	Config    view.Config     `json:"config"`
	NodeCount int             `json:"node_count"`
	Stats     view.NodeCounts `json:"stats"`
	// Presence and Sync count the nodes by state.
	Presence map[view.State]int       `json:"presence"`
	Sync     map[store.SyncStatus]int `json:"sync"`
	Nodes    []view.Node              `json:"nodes"`
	// NodeCards and DisabledNodeCards are the nodes in short.
	NodeCards         []nodeCard  `json:"node_cards"`
	DisabledNodeCards []nodeCard  `json:"disabled_node_cards"`
	Topology          view.Report `json:"topology"`
}

// nodeCard is a node in short.
type nodeCard struct {
	NodeID         string     `json:"node_id"`
	Name           string     `json:"name"`
	Enabled        bool       `json:"enabled"`
	NodeType       string     `json:"node_type"`
	NodeState      view.State `json:"node_state"`
	WGRuntimeState string     `json:"wg_runtime_state"`
	SyncStatus     string     `json:"sync_status"`
	VirtualIP      *string    `json:"virtual_ip"`
	MeshError      string     `json:"mesh_error"` // the first error of the mesh about the node; empty if there is none
}

// meshErrors returns the first error about each node of the mesh, or about a link of it.
func meshErrors(tx *store.Tx, r rules.Report) (map[string]string, error) {
	first := make(map[string]string)
	about := func(id, message string) {
		if id != "" && first[id] == "" {
			first[id] = message
		}
	}
	for _, f := range r.Of(rules.SeverityError) {
		about(f.NodeID, f.Message)
		if f.LinkID == "" {
			continue
		}
		l, err := tx.Link(f.LinkID)
		if err != nil && !errors.Is(err, store.ErrLinkNotFound) {
			return nil, err
		}
		about(l.Forward.LocalNodeID, f.Message)
		about(l.Reverse.LocalNodeID, f.Message)
	}
	return first, nil
}

func (a *API) overview(c echo.Context) error {
	var v overviewView
	report, err := a.Applier.Topology(c.Request().Context(), c.Param("config_id"))
	if err != nil {
		return err
	}
	if err := a.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		v = overviewView{Config: view.ConfigOf(cfg), Nodes: []view.Node{}, Presence: view.NoStates(), Sync: view.NoSyncYet()}
		v.NodeCards, v.DisabledNodeCards, v.Topology = []nodeCard{}, []nodeCard{}, view.ReportOf(report)
		wrong, err := meshErrors(tx, report)
		if err != nil {
			return err
		}
		return a.Reader.EachFacts(tx, cfg, func(f view.Facts) {
			v.NodeCount++
			v.Stats.Add(f)
			v.Presence[f.State()]++
			v.Sync[f.Sync()]++
			n := f.View()
			v.Nodes = append(v.Nodes, n)
			card := nodeCard{n.ID, n.Name, n.Enabled, n.NodeType, n.NodeState, n.WGRuntimeState, n.SyncStatus, n.VirtualIP, wrong[n.ID]}
			if n.Enabled {
				v.NodeCards = append(v.NodeCards, card)
			} else {
				v.DisabledNodeCards = append(v.DisabledNodeCards, card)
			}
		})
	}); err != nil {
		return err
	}
	return wire.Respond(c, v)
}
