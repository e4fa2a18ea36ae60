package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// randomWorld is a quick mesh of random nodes.
type randomWorld struct {
	*world
	*rand.Rand
	mode       mesh.QuickMode
	gateways   []string
	incomplete bool // a link of the quick mesh rests
	// appliance is where the nodes find the appliance.
	appliance netip.Addr
}

func newRandomWorld(tb testing.TB, seed uint64) *randomWorld {
	tb.Helper()
	r := &randomWorld{Rand: rand.New(rand.NewPCG(seed, 1)), appliance: addr("203.0.113.9")}
	r.world = newWorld([][]string{{"10.66.0.0/24"}, {"10.66.0.0/24", "fd00:66::/64"}, {"fd00:66::/64"}}[r.IntN(3)]...)
	r.mode = []mesh.QuickMode{mesh.HubSpoke, mesh.FullMesh, mesh.FreeMesh}[r.IntN(3)]
	if r.IntN(3) == 0 {
		r.amnezia(tb)
	}
	for i := range 2 + r.IntN(12) {
		r.addRandom(tb, i)
	}
	r.node("n0").Enabled, r.node("n0").IPv4Address = true, "192.0.2.100"
	r.link0(tb)
	q := mesh.Quick{Mode: r.mode, UsePresharedKey: r.IntN(2) == 0, EndpointRefFamily: []store.EndpointFamily{"", "ipv4", "ipv6"}[r.IntN(3)]}
	r.gateways = []string{"n0"}
	if r.mode == mesh.HubSpoke {
		q.HubNodeID = "n0"
	}
	for _, n := range r.nodes[1:] {
		if r.mode == mesh.FreeMesh && n.Enabled && n.IPv4Address+n.IPv6Address != "" && r.IntN(3) > 0 {
			r.gateways = append(r.gateways, n.ID)
		}
	}
	if r.mode == mesh.FreeMesh {
		q.GatewayNodeIDs = slices.Clone(r.gateways)
		r.Shuffle(len(q.GatewayNodeIDs), func(i, j int) { q.GatewayNodeIDs[i], q.GatewayNodeIDs[j] = q.GatewayNodeIDs[j], q.GatewayNodeIDs[i] })
	}
	r.links = r.quick(tb, q).Links()
	if r.IntN(4) == 0 && len(r.links) > 0 {
		r.links[r.IntN(len(r.links))].Enabled = false
		r.incomplete = true
	}
	return r
}

func (r *randomWorld) amnezia(tb testing.TB) {
	tb.Helper()
	r.config.TunnelProtocol = protocol.TunnelAmneziaWG
	r.config.AWGVersion = []string{"1.5", "2.0", "3.1"}[r.IntN(3)]
	var err error
	if r.config.AWG, err = mesh.NewAWG(r.config.AWGVersion, r.random()); err != nil {
		tb.Fatal(err)
	}
}

// random returns bytes that belong to the seed.
func (r *randomWorld) random() *rand.ChaCha8 {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	return rand.NewChaCha8(seed)
}

func (r *randomWorld) addRandom(tb testing.TB, i int) {
	tb.Helper()
	r.add(fmt.Sprint("n", i), func(n *mesh.Node) {
		n.Enabled = r.IntN(7) > 0
		if r.IntN(3) == 0 {
			n.IPv4Address = []string{fmt.Sprint("192.0.2.", 1+i), fmt.Sprintf("n%d.example", i)}[r.IntN(2)]
		}
		if r.IntN(4) == 0 {
			n.IPv6Address = fmt.Sprint("2001:db8::", 1+i)
		}
		if n.VirtualIP6.IsValid() && r.IntN(6) == 0 { // one IP version alone
			if r.IntN(2) == 0 {
				n.VirtualIP, n.VirtualIP6 = n.VirtualIP6, noPrefix
			} else {
				n.VirtualIP6 = noPrefix
			}
		}
		if r.IntN(8) == 0 && n.VirtualIP.Addr().Is4() {
			n.VirtualIP = prefix(fmt.Sprintf("10.99.0.%d/32", 1+i)) // outside of the subnet
		}
		if r.IntN(3) == 0 {
			n.Routes = append(n.Routes, prefix(fmt.Sprintf("192.168.%d.0/24", i)))
		}
		if r.IntN(4) == 0 {
			n.Routes = append(n.Routes, prefix(fmt.Sprintf("fd01:%d::/64", i)))
		}
		n.Masquerade = len(n.Routes) > 0 && r.IntN(2) == 0
		if r.IntN(5) == 0 {
			n.ListenPort = 1000 + i
		}
		if r.IntN(5) == 0 {
			n.Type = store.NodeStatic
		}
		n.Name = []string{n.Name, "Ä " + n.Name, n.Name + " # x", n.Name + "\n[Peer]"}[r.IntN(4)]
		if r.config.TunnelProtocol == protocol.TunnelAmneziaWG {
			var err error
			if n.AWG, err = mesh.NewAWGNode([]mesh.Disguise{"", "dns", "stun", "rtp", "quic"}[r.IntN(5)], "", r.random()); err != nil {
				tb.Fatal(err)
			}
		}
	})
}

// link0 makes a link by hand of two nodes that get none with each other in a hub and spoke mesh.
func (r *randomWorld) link0(tb testing.TB) {
	tb.Helper()
	if r.mode != mesh.HubSpoke || len(r.nodes) < 4 || r.node("n1").IPv4Address == "" || r.IntN(2) == 0 {
		return
	}
	r.link(tb, "n1", "n2", func(l *store.Link) { l.Manual = true })
}

func (r *randomWorld) reach(store.Node) wgconf.Reach {
	return wgconf.Reach{Host: "appliance.example", Addresses: []netip.Addr{r.appliance}}
}

// linked reports whether the two nodes have a link in use.
func (r *randomWorld) linked(a, b string) bool {
	return slices.ContainsFunc(r.links, func(l store.Link) bool {
		x, y := l.Forward.LocalNodeID, l.Forward.PeerNodeID
		return l.Enabled && (x == a && y == b || x == b && y == a)
	})
}

// way returns the nodes between which packets from a to b should go, both included, and whether all
// links on it are in use.
func (r *randomWorld) way(a, b string) ([]string, bool) {
	all := []string{a}
	if !r.linked(a, b) && r.mode != mesh.FullMesh {
		for _, via := range []string{r.gatewayOf(a), r.gatewayOf(b)} {
			if via != all[len(all)-1] {
				all = append(all, via)
			}
		}
	}
	if all[len(all)-1] != b {
		all = append(all, b)
	}
	for i := range all[1:] {
		if !r.linked(all[i], all[i+1]) {
			return nil, false
		}
	}
	return all, true
}

// gatewayOf returns the gateway at which a node is; the node itself, if it is one.
func (r *randomWorld) gatewayOf(id string) string {
	if slices.Contains(r.gateways, id) {
		return id
	}
	for _, g := range r.gateways {
		if r.linked(id, g) {
			return g
		}
	}
	return ""
}

// network is the network that results from the nodes' texts.
type network struct {
	*randomWorld
	configs map[string]wgconf.Config
	texts   map[string]string
	keys    map[string]string // public key → node id
}

func newNetwork(tb testing.TB, r *randomWorld) network {
	tb.Helper()
	w := network{r, r.parse(tb), r.mesh().Texts(), map[string]string{}}
	for _, n := range r.nodes {
		w.keys[n.PublicKey] = n.ID
	}
	return w
}

// peer returns the peer of a node to which a packet for dst goes, -1 if there is none.
func (w network) peer(id string, dst netip.Addr) int {
	best, length := -1, -1
	for i, p := range w.configs[id].Peers {
		for _, network := range p.AllowedIPs {
			if network.Contains(dst) && network.Bits() >= length {
				best, length = i, network.Bits()
			}
		}
	}
	return best
}

// behind reports whether an address is in one of the node's own networks.
func (w network) behind(id string, a netip.Addr) bool {
	return slices.ContainsFunc(w.node(id).Routes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (w network) owns(id string, a netip.Addr) bool {
	return slices.ContainsFunc(w.configs[id].Interface.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

func (w network) forwards(id string, a netip.Addr) bool {
	version := "IPv6"
	if a.Is4() {
		version = "IPv4"
	}
	return strings.Contains(w.texts[id], "forwarding of "+version)
}

// walk takes a packet from hop to hop, as the kernels of the nodes would. It returns the last node, or
// why the packet was lost.
func (w network) walk(from string, src, dst netip.Addr) (at string, err error) {
	at = from
	if !w.owns(at, src) && !w.forwards(at, src) {
		return at, fmt.Errorf("%s does not take packets of its network", at)
	}
	for range 6 {
		if w.owns(at, dst) {
			return at, nil
		}
		if at != from && !w.forwards(at, dst) {
			return at, fmt.Errorf("%s forwards nothing", at)
		}
		if w.behind(at, dst) {
			return at, nil
		}
		i := w.peer(at, dst)
		if i < 0 {
			return at, fmt.Errorf("%s knows no way to %s", at, dst)
		}
		peer := w.configs[at].Peers[i]
		next := w.keys[peer.PublicKey]
		back := w.peer(next, src)
		if back < 0 || w.keys[w.configs[next].Peers[back].PublicKey] != at {
			return at, fmt.Errorf("%s drops a packet of %s that comes from %s", next, src, at)
		}
		reverse := w.configs[next].Peers[back]
		if peer.Endpoint == "" && reverse.Endpoint == "" {
			return at, fmt.Errorf("neither %s nor %s has an endpoint", at, next)
		}
		if (peer.Endpoint == "") != (reverse.PersistentKeepalive != 0) {
			return at, fmt.Errorf("%s has the endpoint %q of %s, which has the keepalive %d", at, peer.Endpoint, next, reverse.PersistentKeepalive)
		}
		at = next
	}
	return at, fmt.Errorf("the packet goes round in a circle")
}

// from returns addresses from which a node sends, of one IP version: its own, and one of its network.
func (w network) from(id string, v4 bool) []netip.Addr {
	var all []netip.Addr
	for _, p := range slices.Concat(w.node(id).Addresses(), w.node(id).Routes) {
		if p.Addr().Is4() == v4 {
			a := p.Addr()
			if !p.IsSingleIP() {
				a = a.Next().Next()
			}
			all = append(all, a)
		}
	}
	return all
}

func (w network) speaks(id string, v4 bool) bool {
	return slices.ContainsFunc(w.node(id).Addresses(), func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
}

// Nodes that should reach each other do, in both directions, and so do the networks behind them.
func TestPacketsFindTheirWayThroughRandomMeshes(t *testing.T) {
	walked := 0
	for seed := range uint64(400) {
		w := newNetwork(t, newRandomWorld(t, seed))
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				way, ok := w.way(a.ID, b.ID)
				for _, v4 := range []bool{true, false} {
					if a.ID == b.ID || !ok || slices.ContainsFunc(way, func(id string) bool { return !w.node(id).Enabled || !w.speaks(id, v4) }) {
						continue
					}
					for _, src := range w.from(a.ID, v4) {
						for _, dst := range w.from(b.ID, v4) {
							walked++
							if at, err := w.walk(a.ID, src, dst); err != nil || at != b.ID {
								t.Fatalf("seed %d (%s): from %s %s to %s %s by %v: ends at %s: %v\n%s\n%s", seed, w.mode, a.ID, src, b.ID, dst, way, at, err, w.texts[a.ID],
									w.texts[b.ID])
							}
						}
					}
				}
			}
		}
	}
	if walked < 10_000 {
		t.Errorf("only %d packets were walked", walked)
	}
}

func TestRandomMeshesAreValidAndKeepTheAppliance(t *testing.T) {
	cut := 0
	for seed := range uint64(400) {
		r := newRandomWorld(t, seed)
		around := mesh.Surroundings{Reach: r.reach}
		for _, f := range r.mesh().Validate(around).Findings {
			lost := f.Code == mesh.CodeNoWay && !r.incomplete && !r.config.VirtualSubnet6.IsValid() // else a node may lack one IP version
			if f.Severity == mesh.SeverityError || lost {
				t.Fatalf("seed %d: %+v", seed, f)
			}
		}
		// An appliance in one of the networks behind a node.
		i := slices.IndexFunc(r.nodes, func(n mesh.Node) bool { return n.Enabled && len(n.Routes) > 0 })
		if i < 0 {
			continue
		}
		r.appliance = r.nodes[i].Routes[0].Addr().Next()
		valid := r.mesh().Validate(around).Valid()
		cutOff := false
		for id, c := range r.parse(t) {
			cutOff = cutOff || tunnel.CutsOff(tunnel.Warnings(c, r.node(id).Node, r.reach(store.Node{})))
		}
		if valid == cutOff {
			t.Fatalf("seed %d: valid is %t, and some node loses the appliance is %t", seed, valid, cutOff)
		}
		if cutOff {
			cut++
		}
	}
	if cut < 50 {
		t.Errorf("only %d meshes cut a node off", cut)
	}
}

func TestRandomMeshesGiveTheSameBytesInAnyOrder(t *testing.T) {
	for seed := range uint64(100) {
		r := newRandomWorld(t, seed)
		before := r.mesh().Texts()
		r.Shuffle(len(r.nodes), func(i, j int) { r.nodes[i], r.nodes[j] = r.nodes[j], r.nodes[i] })
		r.Shuffle(len(r.links), func(i, j int) { r.links[i], r.links[j] = r.links[j], r.links[i] })
		for i := range r.nodes {
			r.nodes[i].Name = fmt.Sprint("new name ", r.Uint32())
		}
		for id, text := range r.mesh().Texts() {
			if !mesh.SameButComments(text, before[id]) {
				t.Fatalf("seed %d: the text of %s became another one:\n%s\n%s", seed, id, before[id], text)
			}
		}
	}
}

// What CheckLink takes as AllowedIPs stands in the text, each network once.
func FuzzAllowedIPs(f *testing.F) {
	for _, s := range []string{
		"10.66.0.0/24", "0.0.0.0/0,::/0", "10.66.0.5/24 10.66.0.7/24", "fd00::/64, 192.168.1.1/32,192.168.1.1/32", "::ffff:10.0.0.0/104",
		"fe80::1%eth0/64", "255.255.255.255/32",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		w := newWorld("10.66.0.0/24", "fd00:66::/64")
		w.add("north", public("192.0.2.1"))
		w.add("south")
		var networks []netip.Prefix
		for s := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
			if p, err := netip.ParsePrefix(s); err == nil {
				networks = append(networks, p)
			} else if a, err := netip.ParseAddr(s); err == nil {
				networks = append(networks, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		w.link(t, "south", "north", func(l *store.Link) { l.Forward.AllowedIPs = networks })
		if err := w.mesh().CheckLink(w.links[0]); err != nil {
			return
		}
		var want []netip.Prefix
		for _, p := range networks {
			if !slices.Contains(want, p.Masked()) {
				want = append(want, p.Masked())
			}
		}
		if got := w.parse(t)["south"].Peers[0].AllowedIPs; !slices.Equal(got, want) {
			t.Errorf("%q became %v, want %v", list, got, want)
		}
	})
}
