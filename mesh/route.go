package mesh

import (
	"net/netip"
	"slices"

	"wfm/store"
)

// allowed returns the AllowedIPs of the node's peers, in the order of its halves: those of the links,
// and the routes of other nodes on the way that leads to them.
func (m *Mesh) allowed(n *member) [][]netip.Prefix {
	all := make([][]netip.Prefix, len(n.halves))
	for i, h := range n.halves {
		all[i] = unique(h.to.AllowedIPs)
	}
	if len(m.routed) == 0 || len(m.routed) == 1 && m.routed[0] == n {
		return all
	}
	w := waysOf(n)
	for _, behind := range m.routed {
		if behind == n {
			continue
		}
		i, ok := w.to(behind)
		if !ok {
			continue
		}
		for _, route := range behind.Routes {
			if n.has(route) && !w.taken[route.Masked()] {
				w.taken[route.Masked()] = true
				all[i] = append(all[i], route.Masked())
			}
		}
	}
	return all
}

// ways tells which peer of a node leads where, as the kernel chooses: the longest prefix counts.
type ways struct {
	peers map[string]int // by node id: the place among the halves
	nets  *prefixTable[int]
	// taken are the networks that have their peer, or are behind the node itself.
	taken map[netip.Prefix]bool
}

func waysOf(n *member) *ways {
	w := &ways{make(map[string]int, len(n.halves)), newPrefixTable[int](), map[netip.Prefix]bool{}}
	for i, h := range n.halves {
		w.peers[h.peer.ID] = i
		for _, p := range h.to.AllowedIPs {
			w.nets.put(p.Masked(), i) // of two peers with the same network, the last one has it
			w.taken[p.Masked()] = true
		}
	}
	for _, p := range n.Routes {
		w.taken[p.Masked()] = true
	}
	return w
}

// to returns the peer that leads to the node: the node itself, or the one that has its address.
func (w *ways) to(n *member) (peer int, ok bool) {
	if i, direct := w.peers[n.ID]; direct {
		return i, true
	}
	for _, p := range n.Addresses() {
		if i, ok := w.nets.lookup(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())); ok {
			return i, true
		}
	}
	return 0, false
}

// fewNetworks is the largest number of networks for which a map is slower than comparing them.
const fewNetworks = 8

// unique returns the networks without those that come twice, in their order.
func unique(networks []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(networks))
	if len(networks) <= fewNetworks {
		for _, p := range networks {
			if p = p.Masked(); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
		return all
	}
	seen := make(map[netip.Prefix]bool, len(networks))
	for _, p := range networks {
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all
}

// disjoint returns the networks in their order of addresses, without those that lie in another one.
func disjoint(networks []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(networks))
	for _, p := range networks {
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, netip.Prefix.Compare) // a network stands before those within it
	var all []netip.Prefix
	for _, p := range sorted {
		if len(all) == 0 || !all[len(all)-1].Overlaps(p) {
			all = append(all, p)
		}
	}
	return all
}

// forwardsFor reports for IPv4 and IPv6 whether packets of other nodes pass through the node: it
// has routes, is the entry of a port forward, or a peer sends it packets for addresses other than
// its own.
func (m *Mesh) forwardsFor(n *member) (v4, v6 bool) {
	note := func(p netip.Prefix) {
		v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
	}
	for _, p := range n.Routes {
		note(p)
	}
	for _, f := range m.entering(n) {
		for _, p := range f.targets {
			note(netip.PrefixFrom(p, p.BitLen()))
		}
	}
	own := n.Addresses()
	for _, h := range n.halves {
		for _, p := range h.back.AllowedIPs {
			if v4 && v6 {
				return v4, v6
			}
			if !slices.ContainsFunc(own, func(a netip.Prefix) bool { return p.IsSingleIP() && p.Addr() == a.Addr() }) {
				note(p)
			}
		}
	}
	if v4 || v6 { // these packets may also be for networks behind other nodes
		for _, behind := range m.routed {
			for _, p := range behind.Routes {
				if n.has(p) {
					note(p)
				}
			}
		}
	}
	return v4, v6
}

// entry is a port forward with the addresses of the service.
type entry struct {
	store.PortForward
	targets []netip.Addr
}

// entering returns the port forwards in use whose entry is the node, oldest first.
func (m *Mesh) entering(n *member) []entry {
	var all []entry
	for _, f := range m.forwards[n.ID] {
		from := m.byID[f.FromNodeID]
		if !f.Enabled || from == nil || from == n || !from.Enabled {
			continue
		}
		e := entry{PortForward: f}
		for _, p := range from.Addresses() {
			if n.has(p) {
				e.targets = append(e.targets, p.Addr())
			}
		}
		all = append(all, e)
	}
	return all
}

// familyOf returns 0 for IPv4 and 1 for IPv6.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// prefixTable finds networks by the addresses and networks in them.
type prefixTable[T any] struct {
	nets    map[netip.Prefix]T
	lengths [2][129]int // how many networks have the length, for IPv4 and IPv6
}

func newPrefixTable[T any]() *prefixTable[T] { return &prefixTable[T]{nets: map[netip.Prefix]T{}} }

func (t *prefixTable[T]) put(p netip.Prefix, v T) {
	if _, known := t.nets[p]; !known {
		t.lengths[familyOf(p.Addr())][p.Bits()]++
	}
	t.nets[p] = v
}

func (t *prefixTable[T]) exact(p netip.Prefix) (v T, ok bool) {
	v, ok = t.nets[p]
	return v, ok
}

// lookup returns the value of the narrowest network that has all of p.
func (t *prefixTable[T]) lookup(p netip.Prefix) (v T, ok bool) {
	for length := p.Bits(); length >= 0; length-- {
		if t.lengths[familyOf(p.Addr())][length] == 0 {
			continue
		}
		if v, ok = t.nets[netip.PrefixFrom(p.Addr(), length).Masked()]; ok {
			return v, true
		}
	}
	return v, false
}

// Around returns the networks that together have all addresses of the network but those left out, in
// order. With it, a full tunnel leaves alone the way to the appliance; the public addresses of peers
// have to be left out then too, since wg-quick looks after them only in 0.0.0.0/0 and ::/0.
func Around(network netip.Prefix, out []netip.Addr) []netip.Prefix {
	network = network.Masked()
	var inside []netip.Addr
	for _, a := range out {
		if a = a.Unmap().WithZone(""); network.Contains(a) {
			inside = append(inside, a)
		}
	}
	switch {
	case len(inside) == 0:
		return []netip.Prefix{network}
	case network.IsSingleIP():
		return nil
	}
	low := netip.PrefixFrom(network.Addr(), network.Bits()+1)
	high := netip.PrefixFrom(lastAddress(network), network.Bits()+1).Masked()
	return append(Around(low, inside), Around(high, inside)...)
}
