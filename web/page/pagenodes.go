package page

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/view/nodelist"
	"wfm/web/wire"
)

// nodesShown is the number of nodes on one page of a list, unless another one is chosen.
const nodesShown = 50

// nodesChosen bounds the nodes that an address names.
const nodesChosen = 500

// nodeFilter filters the list of nodes; empty values do not filter.
type nodeFilter struct {
	Query, State, Sync, Tag string
	// Chosen has the ids of the nodes that the address names; nil if it names none.
	Chosen  map[string]bool
	LeftOut string // why it has less than the address; else empty
}

// fits reports whether the node passes the filter. Its addresses have been read if the filter needs
// them.
func (w nodeFilter) fits(l *nodelist.Node) bool {
	return (w.State == "" || w.has(l.Facts)) && (w.Sync == "" || l.TextState() == w.Sync) &&
		(w.Tag == "" || slices.Contains(l.Node.Tags, w.Tag)) && (w.Chosen == nil || w.Chosen[l.Node.ID]) &&
		(w.Query == "" || l.Contains(w.Query))
}

// needsAddresses reports whether the query may be a part of an address. Those of hand-written texts take
// long to read.
func (w nodeFilter) needsAddresses() bool { return strings.ContainsAny(w.Query, ".:") }

// stateUnwanted filters the nodes whose tunnel is not in the wanted state.
const stateUnwanted = "unwanted"

// has reports whether the node is in the state of the filter.
func (w nodeFilter) has(f view.Facts) bool {
	if w.State == stateUnwanted {
		return f.Unwanted() != ""
	}
	return string(f.State()) == w.State
}

func readNodeFilter(c echo.Context) nodeFilter {
	w := nodeFilter{
		Query: pageQuery(c, "q"), State: pageQuery(c, "state"), Sync: pageQuery(c, "sync"), Tag: pageQuery(c, "tag"),
		LeftOut: leftOut(c, "q", "state", "sync", "tag"),
	}
	chosen := c.QueryParam("nodes")
	switch {
	case len(chosen) > nodesChosen*(protocol.MaxIDLength+1):
		w.LeftOut = fmt.Sprintf("The address names more than %d nodes, so all are shown. Choose fewer, or search.", nodesChosen)
	case chosen != "":
		w.Chosen = make(map[string]bool)
		for id := range strings.SplitSeq(chosen, ",") {
			w.Chosen[id] = true
		}
	}
	return w
}

// Values returns the filter as the query of an address.
func (w nodeFilter) Values() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"q": w.Query, "state": w.State, "sync": w.Sync, "tag": w.Tag} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if w.Chosen != nil {
		q.Set("nodes", strings.Join(slices.Sorted(maps.Keys(w.Chosen)), ","))
	}
	return q
}

// nodeOrder is the order and the size of the pages of the list.
type nodeOrder struct {
	Sort string // a column
	Desc bool
	Size int
}

// nodeColumns are the columns of the list, each with its name.
var nodeColumns = []struct{ Key, Name string }{
	{nodelist.ByName, "Node"},
	{nodelist.ByAddress, "Address"},
	{nodelist.ByPublic, "Public address"},
	{nodelist.ByState, "State"},
	{nodelist.ByTunnel, "Tunnel"},
	{nodelist.ByText, "Tunnel config"},
	{nodelist.ByTags, "Tags"},
	{nodelist.BySeen, "Last signal"},
}

// pageSizes are the choices for the size of a page.
var pageSizes = []int{25, nodesShown, 100, 200}

// readNodeOrder takes the default for values that are no choice.
func readNodeOrder(c echo.Context) nodeOrder {
	o := nodeOrder{Sort: nodelist.ByName, Size: nodesShown}
	key, desc := strings.CutPrefix(c.QueryParam("sort"), "-")
	for _, column := range nodeColumns {
		if column.Key == key {
			o.Sort, o.Desc = key, desc
		}
	}
	if n, err := strconv.Atoi(c.QueryParam("size")); err == nil && slices.Contains(pageSizes, n) {
		o.Size = n
	}
	return o
}

// Value returns the order as a value of an address; empty for the default one.
func (o nodeOrder) Value() string {
	switch {
	case o.Desc:
		return "-" + o.Sort
	case o.Sort == nodelist.ByName:
		return ""
	}
	return o.Sort
}

// nodeColumn is the head of a column.
type nodeColumn struct {
	Key, Name string
	Sorted    string // the value of aria-sort; empty if the list is in another order
	Address   string // of the list in the order of this column, or in the reverse one if it is already
}

// sortChoice is an order in the list's form, for screens without the heads of the columns.
type sortChoice struct {
	Value, Words string
	Here         bool
}

// pageLink leads to a page of the list. Number 0 stands for pages left out.
type pageLink struct {
	Number  int
	Address string
	Here    bool
}

type nodeRow struct {
	view.Node
	SyncDetail string
	Text       string // the state of the tunnel config
	HandedOut  *view.HandedOut
	Unwanted   string
	Addresses  []string
	Public     []string
	ShowTunnel bool
}

type nodesBody struct {
	meshHead
	All      int // nodes of the mesh
	Matching int // nodes that match the filter
	// Commandable counts the matching nodes that a rollout can reach: all but static ones.
	Commandable int
	tally
	Filter           nodeFilter
	Order            nodeOrder
	Tags             []string // all tags of the nodes
	HasPublic        bool     // a node has a public address
	Nodes            []nodeRow
	First, Last      int
	Earlier, Further string // addresses
	Links            []pageLink
	Rollout          *view.Rollout // the newest
}

// States and Syncs return the choices of the filter.
func (nodesBody) States() []view.State { return view.States() }

// Syncs is documented with States.
func (nodesBody) Syncs() []string { return view.TextStates() }

// Sizes returns the choices for the size of a page.
func (nodesBody) Sizes() []int { return pageSizes }

// Columns returns the heads of the columns that the list has.
func (v nodesBody) Columns() (all []nodeColumn) {
	for _, c := range nodeColumns {
		if c.Key == nodelist.ByText && !v.HasSync || c.Key == nodelist.ByPublic && !v.HasPublic || c.Key == nodelist.ByTags && len(v.Tags) == 0 {
			continue
		}
		o := nodeOrder{Sort: c.Key, Size: v.Order.Size}
		column := nodeColumn{Key: c.Key, Name: c.Name}
		if v.Order.Sort == c.Key {
			o.Desc = !v.Order.Desc
			column.Sorted = "ascending"
			if v.Order.Desc {
				column.Sorted = "descending"
			}
		}
		column.Address = v.address(o, 1)
		all = append(all, column)
	}
	return all
}

// Sorts returns the choices for the order.
func (v nodesBody) Sorts() (all []sortChoice) {
	for _, c := range v.Columns() {
		for _, o := range []nodeOrder{{Sort: c.Key}, {Sort: c.Key, Desc: true}} {
			s := sortChoice{Value: o.Value(), Words: c.Name, Here: o.Sort == v.Order.Sort && o.Desc == v.Order.Desc}
			if o.Desc {
				s.Words += ", reversed"
			}
			all = append(all, s)
		}
	}
	return all
}

// address returns the address of a page of the filtered list.
func (v nodesBody) address(o nodeOrder, page int) string {
	q := v.Filter.Values()
	if s := o.Value(); s != "" {
		q.Set("sort", s)
	}
	if o.Size != nodesShown {
		q.Set("size", strconv.Itoa(o.Size))
	}
	if page > 1 {
		q.Set("page", strconv.Itoa(page))
	}
	if len(q) == 0 {
		return v.Path()
	}
	return v.Path() + "?" + q.Encode()
}

func (p *Pages) nodesPage(c echo.Context) (show, error) {
	v := nodesBody{tally: newTally(), Filter: readNodeFilter(c), Order: readNodeOrder(c)}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabNodes); err != nil {
			return err
		}
		v.list = v.Path()
		matching, err := v.read(tx, p.Reader)
		if err != nil {
			return err
		}
		if err := v.paginate(tx, matching, c.QueryParam("page")); err != nil {
			return err
		}
		newest, err := tx.Rollouts(v.Config.ID, 0, 1)
		if err == nil && len(newest) > 0 {
			r := view.RolloutOf(newest[0])
			v.Rollout = &r
		}
		return err
	}); err != nil {
		return show{}, err
	}
	return show{template: "nodes", Page: ui.Page{
		Title: v.Config.Name, Nav: "Overview", LiveConfig: v.Config.ID, Every: 60, Body: v,
	}}, nil
}

// read counts the nodes of the mesh, and returns those that match, in order.
func (v *nodesBody) read(tx *store.Tx, r *view.Reader) (matching []*nodelist.Node, err error) {
	tags := make(map[string]bool)
	matching, err = listNodes(tx, r, v.Config, v.Filter, v.Order.Sort == nodelist.ByAddress, func(l *nodelist.Node) {
		v.add(l.Facts)
		v.HasPublic = v.HasPublic || len(l.Public()) > 0
		for _, t := range l.Node.Tags {
			tags[t] = true
		}
	})
	for _, l := range matching {
		if l.Node.Type != store.NodeStatic {
			v.Commandable++
		}
	}
	v.Tags = slices.Sorted(maps.Keys(tags))
	v.All, v.Matching = v.tally.Nodes, len(matching)
	nodelist.Sort(matching, v.Order.Sort, v.Order.Desc)
	return matching, err
}

// listNodes returns the nodes of the mesh that pass the filter, and calls each with all nodes.
func listNodes(tx *store.Tx, r *view.Reader, cfg store.Config, w nodeFilter, addresses bool, each func(*nodelist.Node)) (fitting []*nodelist.Node, err error) {
	var failed error
	err = r.EachFacts(tx, cfg, func(f view.Facts) {
		l := &nodelist.Node{Facts: f}
		if addresses || w.needsAddresses() {
			failed = errors.Join(failed, l.ReadAddresses(tx))
		}
		each(l)
		if w.fits(l) {
			fitting = append(fitting, l)
		}
	})
	return fitting, errors.Join(err, failed)
}

// paginate takes the requested page, or the nearest one if there are fewer nodes now.
func (v *nodesBody) paginate(tx *store.Tx, matching []*nodelist.Node, asked string) error {
	size := v.Order.Size
	pages := max(1, (len(matching)+size-1)/size)
	page, err := strconv.Atoi(asked)
	if err != nil {
		page = 1
	}
	page = min(max(page, 1), pages)
	begin := (page - 1) * size
	end := min(begin+size, len(matching))
	for _, l := range matching[begin:end] {
		if err := l.ReadAddresses(tx); err != nil {
			return err
		}
		v.Nodes = append(v.Nodes, nodeRowOf(l))
	}
	v.First, v.Last = begin+1, end
	if pages > 1 {
		v.Links = v.pageLinks(page, pages)
	}
	if page > 1 {
		v.Earlier = v.address(v.Order, page-1)
	}
	if page < pages {
		v.Further = v.address(v.Order, page+1)
	}
	return nil
}

// pageLinks returns links to the first and the last page, and to those near the present one.
func (v *nodesBody) pageLinks(page, pages int) (links []pageLink) {
	const near = 2
	for n := 1; n <= pages; n++ {
		switch {
		case n == 1 || n == pages || n >= page-near && n <= page+near:
			links = append(links, pageLink{n, v.address(v.Order, n), n == page})
		case links[len(links)-1].Number != 0:
			links = append(links, pageLink{})
		}
	}
	return links
}

func nodeRowOf(l *nodelist.Node) nodeRow {
	row := nodeRow{
		Node: l.View(), Text: l.TextState(), SyncDetail: l.SyncDetail(), HandedOut: l.HandedOut(), Unwanted: l.Unwanted(), Public: l.Public(),
		ShowTunnel: l.State() == view.StateOnline || l.Unwanted() != "",
	}
	for _, a := range l.Addresses {
		row.Addresses = append(row.Addresses, a.String())
	}
	return row
}

// selectable is a node that the page's script can select.
type selectable struct {
	ID    string     `json:"id"`
	State view.State `json:"state"`
}

// nodeChoices answers all nodes that match the filter, on whichever page of the list they are.
func (p *Pages) nodeChoices(c echo.Context) error {
	w := readNodeFilter(c)
	if w.LeftOut != "" { // more nodes than the search would be selected
		return &wire.InvalidError{Message: w.LeftOut}
	}
	v := struct {
		Nodes []selectable `json:"nodes"`
	}{[]selectable{}}
	if err := p.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		fitting, err := listNodes(tx, p.Reader, cfg, w, false, func(*nodelist.Node) {})
		for _, l := range fitting {
			v.Nodes = append(v.Nodes, selectable{l.Node.ID, l.State()})
		}
		return err
	}); err != nil {
		return err
	}
	return wire.Respond(c, v)
}
