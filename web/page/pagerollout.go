package page

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/view/nodelist"
	"wfm/web/wire"
)

// rolloutsShown is the number of rollouts of each config in the list.
const rolloutsShown = 20

type rolloutRow struct {
	view.Rollout
	ConfigName string
}

// rolloutsPage lists the newest rollouts of every mesh, newest first.
func (p *Pages) rolloutsPage(echo.Context) (show, error) {
	var rows []rolloutRow
	if err := p.DB.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			newest, err := tx.Rollouts(cfg.ID, 0, rolloutsShown)
			if err != nil {
				return err
			}
			for _, r := range newest {
				rows = append(rows, rolloutRow{view.RolloutOf(r), cfg.Name})
			}
		}
		return nil
	}); err != nil {
		return show{}, err
	}
	slices.SortStableFunc(rows, func(a, b rolloutRow) int { return b.CreatedAt.Compare(*a.CreatedAt) })
	return show{template: "rollouts", Page: ui.Page{Title: "Rollouts", Nav: "Rollouts", LiveAll: true, Body: rows}}, nil
}

// rolloutPart is a rollout with some of its nodes, on its own page and on others.
type rolloutPart struct {
	Rollout view.Rollout
	Nodes   []view.RolloutNode
	After   uint64 // the position before the first one shown
	Further string
}

func readRolloutPart(tx *store.Tx, r store.Rollout, after uint64) (v rolloutPart, err error) {
	v.Rollout, v.After = view.RolloutOf(r), after
	nodes, err := tx.RolloutNodes(r.ID, after, nodesShown+1)
	if err != nil {
		return v, err
	}
	if len(nodes) > nodesShown {
		nodes = nodes[:nodesShown]
		v.Further = fmt.Sprintf("/rollouts/%s?after=%d", r.ID, nodes[nodesShown-1].Position)
	}
	v.Nodes, err = view.RolloutNodes(tx, nodes)
	return v, err
}

// Open returns the number of nodes that are under way.
func (v rolloutPart) Open() int { return v.Rollout.Counts.Sent + v.Rollout.Counts.Confirming }

// Bar draws the progress.
func (v rolloutPart) Bar() template.HTML {
	n := v.Rollout.Counts
	return ui.Progress([]ui.Part{
		{Name: "done", N: n.Done},
		{Name: "failed", N: n.Failed},
		{Name: "open", N: v.Open()},
		{Name: "skipped", N: n.Skipped + n.Later + n.Cancelled},
	}, n.Total, fmt.Sprintf("%d of %d nodes are finished", n.Done+n.Failed+n.Skipped+n.Later+n.Cancelled, n.Total))
}

func (p *Pages) rolloutPage(c echo.Context) (show, error) {
	var v struct {
		rolloutPart
		ConfigName string
	}
	after, _ := strconv.ParseUint(pageQuery(c, "after"), 10, 64) // other text is the beginning
	if err := p.DB.View(func(tx *store.Tx) error {
		r, err := tx.Rollout(c.Param("rollout_id"))
		if err != nil {
			return err
		}
		cfg, err := tx.Config(r.ConfigID)
		if err != nil {
			return err
		}
		v.ConfigName = cfg.Name
		v.rolloutPart, err = readRolloutPart(tx, r, after)
		return err
	}); err != nil {
		return show{}, err
	}
	return show{template: "rollout", Page: ui.Page{
		Title: "Rollout: " + ui.Action(v.Rollout.Action), Nav: "Rollouts", LiveConfig: v.Rollout.ConfigID, Body: v,
	}}, nil
}

// newRolloutPage shows the form of a rollout over the nodes that fit a filter. It lists each of
// them, so that the rollout covers exactly the nodes that were shown.
func (p *Pages) newRolloutPage(c echo.Context) (show, error) {
	type body struct {
		Config          store.Config
		Count           int
		IDs             string // separated by commas
		Sample          string
		Latest, Without int // nodes that have the desired config, and nodes without a config
	}
	const sample = 12
	var v body
	var ids, names []string
	filter := readNodeFilter(c)
	if filter.LeftOut != "" { // the rollout would cover more nodes than the search
		return show{}, &wire.InvalidError{Message: filter.LeftOut}
	}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.Config, err = tx.Config(c.Param("config_id")); err != nil {
			return err
		}
		fitting, err := listNodes(tx, p.Reader, v.Config, filter, false, func(*nodelist.Node) {})
		for _, f := range fitting {
			if f.Node.Type == store.NodeStatic {
				continue
			}
			ids, names = append(ids, f.Node.ID), append(names, f.Node.Name)
			switch f.SyncShown() {
			case "":
				v.Without++
			case string(store.SyncLatest):
				v.Latest++
			}
		}
		return err
	}); err != nil {
		return show{}, err
	}
	v.Count, v.IDs, v.Sample = len(ids), strings.Join(ids, ","), strings.Join(names[:min(len(names), sample)], ", ")
	if len(names) > sample {
		v.Sample += fmt.Sprintf(" and %d more", len(names)-sample)
	}
	return show{template: "newrollout", Page: ui.Page{Title: "New rollout", Nav: "Overview", Body: v}}, nil
}
