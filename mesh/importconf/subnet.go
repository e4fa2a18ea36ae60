package importconf

import (
	"net/netip"
	"slices"

	"wfm/mesh"
)

// planSubnets gives an empty mesh the subnets of the files. A subnet of the mesh stays if an address of
// the files is in it.
func (p *planner) planSubnets() {
	defer p.noteOutside()
	if len(p.Nodes) > 0 {
		return
	}
	cfg := &p.plan.Config
	if !p.some(true) {
		p.takeSubnet(&cfg.VirtualSubnet, p.subnetOf(false))
		if cfg.VirtualSubnet.IsValid() && cfg.VirtualSubnet.Addr().Is6() && cfg.VirtualSubnet6.IsValid() {
			p.setting("The mesh has one network of IPv6 only: the files have no addresses of IPv4.")
			cfg.VirtualSubnet6 = netip.Prefix{}
		}
		return
	}
	p.takeSubnet(&cfg.VirtualSubnet, p.subnetOf(true))
	both := !slices.ContainsFunc(p.nodes, func(n *node) bool { return !n.has(true) || !n.has(false) }) // else each would get one
	if both && cfg.VirtualSubnet.IsValid() && cfg.VirtualSubnet.Addr().Is4() {
		p.takeSubnet(&cfg.VirtualSubnet6, p.subnetOf(false))
	}
}

// takeSubnet makes the wanted network that of a field, unless an address of the files is in the present
// one.
func (p *planner) takeSubnet(now *netip.Prefix, wanted netip.Prefix) {
	if !wanted.IsValid() || *now == wanted || now.IsValid() && slices.ContainsFunc(p.nodes, func(n *node) bool {
		return slices.ContainsFunc(n.addresses(), func(a netip.Prefix) bool { return now.Contains(a.Addr()) })
	}) {
		return
	}
	if now.IsValid() {
		p.setting("The network of the mesh becomes %s, that of the files, instead of %s.", wanted, now)
	} else {
		p.setting("The network of the mesh becomes %s, that of the files.", wanted)
	}
	*now = wanted
	p.checkOverlap(wanted)
}

// some reports whether a file has an address of the IP version.
func (p *planner) some(v4 bool) bool {
	return slices.ContainsFunc(p.nodes, func(n *node) bool { return n.has(v4) })
}

// subnetOf returns the network of the addresses of an IP version: the widest that stands with one of
// them, or else the narrowest in AllowedIPs that has all of them. It is invalid if there is none that a
// mesh can have.
func (p *planner) subnetOf(v4 bool) netip.Prefix {
	var widest, narrowest netip.Prefix
	var all []netip.Addr
	possible := func(n netip.Prefix) bool {
		_, err := mesh.ParseSubnet("", n.String())
		return err == nil && n.Addr().Is4() == v4
	}
	for _, n := range p.nodes {
		for _, a := range n.addresses() {
			if a.Addr().Is4() != v4 {
				continue
			}
			all = append(all, a.Addr())
			if m := a.Masked(); possible(m) && (!widest.IsValid() || m.Bits() < widest.Bits()) {
				widest = m
			}
		}
	}
	if widest.IsValid() || len(all) == 0 {
		return widest
	}
	for _, c := range p.files {
		for _, peer := range c.peers {
			for _, network := range peer.AllowedIPs {
				if possible(network) && (!narrowest.IsValid() || network.Bits() > narrowest.Bits()) &&
					!slices.ContainsFunc(all, func(a netip.Addr) bool { return !network.Contains(a) }) {
					narrowest = network
				}
			}
		}
	}
	return narrowest
}

// checkOverlap finds another mesh with the subnet.
func (p *planner) checkOverlap(subnet netip.Prefix) {
	for _, t := range p.Taken {
		if !t.Network.Overlaps(subnet) {
			continue
		}
		for _, c := range p.files {
			i := slices.IndexFunc(c.Interface.Addresses, func(a netip.Prefix) bool { return subnet.Contains(a.Addr()) })
			if i >= 0 {
				p.problem(c, c.Interface.AddressLine, "The address %s is in the network %s, which overlaps %s of %s. Import the files into that mesh, or give one of both "+
					"other addresses first.", c.Interface.Addresses[i].Addr(), subnet, t.Network, t.By)
				return
			}
		}
	}
}

// noteOutside says which nodes are outside of the subnets.
func (p *planner) noteOutside() {
	cfg := p.plan.Config
	for _, n := range p.nodes {
		for _, a := range n.addresses() {
			for _, s := range []netip.Prefix{cfg.VirtualSubnet, cfg.VirtualSubnet6} {
				if s.IsValid() && s.Addr().Is4() == a.Addr().Is4() && !s.Contains(a.Addr()) {
					p.note(n.conf, n.conf.Interface.AddressLine,
						"The address %s is outside of the mesh's subnet %s: links that carry the subnet do not reach it by themselves.", a.Addr(), s)
				}
			}
		}
	}
}

// has reports whether the node has an address of the IP version.
func (n *node) has(v4 bool) bool {
	return slices.ContainsFunc(n.addresses(), func(a netip.Prefix) bool { return a.Addr().Is4() == v4 })
}
