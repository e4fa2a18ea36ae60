package mesh

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// Mint provides the outside values for new records.
type Mint struct {
	Random io.Reader
	NewID  func() string // for a link
	Now    time.Time
}

// Plan has the changes that a quick mesh makes to the links.
type Plan struct {
	Made, Changed, Kept, Removed []store.Link
	Warnings                     []Finding
	// Unlinked are nodes without a public address, no two of which can have a link. Gateway is a
	// node that could connect them. Both are empty in modes other than FullMesh.
	Unlinked []string
	Gateway  string
}

// Links returns all links of the mesh after the plan.
func (p Plan) Links() []store.Link { return slices.Concat(p.Kept, p.Changed, p.Made) }

// Apply returns the mesh after the plan.
func (m *Mesh) Apply(p Plan) *Mesh { return m.with(p.Links()) }

// with returns the mesh with other links.
func (m *Mesh) with(links []store.Link) *Mesh {
	nodes := make([]Node, len(m.nodes))
	for i, n := range m.nodes {
		nodes[i] = n.Node
	}
	var forwards []store.PortForward
	for _, f := range m.forwards {
		forwards = append(forwards, f...)
	}
	return New(m.config, nodes, links, forwards)
}

// otherFamilies says which nodes are reached at another address than the request prefers.
func (p *Plan) otherFamilies(m *Mesh, q Quick, wishes []wish) {
	if q.EndpointRefFamily == "" {
		return
	}
	told := map[*member]bool{}
	for _, w := range wishes {
		for _, n := range []*member{w.a, w.b} {
			if told[n] || n.public(q.EndpointRefFamily) != "" || !m.reachable(n) {
				continue
			}
			told[n] = true
			p.Warnings = append(p.Warnings, Finding{
				Code: CodeOtherFamily, Severity: SeverityWarning, NodeID: n.ID,
				Message: fmt.Sprintf("%s has no %s_address, so it is reached at %s; give it one, or choose the other endpoint_ref_family.",
					n.Name, q.EndpointRefFamily, n.public("")),
			})
		}
	}
}

// compare sorts the links of the mesh and the wishes into the plan.
func (p *Plan) compare(m *Mesh, q Quick, wishes []wish, mint Mint) error {
	stays, replaced := p.sort(m, q)
	for _, w := range wishes {
		name := newPair(w.a.ID, w.b.ID)
		if stays[name] {
			continue
		}
		link := m.wished(w, q.EndpointRefFamily)
		old, exists := replaced[name]
		delete(replaced, name)
		if err := link.adopt(old, exists, q, mint); err != nil {
			return err
		}
		switch {
		case !exists:
			p.Made = append(p.Made, link.Link)
		case sameLink(old, link.Link):
			p.Kept = append(p.Kept, old)
		default:
			link.UpdatedAt = mint.Now
			p.Changed = append(p.Changed, link.Link)
		}
	}
	for _, l := range m.links {
		if replaced[pairOf(*l)].ID == l.ID && l.ID != "" {
			p.Removed = append(p.Removed, *l)
		}
	}
	return nil
}

// sort puts links that a person made into the plan as kept, and those that are of no use as removed.
// It returns the pairs that have their link already, and a former link for each other pair.
func (p *Plan) sort(m *Mesh, q Quick) (stays map[pair]bool, replaced map[pair]store.Link) {
	stays, replaced = map[pair]bool{}, map[pair]store.Link{}
	for _, link := range m.links {
		l := *link
		name := pairOf(l)
		former, again := replaced[name]
		switch {
		case l.Manual && !q.ReplaceManual:
			p.Kept = append(p.Kept, l)
			stays[name] = stays[name] || l.Enabled
		case l.Manual:
			p.Removed = append(p.Removed, l)
		case !again || !former.Enabled && l.Enabled:
			if again {
				p.Removed = append(p.Removed, former)
			}
			replaced[name] = l
		default:
			p.Removed = append(p.Removed, l)
		}
	}
	return stays, replaced
}

// newLink is a link under construction.
type newLink struct{ store.Link }

// wished makes the link of a wish.
func (m *Mesh) wished(w wish, family store.EndpointFamily) newLink {
	l := store.Link{ConfigID: m.config.ID, Enabled: true, Forward: m.direction(w.a, w.b, family), Reverse: m.direction(w.b, w.a, family)}
	l.Forward.AllowedIPs, l.Reverse.AllowedIPs = w.ab, w.ba
	setKeepalive(&l)
	return newLink{l}
}

// adopt keeps the parts of the pair's former link that stay valid, and creates the others.
func (l *newLink) adopt(old store.Link, exists bool, q Quick, mint Mint) (err error) {
	if exists {
		l.ID, l.Notes, l.CreatedAt, l.UpdatedAt = old.ID, old.Notes, old.CreatedAt, old.UpdatedAt
		if old.Forward.LocalNodeID != l.Forward.LocalNodeID {
			l.Forward, l.Reverse = l.Reverse, l.Forward
		}
	} else {
		l.ID, l.CreatedAt, l.UpdatedAt = mint.NewID(), mint.Now, mint.Now
	}
	switch {
	case !q.UsePresharedKey:
	case old.PresharedKey != "":
		l.PresharedKey = old.PresharedKey
	default:
		l.PresharedKey, err = NewPresharedKey(mint.Random)
	}
	return err
}

func sameLink(a, b store.Link) bool {
	return a.Enabled == b.Enabled && a.PresharedKey == b.PresharedKey && sameDirection(a.Forward, b.Forward) && sameDirection(a.Reverse, b.Reverse)
}

func sameDirection(a, b store.Direction) bool {
	return slices.Equal(a.AllowedIPs, b.AllowedIPs) && a.LocalNodeID == b.LocalNodeID && a.PeerNodeID == b.PeerNodeID &&
		a.PersistentKeepalive == b.PersistentKeepalive && a.EndpointMode == b.EndpointMode && a.EndpointRefFamily == b.EndpointRefFamily &&
		a.EndpointManualHost == b.EndpointManualHost && a.EndpointPortMode == b.EndpointPortMode && a.EndpointManualPort == b.EndpointManualPort
}

// manyPeers is from how many peers on a config may be too large for a message to its node.
const manyPeers = 500

// checkSizes refuses a plan that makes a config which cannot be sent to its node.
func (m *Mesh) checkSizes(q Quick) error {
	for _, n := range m.nodes {
		if len(n.halves) < manyPeers || !m.Generated(n.ID) {
			continue
		}
		text := m.text(n)
		if sentSize(text) < protocol.MaxMessageSize/2 {
			continue
		}
		if _, err := tunnel.Read(m.config, n.ID, text); err != nil {
			return refuse(CodeInvalidQuickMesh, "mode %s would give %s %d peers, whose tunnel config is too large for a message to the node; %s.",
				q.Mode, n.Name, len(n.halves), m.smaller(n))
		}
	}
	return nil
}

// smaller says how to get along without the config of n, which is too large.
func (m *Mesh) smaller(n *member) string {
	leaf := slices.MinFunc(n.halves, func(a, b half) int { return len(a.to.AllowedIPs) - len(b.to.AllowedIPs) })
	w := writer{}
	m.writePeer(&w, leaf, leaf.to.AllowedIPs)
	// Each gateway has its leaves as peers, and the addresses of all other nodes among its networks.
	room := protocol.MaxMessageSize * 9 / 10
	for _, other := range m.nodes {
		room -= len(commaList(other.hosts(n), ", ")) + 2
	}
	if room <= 0 {
		return "divide the nodes among several meshes"
	}
	return fmt.Sprintf("use free_mesh with %d gateways or more", len(m.nodes)*sentSize(w.String())/room+1)
}

// sentSize returns how large the text is in a message.
func sentSize(text string) int {
	escaped := func(chars string) int {
		n := 0
		for _, c := range chars {
			n += strings.Count(text, string(c))
		}
		return n
	}
	return len(text) + escaped("\n\"\\") + 5*escaped("<>&")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TextChange is the tunnel config of a node in two meshes.
type TextChange struct {
	NodeID        string
	Before, After string // "" where it is not made from the mesh
}

// Changes returns the nodes whose texts differ between the meshes, in the order of after's nodes.
func Changes(before, after *Mesh) []TextChange {
	var changes []TextChange
	for _, n := range after.nodes {
		if c := (TextChange{n.ID, before.Text(n.ID), after.Text(n.ID)}); c.Before != c.After {
			changes = append(changes, c)
		}
	}
	return changes
}
