package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// watched records the questions.
type watched struct {
	mesh.Neighbours
	all int
}

func (w *watched) All() []string {
	w.all++
	return w.Neighbours.All()
}

func TestAChangeOfALeafTouchesItAndItsGateway(t *testing.T) {
	w := many(1, 2000)
	w.links = w.quick(t, mesh.Quick{Mode: mesh.HubSpoke}).Links()
	near := &watched{Neighbours: w.mesh()}
	before := *w.node("node-0007")
	for name, change := range map[string]func(*mesh.Node){
		"name": func(n *mesh.Node) { n.Name = "x" }, "key": func(n *mesh.Node) { n.PublicKey = "x" }, "enabled": disabled,
		"address": func(n *mesh.Node) { n.VirtualIP = prefix("10.64.99.1/32") }, "public address": public("192.0.2.77"),
		"port": func(n *mesh.Node) { n.ListenPort = 1 },
	} {
		after := before
		change(&after)
		if got := mesh.TouchedByNode(&before, &after, near); !slices.Equal(got, []string{"node-0000", "node-0007"}) {
			t.Errorf("%s touches %v", name, got)
		}
	}
	for name, change := range map[string]func(*mesh.Node){
		"mtu": func(n *mesh.Node) { n.MTU = 1300 }, "dns": func(n *mesh.Node) { n.DNS = "9.9.9.9" }, "hooks": func(n *mesh.Node) { n.PreUp = []string{"true"} },
		"private key": func(n *mesh.Node) { n.PrivateKey = "x" }, "tags": func(n *mesh.Node) { n.Tags = []string{"x"} },
	} {
		after := before
		change(&after)
		if got := mesh.TouchedByNode(&before, &after, near); !slices.Equal(got, []string{"node-0007"}) {
			t.Errorf("%s touches %v", name, got)
		}
	}
	if near.all != 0 {
		t.Errorf("all nodes were asked for %d times", near.all)
	}
	routed := before
	routes("192.168.7.0/24")(&routed)
	if got := mesh.TouchedByNode(&before, &routed, near); len(got) != 2001 {
		t.Errorf("routes touch %d nodes, want all", len(got))
	}
	if got := mesh.TouchedByNode(&before, nil, near); len(got) != 2 {
		t.Errorf("deleting it touches %v", got)
	}
}

func TestAChangeInAFullMeshTouchesEachNodeOnce(t *testing.T) {
	w := many(200, 0)
	w.links = w.quick(t, mesh.Quick{Mode: mesh.FullMesh}).Links()
	before := *w.node("node-0007")
	after := before
	after.PublicKey = "x"
	if got := mesh.TouchedByNode(&before, &after, w.mesh()); len(got) != 200 {
		t.Errorf("%d nodes are touched, want 200", len(got))
	}
}

// change makes one random change of a random record, and returns who is touched by it.
func (r *randomWorld) change(tb testing.TB) []string {
	tb.Helper()
	near := r.mesh()
	n := &r.nodes[r.IntN(len(r.nodes))]
	before := *n
	switch r.IntN(14) {
	case 0:
		n.Name += "x"
	case 1:
		n.Enabled = !n.Enabled
	case 2:
		n.PublicKey = keysOf(n.ID + " again").Public
	case 3:
		n.IPv4Address = "192.0.2.222"
	case 4:
		n.ListenPort += 7
	case 5:
		n.Routes = prefixes("172.16.0.0/24 fd02::/64")
	case 6:
		if n.VirtualIP.Addr().Is4() {
			n.VirtualIP = prefix("10.66.0.200/32")
		}
	case 7:
		n.VirtualIP6 = prefix("fd00:66::200/128")
	case 8:
		n.ConfigSource = store.SourceText
	case 9:
		n.Client = &store.Client{Platform: "darwin"}
	case 10:
		n.IPv4Address, n.IPv6Address, n.MTU = "", "", 1300
	case 11:
		c := r.config
		r.config.DefaultListenPort, r.config.DefaultDNS = 5000, "9.9.9.9"
		return mesh.TouchedByConfig(c, r.config, near)
	case 12:
		if len(r.links) > 0 {
			l := &r.links[r.IntN(len(r.links))]
			former := *l
			l.Enabled, l.Forward.AllowedIPs = !l.Enabled, prefixes("10.0.0.0/8")
			return mesh.TouchedByLink(&former, l)
		}
	case 13:
		f := store.PortForward{
			ID: "pf_2", Enabled: true, FromNodeID: r.nodes[r.IntN(len(r.nodes))].ID, FromPort: 1, ToNodeID: n.ID, ToPort: 2, Protocol: "tcp", ToPlatform: "linux",
		}
		r.forwards = append(r.forwards, f)
		return mesh.TouchedByForward(nil, &f)
	}
	return mesh.TouchedByNode(&before, n, near)
}

func TestOnlyTouchedTextsChange(t *testing.T) {
	for seed := range uint64(700) {
		r := newRandomWorld(t, seed)
		if len(r.nodes) > 2 {
			r.forwards = append(r.forwards, store.PortForward{
				ID: "pf_1", Enabled: true, FromNodeID: "n1", FromPort: 80, ToNodeID: "n2", ToPort: 8080, Protocol: "all", ToPlatform: "linux",
			})
		}
		before := r.mesh()
		touched := r.change(t)
		for _, c := range mesh.Changes(before, r.mesh()) {
			if !slices.Contains(touched, c.NodeID) {
				t.Fatalf("seed %d: only %v should have changed, and %s did:\n%s\n%s", seed, touched, c.NodeID, c.Before, c.After)
			}
		}
	}
}

func TestAPartOfTheMeshIsEnoughForAText(t *testing.T) {
	for seed := range uint64(300) {
		r := newRandomWorld(t, seed)
		if len(r.nodes) > 2 {
			r.forwards = append(r.forwards, store.PortForward{
				ID: "pf_1", Enabled: true, FromNodeID: "n1", FromPort: 80, ToNodeID: "n2", ToPort: 8080, Protocol: "all", ToPlatform: "linux",
			})
		}
		whole := r.mesh()
		for _, n := range r.nodes {
			part := &world{config: r.config}
			near := append(whole.Peers(n.ID), n.ID)
			for _, l := range r.links {
				if l.Forward.LocalNodeID == n.ID || l.Forward.PeerNodeID == n.ID {
					part.links = append(part.links, l)
				}
			}
			for _, f := range r.forwards {
				if f.ToNodeID == n.ID {
					part.forwards = append(part.forwards, f)
					near = append(near, f.FromNodeID)
				}
			}
			for _, other := range r.nodes {
				if len(other.Routes) > 0 || slices.Contains(near, other.ID) {
					part.nodes = append(part.nodes, other)
				}
			}
			if got, want := part.mesh().Text(n.ID), whole.Text(n.ID); got != want {
				t.Fatalf("seed %d: of a part, the text of %s is\n%s\nwant\n%s", seed, n.ID, got, want)
			}
		}
	}
}

func TestReaddressFollowsAnAddressInLinksThatNobodyChanged(t *testing.T) {
	w := trio(t)
	before := *w.node("leaf")
	after := before
	after.VirtualIP, after.VirtualIP6 = prefix("10.66.0.77/32"), noPrefix
	l, changed := mesh.Readdress(w.links[0], before, after)
	if got := ends(l.Reverse); !changed || got != "hub to leaf [10.66.0.77/32] none" || ends(l.Forward) != ends(w.links[0].Forward) {
		t.Errorf("changed is %t, and the link %s; %s", changed, ends(l.Forward), got)
	}
	if got := ends(w.links[0].Reverse); got != "hub to leaf [10.66.0.2/32 fd00:66::2/128] none" {
		t.Errorf("the former link became %s", got)
	}
	if _, changed := mesh.Readdress(w.links[1], before, after); changed {
		t.Error("a link of others changed")
	}
	w.links[0].Manual = true
	if _, changed := mesh.Readdress(w.links[0], before, after); changed {
		t.Error("a link made by hand changed")
	}
}

func BenchmarkTouchedInAFullMeshOf200WithTexts(b *testing.B) {
	w := many(200, 0)
	w.links = w.quick(b, mesh.Quick{Mode: mesh.FullMesh}).Links()
	before := *w.node("node-0007")
	w.node("node-0007").PublicKey = keysOf("another").Public
	for b.Loop() {
		m := w.mesh()
		for _, id := range mesh.TouchedByNode(&before, w.node("node-0007"), m) {
			m.Text(id)
		}
	}
}

func BenchmarkFreeMeshOf500PlannedValidatedAndGenerated(b *testing.B) {
	w := many(10, 490)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range w.nodes {
		if random.IntN(10) == 0 {
			w.nodes[i].Routes = prefixes(fmt.Sprintf("172.%d.%d.0/24", 16+i/250, i%250))
		}
	}
	for b.Loop() {
		m := w.mesh()
		p, err := m.Quick(mesh.Quick{Mode: mesh.FreeMesh, UsePresharedKey: true}, w.mint())
		if err != nil {
			b.Fatal(err)
		}
		after := m.Apply(p)
		if r := after.Validate(mesh.Surroundings{Reach: near}); !r.Valid() {
			b.Fatal(r.Of(mesh.SeverityError)[0])
		}
		if len(after.Texts()) != 500 {
			b.Fatal("texts are missing")
		}
	}
}

// hub5000 is a mesh with more leaves at one hub than a quick mesh makes.
func hub5000(b *testing.B) *world {
	b.Helper()
	w := many(1, 5000)
	for i := range w.nodes[1:] {
		leaf := &w.nodes[i+1]
		w.links = append(w.links, store.Link{
			ID: "link_" + leaf.ID, Enabled: true, CreatedAt: w.now(),
			Forward: store.Direction{LocalNodeID: leaf.ID, PeerNodeID: "node-0000", AllowedIPs: prefixes("10.64.0.0/16"), EndpointMode: store.EndpointAuto},
			Reverse: store.Direction{LocalNodeID: "node-0000", PeerNodeID: leaf.ID, AllowedIPs: prefixes(leaf.VirtualIP.String()), EndpointMode: store.EndpointNone},
		})
	}
	return w
}

func Benchmark5000LeavesAtOneHubGenerated(b *testing.B) {
	w := hub5000(b)
	for b.Loop() {
		w.mesh().Texts()
	}
}

func Benchmark5000LeavesAtOneHubValidated(b *testing.B) {
	w := hub5000(b)
	for b.Loop() {
		w.mesh().Validate(mesh.Surroundings{Reach: near})
	}
}
