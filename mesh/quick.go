package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"wfm/store"
)

// QuickMode says which nodes a quick mesh links.
type QuickMode string

// The modes of a quick mesh.
const (
	HubSpoke QuickMode = "hub_spoke" // all others with one gateway
	FullMesh QuickMode = "full_mesh" // each with each
	FreeMesh QuickMode = "free_mesh" // the gateways with each other, each of the others with one gateway
)

// mostLinked is how many nodes can be linked each with each: more would need too many links.
const mostLinked = 250

// Quick asks for a quick mesh.
type Quick struct {
	Mode              QuickMode
	HubNodeID         string               // of HubSpoke; empty: the one node with a public address
	GatewayNodeIDs    []string             // of FreeMesh; empty: all nodes with a public address
	LeafAssignments   map[string]string    // of FreeMesh: leaf → gateway; others stay at their gateway, or go to the one with the fewest
	EndpointRefFamily store.EndpointFamily // preferred; empty: IPv4
	UsePresharedKey   bool
	ReplaceManual     bool // also replace links that a person made or changed
}

// wish is a link that a quick mesh wants.
type wish struct {
	a, b   *member
	ab, ba []netip.Prefix // AllowedIPs of a for b, and of b for a
}

// Quick plans a quick mesh. Disabled nodes are linked too, so that they find their place once they
// are enabled. Links that a person made or changed stay, unless the request says otherwise. Error: an
// [*Error].
func (m *Mesh) Quick(q Quick, mint Mint) (Plan, error) {
	switch q.EndpointRefFamily {
	case "", store.EndpointIPv4, store.EndpointIPv6:
	default:
		return Plan{}, refuse(CodeInvalidQuickMesh, "endpoint_ref_family %q is unknown; give ipv4 or ipv6.", q.EndpointRefFamily)
	}
	var p Plan
	nodes := m.placed(&p)
	var wishes []wish
	var err error
	switch q.Mode {
	case HubSpoke:
		wishes, err = m.hubSpoke(q, nodes)
	case FullMesh:
		wishes, err = m.fullMesh(nodes, &p)
	case FreeMesh:
		wishes, err = m.freeMesh(q, nodes)
	default:
		err = refuse(CodeInvalidQuickMesh, "mode %q is unknown; give hub_spoke, full_mesh or free_mesh.", q.Mode)
	}
	if err != nil {
		return Plan{}, err
	}
	if err := p.compare(m, q, wishes, mint); err != nil {
		return Plan{}, err
	}
	if err := m.Apply(p).checkSizes(q); err != nil {
		return Plan{}, err
	}
	p.otherFamilies(m, q, wishes)
	return p, nil
}

// placed returns the nodes that have an address in the tunnel.
func (m *Mesh) placed(p *Plan) []*member {
	var nodes []*member
	for _, n := range m.nodes {
		if len(n.Addresses()) > 0 {
			nodes = append(nodes, n)
			continue
		}
		p.Warnings = append(p.Warnings, Finding{
			Code: CodeNoAddress, Severity: SeverityWarning, NodeID: n.ID,
			Message: fmt.Sprintf("%s is left out, since it has no address in the tunnel; give it a virtual_ip.", n.Name),
		})
	}
	return nodes
}

// reachable reports whether others find the node.
func (m *Mesh) reachable(n *member) bool { return n.public("") != "" && m.port(n) != 0 }

func (m *Mesh) hubSpoke(q Quick, nodes []*member) ([]wish, error) {
	hub, err := m.hub(q, nodes)
	if err != nil {
		return nil, err
	}
	if err := m.needSubnet(q); err != nil {
		return nil, err
	}
	var wishes []wish
	everywhere := m.everywhere(nodes)
	for _, n := range nodes {
		if n != hub {
			wishes = append(wishes, wish{n, hub, everywhere.from(n, hub), both(n.hosts(hub), n, hub)})
		}
	}
	return wishes, nil
}

func (m *Mesh) hub(q Quick, nodes []*member) (*member, error) {
	if q.HubNodeID != "" {
		return m.gateway("hub_node_id", q.HubNodeID)
	}
	switch able := m.ableGateways(nodes); len(able) {
	case 0:
		return nil, noGateway("hub_node_id")
	case 1:
		return able[0], nil
	default:
		return nil, refuse(CodeInvalidQuickMesh, "hub_node_id is missing, and several nodes have a public address; name one of them: %s.", named(able, nameOf))
	}
}

func (m *Mesh) ableGateways(nodes []*member) []*member {
	var able []*member
	for _, n := range nodes {
		if n.Enabled && m.reachable(n) {
			able = append(able, n)
		}
	}
	return able
}

func noGateway(field string) error {
	return refuse(CodeInvalidQuickMesh, "%s: no enabled node has a public address; give the one that the others are to reach an ipv4_address or ipv6_address.",
		field)
}

// gateway returns the node of a field, if others can be linked with it.
func (m *Mesh) gateway(field, id string) (*member, error) {
	n := m.byID[id]
	switch {
	case n == nil:
		return nil, refuse(CodeInvalidQuickMesh, "%s %q is not a node of this mesh.", field, id)
	case len(n.Addresses()) == 0:
		return nil, refuse(CodeInvalidQuickMesh, "%s: %s has no address in the tunnel; give it a virtual_ip.", field, n.Name)
	case !n.Enabled:
		return nil, refuse(CodeInvalidQuickMesh, "%s: %s is disabled; enable it, or choose another node.", field, n.Name)
	case n.public("") == "":
		return nil, refuse(CodeInvalidQuickMesh,
			"%s: %s has no public address, so no node could reach it; give it an ipv4_address or ipv6_address, or choose another node.", field, n.Name)
	case m.port(n) == 0:
		return nil, refuse(CodeInvalidQuickMesh, "%s: the tunnel config of %s has no ListenPort, so no node could reach it; add one.", field, n.Name)
	}
	return n, nil
}

func (m *Mesh) needSubnet(q Quick) error {
	if len(m.subnets()) == 0 {
		return refuse(CodeInvalidQuickMesh, "virtual_subnet: the mesh has none, and mode %s routes it to the gateway; give the mesh one.", q.Mode)
	}
	return nil
}

// all has the networks that a leaf reaches through its gateway: the subnets, and the addresses
// outside of them.
type all struct {
	subnets []netip.Prefix
	outside map[*member][]netip.Prefix
	nodes   []*member // with an address outside, oldest first
}

func (m *Mesh) everywhere(nodes []*member) all {
	e := all{m.subnets(), map[*member][]netip.Prefix{}, nil}
	for _, n := range nodes {
		for _, p := range n.hosts(n) {
			if !slices.ContainsFunc(e.subnets, func(s netip.Prefix) bool { return s.Overlaps(p) }) {
				e.outside[n] = append(e.outside[n], p)
			}
		}
		if e.outside[n] != nil {
			e.nodes = append(e.nodes, n)
		}
	}
	return e
}

func (e all) from(leaf, gateway *member) []netip.Prefix {
	networks := slices.Clone(e.subnets)
	for _, n := range e.nodes {
		if n != leaf {
			networks = append(networks, e.outside[n]...)
		}
	}
	return both(networks, leaf, gateway)
}

// both returns the networks of IP versions that both nodes have an address of.
func both(networks []netip.Prefix, a, b *member) []netip.Prefix {
	return slices.DeleteFunc(networks, func(p netip.Prefix) bool { return !a.has(p) || !b.has(p) })
}

func (m *Mesh) fullMesh(nodes []*member, p *Plan) ([]wish, error) {
	if n := len(nodes); n > mostLinked {
		return nil, refuse(CodeInvalidQuickMesh, "mode full_mesh would link %d nodes by %d links, but the limit is %d nodes; use free_mesh with %d gateways or more.",
			n, n*(n-1)/2, mostLinked, n/mostLinked+1)
	}
	var wishes []wish
	var hidden []*member
	for i, a := range nodes {
		if !m.reachable(a) {
			hidden = append(hidden, a)
		}
		for _, b := range nodes[:i] {
			if m.reachable(a) || m.reachable(b) {
				wishes = append(wishes, wish{b, a, both(a.hosts(b), a, b), both(b.hosts(a), a, b)})
			}
		}
	}
	if len(hidden) > 1 {
		p.leaveApart(m, nodes, hidden)
	}
	return wishes, nil
}

// leaveApart says which nodes get no links with each other.
func (p *Plan) leaveApart(m *Mesh, nodes, hidden []*member) {
	remedy := "Give all but one of them an ipv4_address or ipv6_address."
	if able := m.ableGateways(nodes); len(able) > 0 {
		p.Gateway = able[0].ID
		remedy = fmt.Sprintf("Connect them through %s: use mode free_mesh with gateway_node_ids [%q].", able[0].Name, able[0].ID)
	}
	for _, n := range hidden {
		p.Unlinked = append(p.Unlinked, n.ID)
	}
	p.Warnings = append(p.Warnings, Finding{
		Code: CodeUnreachable, Severity: SeverityWarning, NodeID: hidden[0].ID,
		Message: fmt.Sprintf("%d nodes have no public address, so no two of them can have a link: %s. %s", len(hidden), named(hidden, nameOf), remedy),
	})
}

func (m *Mesh) freeMesh(q Quick, nodes []*member) ([]wish, error) {
	gateways, err := m.gateways(q, nodes)
	if err != nil {
		return nil, err
	}
	if err := m.needSubnet(q); err != nil {
		return nil, err
	}
	at, err := m.assign(q, nodes, gateways)
	if err != nil {
		return nil, err
	}
	var wishes []wish
	leaves := map[*member][]*member{}
	everywhere := m.everywhere(nodes)
	for _, n := range nodes {
		if g := at[n]; g != nil {
			leaves[g] = append(leaves[g], n)
			wishes = append(wishes, wish{n, g, everywhere.from(n, g), both(n.hosts(g), n, g)})
		}
	}
	// The networks that one gateway sends to another one: its own and those of its leaves.
	carried := func(from, to *member) []netip.Prefix {
		networks := to.hosts(from)
		for _, leaf := range leaves[to] {
			networks = append(networks, leaf.hosts(from)...)
		}
		return both(networks, from, to)
	}
	for i, a := range gateways {
		for _, b := range gateways[:i] {
			wishes = append(wishes, wish{b, a, carried(b, a), carried(a, b)})
		}
	}
	return wishes, nil
}

func (m *Mesh) gateways(q Quick, nodes []*member) ([]*member, error) {
	gateways := m.ableGateways(nodes)
	if len(q.GatewayNodeIDs) > 0 {
		gateways = nil
		for _, id := range q.GatewayNodeIDs {
			g, err := m.gateway("gateway_node_ids", id)
			if err != nil {
				return nil, err
			}
			gateways = append(gateways, g)
		}
		slices.SortFunc(gateways, byOrder)
		gateways = slices.Compact(gateways)
	}
	switch n := len(gateways); {
	case n == 0:
		return nil, noGateway("gateway_node_ids")
	case n > mostLinked:
		return nil, refuse(CodeInvalidQuickMesh, "gateway_node_ids: %d gateways would need %d links with each other, but the limit is %d gateways; name fewer.",
			n, n*(n-1)/2, mostLinked)
	}
	return gateways, nil
}

func byOrder(a, b *member) int { return cmp.Compare(a.order, b.order) }

// assign gives each leaf its gateway: the one it is assigned to, else one it has a link with, else the
// one with the fewest leaves.
func (m *Mesh) assign(q Quick, nodes, gateways []*member) (map[*member]*member, error) {
	at := map[*member]*member{}
	size := map[*member]int{}
	isGateway := make(map[*member]bool, len(gateways))
	for _, g := range gateways {
		isGateway[g] = true
	}
	give := func(leaf, g *member) {
		at[leaf] = g
		size[g]++
	}
	for _, id := range sortedKeys(q.LeafAssignments) {
		leaf, g := m.byID[id], m.byID[q.LeafAssignments[id]]
		switch {
		case leaf == nil:
			return nil, refuse(CodeInvalidQuickMesh, "leaf_assignments: %q is not a node of this mesh.", id)
		case g == nil || !isGateway[g]:
			return nil, refuse(CodeInvalidQuickMesh, "leaf_assignments: %s is assigned to %q, which is not a gateway; name one of gateway_node_ids.", leaf.Name,
				q.LeafAssignments[id])
		case isGateway[leaf]:
			return nil, refuse(CodeInvalidQuickMesh, "leaf_assignments: %s is a gateway itself; take it out of one of the two lists.", leaf.Name)
		case len(leaf.Addresses()) > 0:
			give(leaf, g)
		}
	}
	linked := m.linkedGateways(isGateway)
	var free []*member
	for _, n := range nodes {
		switch {
		case isGateway[n] || at[n] != nil:
		case linked[n] != nil:
			give(n, linked[n])
		default:
			free = append(free, n)
		}
	}
	for _, n := range free {
		give(n, slices.MinFunc(gateways, func(a, b *member) int { return cmp.Or(cmp.Compare(size[a], size[b]), byOrder(a, b)) }))
	}
	return at, nil
}

// linkedGateways returns the gateway with which each leaf has an enabled link; a link that a person
// made comes first, since it stays.
func (m *Mesh) linkedGateways(gateways map[*member]bool) map[*member]*member {
	linked := map[*member]*member{}
	for _, manual := range []bool{true, false} {
		for _, l := range m.links {
			a, b := m.byID[l.Forward.LocalNodeID], m.byID[l.Forward.PeerNodeID]
			if l.Manual != manual || !l.Enabled || a == nil || b == nil {
				continue
			}
			if gateways[b] {
				a, b = b, a
			}
			if gateways[a] && !gateways[b] && linked[b] == nil {
				linked[b] = a
			}
		}
	}
	return linked
}
