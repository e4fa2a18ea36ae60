package page

import (
	"crypto/rand"
	"errors"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
	"wfm/web/view"
	"wfm/web/view/nodelist"
)

// What the plan of a quick mesh shows at most.
const (
	planLinksShown = 100
	planDiffsShown = 50
)

// quickChoice is a node that can be a gateway.
type quickChoice struct {
	ID, Name, At string
	Chosen       bool
}

// planLinks are links of a plan, all for the same reason.
type planLinks struct {
	What  string
	Pairs []string
	More  int // pairs that are not listed
	Open  bool
}

// planDiff is the difference of a tunnel config.
type planDiff struct {
	Name           string
	Added, Removed int
	Lines          []diffLine
}

// quickBody is the form for a quick mesh, which is the address of the page, and the plan for it.
type quickBody struct {
	meshHead
	Mode     mesh.QuickMode
	Gateways []quickChoice // nodes that can be one
	Others   []nodeChoice  // nodes without a public address
	Hub      string
	// Family is offered only if a node has a public IPv6 address, Replace only if a link was made by hand.
	Family        store.EndpointFamily
	HasIPv6       bool
	PresharedKeys bool
	Replace       bool
	HasManual     bool
	Problem       string // why there is no plan
	ProblemAt     string // the field that it is about
	Planned       bool
	Plan          mesh.Plan
	Links         []planLinks
	Warnings      []findingRow
	Diffs         []planDiff
	MoreDiffs     int
	Texts         int    // tunnel configs that change
	Through       string // the address of this page with a gateway for the nodes that cannot be linked
	ThroughName   string
}

// GatewayIDs returns the ids of the chosen gateways.
func (v quickBody) GatewayIDs() []string {
	ids := []string{}
	for _, g := range v.Gateways {
		if g.Chosen {
			ids = append(ids, g.ID)
		}
	}
	return ids
}

// Changes reports whether the plan changes anything.
func (v quickBody) Changes() bool {
	return len(v.Plan.Made)+len(v.Plan.Changed)+len(v.Plan.Removed) > 0
}

func (p *Pages) quickPage(c echo.Context) (show, error) {
	v := quickBody{
		Mode: mesh.QuickMode(pageQuery(c, "mode")), Hub: pageQuery(c, "hub"), Family: store.EndpointFamily(pageQuery(c, "family")),
		PresharedKeys: c.QueryParam("psk") != "", Replace: c.QueryParam("replace") != "",
	}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabLinks); err != nil {
			return err
		}
		m, err := mesh.Load(tx, v.Config.ID)
		if err != nil {
			return err
		}
		links, err := tx.Links(v.Config.ID)
		if err != nil {
			return err
		}
		v.HasManual = slices.ContainsFunc(links, func(l store.Link) bool { return l.Manual })
		v.offer(m, c.QueryParams())
		return v.plan(tx, m)
	}); err != nil {
		return show{}, err
	}
	s := v.show("quick", "Quick mesh", v)
	s.Every = 0
	return s, nil
}

// offer sets the choices of the form, and those that are made when the address makes none.
func (v *quickBody) offer(m *mesh.Mesh, query url.Values) {
	asked := query["gateway"]
	for _, id := range m.All() {
		n, port := m.Node(id)
		if n.IPv6Address != "" {
			v.HasIPv6 = true
		}
		at := n.IPv4Address
		if at == "" {
			at = n.IPv6Address
		}
		switch {
		case !n.Enabled:
		case at == "" || port == 0:
			v.Others = append(v.Others, nodeChoice{n.ID, n.Name})
		default:
			chosen := slices.Contains(asked, id) || len(asked) == 0 && !query.Has("some")
			v.Gateways = append(v.Gateways, quickChoice{n.ID, n.Name, at, chosen})
		}
	}
	slices.SortFunc(v.Gateways, func(a, b quickChoice) int { return nodelist.Natural(a.Name, b.Name) })
	slices.SortFunc(v.Others, func(a, b nodeChoice) int { return nodelist.Natural(a.Name, b.Name) })
	if v.Mode == "" {
		v.Mode = mesh.HubSpoke
		if len(v.Gateways) > 1 {
			v.Mode = mesh.FreeMesh
		}
	}
	if v.Hub == "" && len(v.Gateways) > 0 {
		v.Hub = v.Gateways[0].ID
	}
}

// plan sets the plan, or why there is none.
func (v *quickBody) plan(tx *store.Tx, m *mesh.Mesh) error {
	q := mesh.Quick{Mode: v.Mode, EndpointRefFamily: v.Family, UsePresharedKey: v.PresharedKeys, ReplaceManual: v.Replace}
	switch {
	case v.NodeCount < 2:
		v.Problem = "The mesh needs at least two nodes. Add them first."
		return nil
	case !v.HasNetwork() && v.Mode != mesh.FullMesh:
		v.Problem = "The mesh has no network for its gateways to pass on. Give it one in the settings."
		return nil
	case len(v.Gateways) == 0 && v.Mode != mesh.FullMesh:
		v.Problem = "No node has a public address yet. Give one to the node that all others can reach."
		return nil
	case v.Mode == mesh.HubSpoke:
		q.HubNodeID = v.Hub
	case v.Mode == mesh.FreeMesh:
		if q.GatewayNodeIDs = v.GatewayIDs(); len(q.GatewayNodeIDs) == 0 {
			v.Problem, v.ProblemAt = "Choose at least one gateway.", "gateway"
			return nil
		}
	}
	mint := mesh.Mint{Random: rand.Reader, NewID: func() string { return protocol.NewID("link") }, Now: tx.Now()}
	plan, err := m.Quick(q, mint)
	if refused, ok := errors.AsType[*mesh.Error](err); ok {
		v.Problem, v.ProblemAt = refused.Message, refused.Field()
		return nil
	}
	if err != nil {
		return err
	}
	v.Planned, v.Plan = true, plan
	v.list("made", plan.Made, m, true)
	v.list("changed", plan.Changed, m, true)
	v.list("removed", plan.Removed, m, true)
	v.list("kept", plan.Kept, m, false)
	for _, f := range plan.Warnings {
		n, _ := m.Node(f.NodeID)
		row := findingRow{Finding: f, Name: n.Name}
		if n.ID != "" {
			row.Path = v.Path() + "/nodes/" + url.PathEscape(n.ID)
		}
		v.Warnings = append(v.Warnings, row)
	}
	if plan.Gateway != "" {
		n, _ := m.Node(plan.Gateway)
		v.ThroughName = n.Name
		v.Through = v.Path() + "/quick?" + url.Values{"mode": {string(mesh.FreeMesh)}, "gateway": {plan.Gateway}}.Encode()
	}
	return v.compare(m, m.Apply(plan))
}

func (v *quickBody) list(what string, links []store.Link, m *mesh.Mesh, open bool) {
	if len(links) == 0 {
		return
	}
	group := planLinks{What: what, More: max(0, len(links)-planLinksShown), Open: open}
	for _, l := range links[:len(links)-group.More] {
		a, _ := m.Node(l.Forward.LocalNodeID)
		b, _ := m.Node(l.Forward.PeerNodeID)
		group.Pairs = append(group.Pairs, a.Name+" – "+b.Name)
	}
	v.Links = append(v.Links, group)
}

// Count returns the number of links of the group.
func (g planLinks) Count() int { return len(g.Pairs) + g.More }

// compare sets the differences of the tunnel configs, without the keys in them.
func (v *quickBody) compare(before, after *mesh.Mesh) error {
	changes := mesh.Changes(before, after)
	v.Texts, v.MoreDiffs = len(changes), max(0, len(changes)-planDiffsShown)
	for _, change := range changes[:len(changes)-v.MoreDiffs] {
		diff, err := view.Diff("now", wgconf.HideKeys(change.Before), "planned", wgconf.HideKeys(change.After))
		if err != nil {
			return err
		}
		n, _ := after.Node(change.NodeID)
		d := planDiff{Name: n.Name, Lines: diffLines(diff)}
		for _, l := range d.Lines {
			switch l.Class {
			case "add":
				d.Added++
			case "del":
				d.Removed++
			}
		}
		v.Diffs = append(v.Diffs, d)
	}
	slices.SortFunc(v.Diffs, func(a, b planDiff) int { return nodelist.Natural(a.Name, b.Name) })
	return nil
}
