package page

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"wfm/apply"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/view/nodelist"
	"wfm/web/wire"
)

// tabApply is none of the tabs, so none is marked as the present one.
const tabApply meshTab = "/apply"

// changeRow is a node of a plan.
type changeRow struct {
	view.PlanNode
	Lines          []diffLine
	Added, Removed int
}

// Pushed reports whether applying pushes to the node.
func (r changeRow) Pushed() bool { return r.Fate == apply.Now || r.Fate == apply.Later }

// Words says what happens to the node.
func (r changeRow) Words() string {
	switch r.Fate {
	case apply.Now:
		if r.Restarts {
			return "changes now, and its tunnel restarts"
		}
		return "changes now"
	case apply.Later:
		return "is away, and gets it when it is back"
	case apply.OnItsWay:
		if r.Reason != "" {
			return "its push " + r.Reason
		}
		return "its push is on its way"
	case apply.HandOut:
		if r.ConfirmedVersion == 0 {
			return "to hand out"
		}
		return "to hand out again"
	case apply.Blocked:
		switch r.Code {
		case apply.CodeNotBound:
			return "waits for its agent"
		case apply.CodeDisabled:
			return "is disabled"
		}
	}
	return "cannot get it"
}

// Rests reports whether the node gets its tunnel config once somebody binds or enables it. That is no fault.
func (r changeRow) Rests() bool { return r.Code == apply.CodeNotBound || r.Code == apply.CodeDisabled }

// Versions says which version is replaced by which.
func (r changeRow) Versions() string {
	switch r.ConfirmedVersion {
	case 0:
		return fmt.Sprintf("version %d", r.DesiredVersion)
	case r.DesiredVersion:
		return fmt.Sprintf("version %d, not confirmed", r.DesiredVersion)
	}
	return fmt.Sprintf("version %d → %d", r.ConfirmedVersion, r.DesiredVersion)
}

type applyBody struct {
	meshHead
	Plan             view.Plan // without its nodes
	Rows             []changeRow
	First, Last, All int
	Earlier, Further string // addresses
	// Boxes is set if all nodes that can be chosen are on the page.
	Boxes            bool
	Filter           url.Values // of the address; with one, only some nodes of the plan are shown and applied
	Chosen           []string   // the ids of the nodes to push to, if there is a filter
	Errors, Warnings []findingRow
	Rollout          *rolloutPart // the newest rollout that pushed; nil if there is none
}

// Cut and Rest are documented with linksBody.
func (applyBody) Cut(all []findingRow) []findingRow { return all[:min(len(all), mostFindings)] }

// Rest is documented with linksBody.
func (applyBody) Rest(all []findingRow) int { return max(0, len(all)-mostFindings) }

// OnlyCutOff reports whether nothing but force is missing to apply the mesh.
func (v applyBody) OnlyCutOff() bool {
	return !slices.ContainsFunc(v.Errors, func(f findingRow) bool { return f.Code != mesh.CodeCutsOff })
}

// fateOrder is the order of the rows.
var fateOrder = []apply.Fate{apply.Now, apply.Later, apply.Blocked, apply.HandOut, apply.OnItsWay}

func (p *Pages) applyPage(c echo.Context) (show, error) {
	id := c.Param("config_id")
	plan, err := p.Applier.Plan(c.Request().Context(), id, p.Directory.HostFor(wire.RequestHost(c.Request().Host)))
	if err != nil {
		return show{}, err
	}
	filter := readNodeFilter(c)
	if plan.Nodes, err = p.ofFilter(id, plan.Nodes, filter); err != nil {
		return show{}, err
	}
	slices.SortStableFunc(plan.Nodes, func(a, b apply.Node) int {
		return cmp.Or(cmp.Compare(slices.Index(fateOrder, a.Fate), slices.Index(fateOrder, b.Fate)), nodelist.Natural(a.Name, b.Name))
	})
	v := applyBody{All: len(plan.Nodes), Filter: filter.Values()}
	pages := max(1, (len(plan.Nodes)+nodesShown-1)/nodesShown)
	page, err := strconv.Atoi(pageQuery(c, "page"))
	if err != nil {
		page = 1
	}
	page = min(max(page, 1), pages)
	begin := (page - 1) * nodesShown
	shown := plan.Nodes[begin:min(begin+nodesShown, len(plan.Nodes))]
	v.First, v.Last = begin+1, begin+len(shown)
	if v.Plan, err = view.PlanOf(p.Applier, plan, shown); err != nil {
		return show{}, err
	}
	if len(v.Filter) > 0 {
		for _, n := range plan.Nodes {
			if (changeRow{PlanNode: view.PlanNodeOf(n)}).Pushed() {
				v.Chosen = append(v.Chosen, n.ID)
			}
		}
	}
	v.Boxes = page == 1 && v.Plan.Counts.Change <= nodesShown && v.Plan.Counts.Change > 1
	for _, n := range v.Plan.Nodes {
		row := changeRow{PlanNode: n, Lines: diffLines(n.Diff)}
		row.Added, row.Removed = countLines(row.Lines)
		v.Rows = append(v.Rows, row)
	}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, id, tabApply); err != nil {
			return err
		}
		if v.Rollout, err = lastPush(tx, id); err != nil {
			return err
		}
		return v.report(tx, plan.Report)
	}); err != nil {
		return show{}, err
	}
	v.ToApply = 0 // this page says it
	address := func(page int) string {
		if page < 1 || page > pages {
			return ""
		}
		q := filter.Values()
		q.Set("page", strconv.Itoa(page))
		return fmt.Sprintf("%s%s?%s", v.Path(), tabApply, q.Encode())
	}
	v.Earlier, v.Further = address(page-1), address(page+1)
	return v.show("apply", "Review and apply", v), nil
}

// ofFilter returns the nodes of a plan that pass the filter of the address.
func (p *Pages) ofFilter(configID string, nodes []apply.Node, w nodeFilter) ([]apply.Node, error) {
	if w.LeftOut != "" { // more nodes than the search would be changed
		return nil, &wire.InvalidError{Message: w.LeftOut}
	}
	if len(w.Values()) == 0 {
		return nodes, nil
	}
	fits := make(map[string]bool)
	err := p.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(configID)
		if err != nil {
			return err
		}
		fitting, err := listNodes(tx, p.Reader, cfg, w, false, func(*nodelist.Node) {})
		for _, l := range fitting {
			fits[l.Node.ID] = true
		}
		return err
	})
	return slices.DeleteFunc(nodes, func(n apply.Node) bool { return !fits[n.ID] }), err
}

// countLines returns how many lines a difference adds and removes.
func countLines(lines []diffLine) (added, removed int) {
	for _, l := range lines {
		switch l.Class {
		case "add":
			added++
		case "del":
			removed++
		}
	}
	return added, removed
}

// lastPush returns the newest rollout of the mesh, if it pushes.
func lastPush(tx *store.Tx, configID string) (*rolloutPart, error) {
	newest, err := tx.Rollouts(configID, 0, 1)
	if err != nil || len(newest) == 0 || newest[0].Action != protocol.ActionPush {
		return nil, err
	}
	part, err := readRolloutPart(tx, newest[0], 0)
	return &part, err
}

// report sets the findings with the names of what they are about.
func (v *applyBody) report(tx *store.Tx, report mesh.Report) error {
	errs, warnings := report.Of(mesh.SeverityError), report.Of(mesh.SeverityWarning)
	for to, findings := range map[*[]findingRow][]mesh.Finding{&v.Errors: errs, &v.Warnings: warnings} {
		for i, f := range sortedFindings(findings) {
			row := findingRow{Finding: f}
			if i < mostFindings {
				var err error
				if row.Name, row.Path, err = v.about(tx, f); err != nil {
					return err
				}
			}
			*to = append(*to, row)
		}
	}
	return nil
}

// about returns the name and the address of what the finding is about. Both are empty if that has been
// deleted since.
func (v *applyBody) about(tx *store.Tx, f mesh.Finding) (name, address string, err error) {
	if f.LinkID == "" {
		if f.NodeID == "" {
			return "", "", nil
		}
		n, err := tx.Node(f.NodeID)
		if errors.Is(err, store.ErrNodeNotFound) {
			return "", "", nil
		}
		return n.Name, v.Path() + "/nodes/" + url.PathEscape(f.NodeID), err
	}
	l, err := tx.Link(f.LinkID)
	if errors.Is(err, store.ErrLinkNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	a, err := tx.Node(l.Forward.LocalNodeID)
	if err != nil {
		return "", "", err
	}
	b, err := tx.Node(l.Forward.PeerNodeID)
	return a.Name + " – " + b.Name, v.Path() + string(tabLinks) + "/" + url.PathEscape(f.LinkID), err
}
