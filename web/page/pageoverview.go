package page

import (
	"crypto/rand"
	"errors"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/ui"
	"wfm/web/view"
)

// tally counts nodes by state.
type tally struct {
	Nodes    int
	Presence map[view.State]int
	Sync     map[string]int // by [view.Facts.TextState]
	HasSync  bool           // a node has a config
	// Wanted counts the tunnels that should run, Unwanted those that differ from the wanted state.
	Wanted, Unwanted int
	list             string // address of the list that the tiles lead to; else empty
}

func newTally() tally { return tally{Presence: view.NoStates(), Sync: make(map[string]int)} }

// add counts the node. A node without a config has no sync state.
func (t *tally) add(f view.Facts) {
	t.Nodes++
	t.Presence[f.State()]++
	if f.Wanted == protocol.WantedRunning {
		t.Wanted++
	}
	if f.Unwanted() != "" {
		t.Unwanted++
	}
	if state := f.TextState(); state != "" {
		t.HasSync = true
		t.Sync[state]++
	}
}

// tile is a number at the top of a page.
type tile struct {
	Count       int
	Words, Icon string
	Class       string
	Address     string // the list of the counted nodes; empty if the page has none
}

// Counts returns the numbers of nodes by presence. States that are rare appear only if a node has them.
func (t tally) Counts() (all []tile) {
	for _, s := range view.States() {
		n := t.Presence[s]
		if n == 0 && s != view.StateOnline && s != view.StateDropped && s != view.StateOffline {
			continue
		}
		v := tile{Count: n, Words: ui.StateWords(s), Icon: string(s), Class: string(s), Address: t.filtered("state", string(s))}
		if n == 0 && s != view.StateOnline {
			v.Class = ""
		}
		all = append(all, v)
	}
	return all
}

// Tiles returns the numbers of nodes by presence, and by the state of their tunnel config and tunnel.
func (t tally) Tiles() []tile {
	all := t.Counts()
	for _, s := range []struct{ state, icon, class string }{
		{"latest", "ok", ""}, {"pending", "wait", "dropped"}, {"drifted", "drifted", "bad"}, {view.TextToHandOut, "hand", "dropped"},
	} {
		n := t.Sync[s.state]
		if !t.HasSync || n == 0 && s.state == view.TextToHandOut {
			continue
		}
		v := tile{Count: n, Words: ui.SyncWords(s.state), Icon: s.icon, Address: t.filtered("sync", s.state)}
		if n > 0 {
			v.Class = s.class
		}
		all = append(all, v)
	}
	if t.Wanted+t.Unwanted > 0 {
		v := tile{Count: t.Unwanted, Words: "tunnels not as wanted", Icon: "stopped", Address: t.filtered("state", stateUnwanted)}
		if t.Unwanted == 1 {
			v.Words = "tunnel not as wanted"
		}
		if t.Unwanted > 0 {
			v.Class = "bad"
		}
		all = append(all, v)
	}
	return all
}

// filtered returns the address of the list with that filter; empty if the page has no list.
func (t tally) filtered(name, value string) string {
	if t.list == "" {
		return ""
	}
	return t.list + "?" + name + "=" + value
}

type configRow struct {
	Config store.Config
	tally
}

// offer has the networks that the dialog for a new mesh begins with.
type offer struct{ Subnet, Subnet6 string }

func (p *Pages) offerNetworks(tx *store.Tx) (o offer, err error) {
	free, err := mesh.FreeSubnet(tx, p.Networks())
	if refused, none := errors.AsType[*mesh.Error](err); none && refused.Code == mesh.CodeIPPoolExhausted {
		return o, nil // the field stays empty
	}
	if err != nil {
		return o, err
	}
	random, err := mesh.NewULA(rand.Reader)
	return offer{free.String(), random.String()}, err
}

func (p *Pages) overviewPage(echo.Context) (show, error) {
	type body struct {
		tally
		Configs     []configRow
		ConfigCount int
		Services    view.SystemServices
		Traffic     traffic
		Offer       offer
	}
	v := body{tally: newTally()}
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.Offer, err = p.offerNetworks(tx); err != nil {
			return err
		}
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
