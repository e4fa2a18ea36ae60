package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// What the bodies of the calls have in common.
const (
	nodeMembers = "enabled bool, node_type, interface_name, client_platform, tags strings"
)

func (a *meshAPI) nodeRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/nodes", Access: wire.Session, Handle: a.listNodes,
			Summary: "The nodes of a mesh, by name.",
			Data:    []nodeView{}, Paged: true,
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes", Access: wire.Session, Handle: a.createNode, OneWrite: true,
			Summary: "Makes a node.",
			Body:    "name!, " + nodeMembers, Data: nodeView{}, Codes: "NODE_NAME_EXISTS",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.getNode,
			Summary: "A node.",
			Data:    nodeView{},
		},
		{
			Method: http.MethodPut, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.updateNode, OneWrite: true,
			Summary: "Changes a node; what is absent stays.",
			Body:    "name, " + nodeMembers, Data: nodeView{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING",
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/nodes/:node_id", Access: wire.Session, Handle: a.deleteNode, OneWrite: true,
			Summary: "Deletes a node.",
			Data:    deletedNode{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode, Access: wire.Session, Handle: a.getNode,
			Summary: "A node.",
			Data:    nodeView{},
		},
		{
			Method: http.MethodPut, Path: wire.PathNode, Access: wire.Session, Handle: a.updateNode, OneWrite: true,
			Summary: "Changes a node; what is absent stays.",
			Body:    "name, " + nodeMembers, Data: nodeView{}, Codes: "NODE_NAME_EXISTS TUNNEL_RUNNING",
		},
		{
			Method: http.MethodDelete, Path: wire.PathNode, Access: wire.Session, Handle: a.deleteNode, OneWrite: true,
			Summary: "Deletes a node.",
			Data:    deletedNode{},
		},
	}
}

// ignoredNode are members of a node that mean something to WG Free Mesh and nothing here yet, see ignoredConfig.
var ignoredNode = []string{
	"ipv4_address", "ipv6_address", "listen_port", "virtual_ip", "mtu", "dns", "auto_sync", "public_key", "private_key",
	"pre_up", "post_up", "pre_down", "post_down", "awg_jc", "awg_jmin", "awg_jmax", "awg_i1", "awg_i2", "awg_i3", "awg_i4", "awg_i5", "awg_options",
}

type nodeView struct {
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
	// WantedState is the operator's word on the tunnel: running, stopped or none.
	WantedState protocol.WantedState `json:"wanted_state"`
	SyncStatus  string               `json:"sync_status"`
	// IdentityConflict is null unless two machines use the node's identity and throw each other out.
	IdentityConflict *store.IdentityConflict `json:"identity_conflict"`

	LastSeen  *time.Time `json:"last_seen"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
	// Warnings, of a write, names what it asked for and did not get.
	Warnings []string `json:"warnings,omitzero"`
}

// reader reads what both the API and the page show.
type reader struct {
	db          *store.DB
	audit       *auditor
	evidence    func(store.Evidence) store.Evidence
	times       presence.Times
	mqttEnabled bool
	commanded   bool // there is something to give commands with
	broker      Broker
	account     func(nodeID string) AccountState // nil with the embedded broker
	certs       Certificates
	httpsPort   int
	streams     func() int              // event streams that are open
	questions   func() *QuestionsStatus // nil where no EMQX asks
	statuses    statusReader
}

// facts is all that is known of a node in one transaction.
type facts struct {
	config   store.Config
	node     store.Node
	evidence store.Evidence
	presence presence.Status
	conflict *store.IdentityConflict // nil while there is none
	conf     store.ConfState
	wanted   protocol.WantedState
}

func (r *reader) facts(tx *store.Tx, cfg store.Config, n store.Node) (facts, error) {
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return facts{}, err
	}
	if r.evidence != nil {
		e = r.evidence(e)
	}
	w, err := tx.Wanted(n.ID)
	if err != nil {
		return facts{}, err
	}
	conf, err := tx.ConfState(n.ID)
	now := tx.Now()
	return facts{cfg, n, e, presence.Project(n, cfg.Enabled, e, now, r.times), presence.Conflict(e, now), conf, w.State}, err
}

// noPresence returns a count of nodes by state in which each state stands, with zero.
func noPresence() map[string]int {
	return map[string]int{string(presence.Online): 0, string(presence.Dropped): 0, string(presence.Offline): 0}
}

// unwanted says in words that the tunnel is found otherwise than wanted; empty when it is not, or not known.
func (f facts) unwanted() string {
	switch {
	case f.wanted == protocol.WantedRunning && f.presence.Tunnel == presence.TunnelStopped:
		return "should be running"
	case f.wanted == protocol.WantedStopped && f.presence.Tunnel == presence.TunnelRunning:
		return "should be stopped"
	}
	return ""
}

func (f facts) view() nodeView {
	n := f.node
	tags := n.Tags
	if tags == nil {
		tags = []string{}
	}
	return nodeView{
		ID: n.ID, NodeID: n.ID, ConfigID: n.ConfigID, Name: n.Name, Enabled: n.Enabled, NodeType: string(n.Type),
		InterfaceName: n.InterfaceName, Tags: tags, ClientInitialized: n.Client != nil,
		ClientPresenceState: string(f.presence.State), PresenceReason: f.presence.Reason, WGRuntimeState: string(f.presence.Tunnel), WantedState: f.wanted,
		SyncStatus: string(f.sync()), IdentityConflict: f.conflict,
		LastSeen: wire.When(f.evidence.ReachableAt), CreatedAt: wire.When(n.CreatedAt), UpdatedAt: wire.When(n.UpdatedAt),
	}
}

func (f facts) viewWarned(warnings []string) nodeView {
	v := f.view()
	v.Warnings = warnings
	return v
}

// nodeOf returns the node the path names, and its config. A path that names a config, too, must
// name the node's own. Errors: [store.ErrConfigNotFound], [store.ErrNodeNotFound],
// wire.ErrConfigMismatch.
func nodeOf(tx *store.Tx, c echo.Context) (store.Config, store.Node, error) {
	named := c.Param("config_id")
	if named != "" {
		if _, err := tx.Config(named); err != nil {
			return store.Config{}, store.Node{}, err
		}
	}
	n, err := tx.Node(c.Param("node_id"))
	if err != nil {
		return store.Config{}, n, err
	}
	if named != "" && named != n.ConfigID {
		return store.Config{}, n, wire.ErrConfigMismatch
	}
	cfg, err := tx.Config(n.ConfigID)
	return cfg, n, err
}

// pathFacts reads what is known of the node the path names; more reads on in the same transaction.
func (r *reader) pathFacts(c echo.Context, more ...func(*store.Tx, facts) error) (f facts, err error) {
	err = r.db.View(func(tx *store.Tx) error {
		cfg, n, err := nodeOf(tx, c)
		if err != nil {
			return err
		}
		if f, err = r.facts(tx, cfg, n); err != nil {
			return err
		}
		for _, read := range more {
			if err := read(tx, f); err != nil {
				return err
			}
		}
		return nil
	})
	return f, err
}

// nodePatch is what a request wants of a node; nil is not mentioned.
type nodePatch struct {
	name          *string
	enabled       *bool
	nodeType      *string
	interfaceName *string
	windows       bool // the node is said to run Windows
	tags          []string
}

// Bounds of what a node is called, in characters.
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
		windows:       isWindows(wire.Or(f.Text("client_platform", wire.Line(0, 64)), "")),
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

func isWindows(platform string) bool { return strings.HasPrefix(strings.ToLower(platform), "windows") }

// fits returns an *[wire.InvalidError] for an interface name that the node cannot have.
func (p nodePatch) fits(n store.Node) error {
	name, windows := wire.Or(p.interfaceName, ""), p.windows || (n.Client != nil && isWindows(n.Client.Platform))
	if name == "" || windows || protocol.ValidInterfaceName(name) {
		return nil
	}
	return &wire.InvalidError{Fields: map[string]string{
		"interface_name": wire.LinuxInterface + "; a longer one, of up to 64, is for a node with the client_platform windows",
	}}
}

// apply changes n by the patch. An interface name that is empty, in a new node or by the patch, is
// derived from the names. One that Linux does not take is for a node that runs Windows: by what its
// agent reported, or by the patch.
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

func (a *meshAPI) listNodes(c echo.Context) error {
	limit, after, err := wire.ReadPage(c)
	if err != nil {
		return err
	}
	var views []nodeView
	if err := a.db.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, after, limit+1)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			f, err := a.reader.facts(tx, cfg, n)
			if err != nil {
				return err
			}
			views = append(views, f.view())
		}
		return nil
	}); err != nil {
		return err
	}
	views, next := wire.Cut(views, limit, func(n nodeView) string { return n.Name })
	return wire.RespondList(c, views, next)
}

func (a *meshAPI) createNode(c echo.Context) error {
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
	var f facts
	if err := a.audit.update(c, func(tx *store.Tx) error {
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
		noteID(c, "node_id", id)
		f, err = a.reader.facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.log.Info("node created", "config_id", f.node.ConfigID, "node_id", id, "by", loginOf(c).Username)
	return wire.Respond(c, f.viewWarned(body.Ignored(ignoredNode)))
}

func (a *meshAPI) getNode(c echo.Context) error {
	f, err := a.reader.pathFacts(c)
	if err != nil {
		return err
	}
	return wire.Respond(c, f.view())
}

func (a *meshAPI) updateNode(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readNodePatch(body)
	if err := body.Err(); err != nil {
		return err
	}
	var f facts
	if err := a.audit.update(c, func(tx *store.Tx) error {
		cfg, n, err := nodeOf(tx, c)
		if err != nil {
			return err
		}
		if err := patch.apply(tx, cfg, &n); err != nil {
			return err
		}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		f, err = a.reader.facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.log.Info("node changed", "node_id", f.node.ID, "enabled", f.node.Enabled, "by", loginOf(c).Username)
	return wire.Respond(c, f.viewWarned(body.Ignored(ignoredNode)))
}

type deletedNode struct {
	Message string `json:"message"`
	NodeID  string `json:"node_id"`
}

func (a *meshAPI) deleteNode(c echo.Context) error {
	var node store.Node
	if err := a.audit.update(c, func(tx *store.Tx) (err error) {
		if _, node, err = nodeOf(tx, c); err != nil {
			return err
		}
		return tx.DeleteNode(node.ID)
	}); err != nil {
		return err
	}
	a.log.Info("node deleted", "node_id", node.ID, "by", loginOf(c).Username)
	return wire.Respond(c, deletedNode{"The node was deleted.", node.ID})
}
