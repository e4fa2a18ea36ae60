package page

import (
	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/ui"
	"wfm/web/view"
)

// tally counts nodes by state.
type tally struct {
	Nodes    int
	Presence map[string]int
	Sync     map[string]int
	HasSync  bool // a node has a config
	// Wanted counts the tunnels that should run, Unwanted those that differ from the wanted state.
	Wanted, Unwanted int
}

func newTally() tally {
	return tally{
		Presence: view.NoPresence(),
		Sync:     map[string]int{string(store.SyncLatest): 0, string(store.SyncPending): 0, string(store.SyncDrifted): 0},
	}
}

// add counts the node. A node without a config has no sync state.
func (t *tally) add(f view.Facts) {
	t.Nodes++
	t.Presence[string(f.Presence.State)]++
	if f.Wanted == protocol.WantedRunning {
		t.Wanted++
	}
	if f.Unwanted() != "" {
		t.Unwanted++
	}
	if state := f.SyncShown(); state != "" {
		t.HasSync = true
		t.Sync[state]++
	}
}

type configRow struct {
	Config store.Config
	tally
}

func (p *Pages) overviewPage(echo.Context) (show, error) {
	type body struct {
		tally
		Configs     []configRow
		ConfigCount int
		Services    view.SystemServices
		Traffic     traffic
		NewConfig   store.Config
	}
	v := body{tally: newTally(), NewConfig: store.Config{TunnelProtocol: protocol.TunnelWireGuard}}
	if err := p.DB.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			row := configRow{cfg, newTally()}
			if err := p.Reader.EachFacts(tx, cfg, func(f view.Facts) {
				row.add(f)
				v.add(f)
			}); err != nil {
				return err
			}
			v.Configs = append(v.Configs, row)
		}
		return nil
	}); err != nil {
		return show{}, err
	}
	v.ConfigCount, v.Services, v.Traffic = len(v.Configs), p.Reader.Services(), p.traffic()
	return show{template: "overview", Page: ui.Page{Title: "Overview", Nav: "Overview", LiveAll: true, Every: 10, Body: v}}, nil
}
