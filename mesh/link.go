package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"wfm/store"
)

// keepalive is how often a side that cannot be reached sends something, in seconds: NATs forget a
// connection that is silent for longer than 30.
const keepalive = 25

// Draft is a link that is proposed.
type Draft struct {
	Link     store.Link // without an ID, enabled
	Warnings []string
}

// Draft proposes a link of the two nodes. An endpoint is taken of the given family where the peer
// has a public address of it, otherwise of the other family; for no family, IPv4 comes first. Error:
// an [*Error].
func (m *Mesh) Draft(localID, peerID string, family store.EndpointFamily) (Draft, error) {
	local, peer := m.byID[localID], m.byID[peerID]
	switch {
	case local == nil || peer == nil:
		return Draft{}, refuse(CodeInvalidPeerLink, "peer_node_id and local_node_id have to be nodes of this mesh; one of them is not.")
	case local == peer:
		return Draft{}, refuse(CodeInvalidPeerLink, "peer_node_id is %s itself; choose another node of the mesh.", local.Name)
	}
	d := Draft{Link: store.Link{
		ConfigID: m.config.ID, Enabled: true,
		Forward: m.direction(local, peer, family), Reverse: m.direction(peer, local, family),
	}}
	setKeepalive(&d.Link)
	d.warn(m, local, peer, family)
	return d, nil
}

func (d *Draft) warn(m *Mesh, local, peer *member, family store.EndpointFamily) {
	add := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	forward, reverse := d.Link.Forward, d.Link.Reverse
	if forward.EndpointMode == store.EndpointNone && reverse.EndpointMode == store.EndpointNone {
		add("%s", m.unreachable(local, peer))
	}
	for _, dir := range []store.Direction{forward, reverse} {
		if dir.EndpointMode == store.EndpointAuto && family != "" && dir.EndpointRefFamily != family {
			add("%s has no %s_address, so its %s_address is taken.", m.byID[dir.PeerNodeID].Name, family, dir.EndpointRefFamily)
		}
	}
	if len(local.Addresses()) > 0 && len(peer.Addresses()) > 0 && len(forward.AllowedIPs) == 0 {
		add("%s and %s have no address of the same IP version in the tunnel; give one of them a virtual_ip of the other's.", local.Name, peer.Name)
	}
	for _, n := range []*member{local, peer} {
		if len(n.Addresses()) == 0 {
			add("%s has no address in the tunnel, so nothing can be sent to it; give it a virtual_ip.", n.Name)
		}
		if !n.Enabled {
			add("%s is disabled: the link rests until it is enabled.", n.Name)
		}
	}
	for _, l := range m.links {
		if l.Enabled && pairOf(*l) == pairOf(d.Link) {
			add("%s and %s have an enabled link already; change that one, or disable it first.", local.Name, peer.Name)
			break
		}
	}
}

// pair names two nodes, whichever comes first.
type pair struct{ a, b string }

func pairOf(l store.Link) pair { return newPair(l.Forward.LocalNodeID, l.Forward.PeerNodeID) }

func newPair(a, b string) pair { return pair{min(a, b), max(a, b)} }

// direction proposes the way from local to peer, without a keepalive.
func (m *Mesh) direction(local, peer *member, family store.EndpointFamily) store.Direction {
	d := store.Direction{
		LocalNodeID: local.ID, PeerNodeID: peer.ID, AllowedIPs: peer.hosts(local),
		EndpointMode: store.EndpointNone, EndpointPortMode: store.PortOfPeer,
	}
	other := store.EndpointIPv6
	if family == store.EndpointIPv6 {
		other = store.EndpointIPv4
	}
	for _, f := range []store.EndpointFamily{cmp.Or(family, store.EndpointIPv4), other} {
		if peer.public(f) != "" && m.port(peer) != 0 {
			d.EndpointMode, d.EndpointRefFamily = store.EndpointAuto, f
			break
		}
	}
	return d
}

// setKeepalive gives a keepalive to each side that the other one cannot reach.
func setKeepalive(l *store.Link) {
	l.Forward.PersistentKeepalive, l.Reverse.PersistentKeepalive = 0, 0
	if l.Reverse.EndpointMode == store.EndpointNone && l.Forward.EndpointMode != store.EndpointNone {
		l.Forward.PersistentKeepalive = keepalive
	}
	if l.Forward.EndpointMode == store.EndpointNone && l.Reverse.EndpointMode != store.EndpointNone {
		l.Reverse.PersistentKeepalive = keepalive
	}
}

// unreachable says that neither of the nodes can reach the other one, and what to do.
func (m *Mesh) unreachable(a, b *member) string {
	for _, n := range []*member{a, b} {
		switch {
		case n.public("") == "":
		case m.port(n) == 0:
			return fmt.Sprintf("Neither %s nor %s finds the other one: the tunnel config of %s has no ListenPort; add one.", a.Name, b.Name, n.Name)
		default:
			return fmt.Sprintf("The link of %s and %s names no endpoint, although %s has the public address %s; set endpoint_mode of the link to auto, "+
				"and endpoint_ref_family to the IP version of that address.", a.Name, b.Name, n.Name, n.public(""))
		}
	}
	s := fmt.Sprintf("Neither %s nor %s has a public address, so they cannot have a link. ", a.Name, b.Name)
	if g := m.proposeGateway(); g != nil {
		return s + fmt.Sprintf("Link both with %s, which has one, or give one of them an ipv4_address or ipv6_address.", g.Name)
	}
	return s + "Give one of them an ipv4_address or ipv6_address, or link both with a node that has one."
}

// proposeGateway returns the node with a public address that has the most links, the oldest one of
// several; nil if there is none.
func (m *Mesh) proposeGateway() *member {
	var best *member
	for _, n := range m.nodes {
		if n.Enabled && n.public("") != "" && (best == nil || len(n.halves) > len(best.halves)) {
			best = n
		}
	}
	return best
}

// Endpoint returns where the local node of the direction finds its peer; "" means that the peer makes
// the connection.
func (m *Mesh) Endpoint(d store.Direction) string {
	peer := m.byID[d.PeerNodeID]
	if peer == nil {
		return ""
	}
	return m.endpoint(half{to: &d, peer: peer})
}

// endpoint returns where local finds its peer; "" means that the peer makes the connection.
func (m *Mesh) endpoint(h half) string {
	var host string
	switch h.to.EndpointMode {
	case store.EndpointAuto:
		host = h.peer.public(h.to.EndpointRefFamily)
	case store.EndpointManual:
		host = h.to.EndpointManualHost
	case store.EndpointNone:
	}
	port := h.to.EndpointManualPort
	if h.to.EndpointPortMode != store.PortManual {
		port = m.port(h.peer)
	}
	if host == "" || port == 0 {
		return ""
	}
	return endpointOf(host, port)
}

func endpointOf(host string, port int) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// CheckLink checks a link as somebody gave it: on its own, and beside the other links of the mesh.
// Error: an [*Error].
func (m *Mesh) CheckLink(l store.Link) error {
	local, peer := m.byID[l.Forward.LocalNodeID], m.byID[l.Forward.PeerNodeID]
	switch {
	case !opposite(l):
		return refuse(CodeInvalidPeerLink, "forward and reverse have to be the two directions of one pair of nodes: local_node_id of the one is "+
			"peer_node_id of the other.")
	case local == nil:
		return refuse(CodeInvalidPeerLink, "forward.local_node_id %q is not a node of this mesh.", l.Forward.LocalNodeID)
	case peer == nil:
		return refuse(CodeInvalidPeerLink, "forward.peer_node_id %q is not a node of this mesh.", l.Forward.PeerNodeID)
	case local == peer:
		return refuse(CodeInvalidPeerLink, "forward.peer_node_id is %s itself; a node cannot have a link to itself.", local.Name)
	case l.PresharedKey != "" && !ValidKey(l.PresharedKey):
		return refuse(CodeInvalidPeerLink, "preshared_key is not a key; give 32 bytes in base64, 44 characters, as wg genpsk prints them, or leave it out.")
	}
	for _, d := range []struct {
		name string
		store.Direction
	}{{"forward", l.Forward}, {"reverse", l.Reverse}} {
		if problem := m.checkDirection(d.Direction); problem != "" {
			return refuse(CodeInvalidPeerLink, "%s.%s", d.name, problem)
		}
	}
	if !l.Enabled {
		return nil
	}
	for _, other := range m.links {
		if other.Enabled && other.ID != l.ID && pairOf(*other) == pairOf(l) {
			return refuse(CodeInvalidPeerLink, "forward: %s and %s have an enabled link already (%s); change that one, or disable it first.",
				local.Name, peer.Name, other.ID)
		}
	}
	return nil
}

// checkDirection returns the fault of a direction, beginning with the name of the field.
func (m *Mesh) checkDirection(d store.Direction) string {
	if d.PersistentKeepalive < 0 || d.PersistentKeepalive > 65535 {
		return fmt.Sprintf("persistent_keepalive %d is not a number of seconds from 0 to 65535; 25 is usual, 0 switches it off.", d.PersistentKeepalive)
	}
	for _, p := range d.AllowedIPs {
		if !p.IsValid() || p.Addr().Zone() != "" {
			return "allowed_ips has an entry that is not a network; write networks like 10.66.0.0/24."
		}
	}
	switch d.EndpointMode {
	case store.EndpointNone, store.EndpointAuto:
	case store.EndpointManual:
		if problem := m.valueProblem("Endpoint", endpointOf(d.EndpointManualHost, 1)); problem != "" {
			return fmt.Sprintf("endpoint_manual_host %q is neither an address nor a host name; give one like 192.0.2.1 or vpn.example.org.", d.EndpointManualHost)
		}
	default:
		return fmt.Sprintf("endpoint_mode %q is unknown; give auto, manual or none.", d.EndpointMode)
	}
	switch d.EndpointRefFamily {
	case "", store.EndpointIPv4, store.EndpointIPv6:
	default:
		return fmt.Sprintf("endpoint_ref_family %q is unknown; give ipv4 or ipv6.", d.EndpointRefFamily)
	}
	switch d.EndpointPortMode {
	case "", store.PortOfPeer:
	case store.PortManual:
		if d.EndpointManualPort < 1 || d.EndpointManualPort > 65535 {
			return fmt.Sprintf("endpoint_manual_port %d is not a port; give one from 1 to 65535.", d.EndpointManualPort)
		}
	default:
		return fmt.Sprintf("endpoint_port_mode %q is unknown; give ref_peer_listen_port or manual.", d.EndpointPortMode)
	}
	return ""
}
