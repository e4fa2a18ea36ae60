package mesh

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	rules "wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) importRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes/import", Access: wire.Session, Handle: a.importNodes, OneWrite: true,
			Summary: "Makes up to 5,000 nodes from CSV with the columns name, type, address and tags, all or none. " +
				"With dry_run, the answer has the nodes that would be made, with every fault, and nothing is changed.",
			Body: "csv!, dry_run bool", TextBody: "text/csv", Query: "dry_run", Data: importView{}, Codes: nodeCodes,
		},
	}
}

type importView struct {
	DryRun       bool      `json:"dry_run"`
	Valid        bool      `json:"valid"`
	Message      string    `json:"message"`
	CreatedCount int       `json:"created_count"`
	Rows         []rowView `json:"rows"`
	// Errors and Warnings are in the order of the text. A message follows the name of its column.
	Errors   []cellNote `json:"errors"`
	Warnings []cellNote `json:"row_warnings"`
	view.Effect
}

// rowView is a node that an import makes.
type rowView struct {
	Row           int            `json:"row"`     // the line of the text, from 1
	NodeID        string         `json:"node_id"` // "" if it was not made
	Name          string         `json:"name"`
	NodeType      store.NodeType `json:"node_type"`
	VirtualIP     *string        `json:"virtual_ip"` // null if it gets none
	VirtualIP6    *string        `json:"virtual_ip6"`
	Suggested     bool           `json:"suggested"` // the address is the next free one, not one that was given
	InterfaceName string         `json:"interface_name"`
	Tags          []string       `json:"tags"`
}

// importNodes makes the nodes of a list or, in a dry run, plans them.
func (a *API) importNodes(c echo.Context) error {
	text, dryRun, err := readImport(c)
	if err != nil {
		return err
	}
	table, err := readTable(text)
	if err != nil {
		return err
	}
	var p *importPlan
	configID := c.Param("config_id")
	if dryRun {
		if err := a.DB.View(func(tx *store.Tx) (err error) {
			p, err = planImport(tx, configID, table)
			return err
		}); err != nil {
			return err
		}
		return wire.Respond(c, p.view(true))
	}
	changed, err := a.change(c, configID, func(e *rules.Edit, tx *store.Tx) error {
		if p, err = planImport(tx, configID, table); err != nil {
			return err
		}
		if err := p.err(); err != nil {
			return err
		}
		access.NoteIDs(c, "node_ids", p.ids())
		return p.make(e)
	})
	if err != nil {
		return err
	}
	v := p.view(false)
	v.Effect = view.EffectOf(changed)
	a.Log.Info("nodes imported", "config_id", configID, "count", v.CreatedCount, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// readImport reads the request, which is either a JSON object or the text itself.
func readImport(c echo.Context) (text string, dryRun bool, err error) {
	q := &wire.Fields{}
	if v := c.QueryParam("dry_run"); v != "" {
		if dryRun, err = strconv.ParseBool(v); err != nil {
			q.Reject("dry_run", "must be true or false")
		}
	}
	if kind, _, _ := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType)); kind == "text/csv" {
		text, err = wire.ReadText(c, wire.BulkBodyLimit)
		return text, dryRun, errors.Join(err, q.Err())
	}
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return "", false, err
	}
	text = f.Need("csv", wire.ConfText)
	dryRun = wire.Or(f.Flag("dry_run"), dryRun)
	return text, dryRun, errors.Join(f.Err(), q.Err())
}

// importPlan is a table fitted into its mesh.
type importPlan struct {
	cfg      store.Config
	nodes    []plannedNode
	faults   []cellNote
	warnings []cellNote
}

type plannedNode struct {
	importedNode
	id              string
	virtual4        netip.Prefix // the virtual_ip, and the virtual_ip6
	virtual6        netip.Prefix
	suggested       bool
	interfaceName   string
	addressesFailed bool
}

// planImport gives each node of the table its addresses and its interface, and notes the conflicts with
// the nodes that exist and among the new ones. Error: store.ErrConfigNotFound.
func planImport(tx *store.Tx, configID string, t *nodeTable) (*importPlan, error) {
	cfg, err := tx.Config(configID)
	if err != nil {
		return nil, err
	}
	existing, err := tx.Nodes(configID, "", 0)
	if err != nil {
		return nil, err
	}
	p := &importPlan{cfg: cfg, faults: append([]cellNote{}, t.faults...), warnings: append([]cellNote{}, t.warnings...)}
	for _, n := range t.rows {
		p.nodes = append(p.nodes, plannedNode{importedNode: n, id: protocol.NewID("node")})
	}
	p.checkNames(existing)
	if err := p.giveAddresses(tx, existing); err != nil {
		return nil, err
	}
	interfaces := make(map[string]bool)
	for i := range p.nodes {
		n := &p.nodes[i]
		n.interfaceName = tx.FreeInterfaceName(cfg, store.Node{ID: n.id, ConfigID: cfg.ID, Name: n.name}, interfaces)
		interfaces[n.interfaceName] = true
	}
	return p, nil
}

func (p *importPlan) fault(n *plannedNode, column, problem string) {
	p.faults = append(p.faults, cellNote{n.row, column, problem})
}

func (p *importPlan) warn(n *plannedNode, column, problem string) {
	p.warnings = append(p.warnings, cellNote{n.row, column, problem})
}

func (p *importPlan) checkNames(existing []store.Node) {
	names := make(map[string]string, len(existing))
	for _, n := range existing {
		names[folded(n.Name)] = n.Name
	}
	for i := range p.nodes {
		n := &p.nodes[i]
		switch other, taken := names[folded(n.name)]; {
		case !taken:
		case other == n.name:
			p.fault(n, columnName, "is already the name of a node of this mesh; choose another name, or leave the line out")
		default:
			p.fault(n, columnName, fmt.Sprintf("differs from %q, a node of this mesh, in upper and lower case only; choose another name", other))
		}
	}
}

// giveAddresses takes the given addresses first, so that none of them is given to another node.
func (p *importPlan) giveAddresses(tx *store.Tx, existing []store.Node) error {
	if !p.cfg.VirtualSubnet.IsValid() && !p.cfg.VirtualSubnet6.IsValid() {
		for i := range p.nodes {
			if n := &p.nodes[i]; len(n.addresses) > 0 {
				p.warn(n, columnAddress, "was left out, since the mesh has no subnet; write it into the node's tunnel config")
			}
		}
		return nil
	}
	owners := make(map[netip.Addr]string)
	for _, n := range existing {
		for _, a := range []netip.Prefix{n.VirtualIP, n.VirtualIP6} {
			if a.IsValid() {
				owners[a.Addr()] = n.Name
			}
		}
	}
	for i := range p.nodes {
		for _, a := range p.nodes[i].addresses {
			p.take(&p.nodes[i], a, owners)
		}
	}
	taken, err := rules.TakenAddresses(tx, p.cfg)
	if err != nil {
		return err
	}
	for i := range p.nodes {
		for _, a := range []netip.Prefix{p.nodes[i].virtual4, p.nodes[i].virtual6} {
			if a.IsValid() {
				taken = append(taken, a.Addr())
			}
		}
	}
	for i := range p.nodes {
		taken = p.suggest(&p.nodes[i], taken)
	}
	return nil
}

// take gives the node an address from the table.
func (p *importPlan) take(n *plannedNode, a netip.Addr, owners map[netip.Addr]string) {
	to := &n.virtual4
	if a.Is6() && p.cfg.VirtualSubnet.IsValid() && p.cfg.VirtualSubnet.Addr().Is4() {
		to = &n.virtual6
	}
	warning, err := rules.CheckAddress(netip.PrefixFrom(a, a.BitLen()), []netip.Prefix{p.cfg.VirtualSubnet, p.cfg.VirtualSubnet6},
		func(a netip.Addr) (string, bool) {
			name, taken := owners[a]
			return name, taken
		})
	switch {
	case err != nil:
		p.fault(n, columnAddress, problemOf(err))
		n.addressesFailed = true
		return
	case to.IsValid():
		p.fault(n, columnAddress, "has two addresses of one kind; give one IPv4 and one IPv6 address at most")
		n.addressesFailed = true
		return
	case warning != "":
		p.warn(n, columnAddress, problemOf(errors.New(warning)))
	}
	*to = netip.PrefixFrom(a, a.BitLen())
	owners[a] = fmt.Sprintf("the node in line %d", n.row)
}

// suggest gives the node the next free addresses for those that the table does not give.
func (p *importPlan) suggest(n *plannedNode, taken []netip.Addr) []netip.Addr {
	if n.addressesFailed {
		return taken
	}
	for _, of := range []struct {
		subnet netip.Prefix
		to     *netip.Prefix
	}{{p.cfg.VirtualSubnet, &n.virtual4}, {p.cfg.VirtualSubnet6, &n.virtual6}} {
		if !of.subnet.IsValid() || of.to.IsValid() {
			continue
		}
		next, err := rules.NextAddress(of.subnet, taken)
		if err != nil {
			p.fault(n, columnAddress, fmt.Sprintf(
				"is not given, and %s has no free address left; give the mesh a larger subnet, or the node an address outside of it", of.subnet))
			return taken
		}
		*of.to, n.suggested = next, true
		taken = append(taken, next.Addr())
	}
	return taken
}

// err returns a *[wire.InvalidError] with all faults.
func (p *importPlan) err() error {
	f := &wire.Fields{}
	for _, fault := range p.faults {
		f.Reject(fault.where(), fault.Message)
	}
	return f.Err()
}

func (p *importPlan) ids() []string {
	ids := make([]string, len(p.nodes))
	for i, n := range p.nodes {
		ids[i] = n.id
	}
	return ids
}

// make makes the nodes. Errors: those of [rules.Edit.PutNode].
func (p *importPlan) make(e *rules.Edit) error {
	for _, planned := range p.nodes {
		n, err := e.NewNode(planned.id)
		if err != nil {
			return err
		}
		n.Name, n.Type, n.Tags, n.InterfaceName = planned.name, planned.kind, planned.tags, planned.interfaceName
		n.VirtualIP, n.VirtualIP6 = planned.virtual4, planned.virtual6
		err = e.PutNode(&n)
		if fault, ok := errors.AsType[*rules.Error](err); ok {
			return &rules.Error{Code: fault.Code, Message: fmt.Sprintf("line %d: %s", planned.row, fault.Message)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *importPlan) view(dryRun bool) importView {
	v := importView{DryRun: dryRun, Valid: len(p.faults) == 0, Rows: []rowView{}, Errors: inOrder(p.faults), Warnings: inOrder(p.warnings)}
	for _, n := range p.nodes {
		row := rowView{
			Row: n.row, NodeID: n.id, Name: n.name, NodeType: n.kind, VirtualIP: view.PrefixOrNull(n.virtual4), VirtualIP6: view.PrefixOrNull(n.virtual6),
			Suggested: n.suggested, InterfaceName: n.interfaceName, Tags: n.tags,
		}
		if dryRun {
			row.NodeID = ""
		}
		v.Rows = append(v.Rows, row)
	}
	switch {
	case !dryRun:
		v.CreatedCount = len(p.nodes)
		v.Message = fmt.Sprintf("Added %s.", nodeCount(len(p.nodes)))
	case v.Valid:
		v.Message = fmt.Sprintf("Nothing was changed. %s would be added.", nodeCount(len(p.nodes)))
	default:
		v.Message = fmt.Sprintf("Nothing was changed. Faults to mend: %d.", len(p.faults))
	}
	return v
}

func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// inOrder returns the notes in the order of the text.
func inOrder(notes []cellNote) []cellNote {
	out := append([]cellNote{}, notes...)
	slices.SortStableFunc(out, func(a, b cellNote) int { return a.Row - b.Row })
	return out
}
