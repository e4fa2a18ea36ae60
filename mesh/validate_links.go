package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// routesOfNodes finds networks that are behind two nodes, and addresses of nodes that seem to be
// behind another one. It skips default routes: they only get the packets that no other route takes.
func (v *validator) routesOfNodes() {
	type network struct {
		prefix netip.Prefix
		node   *member
	}
	var all []network
	for _, n := range v.routed {
		for _, p := range n.Routes {
			if p.IsValid() && p.Bits() > 0 {
				all = append(all, network{p.Masked(), n})
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b network) int { return cmp.Or(a.prefix.Compare(b.prefix), byOrder(a.node, b.node)) })
	table := newPrefixTable[int]()
	for i, n := range all {
		if first, ok := table.exact(n.prefix); ok {
			if other := all[first].node; other != n.node {
				v.add(SeverityError, CodeRoutesOverlap, n.node, nil,
					"routes: %s is behind %s and behind %s; name it at one of them, or give one of the networks other addresses.",
					n.prefix, other.Name, n.node.Name)
			}
			continue
		}
		if wider, ok := table.lookup(n.prefix); ok && all[wider].node != n.node {
			v.add(SeverityWarning, CodeRoutesOverlap, n.node, nil, "routes: %s behind %s is a part of %s behind %s; what is in both goes to %s.",
				n.prefix, n.node.Name, all[wider].prefix, all[wider].node.Name, n.node.Name)
		}
		table.put(n.prefix, i)
	}
	inside := map[int][]*member{}
	for _, n := range v.nodes {
		for _, p := range n.Addresses() {
			if i, ok := table.lookup(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())); ok {
				inside[i] = append(inside[i], n)
			}
		}
	}
	for i, n := range all {
		if len(inside[i]) > 0 {
			v.add(SeverityError, CodeAddressInRoutes, n.node, nil, "routes: %s behind %s has the virtual_ip of %s; leave the mesh's own addresses out of routes.",
				n.prefix, n.node.Name, named(inside[i], nameOf))
		}
	}
}

// linkRecords finds links that cannot be what somebody meant.
func (v *validator) linkRecords() {
	first := map[pair]*store.Link{}
	resting := map[*member][]*member{}
	for _, l := range v.links {
		if !l.Enabled {
			continue
		}
		a, b := v.byID[l.Forward.LocalNodeID], v.byID[l.Forward.PeerNodeID]
		switch {
		case a == nil || b == nil:
			v.add(SeverityError, CodeBrokenLink, cmp.Or(a, b), l, "%s leads to a node that is not in the mesh any more; delete it.", linkName(l, a, b))
			continue
		case !opposite(*l):
			v.add(SeverityError, CodeBrokenLink, a, l, "%s has directions of different pairs of nodes; delete it, and make it again.", linkName(l, a, b))
			continue
		case a == b:
			v.add(SeverityError, CodeBrokenLink, a, l, "%s is one of a node with itself; delete it.", linkName(l, a, b))
			continue
		}
		if other := first[pairOf(*l)]; other != nil {
			v.add(SeverityError, CodeDuplicateLink, a, l, "%s and %s have two enabled links, %s and %s; disable or delete one of them.", a.Name, b.Name, other.ID, l.ID)
			continue
		}
		first[pairOf(*l)] = l
		for _, n := range []*member{a, b} {
			if !n.Enabled {
				resting[n] = append(resting[n], other(n, a, b))
			}
		}
		v.oneLink(l, a, b)
	}
	for _, n := range v.nodes {
		if peers := resting[n]; len(peers) > 0 {
			v.add(SeverityWarning, CodeLinkRests, n, nil, "%s is disabled, so its links rest: with %s. Enable it, or delete the links.", n.Name, named(peers, nameOf))
		}
		if n.Enabled && len(n.halves) == 0 && len(v.nodes) > 1 {
			v.add(SeverityWarning, CodeNoLinks, n, nil, "%s has no link in use, so it reaches no other node; link it with another node, or make a quick mesh.", n.Name)
		}
	}
}

func other(n, a, b *member) *member {
	if n == a {
		return b
	}
	return a
}

// linkName names a link for a person, as far as its nodes are known.
func linkName(l *store.Link, a, b *member) string {
	switch {
	case a != nil && b != nil && a != b:
		return fmt.Sprintf("The link of %s and %s", a.Name, b.Name)
	case a != nil || b != nil:
		return fmt.Sprintf("The link %s of %s", l.ID, cmp.Or(a, b).Name)
	}
	return "The link " + l.ID
}

// oneLink checks a link of two nodes of the mesh.
func (v *validator) oneLink(l *store.Link, a, b *member) {
	forward, reverse := half{l, &l.Forward, &l.Reverse, a, b}, half{l, &l.Reverse, &l.Forward, b, a}
	if a.Enabled && b.Enabled && v.endpoint(forward) == "" && v.endpoint(reverse) == "" {
		v.add(SeverityError, CodeUnreachable, a, l, "%s", v.unreachable(a, b))
	}
	for _, h := range []half{forward, reverse} {
		if problem := v.checkDirection(*h.to); problem != "" {
			v.wrong[h.local] = true
			v.add(SeverityError, CodeInvalidValue, h.local, l, "%s, %s to %s: %s", linkName(l, a, b), h.local.Name, h.peer.Name, problem)
		}
		if len(h.to.AllowedIPs) == 0 {
			v.add(SeverityWarning, CodeNoAllowedIPs, h.local, l, "%s sends nothing to %s; give allowed_ips of the link, such as the virtual_ip of %s.", h.local.Name,
				h.peer.Name, h.peer.Name)
		}
	}
	if l.PresharedKey != "" && !ValidKey(l.PresharedKey) {
		v.wrong[a], v.wrong[b] = true, true
		v.add(SeverityError, CodeInvalidValue, a, l, "%s: preshared_key is not a key; make a new one, or leave it out.", linkName(l, a, b))
	}
	v.textSide(l, forward)
	v.textSide(l, reverse)
}

// textSide checks the local node of a half, if its config is written by hand.
func (v *validator) textSide(l *store.Link, h half) {
	if h.local.ConfigSource != store.SourceText || h.peer.Key() == "" {
		return
	}
	if h.local.Text == nil {
		v.add(SeverityWarning, CodeTextLacksPeer, h.local, l, "%s has no tunnel config; write one, or let the mesh make it (config_source mesh).", h.local.Name)
		return
	}
	if !slices.ContainsFunc(h.local.Text.Peers, func(p wgconf.Peer) bool { return p.PublicKey == h.peer.Key() }) {
		v.add(SeverityWarning, CodeTextLacksPeer, h.local, l,
			"The tunnel config of %s, which is written by hand, has no peer with the PublicKey of %s, %s; add it, or let the mesh make the config (config_source mesh).",
			h.local.Name, h.peer.Name, h.peer.Key())
	}
}

// waysFrom finds nodes that a gateway does not know the way to. Nodes to which the others send only
// their own packets need not know all.
func (v *validator) waysFrom(n *member) {
	if !v.Generated(n.ID) || !transits(n) {
		return
	}
	w := waysOf(n)
	var lost []*member
	for _, other := range v.nodes {
		if other == n || !other.Enabled || other.Key() == "" || len(other.halves) == 0 {
			continue
		}
		for _, p := range other.Addresses() {
			if _, ok := w.nets.lookup(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())); !ok && n.has(p) {
				lost = append(lost, other)
				break
			}
		}
	}
	if lost != nil {
		v.add(SeverityWarning, CodeNoWay, n, nil, "%s passes packets on for others, and none of its links carries the virtual_ip of %s. "+
			"Make the quick mesh again, or add the address to allowed_ips of the link that leads there.", n.Name, named(lost, nameOf))
	}
}

// Gateway reports whether the node passes packets on between others.
func (m *Mesh) Gateway(nodeID string) bool {
	n := m.byID[nodeID]
	return n != nil && transits(n)
}

// transits reports whether a peer sends the node packets that are neither for it nor for the networks
// behind it.
func transits(n *member) bool {
	own := n.Addresses()
	for _, h := range n.halves {
		for _, p := range h.back.AllowedIPs {
			host := func(a netip.Prefix) bool { return p.IsSingleIP() && a.Addr() == p.Addr() }
			if !slices.ContainsFunc(own, host) && !slices.Contains(n.Routes, p.Masked()) {
				return true
			}
		}
	}
	return false
}

// peersOf finds peers of the node that take networks from each other.
func (v *validator) peersOf(n *member) {
	if len(n.halves) < 2 || !v.Generated(n.ID) {
		return
	}
	type network struct {
		prefix netip.Prefix
		half   int
	}
	var all []network
	for i, networks := range v.allowed(n) {
		for _, p := range networks {
			all = append(all, network{p, i})
		}
	}
	slices.SortStableFunc(all, func(a, b network) int { return cmp.Or(a.prefix.Compare(b.prefix), a.half-b.half) })
	var equal, within []string
	var around []network // those that the current one is in, widest first
	for _, p := range all {
		for len(around) > 0 && !around[len(around)-1].prefix.Overlaps(p.prefix) {
			around = around[:len(around)-1]
		}
		if len(around) > 0 {
			last := around[len(around)-1]
			here, there := n.halves[p.half].peer.Name, n.halves[last.half].peer.Name
			switch {
			case last.prefix == p.prefix:
				equal = append(equal, fmt.Sprintf("%s (%s and %s)", p.prefix, there, here))
				continue
			case last.half != p.half && last.prefix.Bits() > 0:
				within = append(within, fmt.Sprintf("%s of %s, in %s of %s", p.prefix, here, last.prefix, there))
			}
		}
		around = append(around, p)
	}
	quoted := func(s string) string { return s }
	if equal != nil {
		v.add(SeverityError, CodeAllowedIPsTwice, n, nil,
			"%s has two peers with the same allowed_ips, and only one of them can get the packets: %s. Give each network to one link.",
			n.Name, named(equal, quoted))
	}
	if within != nil {
		v.add(SeverityWarning, CodeAllowedIPsOverlap, n, nil,
			"%s has peers whose allowed_ips are a part of another peer's, and go to the narrower one: %s. Take them out of one of the links if that is not meant.",
			n.Name, named(within, quoted))
	}
}

// portForwards finds those that cannot work.
func (v *validator) portForwards() {
	type port struct {
		protocol string
		number   int
	}
	arrival := func(f store.PortForward) string { // its id says nothing to people
		if f.Protocol == store.ForwardAll {
			return fmt.Sprint("port ", f.ToPort)
		}
		return fmt.Sprintf("port %d (%s)", f.ToPort, f.Protocol)
	}
	for _, n := range v.nodes {
		taken := map[port]store.PortForward{}
		for _, f := range v.forwards[n.ID] {
			if !f.Enabled {
				continue
			}
			if problem := v.forwardProblem(n, f); problem != "" {
				v.wrong[n] = true
				v.add(SeverityError, CodeBadForward, n, nil, "The port forward of %s: %s", arrival(f), problem)
				continue
			}
			if problem := handWrittenEntry(n); problem != "" { // the text may have hooks of its own, so nothing is wrong yet
				v.add(SeverityWarning, CodeBadForward, n, nil, "The port forward of %s: %s", arrival(f), problem)
				continue
			}
			for _, protocol := range []string{"tcp", "udp"} {
				if f.Protocol != store.ForwardAll && string(f.Protocol) != protocol {
					continue
				}
				p := port{protocol, f.ToPort}
				if first, again := taken[p]; again && first.ID != f.ID {
					v.add(SeverityError, CodeBadForward, n, nil, "The port forward of %s: to_port %d (%s) of %s is forwarded already; choose another port.", arrival(f),
						f.ToPort, protocol, n.Name)
					continue
				}
				taken[p] = f
			}
			if v.platform(n) == "" {
				v.add(SeverityWarning, CodeBadForward, n, nil, "The port forward of %s: no hooks are made for the system of %s; choose an entry that runs Linux or macOS.",
					arrival(f), n.Name)
			}
		}
	}
	for _, id := range sortedKeys(v.forwards) {
		if v.byID[id] == nil {
			for _, f := range v.forwards[id] {
				v.add(SeverityError, CodeBadForward, nil, nil, "The port forward of %s: to_node_id %q is not a node of this mesh; delete the port forward.", arrival(f), id)
			}
		}
	}
}

// CheckPortForward checks a port forward as somebody gave it. Error: an [*Error].
func (m *Mesh) CheckPortForward(f store.PortForward) error {
	to := m.byID[f.ToNodeID]
	if to == nil {
		return refuse(CodeInvalidPortForward, "to_node_id %q is not a node of this mesh.", f.ToNodeID)
	}
	if problem := cmp.Or(m.forwardProblem(to, f), handWrittenEntry(to)); problem != "" {
		return refuse(CodeInvalidPortForward, "%s", problem)
	}
	return nil
}

// handWrittenEntry says why a node with a tunnel config of its own cannot be the entry; "" if it has none.
func handWrittenEntry(to *member) string {
	if to.ConfigSource != store.SourceText {
		return ""
	}
	return fmt.Sprintf("the tunnel config of %s is written by hand, so no hooks are added to it; let the mesh make it (config_source mesh), or choose "+
		"another entry.", to.Name)
}

func (m *Mesh) forwardProblem(to *member, f store.PortForward) string {
	from := m.byID[f.FromNodeID]
	switch {
	case from == nil:
		return fmt.Sprintf("from_node_id %q is not a node of this mesh.", f.FromNodeID)
	case from == to:
		return fmt.Sprintf("from_node_id and to_node_id are both %s; the service and the entry have to be two nodes.", to.Name)
	case f.FromPort < 1 || f.FromPort > 65535:
		return fmt.Sprintf("from_port %d is not a port; give one from 1 to 65535.", f.FromPort)
	case f.ToPort < 1 || f.ToPort > 65535:
		return fmt.Sprintf("to_port %d is not a port; give one from 1 to 65535.", f.ToPort)
	case f.Protocol != store.ForwardTCP && f.Protocol != store.ForwardUDP && f.Protocol != store.ForwardAll:
		return fmt.Sprintf("protocol %q is unknown; give tcp, udp or all.", f.Protocol)
	case f.ToPlatform != platformLinux && f.ToPlatform != platformDarwin:
		return fmt.Sprintf("to_platform %q is unknown; give linux or darwin.", f.ToPlatform)
	case f.Protocol != store.ForwardTCP && f.ToPort == m.port(to):
		return fmt.Sprintf("to_port %d is the listen_port of %s, which its tunnel needs; choose another port.", f.ToPort, to.Name)
	case !slices.ContainsFunc(from.Addresses(), to.has):
		return fmt.Sprintf("%s and %s have no address of the same IP version in the tunnel; give them one.", from.Name, to.Name)
	}
	return ""
}
