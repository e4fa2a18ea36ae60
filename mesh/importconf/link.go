package importconf

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"wfm/store"
)

// link is a link of the plan.
type link struct {
	store.Link
	a, b *node // of Forward
}

// keepalive is that of a node without a file towards a peer that it has to reach first, in seconds.
const keepalive = 25

// splitEndpoint returns the host and the port of an endpoint that the parser accepts.
func splitEndpoint(endpoint string) (host string, port int) {
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0
	}
	port, _ = strconv.Atoi(text)
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.String()
	}
	return host, port
}

// placeNodes sets the fields of the nodes, and their public addresses from the endpoints that others
// give.
func (p *planner) placeNodes() {
	ports := map[*node]map[int]int{}
	for _, c := range p.files {
		for _, peer := range c.peers {
			n := p.byKey[peer.PublicKey]
			host, port := splitEndpoint(peer.Endpoint)
			if n == nil || host == "" {
				continue
			}
			n.hosts[host]++
			if ports[n] == nil {
				ports[n] = map[int]int{}
			}
			ports[n][port]++
		}
	}
	owners := map[string]bool{} // of a public address and port
	for _, n := range p.Nodes {
		for _, host := range []string{n.IPv4Address, n.IPv6Address} {
			port := cmp.Or(n.ListenPort, p.Config.DefaultListenPort, 51820)
			if n.Text != nil {
				port = n.Text.ListenPort
			}
			owners[net.JoinHostPort(host, strconv.Itoa(port))] = true
		}
	}
	for _, n := range p.nodes {
		if n.conf != nil {
			n.fill()
		} else {
			n.ListenPort = most(ports[n])
		}
		n.place(owners)
	}
}

// most returns the key with the highest number, the lowest of several.
func most[K cmp.Ordered](counts map[K]int) (best K) {
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if counts[k] > counts[best] {
			best = k
		}
	}
	return best
}

// fill sets the fields of the node to what its file says.
func (n *node) fill() {
	i := n.conf.Interface
	for _, a := range i.Addresses {
		switch {
		case a.Addr().Is4() && !n.VirtualIP.IsValid():
			n.VirtualIP = a
		case a.Addr().Is6() && !n.VirtualIP6.IsValid():
			n.VirtualIP6 = a
		}
	}
	if !n.VirtualIP.IsValid() {
		n.VirtualIP, n.VirtualIP6 = n.VirtualIP6, netip.Prefix{}
	}
	n.ListenPort, n.MTU, n.DNS = i.ListenPort, i.MTU, strings.Join(n.conf.dns, ", ")
	n.PreUp, n.PostUp, n.PreDown, n.PostDown = n.conf.hooks["PreUp"], n.conf.hooks["PostUp"], n.conf.hooks["PreDown"], n.conf.hooks["PostDown"]
	n.Masquerade = slices.ContainsFunc(n.conf.managed, func(hook string) bool { return strings.HasSuffix(hook, "masquerade for routes") })
}

// place makes public addresses of the hosts that others name most. A node that listens on no known port,
// or on that of another node with the same address, gets none: the links then name the host.
func (n *node) place(owners map[string]bool) {
	if n.ListenPort == 0 {
		return
	}
	hosts := slices.SortedFunc(maps.Keys(n.hosts), func(a, b string) int { return cmp.Or(n.hosts[b]-n.hosts[a], cmp.Compare(a, b)) })
	for _, host := range hosts {
		a, err := netip.ParseAddr(host)
		to := &n.IPv4Address
		if err == nil && a.Is6() {
			to = &n.IPv6Address
		}
		at := net.JoinHostPort(host, strconv.Itoa(n.ListenPort))
		if *to != "" || owners[at] || err == nil && (a.Zone() != "" || a.IsUnspecified() || a.IsMulticast()) {
			continue
		}
		*to, owners[at] = host, true
	}
}

// linkNodes makes the links: of two files that name each other, and of a file with a peer that has none.
func (p *planner) linkNodes() {
	for _, n := range p.nodes {
		if n.conf == nil {
			continue
		}
		for _, pr := range n.conf.peers {
			other := p.byKey[pr.PublicKey]
			switch {
			case other == nil: // told by addPeers
			case other == n:
				p.note(n.conf, pr.Line, "This peer is the node itself, which the tools skip.")
			case other.conf == nil:
				p.link(n, other, store.Link{PresharedKey: pr.presharedKey, Forward: p.direction(n, other, pr), Reverse: p.back(n, other, pr)})
			default:
				p.linkTwo(n, other, pr)
			}
		}
	}
	for i, id := range p.ids(len(p.links), p.NewLinkID) {
		p.links[i].ID = id
	}
	p.noteUnreachable()
}

// linkTwo links two nodes with files, when it is called for the first of them.
func (p *planner) linkTwo(n, other *node, pr peer) {
	i := -1
	if n.PublicKey != "" {
		i = slices.IndexFunc(other.conf.peers, func(q peer) bool { return q.PublicKey == n.PublicKey })
	}
	if i < 0 {
		p.oneSided(n.conf, pr, "This peer is %s, and %s has no peer with the key of %s: no link is made. Add it there, or link both after the import.",
			other.Name, other.File, n.Name)
		return
	}
	back := other.conf.peers[i]
	if other.ID < n.ID { // made already
		return
	}
	if pr.presharedKey != back.presharedKey {
		p.problem(n.conf, cmp.Or(pr.pskLine, pr.Line), "%s and %s have different preshared keys for each other (%s, line %d), so they cannot talk. "+
			"Give both the same PresharedKey, or none.", n.Name, other.Name, other.File, cmp.Or(back.pskLine, back.Line))
		return
	}
	p.link(n, other, store.Link{PresharedKey: pr.presharedKey, Forward: p.direction(n, other, pr), Reverse: p.direction(other, n, back)})
}

func (p *planner) link(a, b *node, l store.Link) {
	l.ConfigID, l.Enabled, l.Manual = p.Config.ID, true, true
	p.links = append(p.links, &link{l, a, b})
	p.linked[[2]*node{a, b}], p.linked[[2]*node{b, a}] = true, true
}

// direction returns the half of a link that a section about a peer stands for.
func (p *planner) direction(n, other *node, pr peer) store.Direction {
	d := store.Direction{
		LocalNodeID: n.ID, PeerNodeID: other.ID, AllowedIPs: slices.Clone(pr.AllowedIPs), PersistentKeepalive: pr.PersistentKeepalive,
		EndpointMode: store.EndpointNone, EndpointPortMode: store.PortOfPeer,
	}
	host, port := splitEndpoint(pr.Endpoint)
	switch host {
	case "":
		return d
	case other.IPv4Address:
		d.EndpointMode, d.EndpointRefFamily = store.EndpointAuto, store.EndpointIPv4
	case other.IPv6Address:
		d.EndpointMode, d.EndpointRefFamily = store.EndpointAuto, store.EndpointIPv6
	default:
		d.EndpointMode, d.EndpointManualHost = store.EndpointManual, host
	}
	if other.ListenPort != port { // also if the port is not known
		d.EndpointPortMode, d.EndpointManualPort = store.PortManual, port
	}
	return d
}

// back proposes the other half of a link with a node that has no file.
func (p *planner) back(n, other *node, pr peer) store.Direction {
	d := store.Direction{LocalNodeID: other.ID, PeerNodeID: n.ID, EndpointMode: store.EndpointNone, EndpointPortMode: store.PortOfPeer}
	for _, a := range n.addresses() {
		if other.has(a.Addr().Is4()) {
			d.AllowedIPs = append(d.AllowedIPs, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	switch {
	case n.IPv4Address != "":
		d.EndpointMode, d.EndpointRefFamily = store.EndpointAuto, store.EndpointIPv4
	case n.IPv6Address != "":
		d.EndpointMode, d.EndpointRefFamily = store.EndpointAuto, store.EndpointIPv6
	}
	if pr.Endpoint == "" && d.EndpointMode != store.EndpointNone {
		d.PersistentKeepalive = keepalive
	}
	return d
}

// noteUnreachable names the nodes that no file has an endpoint for, although their links need one.
func (p *planner) noteUnreachable() {
	for _, n := range p.nodes {
		if n.conf == nil {
			continue
		}
		lost := slices.ContainsFunc(p.links, func(l *link) bool {
			return (l.a == n || l.b == n && l.a.ListenPort == 0) && l.Forward.EndpointMode == store.EndpointNone && l.Reverse.EndpointMode == store.EndpointNone
		})
		if lost && n.ListenPort != 0 {
			p.note(n.conf, n.conf.Interface.Line,
				"No file has an endpoint for %s, so its public address is not known. Give it its ipv4_address or ipv6_address after the import.", n.Name)
		}
	}
}
