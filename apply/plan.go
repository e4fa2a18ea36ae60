package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"wfm/mesh"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// Fate says what applying a mesh does to a node.
type Fate string

// The fates.
const (
	Now      Fate = "now"        // it is online and gets its config
	Later    Fate = "later"      // it is away and gets its config once it is back
	OnItsWay Fate = "on_its_way" // a push of the config is open
	Blocked  Fate = "blocked"    // it cannot get its config; Reason says why
	HandOut  Fate = "hand_out"   // it is static: a person takes the config there
)

// The codes of reasons for which a node is blocked.
const (
	CodeDisabled    = "NODE_DISABLED"
	CodeNotBound    = "CLIENT_NOT_INITIALIZED"
	CodeInvalidText = "INVALID_TUNNEL_CONFIG"
	CodeTwoMachines = "IDENTITY_CONFLICT"
)

// Node is a node that does not have its desired tunnel config.
type Node struct {
	ID, Name string
	Fate     Fate
	// Code and Reason say why the node is blocked, or is away, or what its push waits for; Code only for a
	// blocked one.
	Code, Reason string
	Desired      store.ConfRef
	// Has is the version that the node has as far as it is known; the zero value means none.
	Has      store.ConfRef
	Drifted  bool // the node reported another text than Has
	Restarts bool // its tunnel runs, and is restarted
	Starts   bool // its tunnel was never started or stopped; see [Order.Start]
	Gateway  bool // it passes packets on between others, so its turn comes last
	AutoSync bool
	Warnings []wgconf.Warning
	CutsOff  bool // the config may cut the node off, and was not forced
	// Failed says how the last push of the config ended, if it was not applied.
	Failed string
	gaveUp bool // that push is not tried again by itself
}

// pushed reports whether applying pushes to the node.
func (n Node) pushed() bool { return n.Fate == Now || n.Fate == Later }

// Plan is what applying a mesh would do.
type Plan struct {
	Config store.Config
	// Nodes are those that do not have their desired config, by name.
	Nodes []Node
	// Hash stands for the nodes and versions that would be applied.
	Hash   string
	Report mesh.Report
	// Active is the rollout of the mesh that has not ended; "" if there is none.
	Active string
}

// Counts are the numbers of nodes of a plan.
type Counts struct {
	Change   int // get their config now or later
	Restart  int // of Change, whose tunnels are restarted
	Start    int // of Change, whose tunnels were never started or stopped
	Later    int // of Change, that are away
	OnItsWay int
	Blocked  int
	NoAgent  int // of Blocked, that have no agent yet
	HandOut  int
	CutOff   int // of Change, that may be cut off
}

// Count counts the nodes of the plan.
func (p Plan) Count() (c Counts) {
	for _, n := range p.Nodes {
		switch n.Fate {
		case Now, Later:
			c.Change++
			c.add(n)
		case OnItsWay:
			c.OnItsWay++
		case Blocked:
			c.Blocked++
			if n.Code == CodeNotBound {
				c.NoAgent++
			}
		case HandOut:
			c.HandOut++
		}
	}
	return c
}

func (c *Counts) add(n Node) {
	for counter, is := range map[*int]bool{&c.Restart: n.Restarts, &c.Start: n.Starts, &c.Later: n.Fate == Later, &c.CutOff: n.CutsOff} {
		if is {
			*counter++
		}
	}
}

// Plan returns what applying the mesh would do. host is the broker's host for nodes whose bind recorded
// none. It must not be called within a transaction. Error: store.ErrConfigNotFound.
func (a *Applier) Plan(ctx context.Context, configID, host string) (Plan, error) {
	found, err := a.check(ctx, configID)
	if err != nil {
		return Plan{}, err
	}
	known, err := a.reach(ctx, configID, host)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Report: found.report}
	err = a.Store.View(func(tx *store.Tx) (err error) {
		if p.Config, err = tx.Config(configID); err != nil {
			return err
		}
		newest, err := tx.Rollouts(configID, 0, 1)
		if err != nil {
			return err
		}
		if len(newest) == 1 && newest[0].State.Active() {
			p.Active = newest[0].ID
		}
		r := reader{a, tx, p.Config, tunnel.Order{Host: host}, func(host string) wgconf.Reach { return reachOf(known, host) }}
		all, err := tx.Nodes(configID, "", 0)
		for _, n := range all {
			v, pending, err := r.read(n)
			if err != nil {
				return err
			}
			if pending {
				v.Gateway = found.gateways[n.ID]
				p.Nodes = append(p.Nodes, v)
			}
		}
		return err
	})
	p.Hash = p.hash()
	return p, err
}

// reachOf returns how the host is reached, without looking it up.
func reachOf(known map[string]wgconf.Reach, host string) wgconf.Reach {
	r, ok := known[host]
	if !ok {
		r.Host = host
		if addr, err := netip.ParseAddr(host); err == nil {
			r.Addresses = []netip.Addr{addr}
		}
	}
	return r
}

// hash returns the plan's hash. A node that is bound, enabled or goes away does not change it.
func (p Plan) hash() string {
	h := sha256.New()
	for _, n := range p.Nodes {
		if n.pushed() || n.Fate == Blocked {
			fmt.Fprintf(h, "%s %d %s\n", n.ID, n.Desired.Version, n.Desired.SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// reader reads the nodes of a plan.
type reader struct {
	a     *Applier
	tx    *store.Tx
	cfg   store.Config
	order tunnel.Order
	reach func(host string) wgconf.Reach
}

// read returns the node's part of the plan. pending is false if it has its desired config.
func (r reader) read(n store.Node) (v Node, pending bool, err error) {
	s, err := r.tx.ConfState(n.ID)
	family := tunnel.Family(r.cfg)
	if err != nil || tunnel.Sync(s, n.Type, family) == store.SyncLatest {
		return v, false, err
	}
	v = Node{ID: n.ID, Name: n.Name, Desired: s.Desired, Has: s.Confirmed, Drifted: tunnel.Drifted(s), AutoSync: n.AutoSync}
	if v.Has.Version == 0 {
		v.Has = s.HandedOut
	}
	x, err := r.order.Examine(r.tx, n.ID, r.reach)
	if err != nil {
		return v, false, err
	}
	v.Warnings, v.CutsOff = x.Warnings, x.CutsOff
	if n.Type == store.NodeStatic {
		v.Fate = HandOut
		return v, true, nil
	}
	return v, true, r.decide(n, x.Fault, &v)
}

// decide sets the fate of a node with an agent.
func (r reader) decide(n store.Node, fault error, v *Node) error {
	e, err := r.tx.Evidence(n.ID)
	if err != nil {
		return err
	}
	e = r.a.Evidence(e)
	status := presence.Project(n, r.cfg.Enabled, e, r.tx.Now(), r.a.Presence)
	push, err := r.lastPush(n, v.Desired)
	if err != nil {
		return err
	}
	v.Failed = failure(push)
	wanted, err := r.tx.Wanted(n.ID)
	if err != nil {
		return err
	}
	v.gaveUp = v.Failed != "" && push.State != store.CommandExpired
	switch {
	case !r.cfg.Enabled:
		v.block(CodeDisabled, "The mesh is disabled; enable it first.")
	case !n.Enabled:
		v.block(CodeDisabled, "The node is disabled; enable it first.")
	case n.Client == nil:
		v.block(CodeNotBound, "No agent is bound to the node yet; it gets its tunnel config once one is.")
	case fault != nil:
		v.block(CodeInvalidText, fault.Error())
	case presence.Conflict(e, r.tx.Now()) != nil:
		v.block(CodeTwoMachines, "Two machines use the identity of this node; bind one of them to another node first.")
	case push.RequestID != "" && !push.State.Ended():
		v.Fate, v.Reason = OnItsWay, push.Detail
	case status.State != presence.Online:
		v.Fate, v.Reason = Later, status.Reason
	default:
		v.Fate, v.Restarts = Now, status.Tunnel == presence.TunnelRunning
	}
	v.Starts = v.pushed() && wanted.State == protocol.WantedNone && !v.Restarts
	return nil
}

func (n *Node) block(code, reason string) { n.Fate, n.Code, n.Reason = Blocked, code, reason }

// lastPush returns the newest push to the node, if it is of the version and still fits the node; else the
// zero value.
func (r reader) lastPush(n store.Node, ref store.ConfRef) (store.Command, error) {
	cmd, err := r.tx.LastPush(n.ID)
	if errors.Is(err, store.ErrCommandNotFound) {
		return store.Command{}, nil
	}
	if p, ok := tunnel.Pushed(cmd); err != nil || !ok || p.ConfigSHA256 != ref.SHA256 || !tunnel.Fits(p, r.cfg, n) {
		return store.Command{}, err
	}
	return cmd, nil
}

// failure says how a push ended that was not applied.
func failure(push store.Command) string {
	switch push.State {
	case store.CommandFailed, store.CommandUnknown, store.CommandExpired, store.CommandCancelled:
		if push.Detail != "" {
			return fmt.Sprintf("%s: %s", push.State, push.Detail)
		}
		return string(push.State)
	default:
		return ""
	}
}

// Difference is the tunnel config of a node without its secrets, as the node has it and as it would get it.
type Difference struct {
	HasName, Has         string // both "" if the node has none, or it is not known
	DesiredName, Desired string
}

// Differences returns the texts of nodes of a plan, in their order.
func (a *Applier) Differences(nodes []Node) ([]Difference, error) {
	all := make([]Difference, len(nodes))
	err := a.Store.View(func(tx *store.Tx) error {
		for i, n := range nodes {
			has, err := textOf(tx, n.ID, n.Has)
			if err != nil {
				return err
			}
			desired, err := textOf(tx, n.ID, n.Desired)
			if err != nil {
				return err
			}
			d := Difference{DesiredName: fmt.Sprint("version ", n.Desired.Version), HasName: "nothing"}
			if has != "" {
				d.HasName = fmt.Sprint("version ", n.Has.Version)
			}
			d.Has, d.Desired = wgconf.Comparable(has, desired)
			all[i] = d
		}
		return nil
	})
	return all, err
}

// textOf returns the text of the version, "" if it is no longer kept.
func textOf(tx *store.Tx, nodeID string, ref store.ConfRef) (string, error) {
	if ref.Version == 0 {
		return "", nil
	}
	text, err := tx.ConfText(nodeID, ref.SHA256)
	if errors.Is(err, store.ErrConfVersionNotFound) || errors.Is(err, store.ErrNodeNotFound) {
		return "", nil
	}
	return text, err
}

// turns returns the nodes in the order of their turns, and how many of them, at the end, are gateways.
func turns(nodes []Node) (ordered []Node, gateways int) {
	ordered = slices.Clone(nodes)
	slices.SortStableFunc(ordered, func(a, b Node) int { return weight(a) - weight(b) })
	for _, n := range ordered {
		gateways += weight(n)
	}
	return ordered, gateways
}

func weight(n Node) int {
	if n.Gateway {
		return 1
	}
	return 0
}
