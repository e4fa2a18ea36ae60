package view

import (
	"fmt"
	"strings"

	"wfm/apply"
	"wfm/mesh"
	"wfm/web/wire"
)

// Plan is what applying a mesh would do, with some of its nodes.
type Plan struct {
	ConfigID string `json:"config_id"`
	PlanHash string `json:"plan_hash"`
	Message  string `json:"message"` // a summary
	// CanApply says whether POST apply would begin a rollout. If not, Refusal says why; it is empty if
	// there is nothing to apply.
	CanApply bool       `json:"can_apply"`
	Refusal  string     `json:"refusal"`
	Counts   PlanCounts `json:"counts"`
	// RolloutID is the rollout of the mesh that has not ended; empty if there is none.
	RolloutID string `json:"rollout_id"`
	Report
	Nodes []PlanNode `json:"nodes"`
}

// PlanCounts are the numbers of nodes of a plan.
type PlanCounts struct {
	Change   int `json:"change"`     // get their tunnel config now or later
	Restart  int `json:"restart"`    // of change: their tunnels run and are restarted
	Start    int `json:"start"`      // of change: their tunnels were never started or stopped
	Later    int `json:"later"`      // of change: they are away
	CutOff   int `json:"cut_off"`    // of change: they may be cut off from the appliance
	OnItsWay int `json:"on_its_way"` // have a push that is not answered yet
	Blocked  int `json:"blocked"`
	HandOut  int `json:"hand_out"` // static nodes
}

// PlanNode is a node that does not have its desired tunnel config.
type PlanNode struct {
	NodeID   string     `json:"node_id"`
	NodeName string     `json:"node_name"`
	Fate     apply.Fate `json:"fate"` // now, later, on_its_way, blocked or hand_out
	Code     string     `json:"code"` // of a blocked one
	Reason   string     `json:"reason"`
	// ConfirmedVersion is the version that the node has, or, of a static node, that was handed out; 0 if
	// it has none.
	DesiredVersion   int                `json:"desired_version"`
	DesiredSHA256    string             `json:"desired_sha256"`
	ConfirmedVersion int                `json:"confirmed_version"`
	Drifted          bool               `json:"drifted"`  // the node reported another text
	Restarts         bool               `json:"restarts"` // its tunnel runs, and is restarted
	Starts           bool               `json:"starts"`   // its tunnel was never started or stopped: apply with start starts it
	Gateway          bool               `json:"gateway"`  // its turn comes after the others'
	AutoSync         bool               `json:"auto_sync"`
	CutsOff          bool               `json:"cuts_off"`
	Warnings         []wire.WarningView `json:"warnings"`
	LastFailure      string             `json:"last_failure"` // how the last push of this version ended; empty if it did not fail
	Diff             string             `json:"diff"`         // unified, without keys
}

// Report has the findings about a mesh.
type Report struct {
	Valid    bool           `json:"valid"`
	Messages []string       `json:"messages"` // of the errors
	Errors   []mesh.Finding `json:"errors"`
	Warnings []mesh.Finding `json:"warnings"`
}

// ReportOf returns the findings as the API shows them.
func ReportOf(r mesh.Report) Report {
	v := Report{
		Valid: r.Valid(), Messages: []string{}, Errors: append([]mesh.Finding{}, r.Of(mesh.SeverityError)...),
		Warnings: append([]mesh.Finding{}, r.Of(mesh.SeverityWarning)...),
	}
	for _, f := range v.Errors {
		v.Messages = append(v.Messages, f.Message)
	}
	return v
}

// PlanOf returns the plan with the given ones of its nodes.
func PlanOf(a *apply.Applier, p apply.Plan, nodes []apply.Node) (Plan, error) {
	c := p.Count()
	v := Plan{
		ConfigID: p.Config.ID, PlanHash: p.Hash, Message: PlanWords(c), RolloutID: p.Active, Report: ReportOf(p.Report),
		Counts: PlanCounts{
			Change: c.Change, Restart: c.Restart, Start: c.Start, Later: c.Later, CutOff: c.CutOff, OnItsWay: c.OnItsWay, Blocked: c.Blocked, HandOut: c.HandOut,
		},
		Nodes: make([]PlanNode, len(nodes)),
	}
	if c.Change > 0 {
		if err := a.Refuses(p); err != nil {
			v.Refusal = wire.Translate(err).Message
		}
	}
	v.CanApply = c.Change > 0 && v.Refusal == ""
	texts, err := a.Differences(nodes)
	if err != nil {
		return v, err
	}
	for i, n := range nodes {
		v.Nodes[i] = PlanNodeOf(n)
		if v.Nodes[i].Diff, err = Diff(texts[i].HasName, texts[i].Has, texts[i].DesiredName, texts[i].Desired); err != nil {
			return v, err
		}
	}
	return v, nil
}

// PlanNodeOf returns the node of a plan without the difference.
func PlanNodeOf(n apply.Node) PlanNode {
	return PlanNode{
		NodeID: n.ID, NodeName: n.Name, Fate: n.Fate, Code: n.Code, Reason: n.Reason, DesiredVersion: n.Desired.Version, DesiredSHA256: n.Desired.SHA256,
		ConfirmedVersion: n.Has.Version, Drifted: n.Drifted, Restarts: n.Restarts, Starts: n.Starts, Gateway: n.Gateway, AutoSync: n.AutoSync, CutsOff: n.CutsOff,
		Warnings: wire.ViewWarnings(n.Warnings), LastFailure: n.Failed,
	}
}

// PlanWords sums up a plan in a sentence.
func PlanWords(c apply.Counts) string {
	count := func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, many)
	}
	var parts []string
	add := func(n int, one, many string) {
		if n > 0 {
			parts = append(parts, count(n, one, many))
		}
	}
	add(c.Change, "node changes", "nodes change")
	add(c.Restart, "tunnel restarts", "tunnels restart")
	add(c.Later, "node is away and gets it when it is back", "nodes are away and get it when they are back")
	add(c.OnItsWay, "push is on its way", "pushes are on their way")
	add(c.NoAgent, "node waits for its agent", "nodes wait for their agents")
	add(c.Blocked-c.NoAgent, "node cannot get its tunnel config", "nodes cannot get their tunnel configs")
	add(c.HandOut, "static node gets its tunnel config by hand", "static nodes get their tunnel configs by hand")
	if len(parts) == 0 {
		return "Everything is applied."
	}
	if c.Change == 0 {
		return "Nothing to apply now: " + strings.Join(parts, ", ") + "."
	}
	return strings.Join(parts, ", ") + "."
}
