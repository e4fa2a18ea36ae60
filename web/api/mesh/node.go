package mesh

import (
	"net/http"
	"slices"

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
	nodeMembers = "enabled bool, node_type, interface_name, client_platform, tags strings, " + nodeSettingsMembers
	nodeCodes   = rules.CodeInvalidVirtualIP + " " + rules.CodeIPPoolExhausted + " " + rules.CodeInvalidKey + " " + rules.CodeInvalidAWG + " " +
		rules.CodeInvalidValue + " " + rules.CodeInvalidText
)

var nodeObjects = map[string]string{"awg_options": wire.AWGNodeOptions}

func (a *API) nodeRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/nodes", Access: wire.Session, Handle: a.listNodes,
			Summary: "The nodes of a mesh, by name.",
			Data:    []view.Node{}, Paged: true,
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes", Access: wire.Session, Handle: a.createNode, OneWrite: true,
			Summary: "Makes a node.",
			Body:    "name!, " + nodeMembers, Objects: nodeObjects, Data: view.Node{}, Codes: "NODE_NAME_EXISTS " + nodeCodes,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.getNode,
			Summary: "A node.",
			Data:    view.Node{},
		},
		{
			Method: http.MethodPut, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.updateNode, OneWrite: true,
			Summary: "Changes a node; absent members stay as they are.",
			Body:    "name, " + nodeMembers, Objects: nodeObjects, Data: view.Node{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING " + nodeCodes,
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.deleteNode, OneWrite: true,
			Summary: "Deletes a node.",
			Data:    deletedNode{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode, Access: wire.Session, Handle: a.getNode,
			Summary: "A node.",
			Data:    view.Node{},
		},
		{
			Method: http.MethodPut, Path: wire.PathNode, Access: wire.Session, Handle: a.updateNode, OneWrite: true,
			Summary: "Changes a node; absent members stay as they are.",
			Body:    "name, " + nodeMembers, Objects: nodeObjects, Data: view.Node{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING " + nodeCodes,
		},
		{
			Method: http.MethodDelete, Path: wire.PathNode, Access: wire.Session, Handle: a.deleteNode, OneWrite: true,
			Summary: "Deletes a node.",
			Data:    deletedNode{},
		},
	}
}

// nodePatch holds the changes that a request makes to a node. Nil members do not change.
type nodePatch struct {
	name          *string
	enabled       *bool
	nodeType      *string
	interfaceName *string
	windows       bool // the request says that the node runs Windows
	tags          []string
	settings      nodeSettingsPatch
}

// The limits of a node's names, in characters.
const (
	maxNodeName = 64
	maxTag      = 64
)

func readNodePatch(f *wire.Fields) nodePatch {
	p := nodePatch{
		name:          f.Text("name", wire.Line(1, maxNodeName)),
		enabled:       f.Flag("enabled"),
		nodeType:      f.Text("node_type", wire.OneOf(string(store.NodeDynamic), string(store.NodeStatic))),
		interfaceName: f.Text("interface_name", wire.InterfaceName),
		windows:       wire.IsWindows(wire.Or(f.Text("client_platform", wire.Line(0, 64)), "")),
		settings:      readNodeSettingsPatch(f),
	}
	for _, tag := range f.Texts("tags", store.MaxNodeTags, wire.Line(1, maxTag)) {
		if p.tags == nil {
			p.tags = []string{}
		}
		if !slices.Contains(p.tags, tag) {
			p.tags = append(p.tags, tag)
		}
	}
	if p.tags == nil && f.Given("tags") {
		p.tags = []string{}
	}
	return p
}

// fits returns a *[wire.InvalidError] if the node cannot have the interface name.
func (p nodePatch) fits(n store.Node) error {
	name, windows := wire.Or(p.interfaceName, ""), p.windows || (n.Client != nil && wire.IsWindows(n.Client.Platform))
	if name == "" || windows || protocol.ValidInterfaceName(name) {
		return nil
	}
	return &wire.InvalidError{Fields: map[string]string{
		"interface_name": wire.LinuxInterface + "; a longer one, of up to 64, is for a node with the client_platform windows",
	}}
}

// apply applies the patch to n. It derives an empty interface name from the names of node and mesh.
// Only a node that runs Windows, as reported by its agent or said by the patch, may have a name
// that Linux does not accept.
func (p nodePatch) apply(tx *store.Tx, cfg store.Config, n *store.Node) error {
	if err := p.fits(*n); err != nil {
		return err
	}
	n.Name = wire.Or(p.name, n.Name)
	n.Enabled = wire.Or(p.enabled, n.Enabled)
	n.Type = store.NodeType(wire.Or(p.nodeType, string(n.Type)))
	n.InterfaceName = wire.Or(p.interfaceName, n.InterfaceName)
	if n.InterfaceName == "" {
		n.InterfaceName = tx.FreeInterfaceName(cfg, *n, nil)
	}
	if p.tags != nil {
		n.Tags = p.tags
	}
	return p.settings.apply(cfg, n)
}

func (a *API) listNodes(c echo.Context) error {
	limit, after, err := wire.ReadPage(c)
	if err != nil {
		return err
	}
	var views []view.Node
	if err := a.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, after, limit+1)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			f, err := a.Reader.Facts(tx, cfg, n)
			if err != nil {
				return err
			}
			views = append(views, f.View())
		}
		return nil
	}); err != nil {
		return err
	}
	views, next := wire.Cut(views, limit, func(n view.Node) string { return n.Name })
	return wire.RespondList(c, views, next)
}

func (a *API) createNode(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readNodePatch(body)
	body.Require("name", patch.name != nil)
	if err := body.Err(); err != nil {
		return err
	}
	id := protocol.NewID("node")
	var f view.Facts
	changed, err := a.change(c, c.Param("config_id"), func(e *rules.Edit, tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		n, err := e.NewNode(id)
		if err != nil {
			return err
		}
		if err := patch.apply(tx, cfg, &n); err != nil {
			return err
		}
		access.NoteID(c, "node_id", id)
		f.Config, f.Node = cfg, n
		return e.PutNode(&f.Node)
	})
	if err == nil {
		f, err = a.facts(id)
	}
	if err != nil {
		return err
	}
	a.Log.Info("node created", "config_id", f.Node.ConfigID, "node_id", id, "by", access.LoginOf(c).Username)
	return wire.Respond(c, f.ViewChanged(patch.settings.ignored(body, f.Config, f.Node), changed))
}

// facts reads the node after the change that the request made.
func (a *API) facts(nodeID string) (view.Facts, error) {
	return store.Read(a.DB, func(tx *store.Tx) (view.Facts, error) { return a.Reader.NodeFacts(tx, nodeID) })
}

func (a *API) getNode(c echo.Context) error {
	f, err := a.Reader.PathFacts(c)
	if err != nil {
		return err
	}
	if !access.MayWrite(access.LoginOf(c)) || f.Node.PrivateKey == "" {
		return wire.Respond(c, f.View())
	}
	a.Audit.NoteKeyRead(c, f.Node.ID, 0, 0)
	return wire.Respond(c, f.ViewWithKey())
}

func (a *API) updateNode(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readNodePatch(body)
	if err := body.Err(); err != nil {
		return err
	}
	id, configID, err := a.pathIDs(c)
	if err != nil {
		return err
	}
	changed, err := a.change(c, configID, func(e *rules.Edit, tx *store.Tx) error {
		cfg, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		if err := patch.apply(tx, cfg, &n); err != nil {
			return err
		}
		return e.PutNode(&n)
	})
	var f view.Facts
	if err == nil {
		f, err = a.facts(id)
	}
	if err != nil {
		return err
	}
	a.Log.Info("node changed", "node_id", id, "enabled", f.Node.Enabled, "by", access.LoginOf(c).Username)
	return wire.Respond(c, f.ViewChanged(patch.settings.ignored(body, f.Config, f.Node), changed))
}

// pathIDs returns the ids of the path's node and of its mesh, which never change.
func (a *API) pathIDs(c echo.Context) (nodeID, configID string, err error) {
	n, err := store.Read(a.DB, func(tx *store.Tx) (store.Node, error) {
		_, n, err := view.NodeOf(tx, c)
		return n, err
	})
	return n.ID, n.ConfigID, err
}

type deletedNode struct {
	Message string `json:"message"`
	NodeID  string `json:"node_id"`
}

func (a *API) deleteNode(c echo.Context) error {
	id, configID, err := a.pathIDs(c)
	if err != nil {
		return err
	}
	if _, err := a.change(c, configID, func(e *rules.Edit, _ *store.Tx) error { return e.DeleteNode(id) }); err != nil {
		return err
	}
	a.Log.Info("node deleted", "node_id", id, "by", access.LoginOf(c).Username)
	return wire.Respond(c, deletedNode{"The node was deleted.", id})
}
