package page

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/view/nodelist"
)

// linksShown is the number of links on one page of the list.
const linksShown = 50

// linkEnd is one of the two nodes of a link, and its half of the link.
type linkEnd struct {
	ID, Name string
	Resting  bool // the node is disabled, so the link rests
	Endpoint string
	Allowed  string
	store.Direction
}

// Short returns the first of the allowed IPs, and the number of the others.
func (e linkEnd) Short() string {
	const most = 4
	networks := strings.SplitN(e.Allowed, ", ", most+1)
	if len(networks) <= most {
		return e.Allowed
	}
	return fmt.Sprintf("%s and %d more", strings.Join(networks[:most], ", "), len(e.AllowedIPs)-most)
}

// linkRow is a link in words.
type linkRow struct {
	store.Link
	A, B     linkEnd // of Forward and of Reverse
	Problems int
}

// Who says which of the nodes makes the connection, and to where.
func (l linkRow) Who() string {
	switch {
	case l.A.Endpoint != "" && l.B.Endpoint != "":
		return "either, to " + l.A.Endpoint + " or " + l.B.Endpoint
	case l.A.Endpoint != "":
		return l.A.Name + ", to " + l.A.Endpoint
	case l.B.Endpoint != "":
		return l.B.Name + ", to " + l.B.Endpoint
	}
	return ""
}

// Keepalive says which nodes send something when nothing else is sent.
func (l linkRow) Keepalive() string {
	a, b := l.A.PersistentKeepalive, l.B.PersistentKeepalive
	switch {
	case a != 0 && b != 0:
		return fmt.Sprintf("keepalive every %d s and %d s", a, b)
	case a != 0:
		return fmt.Sprintf("keepalive by %s every %d s", l.A.Name, a)
	case b != 0:
		return fmt.Sprintf("keepalive by %s every %d s", l.B.Name, b)
	}
	return ""
}

func rowOf(m *mesh.Mesh, l store.Link) linkRow {
	end := func(d store.Direction) linkEnd {
		n, _ := m.Node(d.LocalNodeID)
		networks := make([]string, len(d.AllowedIPs))
		for i, p := range d.AllowedIPs {
			networks[i] = p.String()
		}
		return linkEnd{n.ID, n.Name, !n.Enabled, m.Endpoint(d), strings.Join(networks, ", "), d}
	}
	return linkRow{Link: l, A: end(l.Forward), B: end(l.Reverse)}
}

// findingRow is a finding with the address of the page it is about.
type findingRow struct {
	mesh.Finding
	Name, Path string // of the node or link; "" if it is about the mesh
}

type linksBody struct {
	meshHead
	Query, LeftOut   string
	Matching         int
	Links            []linkRow
	First, Last      int
	Earlier, Further string // addresses
	Errors, Warnings []findingRow
}

func (p *Pages) linksPage(c echo.Context) (show, error) {
	report, err := p.Applier.Topology(c.Request().Context(), c.Param("config_id"))
	if err != nil {
		return show{}, err
	}
	v := linksBody{Query: pageQuery(c, "q"), LeftOut: leftOut(c, "q")}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabLinks); err != nil {
			return err
		}
		links, err := tx.Links(v.Config.ID)
		if err != nil {
			return err
		}
		m, err := mesh.Load(tx, v.Config.ID)
		if err != nil {
			return err
		}
		v.find(m, links, report, pageQuery(c, "page"))
		v.report(m, links, report)
		return nil
	}); err != nil {
		return show{}, err
	}
	return v.show("links", "Links", v), nil
}

// find takes the page of the links whose nodes match the query, by the names of their nodes.
func (v *linksBody) find(m *mesh.Mesh, links []store.Link, report mesh.Report, asked string) {
	problems := make(map[string]int, len(report.Findings))
	for _, f := range report.Findings {
		problems[f.LinkID]++
	}
	query := strings.ToLower(v.Query)
	var rows []linkRow
	for _, l := range links {
		r := rowOf(m, l)
		if r.B.Name < r.A.Name {
			r.A, r.B = r.B, r.A
		}
		r.Problems = problems[l.ID]
		if query == "" || strings.Contains(strings.ToLower(r.A.Name+"\n"+r.B.Name+"\n"+l.Notes+"\n"+l.ID), query) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b linkRow) int {
		return cmp.Or(nodelist.Natural(a.A.Name, b.A.Name), nodelist.Natural(a.B.Name, b.B.Name), cmp.Compare(a.ID, b.ID))
	})
	v.Matching = len(rows)
	pages := max(1, (len(rows)+linksShown-1)/linksShown)
	page, err := strconv.Atoi(asked)
	if err != nil {
		page = 1
	}
	page = min(max(page, 1), pages)
	begin := (page - 1) * linksShown
	end := min(begin+linksShown, len(rows))
	v.Links, v.First, v.Last = rows[begin:end], begin+1, end
	address := func(page int) string {
		if page < 1 || page > pages {
			return ""
		}
		q := url.Values{"page": {strconv.Itoa(page)}}
		if v.Query != "" {
			q.Set("q", v.Query)
		}
		return v.Path() + string(tabLinks) + "?" + q.Encode()
	}
	v.Earlier, v.Further = address(page-1), address(page+1)
}

// sortedFindings returns the findings by kind, in the order in which the kinds first occur, and within a
// kind by their words. Those of a report are in the order of node ids, which says nothing to people.
func sortedFindings(findings []mesh.Finding) []mesh.Finding {
	kinds := make(map[string]int)
	for _, f := range findings {
		if _, known := kinds[f.Code]; !known {
			kinds[f.Code] = len(kinds)
		}
	}
	return slices.SortedStableFunc(slices.Values(findings), func(a, b mesh.Finding) int {
		return cmp.Or(cmp.Compare(kinds[a.Code], kinds[b.Code]), nodelist.Natural(a.Message, b.Message))
	})
}

// mostFindings bounds the findings of each severity on the page.
const mostFindings = 20

func (v *linksBody) report(m *mesh.Mesh, links []store.Link, report mesh.Report) {
	pairs := make(map[string]string, len(links))
	for _, l := range links {
		a, _ := m.Node(l.Forward.LocalNodeID)
		b, _ := m.Node(l.Forward.PeerNodeID)
		pairs[l.ID] = a.Name + " – " + b.Name
	}
	for _, f := range sortedFindings(report.Findings) {
		row := findingRow{Finding: f}
		switch {
		case f.LinkID != "":
			row.Name, row.Path = pairs[f.LinkID], v.Path()+string(tabLinks)+"/"+url.PathEscape(f.LinkID)
		case f.NodeID != "":
			n, _ := m.Node(f.NodeID)
			row.Name, row.Path = n.Name, v.Path()+"/nodes/"+url.PathEscape(f.NodeID)
		}
		if f.Severity == mesh.SeverityError {
			v.Errors = append(v.Errors, row)
		} else {
			v.Warnings = append(v.Warnings, row)
		}
	}
}

// Cut returns the first of the findings, as many as the page shows.
func (linksBody) Cut(all []findingRow) []findingRow { return all[:min(len(all), mostFindings)] }

// Rest returns the number of findings that Cut leaves out.
func (linksBody) Rest(all []findingRow) int { return max(0, len(all)-mostFindings) }

// linkBody is the form for a link: a new one, or one to change.
type linkBody struct {
	meshHead
	New     bool
	Choices []nodeChoice // of a new link
	From    string       // the id of the first node that was chosen
	To      string
	Problem string // of the choice
	Link    *linkRow
	// AtA and AtB are the public addresses at which A and B are found; "" if they have none.
	AtA, AtB string
	Warnings []string       // about the proposal
	Findings []mesh.Finding // about the link
}

func (p *Pages) newLinkPage(c echo.Context) (show, error) {
	v := linkBody{New: true, From: pageQuery(c, "a"), To: pageQuery(c, "b")}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabLinks); err != nil {
			return err
		}
		nodes, err := tx.Nodes(v.Config.ID, "", 0)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			v.Choices = append(v.Choices, nodeChoice{n.ID, n.Name})
		}
		slices.SortFunc(v.Choices, func(a, b nodeChoice) int { return nodelist.Natural(a.Name, b.Name) })
		if v.From == "" || v.To == "" {
			return nil
		}
		m, err := mesh.Load(tx, v.Config.ID)
		if err != nil {
			return err
		}
		return v.draft(m)
	}); err != nil {
		return show{}, err
	}
	return v.show("link", "New link", v), nil
}

// draft sets the link that is proposed for the chosen nodes.
func (v *linkBody) draft(m *mesh.Mesh) error {
	if v.From == v.To {
		v.Problem = "A node cannot have a link to itself. Choose another node."
		return nil
	}
	d, err := m.Draft(v.From, v.To, "")
	if err != nil {
		v.Problem = "This node is not in the mesh any more. Choose another one."
		return nil //nolint:nilerr // it is shown at the field
	}
	v.set(m, d.Link)
	v.Warnings = d.Warnings
	return nil
}

// set makes the form one for the link.
func (v *linkBody) set(m *mesh.Mesh, l store.Link) {
	row := rowOf(m, l)
	v.Link = &row
	at := func(local, peer string) string {
		return m.Endpoint(store.Direction{LocalNodeID: local, PeerNodeID: peer, EndpointMode: store.EndpointAuto})
	}
	v.AtA, v.AtB = at(row.B.ID, row.A.ID), at(row.A.ID, row.B.ID)
}

func (p *Pages) linkPage(c echo.Context) (show, error) {
	report, err := p.Applier.Topology(c.Request().Context(), c.Param("config_id"))
	if err != nil {
		return show{}, err
	}
	var v linkBody
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabLinks); err != nil {
			return err
		}
		l, err := tx.Link(c.Param("link_id"))
		if err == nil && l.ConfigID != v.Config.ID {
			err = store.ErrLinkNotFound
		}
		if err != nil {
			return err
		}
		m, err := mesh.Load(tx, v.Config.ID)
		if err != nil {
			return err
		}
		v.set(m, l)
		for _, f := range report.Findings {
			if f.LinkID == l.ID {
				v.Findings = append(v.Findings, f)
			}
		}
		return nil
	}); err != nil {
		return show{}, err
	}
	return v.show("link", v.Link.A.Name+" – "+v.Link.B.Name, v), nil
}

// linkSide is a half of the form.
type linkSide struct {
	Prefix    string // of the names of its fields
	Own, Peer linkEnd
	At        string // the peer's public address
}

// Sides returns the two halves of the form.
func (v linkBody) Sides() []linkSide {
	return []linkSide{
		{"forward", v.Link.A, v.Link.B, v.AtB},
		{"reverse", v.Link.B, v.Link.A, v.AtA},
	}
}
