package importconf

import (
	"net/netip"
	"slices"
)

// The narrowest prefixes of networks that may be behind a node: wider ones are ways to the internet.
const (
	widestRoute4 = 8
	widestRoute6 = 16
)

// findRoutes finds networks behind nodes: those in AllowedIPs that belong to no node, and which every
// file sends towards the same one, that sends them nowhere.
func (p *planner) findRoutes() {
	next := map[netip.Prefix]map[*node]*node{}
	for _, n := range p.nodes {
		if n.conf == nil {
			continue
		}
		for _, pr := range n.conf.peers {
			other := p.byKey[pr.PublicKey]
			if other == nil || other == n {
				continue
			}
			for _, network := range pr.AllowedIPs {
				if next[network] == nil {
					next[network] = map[*node]*node{}
				}
				next[network][n] = other
			}
		}
	}
	table := p.placesOfNodes()
	for network, hops := range next {
		if !table.mayBeBehind(network) {
			continue
		}
		if owner := ownerOf(hops); owner != nil {
			p.routes[network] = owner
		}
	}
}

// places are the networks and addresses of the mesh itself.
type places struct {
	subnets   []netip.Prefix
	addresses []netip.Addr
}

func (p *planner) placesOfNodes() places {
	var t places
	for _, s := range []netip.Prefix{p.plan.Config.VirtualSubnet, p.plan.Config.VirtualSubnet6} {
		if s.IsValid() {
			t.subnets = append(t.subnets, s)
		}
	}
	for _, n := range p.nodes {
		for _, a := range n.addresses() {
			t.addresses = append(t.addresses, a.Addr())
		}
	}
	return t
}

// mayBeBehind reports whether the network has nothing of the mesh, and is neither most of the internet
// nor a single address, which may be that of a node without a file.
func (t places) mayBeBehind(network netip.Prefix) bool {
	widest := widestRoute6
	if network.Addr().Is4() {
		widest = widestRoute4
	}
	return network.Bits() >= widest && !network.IsSingleIP() && !slices.ContainsFunc(t.subnets, network.Overlaps) &&
		!slices.ContainsFunc(t.addresses, network.Contains)
}

// ownerOf returns the node at which all ways end; nil if they do not end at one.
func ownerOf(hops map[*node]*node) (owner *node) {
	for n := range hops {
		at := n
		for range len(hops) + 1 {
			if hops[at] == nil {
				break
			}
			at = hops[at]
		}
		if hops[at] != nil || owner != nil && owner != at {
			return nil
		}
		owner = at
	}
	return owner
}

// useRoutes gives the nodes their routes, and takes them out of the links, since the mesh adds them there.
func (p *planner) useRoutes() {
	for _, n := range p.nodes {
		n.Routes = nil
	}
	for network, n := range p.routes {
		n.Routes = append(n.Routes, network)
	}
	for _, n := range p.nodes {
		slices.SortFunc(n.Routes, netip.Prefix.Compare)
	}
	isRoute := func(network netip.Prefix) bool { return p.routes[network] != nil }
	for _, l := range p.links {
		l.Forward.AllowedIPs = slices.DeleteFunc(p.allowedIn(l.a, l.b), isRoute)
		if l.b.conf != nil {
			l.Reverse.AllowedIPs = slices.DeleteFunc(p.allowedIn(l.b, l.a), isRoute)
		}
	}
}

// allowedIn returns the AllowedIPs of other in the file of n.
func (p *planner) allowedIn(n, other *node) []netip.Prefix {
	i := slices.IndexFunc(n.conf.peers, func(pr peer) bool { return pr.PublicKey == other.PublicKey })
	return slices.Clone(n.conf.peers[i].AllowedIPs)
}
