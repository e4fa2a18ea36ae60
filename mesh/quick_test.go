package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// mint makes ids and keys that are the same in every run.
func (w *world) mint() mesh.Mint {
	return mesh.Mint{Random: rand.NewChaCha8([32]byte{1}), NewID: counter(fmt.Sprintf("quick_%d", len(w.links))), Now: w.now()}
}

// quick plans a quick mesh, which has to be possible.
func (w *world) quick(tb testing.TB, q mesh.Quick) mesh.Plan {
	tb.Helper()
	p, err := w.mesh().Quick(q, w.mint())
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// describe returns the links as lines, in order.
func describe(links []store.Link) []string {
	var lines []string
	for _, l := range links {
		lines = append(lines, ends(l.Forward)+"; "+ends(l.Reverse))
	}
	return lines
}

func sameLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// region is a mesh of two nodes with public addresses and three without.
func region() *world {
	w := newWorld("10.66.0.0/24")
	w.add("east", public("192.0.2.1"))
	w.add("west", public("192.0.2.2"))
	w.add("a")
	w.add("b")
	w.add("c", func(n *mesh.Node) { n.VirtualIP = prefix("10.70.0.3/32") }) // outside of the subnet
	return w
}

func TestHubSpokeLinksEveryNodeWithTheHub(t *testing.T) {
	w := region()
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east"})
	sameLines(t, "made", describe(p.Made), []string{
		"west to east [10.66.0.0/24 10.70.0.3/32] auto ipv4; east to west [10.66.0.2/32] auto ipv4",
		"a to east [10.66.0.0/24 10.70.0.3/32] auto ipv4 every 25; east to a [10.66.0.3/32] none",
		"b to east [10.66.0.0/24 10.70.0.3/32] auto ipv4 every 25; east to b [10.66.0.4/32] none",
		"c to east [10.66.0.0/24] auto ipv4 every 25; east to c [10.70.0.3/32] none",
	})
	if len(p.Kept)+len(p.Changed)+len(p.Removed)+len(p.Warnings) != 0 {
		t.Errorf("the plan is %+v", p)
	}
}

func TestFullMeshLinksAllThatCanReachEachOther(t *testing.T) {
	w := region()
	p := w.quick(t, mesh.Quick{Mode: mesh.FullMesh})
	sameLines(t, "made", describe(p.Made), []string{
		"east to west [10.66.0.2/32] auto ipv4; west to east [10.66.0.1/32] auto ipv4",
		"east to a [10.66.0.3/32] none; a to east [10.66.0.1/32] auto ipv4 every 25",
		"west to a [10.66.0.3/32] none; a to west [10.66.0.2/32] auto ipv4 every 25",
		"east to b [10.66.0.4/32] none; b to east [10.66.0.1/32] auto ipv4 every 25",
		"west to b [10.66.0.4/32] none; b to west [10.66.0.2/32] auto ipv4 every 25",
		"east to c [10.70.0.3/32] none; c to east [10.66.0.1/32] auto ipv4 every 25",
		"west to c [10.70.0.3/32] none; c to west [10.66.0.2/32] auto ipv4 every 25",
	})
	const want = `3 nodes have no public address, so no two of them can have a link: a, b, c. Connect them through east: use mode free_mesh with ` +
		`gateway_node_ids ["east"].`
	if len(p.Warnings) != 1 || p.Warnings[0].Message != want || p.Gateway != "east" || !slices.Equal(p.Unlinked, []string{"a", "b", "c"}) {
		t.Errorf("the plan says %+v, proposes %q and leaves %q apart", p.Warnings, p.Gateway, p.Unlinked)
	}
}

func TestFreeMeshLinksGatewaysAndGivesEachLeafOne(t *testing.T) {
	w := region()
	p := w.quick(t, mesh.Quick{Mode: mesh.FreeMesh, LeafAssignments: map[string]string{"c": "east"}})
	sameLines(t, "made", describe(p.Made), []string{
		"a to west [10.66.0.0/24 10.70.0.3/32] auto ipv4 every 25; west to a [10.66.0.3/32] none",
		"b to east [10.66.0.0/24 10.70.0.3/32] auto ipv4 every 25; east to b [10.66.0.4/32] none",
		"c to east [10.66.0.0/24] auto ipv4 every 25; east to c [10.70.0.3/32] none",
		"east to west [10.66.0.2/32 10.66.0.3/32] auto ipv4; west to east [10.66.0.1/32 10.66.0.4/32 10.70.0.3/32] auto ipv4",
	})
}

func TestAQuickMeshMadeAgainChangesNothing(t *testing.T) {
	for _, mode := range []mesh.QuickMode{mesh.HubSpoke, mesh.FullMesh, mesh.FreeMesh} {
		w := region()
		q := mesh.Quick{Mode: mode, UsePresharedKey: true}
		if mode == mesh.HubSpoke {
			q.HubNodeID = "west"
		}
		first := w.quick(t, q)
		w.links = first.Links()
		again := w.quick(t, q)
		if len(again.Made)+len(again.Changed)+len(again.Removed) != 0 || len(again.Kept) != len(first.Made) {
			t.Errorf("%s: again made %d, changed %d, removed %d", mode, len(again.Made), len(again.Changed), len(again.Removed))
		}
		if changes := mesh.Changes(w.mesh(), w.mesh().Apply(again)); len(changes) != 0 {
			t.Errorf("%s: again changed the texts of %+v", mode, changes)
		}
		for _, l := range first.Made {
			if !mesh.ValidKey(l.PresharedKey) {
				t.Errorf("%s: a link has no preshared key: %+v", mode, l)
			}
		}
	}
}

func TestAnotherQuickMeshKeepsWhatItCan(t *testing.T) {
	w := region()
	w.links = w.quick(t, mesh.Quick{Mode: mesh.FullMesh, UsePresharedKey: true}).Links()
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east", UsePresharedKey: true})
	if len(p.Made) != 0 || len(p.Changed) != 4 || len(p.Removed) != 3 || len(p.Kept) != 0 {
		t.Fatalf("made %d, changed %d, removed %d, kept %d; want 0, 4, 3, 0", len(p.Made), len(p.Changed), len(p.Removed), len(p.Kept))
	}
	former := map[string]store.Link{}
	for _, l := range w.links {
		former[l.ID] = l
	}
	for _, l := range p.Changed {
		old := former[l.ID]
		if old.PresharedKey != l.PresharedKey || !old.CreatedAt.Equal(l.CreatedAt) || !l.UpdatedAt.After(old.UpdatedAt) ||
			old.Forward.LocalNodeID != l.Forward.LocalNodeID {
			t.Errorf("link %+v became %+v", old, l)
		}
	}
	for _, l := range p.Removed {
		if l.Forward.LocalNodeID != "west" && l.Reverse.LocalNodeID != "west" {
			t.Errorf("removed %s", ends(l.Forward))
		}
	}
	changes := mesh.Changes(w.mesh(), w.mesh().Apply(p))
	if len(changes) != 5 || changes[0].Before == changes[0].After {
		t.Errorf("the texts of %d nodes change, want 5", len(changes))
	}
}

func TestHandMadeLinksStayUnlessReplaced(t *testing.T) {
	w := region()
	manual := func(l *store.Link) { l.Manual = true }
	kept := w.link(t, "a", "east", manual, carries("10.66.0.1/32", "10.66.0.3/32"))
	also := w.link(t, "a", "b", manual)
	rests := w.link(t, "b", "east", manual, func(l *store.Link) { l.Enabled = false })
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east"})
	ids := func(links []store.Link) (ids []string) {
		for _, l := range links {
			ids = append(ids, l.ID)
		}
		return ids
	}
	if !slices.Equal(ids(p.Kept), []string{kept, also, rests}) || len(p.Made) != 3 || len(p.Removed)+len(p.Changed) != 0 {
		t.Errorf("kept %v, made %v, removed %v", ids(p.Kept), describe(p.Made), ids(p.Removed))
	}
	p = w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east", ReplaceManual: true})
	if !slices.Equal(ids(p.Removed), []string{kept, also, rests}) || len(p.Made) != 4 || len(p.Kept)+len(p.Changed) != 0 {
		t.Errorf("replacing, kept %v, made %v, removed %v", ids(p.Kept), describe(p.Made), ids(p.Removed))
	}
}

func TestOneLinkOfAPairIsLeft(t *testing.T) {
	w := region()
	w.link(t, "a", "east", func(l *store.Link) { l.Enabled, l.ID = false, "rests" })
	w.link(t, "east", "a", func(l *store.Link) { l.ID = "used" })
	w.links = append(w.links, store.Link{
		ID: "lost", Enabled: true, Forward: store.Direction{LocalNodeID: "a", PeerNodeID: "gone"},
		Reverse: store.Direction{LocalNodeID: "gone", PeerNodeID: "a"},
	})
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east"})
	var pairs []string
	for _, l := range p.Links() {
		pairs = append(pairs, l.Forward.LocalNodeID+l.Forward.PeerNodeID)
	}
	slices.Sort(pairs)
	if !slices.Equal(pairs, []string{"beast", "ceast", "easta", "westeast"}) || len(p.Removed) != 2 {
		t.Errorf("links %q are left, removed %+v", pairs, p.Removed)
	}
}

func TestALeafStaysAtItsGateway(t *testing.T) {
	w := region()
	w.link(t, "c", "west", func(l *store.Link) { l.Manual = true })
	w.link(t, "a", "west")
	w.link(t, "b", "west")
	for _, l := range w.quick(t, mesh.Quick{Mode: mesh.FreeMesh}).Links() {
		if l.Forward.PeerNodeID != "west" {
			t.Errorf("there is a link %s", ends(l.Forward))
		}
	}
}

func TestDisabledNodesAreLinkedToo(t *testing.T) {
	w := region()
	w.node("a").Enabled = false
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east"})
	if len(p.Made) != 4 {
		t.Errorf("%d links are made, want 4", len(p.Made))
	}
}

func TestARestingNodeIsNoGateway(t *testing.T) {
	w := region()
	w.node("west").Enabled = false
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke})
	for _, l := range p.Made {
		if l.Forward.PeerNodeID != "east" {
			t.Errorf("there is a link %s", ends(l.Forward))
		}
	}
}

func TestQuickMeshRefusesWhatCannotBe(t *testing.T) {
	big := newWorld("10.64.0.0/16")
	for i := range 300 {
		big.add(fmt.Sprint("n", i), public(fmt.Sprintf("192.0.%d.%d", i/250, i%250)))
	}
	bare := newWorld()
	bare.add("a", public("192.0.2.1"), func(n *mesh.Node) { n.VirtualIP = prefix("10.66.0.1/32") })
	bare.add("b", func(n *mesh.Node) { n.VirtualIP = prefix("10.66.0.2/32") })
	hidden := newWorld("10.66.0.0/24")
	hidden.add("a")
	resting := region()
	resting.node("west").Enabled = false
	tests := []struct {
		w    *world
		q    mesh.Quick
		want string
	}{
		{region(), mesh.Quick{Mode: "star"}, `mode "star" is unknown; give hub_spoke, full_mesh or free_mesh.`},
		{region(), mesh.Quick{Mode: mesh.FullMesh, EndpointRefFamily: "any"}, `endpoint_ref_family "any" is unknown; give ipv4 or ipv6.`},
		{region(), mesh.Quick{Mode: mesh.HubSpoke}, "hub_node_id is missing, and several nodes have a public address; name one of them: east, west."},
		{region(), mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "gone"}, `hub_node_id "gone" is not a node of this mesh.`},
		{
			region(),
			mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "a"},
			"hub_node_id: a has no public address, so no node could reach it; give it an ipv4_address or ipv6_address, or choose another node.",
		},
		{resting, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "west"}, "hub_node_id: west is disabled; enable it, or choose another node."},
		{
			hidden,
			mesh.Quick{Mode: mesh.HubSpoke},
			"hub_node_id: no enabled node has a public address; give the one that the others are to reach an ipv4_address or ipv6_address.",
		},
		{
			hidden,
			mesh.Quick{Mode: mesh.FreeMesh},
			"gateway_node_ids: no enabled node has a public address; give the one that the others are to reach an ipv4_address or ipv6_address.",
		},
		{bare, mesh.Quick{Mode: mesh.HubSpoke}, "virtual_subnet: the mesh has none, and mode hub_spoke routes it to the gateway; give the mesh one."},
		{
			region(),
			mesh.Quick{Mode: mesh.FreeMesh, GatewayNodeIDs: []string{"east", "b"}},
			"gateway_node_ids: b has no public address, so no node could reach it; give it an ipv4_address or ipv6_address, or choose another node.",
		},
		{
			region(),
			mesh.Quick{Mode: mesh.FreeMesh, GatewayNodeIDs: []string{"east"}, LeafAssignments: map[string]string{"a": "west"}},
			`leaf_assignments: a is assigned to "west", which is not a gateway; name one of gateway_node_ids.`,
		},
		{
			region(),
			mesh.Quick{Mode: mesh.FreeMesh, LeafAssignments: map[string]string{"west": "east"}},
			"leaf_assignments: west is a gateway itself; take it out of one of the two lists.",
		},
		{region(), mesh.Quick{Mode: mesh.FreeMesh, LeafAssignments: map[string]string{"gone": "east"}}, `leaf_assignments: "gone" is not a node of this mesh.`},
		{
			big,
			mesh.Quick{Mode: mesh.FullMesh},
			"mode full_mesh would link 300 nodes by 44850 links, but the limit is 250 nodes; use free_mesh with 2 gateways or more.",
		},
		{
			big,
			mesh.Quick{Mode: mesh.FreeMesh},
			"gateway_node_ids: 300 gateways would need 44850 links with each other, but the limit is 250 gateways; name fewer.",
		},
	}
	for _, tt := range tests {
		_, err := tt.w.mesh().Quick(tt.q, tt.w.mint())
		refusedAs(t, err, mesh.CodeInvalidQuickMesh, tt.want)
	}
}

// many returns a mesh of the gateways and leaves.
func many(gateways, leaves int) *world {
	w := newWorld("10.64.0.0/16", "fd00:64::/64")
	a, a6 := w.config.VirtualSubnet.Addr(), w.config.VirtualSubnet6.Addr()
	subnets := w.config
	w.config.VirtualSubnet, w.config.VirtualSubnet6 = noPrefix, noPrefix // add would look for free addresses
	for i := range gateways + leaves {
		a, a6 = a.Next(), a6.Next()
		w.add(fmt.Sprintf("node-%04d", i), func(n *mesh.Node) {
			n.VirtualIP, n.VirtualIP6 = prefix(a.String()+"/32"), prefix(a6.String()+"/128")
			if i < gateways {
				n.IPv4Address = fmt.Sprintf("192.0.%d.%d", i/250, 1+i%250)
			}
		})
	}
	w.config = subnets
	return w
}

func TestTooManyLeavesOfOneGatewayAreRefusedWithANumber(t *testing.T) {
	w := many(1, 5000)
	_, err := w.mesh().Quick(mesh.Quick{Mode: mesh.HubSpoke}, w.mint())
	refusedAs(t, err, mesh.CodeInvalidQuickMesh, "mode hub_spoke would give node-0000 5000 peers, whose tunnel config is too large for a message to the node; "+
		"use free_mesh with 10 gateways or more.")
	w = many(10, 5000)
	w.quick(t, mesh.Quick{Mode: mesh.FreeMesh}) // as it says
	w = many(4, 5000)
	_, err = w.mesh().Quick(mesh.Quick{Mode: mesh.FreeMesh}, w.mint())
	refusedAs(t, err, mesh.CodeInvalidQuickMesh, "mode free_mesh would give node-0000 1253 peers, whose tunnel config is too large for a message to the node; "+
		"use free_mesh with 10 gateways or more.")
}

func TestThePlanSaysWhereItTakesTheOtherAddress(t *testing.T) {
	w := region()
	w.node("west").IPv6Address = "2001:db8::2"
	p := w.quick(t, mesh.Quick{Mode: mesh.FreeMesh, EndpointRefFamily: store.EndpointIPv6})
	const want = "east has no ipv6_address, so it is reached at 192.0.2.1; give it one, or choose the other endpoint_ref_family."
	if len(p.Warnings) != 1 || p.Warnings[0].NodeID != "east" || p.Warnings[0].Message != want {
		t.Errorf("the warnings are %+v", p.Warnings)
	}
	for _, l := range p.Made {
		for _, d := range []store.Direction{l.Forward, l.Reverse} {
			if d.PeerNodeID == "west" && d.EndpointRefFamily != store.EndpointIPv6 || d.PeerNodeID == "east" && d.EndpointRefFamily != store.EndpointIPv4 {
				t.Errorf("there is %s", ends(d))
			}
		}
	}
}

func TestANodeWithoutAnAddressIsLeftOut(t *testing.T) {
	w := region()
	w.node("b").VirtualIP = noPrefix
	p := w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "east"})
	if len(p.Made) != 3 || len(p.Warnings) != 1 || p.Warnings[0].Message != "b is left out, since it has no address in the tunnel; give it a virtual_ip." {
		t.Errorf("made %v; warnings %+v", describe(p.Made), p.Warnings)
	}
}
