package link

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) meshRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/mesh/validate", Access: wire.Session, Handle: a.validate, Harmless: true,
			Summary: "The faults of a mesh, each with the node or link it is about and what to do.",
			Data:    view.Report{},
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/mesh/quick-generate", Access: wire.Session, Handle: a.quick, OneWrite: true,
			Summary: "Links the nodes of a mesh: all with one gateway (hub_spoke), each with each (full_mesh), or each with one of several gateways (free_mesh). " +
				"Links that a person made or changed stay, unless replace_manual is set. With dry_run, nothing is changed, and the answer has the difference of " +
				"each tunnel config.",
			Body: "mode!, endpoint_ref_family, hub_node_id, gateway_node_ids strings, leaf_assignments object, use_preshared_key bool, " +
				"replace_manual bool, dry_run bool",
			Data: quickView{}, Codes: mesh.CodeInvalidQuickMesh + " " + linkCodes,
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/wg-preview", Access: wire.Write, Handle: a.preview,
			Summary: "The tunnel config of a node as the mesh makes it now, or the one that somebody wrote for it.",
			Data:    previewView{}, Codes: "NO_DESIRED_CONFIG",
		},
	}
}

func (a *API) validate(c echo.Context) error {
	m, err := store.Read(a.DB, func(tx *store.Tx) (*mesh.Mesh, error) { return mesh.Load(tx, c.Param("config_id")) })
	if err != nil {
		return err
	}
	around, err := a.surroundings(c, m.All()...)
	if err != nil {
		return err
	}
	return wire.Respond(c, view.ReportOf(m.Validate(around)))
}

// surroundings returns what the mesh must not collide with. Of the nodes, it looks up how they reach
// the appliance.
func (a *API) surroundings(c echo.Context, nodeIDs ...string) (mesh.Surroundings, error) {
	host := a.Directory.HostFor(wire.RequestHost(c.Request().Host))
	hosts := make(map[string]string, len(nodeIDs)) // by node
	if err := a.DB.View(func(tx *store.Tx) error {
		for _, id := range nodeIDs {
			n, err := tx.Node(id)
			if err != nil {
				return err
			}
			if n.Type == store.NodeDynamic {
				hosts[id] = tunnel.BrokerHost(n, host)
			}
		}
		return nil
	}); err != nil {
		return mesh.Surroundings{}, err
	}
	reach := map[string]wgconf.Reach{} // by host, each of which is resolved once
	for _, host := range hosts {
		if _, known := reach[host]; !known {
			reach[host] = tunnel.Reach(c.Request().Context(), a.Resolver, host)
		}
	}
	around := mesh.Surroundings{Reach: func(n store.Node) wgconf.Reach { return reach[hosts[n.ID]] }}
	for _, p := range a.Networks() {
		if !p.Addr().IsLoopback() {
			around.Addresses = append(around.Addresses, p.Addr())
		}
	}
	return around, nil
}

// quickView is the result of a quick mesh, or its plan.
type quickView struct {
	Mode              string             `json:"mode"`
	EndpointRefFamily string             `json:"endpoint_ref_family"`
	UsePresharedKey   bool               `json:"use_preshared_key"`
	DryRun            bool               `json:"dry_run"`
	GeneratedGroups   int                `json:"generated_groups"` // made or changed
	KeptLinks         int                `json:"kept_links"`
	DeletedLinks      int                `json:"deleted_links"`
	AffectedNodeIDs   []string           `json:"affected_node_ids"`
	Message           string             `json:"message"`
	Made              []pairView         `json:"made"`
	Changed           []pairView         `json:"changed"`
	Kept              []pairView         `json:"kept"`
	Removed           []pairView         `json:"removed"`
	Warnings          []mesh.Finding     `json:"warnings"`
	UnlinkedNodeIDs   []string           `json:"unlinked_node_ids"` // no two of them can have a link
	GatewayNodeID     string             `json:"gateway_node_id"`   // that could connect them; "" if there is none
	Texts             []tunnelDifference `json:"texts"`             // in the plan only
}

// pairView is a link in a plan.
type pairView struct {
	LinkGroupID string         `json:"link_group_id"` // "" if the plan would make it
	Manual      bool           `json:"manual"`
	Forward     view.Direction `json:"forward"`
	Reverse     view.Direction `json:"reverse"`
}

func pairsOf(links []store.Link, named bool) []pairView {
	all := make([]pairView, len(links))
	for i, l := range links {
		all[i] = pairView{Manual: l.Manual, Forward: view.DirectionOf(l.Forward), Reverse: view.DirectionOf(l.Reverse)}
		if named {
			all[i].LinkGroupID = l.ID
		}
	}
	return all
}

// tunnelDifference is a tunnel config that a plan changes.
type tunnelDifference struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	Diff     string `json:"diff"` // unified
}

// quickOrder is a request for a quick mesh.
type quickOrder struct {
	mesh.Quick
	dryRun bool
}

func readQuick(c echo.Context) (q quickOrder, err error) {
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return q, err
	}
	id := wire.Line(1, protocol.MaxIDLength)
	q.Mode = mesh.QuickMode(f.Need("mode", wire.OneOf(string(mesh.HubSpoke), string(mesh.FullMesh), string(mesh.FreeMesh))))
	q.EndpointRefFamily = store.EndpointFamily(wire.Or(f.Text("endpoint_ref_family", wire.OneOf(string(store.EndpointIPv4), string(store.EndpointIPv6))), ""))
	q.HubNodeID = wire.Or(f.Text("hub_node_id", wire.Line(0, protocol.MaxIDLength)), "")
	q.GatewayNodeIDs = f.Texts("gateway_node_ids", mostNodes, id)
	if o := f.Object("leaf_assignments"); o != nil {
		q.LeafAssignments = map[string]string{}
		for _, leaf := range o.Names() {
			if gateway := o.Text(leaf, id); gateway != nil {
				q.LeafAssignments[leaf] = *gateway
			}
		}
		f.AbsorbObject("leaf_assignments", o.Faults())
	}
	q.UsePresharedKey = wire.Or(f.Flag("use_preshared_key"), false)
	q.ReplaceManual = wire.Or(f.Flag("replace_manual"), false)
	q.dryRun = wire.Or(f.Flag("dry_run"), false)
	return q, f.Err()
}

// mostNodes bounds the lists of nodes in a request.
const mostNodes = 10000

func (a *API) quick(c echo.Context) error {
	q, err := readQuick(c)
	if err != nil {
		return err
	}
	if q.dryRun {
		return a.planQuick(c, q)
	}
	var plan mesh.Plan
	changed, err := a.change(c, c.Param("config_id"), func(e *mesh.Edit, tx *store.Tx) error {
		m, err := mesh.Load(tx, c.Param("config_id"))
		if err != nil {
			return err
		}
		if plan, err = m.Quick(q.Quick, mint(tx)); err != nil {
			return err
		}
		return e.Apply(plan)
	})
	if err != nil {
		return err
	}
	v := q.view(plan, true)
	v.AffectedNodeIDs = append(v.AffectedNodeIDs, changed.NodeIDs...)
	v.Message = fmt.Sprintf("%d links were made, %d changed, %d removed; %d stay as they were. %d tunnel configs have a new version, which is not applied yet.",
		len(plan.Made), len(plan.Changed), len(plan.Removed), len(plan.Kept), len(changed.NodeIDs))
	a.Log.Info("quick mesh made", "config_id", c.Param("config_id"), "mode", q.Mode, "made", len(plan.Made), "removed", len(plan.Removed),
		"by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

func mint(tx *store.Tx) mesh.Mint {
	return mesh.Mint{Random: rand.Reader, NewID: func() string { return protocol.NewID("link") }, Now: tx.Now()}
}

// planQuick answers the plan and changes nothing.
func (a *API) planQuick(c echo.Context, q quickOrder) error {
	var plan mesh.Plan
	var m *mesh.Mesh
	names := map[string]string{}
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		if m, err = mesh.Load(tx, c.Param("config_id")); err != nil {
			return err
		}
		nodes, err := tx.Nodes(c.Param("config_id"), "", 0)
		for _, n := range nodes {
			names[n.ID] = n.Name
		}
		if err == nil {
			plan, err = m.Quick(q.Quick, mint(tx))
		}
		return err
	}); err != nil {
		return err
	}
	v := q.view(plan, false)
	for _, change := range mesh.Changes(m, m.Apply(plan)) {
		diff, err := view.Diff("now", change.Before, "planned", change.After)
		if err != nil {
			return err
		}
		v.AffectedNodeIDs = append(v.AffectedNodeIDs, change.NodeID)
		v.Texts = append(v.Texts, tunnelDifference{change.NodeID, names[change.NodeID], diff})
	}
	v.Message = fmt.Sprintf("Nothing was changed. %d links would be made, %d changed, %d removed; %d would stay as they are. %d tunnel configs would change.",
		len(plan.Made), len(plan.Changed), len(plan.Removed), len(plan.Kept), len(v.Texts))
	return wire.Respond(c, v)
}

func (q quickOrder) view(p mesh.Plan, done bool) quickView {
	v := quickView{
		Mode: string(q.Mode), EndpointRefFamily: string(q.EndpointRefFamily), UsePresharedKey: q.UsePresharedKey, DryRun: !done,
		GeneratedGroups: len(p.Made) + len(p.Changed), KeptLinks: len(p.Kept), DeletedLinks: len(p.Removed), AffectedNodeIDs: []string{},
		Made: pairsOf(p.Made, done), Changed: pairsOf(p.Changed, true), Kept: pairsOf(p.Kept, true), Removed: pairsOf(p.Removed, true),
		Warnings: append([]mesh.Finding{}, p.Warnings...), UnlinkedNodeIDs: append([]string{}, p.Unlinked...), GatewayNodeID: p.Gateway,
		Texts: []tunnelDifference{},
	}
	if v.EndpointRefFamily == "" {
		v.EndpointRefFamily = string(store.EndpointIPv4)
	}
	return v
}

type previewView struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	Content  string `json:"content"`
	SHA256   string `json:"sha256"`
}

func (a *API) preview(c echo.Context) error {
	var text string
	f, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) error {
		if f.Node.ConfigSource == store.SourceMesh && f.Node.Enabled {
			m, err := mesh.Load(tx, f.Node.ConfigID)
			if err == nil {
				text = m.Text(f.Node.ID)
			}
			return err
		}
		if f.Conf.Desired.Version == 0 {
			return tunnel.ErrNoDesiredConfig
		}
		var err error
		text, err = tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256)
		return err
	})
	if err != nil {
		return err
	}
	a.Audit.NoteKeyRead(c, f.Node.ID, 0, 0)
	sum := sha256.Sum256([]byte(text))
	return wire.Respond(c, previewView{f.Node.ID, f.Node.Name, text, hex.EncodeToString(sum[:])})
}
