package mesh

import (
	"net/netip"
	"slices"

	"wfm/store"
)

// Neighbours tell who depends on a node. [Mesh] has them, and a store can tell them without reading
// the whole mesh.
type Neighbours interface {
	// Peers returns the nodes with which the node has an enabled link.
	Peers(nodeID string) []string
	// Entries returns the nodes that forward ports to the node.
	Entries(nodeID string) []string
	// All returns all nodes.
	All() []string
}

// Peers returns the nodes with which the node has an enabled link, also while one of them is disabled.
func (m *Mesh) Peers(nodeID string) []string {
	var ids []string
	for _, l := range m.links {
		switch {
		case !l.Enabled:
		case l.Forward.LocalNodeID == nodeID:
			ids = append(ids, l.Forward.PeerNodeID)
		case l.Forward.PeerNodeID == nodeID:
			ids = append(ids, l.Forward.LocalNodeID)
		}
	}
	return ids
}

// Entries returns the nodes that forward ports to the node.
func (m *Mesh) Entries(nodeID string) []string {
	var ids []string
	for _, to := range sortedKeys(m.forwards) {
		if slices.ContainsFunc(m.forwards[to], func(f store.PortForward) bool { return f.FromNodeID == nodeID }) {
			ids = append(ids, to)
		}
	}
	return ids
}

// All returns all nodes, oldest first.
func (m *Mesh) All() []string {
	ids := make([]string, len(m.nodes))
	for i, n := range m.nodes {
		ids[i] = n.ID
	}
	return ids
}

// TouchedByNode returns the nodes whose texts may differ after the change of a node, each once and in
// order of their ids. before is nil for a new node, after for one that is deleted. Those of others can
// differ only if the node shows something else to them. near is asked for no more than that takes: for
// all nodes only if networks behind the node are concerned.
//
// A text can then be made from a part of the mesh: the node, its links, its peers, all nodes with
// routes, and the port forwards of which it is the entry, with the nodes of their services.
func TouchedByNode(before, after *Node, near Neighbours) []string {
	var old, now Node
	if before != nil {
		old = *before
	}
	if after != nil {
		now = *after
	}
	id := old.ID
	if id == "" {
		id = now.ID
	}
	ids := []string{id}
	moved := old.Enabled != now.Enabled || !slices.Equal(old.Addresses(), now.Addresses())
	if moved || old.Name != now.Name || old.Key() != now.Key() ||
		old.IPv4Address != now.IPv4Address || old.IPv6Address != now.IPv6Address || portOf(&old) != portOf(&now) {
		ids = append(ids, near.Peers(id)...)
	}
	if moved {
		ids = append(ids, near.Entries(id)...)
	}
	if len(old.Routes)+len(now.Routes) > 0 && (moved || !slices.Equal(old.Routes, now.Routes)) {
		ids = append(ids, near.All()...)
	}
	return sortedIDs(ids)
}

// portOf is the port that a node names itself.
func portOf(n *Node) int {
	if n.fromText() {
		return n.Text.ListenPort
	}
	return n.ListenPort
}

// TouchedByLink returns the nodes whose texts may differ after the change of a link, see
// [TouchedByNode].
func TouchedByLink(before, after *store.Link) []string {
	var ids []string
	for _, l := range []*store.Link{before, after} {
		if l != nil {
			ids = append(ids, l.Forward.LocalNodeID, l.Forward.PeerNodeID)
		}
	}
	return sortedIDs(ids)
}

// TouchedByForward returns the nodes whose texts may differ after the change of a port forward, see
// [TouchedByNode].
func TouchedByForward(before, after *store.PortForward) []string {
	var ids []string
	for _, f := range []*store.PortForward{before, after} {
		if f != nil {
			ids = append(ids, f.ToNodeID)
		}
	}
	return sortedIDs(ids)
}

// TouchedByConfig returns the nodes whose texts may differ after the change of the mesh itself.
func TouchedByConfig(before, after store.Config, near Neighbours) []string {
	if before.MeshSettings == after.MeshSettings && before.TunnelProtocol == after.TunnelProtocol && before.AWGVersion == after.AWGVersion {
		return nil
	}
	return sortedIDs(near.All())
}

func sortedIDs(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Readdress returns the link with the new addresses of a node in place of the former ones, and
// whether that changed it. Links that a person made or changed stay as they are. An address of an IP
// version that the node no longer has is left out.
func Readdress(l store.Link, before, after Node) (store.Link, bool) {
	if l.Manual {
		return l, false
	}
	forward, changed := readdressed(l.Forward.AllowedIPs, before, after)
	reverse, also := readdressed(l.Reverse.AllowedIPs, before, after)
	l.Forward.AllowedIPs, l.Reverse.AllowedIPs = forward, reverse
	return l, changed || also
}

func readdressed(networks []netip.Prefix, before, after Node) (all []netip.Prefix, changed bool) {
	for _, p := range networks {
		if !p.IsSingleIP() || !slices.ContainsFunc(before.Addresses(), func(a netip.Prefix) bool { return a.Addr() == p.Addr() }) {
			all = append(all, p)
			continue
		}
		i := slices.IndexFunc(after.Addresses(), func(a netip.Prefix) bool { return a.Addr().Is4() == p.Addr().Is4() })
		if i < 0 {
			changed = true
			continue
		}
		now := after.Addresses()[i].Addr()
		all = append(all, netip.PrefixFrom(now, now.BitLen()))
		changed = changed || now != p.Addr()
	}
	return all, changed
}
