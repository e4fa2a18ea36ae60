package mesh

import (
	"cmp"
	"net/netip"
	"slices"

	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// defaultListenPort is the port of a node for which neither it nor its mesh names one.
const defaultListenPort = 51820

// Mesh is a mesh at one moment. It does not change, and may be used by several goroutines.
type Mesh struct {
	config   store.Config
	nodes    []*member // oldest first
	byID     map[string]*member
	links    []*store.Link                  // oldest first
	forwards map[string][]store.PortForward // by the node that is the entry, oldest first
	routed   []*member                      // those that are enabled and have routes, oldest first
}

// Node is a node as its mesh sees it.
type Node struct {
	store.Node
	// Text describes the node's own tunnel config, for a node with store.SourceText; nil if it has
	// none.
	Text *Text
}

// Text has the parts of a hand-written config that the other nodes need.
type Text struct {
	PublicKey  string // "" if the text does not tell
	Addresses  []netip.Prefix
	ListenPort int // 0: chosen by the system
	Peers      []wgconf.Peer
	awg        map[string]string // see readSharedAWG; nil for WireGuard
}

// ReadText reads the tunnel config of a node with store.SourceText. The error is a *wgconf.Error.
func ReadText(cfg store.Config, nodeID, text string) (*Text, error) {
	c, err := tunnel.Read(cfg, nodeID, text)
	if err != nil {
		return nil, err
	}
	t := &Text{PublicKey: c.Interface.PublicKey, Addresses: c.Interface.Addresses, ListenPort: c.Interface.ListenPort, Peers: c.Peers}
	if tunnel.Family(cfg) == "awg" {
		t.awg = readSharedAWG(text)
	}
	return t, nil
}

// member is a node with its place in the mesh.
type member struct {
	Node
	order  int    // among all nodes
	halves []half // towards each peer, by the peer's order; empty for a node that is disabled
}

// half is a direction of a link that is in use: it and both nodes are enabled.
type half struct {
	link  *store.Link
	to    *store.Direction
	back  *store.Direction
	local *member
	peer  *member
}

// New returns the mesh of these records. It keeps them, so the caller must not change them any more.
// A text needs only a part of the mesh: the node, its links, its peers, and the nodes with routes.
func New(cfg store.Config, nodes []Node, links []store.Link, forwards []store.PortForward) *Mesh {
	m := &Mesh{
		config: cfg, nodes: make([]*member, len(nodes)), byID: make(map[string]*member, len(nodes)),
		links: make([]*store.Link, len(links)), forwards: map[string][]store.PortForward{},
	}
	all := make([]member, len(nodes))
	for i, n := range nodes {
		all[i].Node = n
		m.nodes[i] = &all[i]
	}
	slices.SortFunc(m.nodes, func(a, b *member) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	for i := range links {
		m.links[i] = &links[i]
	}
	slices.SortFunc(m.links, func(a, b *store.Link) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	forwards = slices.Clone(forwards)
	slices.SortFunc(forwards, func(a, b store.PortForward) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, f := range forwards {
		m.forwards[f.ToNodeID] = append(m.forwards[f.ToNodeID], f)
	}
	for i, n := range m.nodes {
		n.order = i
		m.byID[n.ID] = n
		if n.Enabled && len(n.Routes) > 0 {
			m.routed = append(m.routed, n)
		}
	}
	m.join()
	return m
}

// join gives each node its halves of the links that are in use. Of two links of one pair, the older
// one counts.
func (m *Mesh) join() {
	for _, l := range m.links {
		a, b := m.byID[l.Forward.LocalNodeID], m.byID[l.Forward.PeerNodeID]
		if !l.Enabled || a == nil || b == nil || a == b || !a.Enabled || !b.Enabled || !opposite(*l) {
			continue
		}
		a.halves = append(a.halves, half{l, &l.Forward, &l.Reverse, a, b})
		b.halves = append(b.halves, half{l, &l.Reverse, &l.Forward, b, a})
	}
	for _, n := range m.nodes {
		slices.SortStableFunc(n.halves, func(a, b half) int { return a.peer.order - b.peer.order })
		n.halves = slices.CompactFunc(n.halves, func(a, b half) bool { return a.peer == b.peer })
	}
}

// opposite reports whether the directions of the link are those of one pair.
func opposite(l store.Link) bool {
	return l.Forward.LocalNodeID == l.Reverse.PeerNodeID && l.Forward.PeerNodeID == l.Reverse.LocalNodeID
}

// family returns the tool family of the mesh, for wgconf.
func (m *Mesh) family() string { return tunnel.Family(m.config) }

// subnets returns the networks of the mesh.
func (m *Mesh) subnets() []netip.Prefix { return subnetsOf(m.config) }

func subnetsOf(cfg store.Config) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []netip.Prefix{cfg.VirtualSubnet, cfg.VirtualSubnet6} {
		if p.IsValid() {
			all = append(all, p.Masked())
		}
	}
	return all
}

// fromText reports whether the others go by the node's own text.
func (n *Node) fromText() bool { return n.ConfigSource == store.SourceText && n.Text != nil }

// Key returns the public key of the node, "" while it is not known.
func (n *Node) Key() string {
	if n.fromText() && n.Text.PublicKey != "" {
		return n.Text.PublicKey
	}
	return n.PublicKey
}

// Addresses returns the addresses of the node in the tunnel, each with its prefix.
func (n *Node) Addresses() []netip.Prefix {
	if n.fromText() {
		return n.Text.Addresses
	}
	var all []netip.Prefix
	for _, p := range []netip.Prefix{n.VirtualIP, n.VirtualIP6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// hosts returns the addresses of the node, each as a network of its own, of the families that local
// has an address of: a node without IPv6 may be unable to take a route of it.
func (n *Node) hosts(local *member) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range n.Addresses() {
		if local.has(p) {
			all = append(all, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	return all
}

// has reports whether the node has an address of the family of p.
func (n *Node) has(p netip.Prefix) bool {
	return slices.ContainsFunc(n.Addresses(), func(a netip.Prefix) bool { return a.Addr().Is4() == p.Addr().Is4() })
}

// port returns the port on which the node listens, 0 if the system chooses it.
func (m *Mesh) port(n *member) int {
	if n.fromText() {
		return n.Text.ListenPort
	}
	return cmp.Or(n.ListenPort, m.config.DefaultListenPort, defaultListenPort)
}

// Node returns the node as the mesh sees it, and the port on which it listens; 0: the system chooses
// it. A node that is not one of the mesh is the zero Node.
func (m *Mesh) Node(id string) (n Node, port int) {
	found := m.byID[id]
	if found == nil {
		return Node{}, 0
	}
	return found.Node, m.port(found)
}

// public returns the public address of the node of the family; for no family, the one it has.
func (n *Node) public(family store.EndpointFamily) string {
	switch family {
	case store.EndpointIPv4:
		return n.IPv4Address
	case store.EndpointIPv6:
		return n.IPv6Address
	}
	return cmp.Or(n.IPv4Address, n.IPv6Address)
}
