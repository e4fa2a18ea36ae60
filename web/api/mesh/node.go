package mesh

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// Parts that several calls' bodies share.
const (
	nodeMembers = "enabled bool, node_type, interface_name, client_platform, tags strings"
)

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
			Body:    "name!, " + nodeMembers, Data: view.Node{}, Codes: "NODE_NAME_EXISTS",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.getNode,
			Summary: "A node.",
			Data:    view.Node{},
		},
		{
			Method: http.MethodPut, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.updateNode, OneWrite: true,
			Summary: "Changes a node; absent members stay as they are.",
			Body:    "name, " + nodeMembers, Data: view.Node{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING",
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
			Body:    "name, " + nodeMembers, Data: view.Node{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING",
		},
		{
			Method: http.MethodDelete, Path: wire.PathNode, Access: wire.Session, Handle: a.deleteNode, OneWrite: true,
			Summary: "Deletes a node.",
			Data:    deletedNode{},
		},
	}
}

// ignoredNode lists the members of a node that WG Free Mesh uses and the appliance does not yet,
// see ignoredConfig.
var ignoredNode = []string{
	"ipv4_address", "ipv6_address", "listen_port", "virtual_ip", "mtu", "dns", "auto_sync", "public_key", "private_key",
	"pre_up", "post_up", "pre_down", "post_down", "awg_jc", "awg_jmin", "awg_jmax", "awg_i1", "awg_i2", "awg_i3", "awg_i4", "awg_i5", "awg_options",
}

// nodePatch holds the changes that a request makes to a node. Nil members do not change.
type nodePatch struct {
	name          *string
	enabled       *bool
	nodeType      *string
	interfaceName *string
	windows       bool // the request says that the node runs Windows
	tags          []string
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
		n.InterfaceName = tx.FreeInterfaceName(cfg, *n)
	}
	if p.tags != nil {
		n.Tags = p.tags
	}
	return nil
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
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		n := store.Node{ID: id, ConfigID: cfg.ID, Enabled: true, Type: store.NodeDynamic, Tags: []string{}}
		if err := patch.apply(tx, cfg, &n); err != nil {
			return err
		}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		access.NoteID(c, "node_id", id)
		f, err = a.Reader.Facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("node created", "config_id", f.Node.ConfigID, "node_id", id, "by", access.LoginOf(c).Username)
	return wire.Respond(c, f.ViewWarned(body.Ignored(ignoredNode)))
}

func (a *API) getNode(c echo.Context) error {
	f, err := a.Reader.PathFacts(c)
	if err != nil {
		return err
	}
	return wire.Respond(c, f.View())
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
	var f view.Facts
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		if err := patch.apply(tx, cfg, &n); err != nil {
			return err
		}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		f, err = a.Reader.Facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("node changed", "node_id", f.Node.ID, "enabled", f.Node.Enabled, "by", access.LoginOf(c).Username)
	return wire.Respond(c, f.ViewWarned(body.Ignored(ignoredNode)))
}

type deletedNode struct {
	Message string `json:"message"`
	NodeID  string `json:"node_id"`
}

func (a *API) deleteNode(c echo.Context) error {
	var node store.Node
	if err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		if _, node, err = view.NodeOf(tx, c); err != nil {
			return err
		}
		return tx.DeleteNode(node.ID)
	}); err != nil {
		return err
	}
	a.Log.Info("node deleted", "node_id", node.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, deletedNode{"The node was deleted.", node.ID})
}
