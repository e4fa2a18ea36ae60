package page

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/ui"
	"wfm/web/view"
)

// nodesShown is the number of nodes on one page of the list.
const nodesShown = 50

// nodeFilter filters the list of nodes; empty values do not filter.
type nodeFilter struct {
	Query, State, Sync, Tag string
	LeftOut                 string // why it has less than the address; else empty
}

func (w nodeFilter) fits(f view.Facts) bool {
	if w.State != "" && !w.has(f) || w.Sync != "" && f.TextState() != w.Sync ||
		w.Tag != "" && !slices.Contains(f.Node.Tags, w.Tag) {
		return false
	}
	query := strings.ToLower(w.Query)
	texts := []string{f.Node.Name, f.Node.InterfaceName, f.Node.ID}
	if f.Node.Client != nil {
		texts = append(texts, f.Node.Client.Hostname)
	}
	return query == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), query) })
}

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
	return nodeFilter{
		pageQuery(c, "q"), pageQuery(c, "state"), pageQuery(c, "sync"), pageQuery(c, "tag"),
		leftOut(c, "q", "state", "sync", "tag"),
	}
}

// Values returns the filter as the query of an address.
func (w nodeFilter) Values() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"q": w.Query, "state": w.State, "sync": w.Sync, "tag": w.Tag} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

// address returns that of a page of the filtered list; empty if there is no such page.
func (w nodeFilter) address(configID string, page, pages int) string {
	if page < 1 || page > pages {
		return ""
	}
	q := w.Values()
	q.Set("page", strconv.Itoa(page))
	return "/configs/" + url.PathEscape(configID) + "?" + q.Encode()
}

type nodeRow struct {
	view.Node
	Hostname         string
	Sync, SyncDetail string
	Unwanted         string
}

type nodesBody struct {
	meshHead
	All      int // nodes of the mesh
	Matching int // nodes that match the filter
	// Commandable counts the matching nodes that a rollout can reach: all but static ones.
	Commandable int
	tally
	Filter           nodeFilter
	Tags             []string // all tags of the nodes
	Nodes            []nodeRow
	First, Last      int
	Earlier, Further string        // addresses
	Rollout          *view.Rollout // the newest
}

// States and Syncs return the choices of the filter.
func (nodesBody) States() []view.State { return view.States() }

// Syncs is documented with States.
func (nodesBody) Syncs() []string { return view.TextStates() }

func (p *Pages) nodesPage(c echo.Context) (show, error) {
	v := nodesBody{tally: newTally(), Filter: readNodeFilter(c)}
	var matching []view.Facts
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabNodes); err != nil {
			return err
		}
		tags := make(map[string]bool)
		err = p.Reader.EachFacts(tx, v.Config, func(f view.Facts) {
			v.add(f)
			for _, t := range f.Node.Tags {
				tags[t] = true
			}
			if v.Filter.fits(f) {
				matching = append(matching, f)
				if f.Node.Type != store.NodeStatic {
					v.Commandable++
				}
			}
		})
		if err != nil {
			return err
		}
		v.Tags = slices.Sorted(maps.Keys(tags))
		newest, err := tx.Rollouts(v.Config.ID, 0, 1)
		if err == nil && len(newest) > 0 {
			r := view.RolloutOf(newest[0])
			v.Rollout = &r
		}
		return err
	}); err != nil {
		return show{}, err
	}
	v.list = v.Path()
	v.All, v.Matching = v.tally.Nodes, len(matching)
	v.paginate(matching, pageQuery(c, "page"))
	return show{template: "nodes", Page: ui.Page{
		Title: v.Config.Name, Nav: "Overview", LiveConfig: v.Config.ID, Every: 60, Body: v,
	}}, nil
}

// paginate takes the requested page, or the nearest one if there are fewer nodes now.
func (v *nodesBody) paginate(matching []view.Facts, asked string) {
	pages := max(1, (len(matching)+nodesShown-1)/nodesShown)
	page, err := strconv.Atoi(asked)
	if err != nil {
		page = 1
	}
	page = min(max(page, 1), pages)
	begin := (page - 1) * nodesShown
	end := min(begin+nodesShown, len(matching))
	for _, f := range matching[begin:end] {
		row := nodeRow{Node: f.View(), Sync: f.TextState(), SyncDetail: f.SyncDetail(), Unwanted: f.Unwanted()}
		if f.Node.Client != nil {
			row.Hostname = f.Node.Client.Hostname
		}
		v.Nodes = append(v.Nodes, row)
	}
	v.First, v.Last = begin+1, end
	v.Earlier, v.Further = v.Filter.address(v.Config.ID, page-1, pages), v.Filter.address(v.Config.ID, page+1, pages)
}
