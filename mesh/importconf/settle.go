package importconf

import (
	"fmt"
	"net/netip"
	"slices"

	"wfm/mesh"
	"wfm/store"
)

// settle decides for each node whether its tunnel config is made from the mesh, and completes the plan.
func (p *planner) settle() {
	for _, n := range p.nodes {
		if n.conf != nil {
			n.Why = p.unfit(n)
		}
	}
	p.findRoutes()
	p.useRoutes()
	for p.dropRoutes() {
		p.useRoutes()
	}
	for again := true; again; { // a text may tell its peers something else than the fields
		again = false
		m := p.mesh()
		for _, n := range p.nodes {
			if n.conf == nil || len(n.Why) > 0 {
				continue
			}
			d := p.compare(m, n)
			n.adds = d.adds
			if n.Why = d.why; len(n.Why) > 0 {
				again = true
			}
		}
	}
	for _, n := range p.nodes {
		if p.AsText && n.conf != nil && len(n.Why) == 0 {
			n.Why = []string{"You asked to keep every file."}
		}
		if n.adds && len(n.Why) == 0 {
			p.note(n.conf, n.conf.Interface.Line, "The appliance adds hooks that switch forwarding on, since other nodes reach networks through this one.")
		}
		p.plan.Nodes = append(p.plan.Nodes, p.record(n))
	}
	for _, l := range p.links {
		p.plan.Links = append(p.plan.Links, l.Link)
	}
}

// unfit returns why the tunnel config of the node cannot be made from the mesh, as far as its file shows
// that alone.
func (p *planner) unfit(n *node) (why []string) {
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	cfg, i := p.plan.Config, n.conf.Interface
	for _, o := range n.conf.odd {
		add("%s (line %d) has no field here.", o.key, o.line)
	}
	if n.PublicKey == "" || !i.HasPrivateKey && i.KeptLine == 0 {
		add("It has no PrivateKey.")
	}
	four := slices.IndexFunc(i.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() }) >= 0
	six := slices.IndexFunc(i.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) >= 0
	switch count := len(i.Addresses); {
	case count == 0:
		add("It has no Address.")
	case count > 2 || count == 2 && four != six:
		add("It has several addresses of one IP version (line %d).", i.AddressLine)
	case count == 1 && cfg.VirtualSubnet6.IsValid():
		add("The mesh would give it an address of the other IP version too.")
	}
	for _, a := range i.Addresses {
		if _, err := mesh.CheckAddress(a, []netip.Prefix{cfg.VirtualSubnet, cfg.VirtualSubnet6}, noOwner); err != nil {
			add("%s", err)
		}
	}
	seen := map[netip.Prefix]bool{}
	for _, pr := range n.conf.peers {
		for _, network := range pr.AllowedIPs {
			if seen[network] {
				add("Two of its peers have the network %s (line %d).", network, pr.AllowedIPsLine)
			}
			seen[network] = true
		}
		other := p.byKey[pr.PublicKey]
		if other == nil || !p.linked[[2]*node{n, other}] {
			add("Its peer on line %d has no link.", pr.Line)
		}
	}
	return why
}

func noOwner(netip.Addr) (string, bool) { return "", false }

// mesh returns the mesh of the plan as it stands.
func (p *planner) mesh() *mesh.Mesh {
	nodes := make([]mesh.Node, len(p.nodes))
	for i, n := range p.nodes {
		r := p.record(n)
		if r.InterfaceName == "" {
			r.InterfaceName = store.DeriveInterfaceName(p.Config.Name, r.Name)
		}
		nodes[i] = mesh.Node{Node: r.Node}
		if r.Text != "" {
			nodes[i].Text, _ = mesh.ReadText(p.plan.Config, r.ID, r.Text) // it was read before
		}
	}
	links := make([]store.Link, len(p.links))
	for i, l := range p.links {
		links[i] = l.Link
	}
	return mesh.New(p.plan.Config, nodes, links, nil)
}

// record returns the node as it is stored.
func (p *planner) record(n *node) Node {
	r := n.Node
	r.Addresses, r.Key = n.addresses(), n.PublicKey
	if n.conf == nil || len(n.Why) == 0 {
		return r
	}
	s := store.NodeSettings{IPv4Address: r.IPv4Address, IPv6Address: r.IPv6Address, Routes: r.Routes}
	if n.conf.Interface.PublicKey == "" {
		s.PublicKey = r.PublicKey
	}
	r.NodeSettings, r.Text = s, n.conf.file.Text
	return r
}

// dropRoutes drops the routes that would make a node send a network elsewhere than its file does, and
// reports whether there were any.
func (p *planner) dropRoutes() (dropped bool) {
	if len(p.routes) == 0 {
		return false
	}
	m := p.mesh()
	for _, n := range p.nodes {
		if n.conf == nil || len(n.Why) > 0 {
			continue
		}
		for _, network := range p.compare(m, n).networks {
			if p.routes[network] != nil {
				delete(p.routes, network)
				dropped = true
			}
		}
	}
	return dropped
}
