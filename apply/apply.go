package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// The bounds of a rollout unless an order sets others. The nodes of one wave have their turn at the same
// time.
const (
	DefaultWaveSize    = 10
	DefaultMaxFailures = 1
)

// stagedAtOnce bounds how many configs one transaction stages.
const stagedAtOnce = 500

// ErrPlanChanged is returned for an order whose plan is out of date.
var ErrPlanChanged = errors.New("the plan is not the present one")

// Order asks to apply a mesh.
type Order struct {
	ConfigID string
	By       string
	Host     string   // see [Applier.Plan]
	PlanHash string   // of the plan that a person has seen; "": any
	NodeIDs  []string // only these nodes; nil: all
	// WaveSize and MaxFailures bound the rollout. 0: the defaults.
	WaveSize, MaxFailures int
	// Force also applies configs that may cut their nodes off. Agents that can take such a change back do.
	Force bool
	// Start also starts the tunnels that were never started or stopped, each once its node has its
	// config.
	Start bool
}

// Done is the result of an order.
type Done struct {
	Plan Plan // as it was
	// Rollout is the rollout that was begun. Its ID is "" if no node needed one.
	Rollout store.Rollout
	// Left are the nodes of the order, or of the mesh, that were left out, with the reasons.
	Left []Node
}

// Apply stages the desired configs and begins a rollout that pushes them to the nodes that lack them. Nodes
// that are away get it when they are back. Errors: store.ErrConfigNotFound, store.ErrNodeDisabled for a mesh
// that is, refusal.ErrMQTTDisabled, [ErrPlanChanged], a *mesh.Error for a mesh that is not valid, a
// *tunnel.CutOffError, a *store.RolloutActiveError, and those of writing.
func (a *Applier) Apply(ctx context.Context, o Order) (Done, error) {
	p, err := a.Plan(ctx, o.ConfigID, o.Host)
	if err != nil {
		return Done{}, err
	}
	d := Done{Plan: p}
	named := make(map[string]bool, len(o.NodeIDs))
	for _, id := range o.NodeIDs {
		named[id] = true
	}
	var push []Node
	for _, n := range p.Nodes {
		switch {
		case o.NodeIDs != nil && !named[n.ID]:
		case n.pushed():
			push = append(push, n)
		default:
			d.Left = append(d.Left, n)
		}
	}
	if err := a.refuse(o, p, push); err != nil || len(push) == 0 {
		return d, err
	}
	push, gateways := turns(push)
	if err := a.stage(ctx, o, push); err != nil {
		return d, err
	}
	ids := make([]string, len(push))
	for i, n := range push {
		ids[i] = n.ID
	}
	r := store.Rollout{
		ConfigID: o.ConfigID, Action: protocol.ActionPush, RequestedBy: o.By, Staged: true, Later: true, Starts: o.Start, Last: gateways, BrokerHost: o.Host,
		WaveSize: o.WaveSize, MaxFailures: o.MaxFailures,
	}
	if r.WaveSize == 0 {
		r.WaveSize = DefaultWaveSize
	}
	if r.MaxFailures == 0 {
		r.MaxFailures = DefaultMaxFailures
	}
	d.Rollout, err = a.Rollouts.Begin(ctx, r, ids)
	if errors.Is(err, store.ErrNodeNotFound) { // deleted since
		err = ErrPlanChanged
	}
	if err == nil {
		a.Logger.Info("mesh applied", "config_id", o.ConfigID, "rollout_id", d.Rollout.ID, "nodes", len(ids), "by", o.By)
	}
	return d, err
}

// Refuses returns the error of an order for the whole plan, nil if it can be carried out.
func (a *Applier) Refuses(p Plan) error {
	var push []Node
	for _, n := range p.Nodes {
		if n.pushed() {
			push = append(push, n)
		}
	}
	return a.refuse(Order{}, p, push)
}

// refuse returns the reason for which the order cannot be carried out, or nil.
func (a *Applier) refuse(o Order, p Plan, push []Node) error {
	switch {
	case !p.Config.Enabled:
		return store.ErrNodeDisabled
	case a.Rollouts == nil:
		return refusal.ErrMQTTDisabled
	case p.Active != "": // first: it changes the plan
		return &store.RolloutActiveError{ID: p.Active}
	case o.PlanHash != "" && o.PlanHash != p.Hash:
		return ErrPlanChanged
	}
	if err := p.Report.Refusal("applied"); err != nil {
		return err
	}
	if o.Force {
		return nil
	}
	for _, n := range push {
		if n.CutsOff {
			return cutOff(n)
		}
	}
	return nil
}

func cutOff(n Node) error {
	warnings := slices.Clone(n.Warnings)
	for i := range warnings {
		if warnings[i].CutsOff {
			warnings[i].Message = n.Name + ": " + warnings[i].Message
			break
		}
	}
	return &tunnel.CutOffError{Undone: "applied", Warnings: warnings}
}

// stage stages the versions of the plan.
func (a *Applier) stage(ctx context.Context, o Order, nodes []Node) error {
	for some := range slices.Chunk(nodes, stagedAtOnce) {
		ids := make([]string, len(some))
		for i, n := range some {
			ids[i] = n.ID
		}
		staged, err := a.door.StageAll(ctx, ids, tunnel.Order{Force: o.Force, Host: o.Host})
		if err != nil {
			return fmt.Errorf("stage: %w", err)
		}
		for i, s := range staged {
			switch _, cutsOff := errors.AsType[*tunnel.CutOffError](s.Err); {
			case cutsOff:
				return s.Err
			case s.Err != nil || s.Ref != some[i].Desired:
				return ErrPlanChanged
			}
		}
	}
	return nil
}
