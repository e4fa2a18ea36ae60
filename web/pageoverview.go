package web

import (
	"fmt"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/ui"
)

// tally counts nodes by state.
type tally struct {
	Nodes    int
	Presence map[string]int
	Sync     map[string]int
	HasSync  bool // some node has a config
	// Wanted counts the tunnels that are to run, Unwanted those found otherwise than wanted.
	Wanted, Unwanted int
}

func newTally() tally {
	return tally{
		Presence: noPresence(),
		Sync:     map[string]int{string(store.SyncLatest): 0, string(store.SyncPending): 0, string(store.SyncDrifted): 0},
	}
}

// add counts the node. One without a config is in no sync state.
func (t *tally) add(f facts) {
	t.Nodes++
	t.Presence[string(f.presence.State)]++
	if f.wanted == protocol.WantedRunning {
		t.Wanted++
	}
	if f.unwanted() != "" {
		t.Unwanted++
	}
	if state := f.syncShown(); state != "" {
		t.HasSync = true
		t.Sync[state]++
	}
}

// syncShown is the node's sync state; empty while it has no config.
func (f facts) syncShown() string {
	if f.conf.Desired.Version == 0 {
		return ""
	}
	return string(f.sync())
}

// syncDetail says what is missing of being in sync; empty when nothing is.
func (f facts) syncDetail() string {
	s := f.conf
	switch {
	case s.Desired.Version == 0 || f.sync() == store.SyncLatest:
		return ""
	case f.sync() == store.SyncDrifted:
		return "the node has another text"
	case f.node.Type != store.NodeStatic && tunnel.StagedNow(s, tunnel.Family(f.config)):
		return fmt.Sprintf("version %d is not applied yet", s.Desired.Version)
	case s.Staged.SHA256 == s.Desired.SHA256:
		return fmt.Sprintf("version %d was staged for the former tunnel protocol", s.Staged.Version)
	}
	return fmt.Sprintf("version %d is not staged", s.Desired.Version)
}

// toStage reports whether there is a desired config that is not staged for the mesh's tools.
func (f facts) toStage() bool {
	return f.conf.Desired.Version != 0 && !tunnel.StagedNow(f.conf, tunnel.Family(f.config))
}

// bound reports whether the node has an agent.
func (f facts) bound() bool { return f.node.Type == store.NodeDynamic && f.node.Client != nil }

// pushable reports whether there is a version to push, and an agent to push it to.
func (f facts) pushable() bool { return f.bound() && f.conf.Desired.Version != 0 }

type configRow struct {
	Config store.Config
	tally
}

func (p *pages) overviewPage(echo.Context) (show, error) {
	type body struct {
		tally
		Configs     []configRow
		ConfigCount int
		Services    systemServices
		Traffic     traffic
		NewConfig   store.Config
	}
	v := body{tally: newTally(), NewConfig: store.Config{TunnelProtocol: protocol.TunnelWireGuard}}
	if err := p.db.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			row := configRow{cfg, newTally()}
			if err := p.reader.eachFacts(tx, cfg, func(f facts) {
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
	v.ConfigCount, v.Services, v.Traffic = len(v.Configs), p.reader.services(), p.traffic()
	return show{template: "overview", Page: ui.Page{Title: "Overview", Nav: "Overview", LiveAll: true, Every: 10, Body: v}}, nil
}

// eachFacts calls fn for every node of the config, by name.
func (r *reader) eachFacts(tx *store.Tx, cfg store.Config, fn func(facts)) error {
	nodes, err := tx.Nodes(cfg.ID, "", 0)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		f, err := r.facts(tx, cfg, n)
		if err != nil {
			return err
		}
		fn(f)
	}
	return nil
}
