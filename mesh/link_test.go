package mesh_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// ends describes a direction in a line.
func ends(d store.Direction) string {
	s := fmt.Sprintf("%s to %s %v %s %s", d.LocalNodeID, d.PeerNodeID, d.AllowedIPs, d.EndpointMode, d.EndpointRefFamily)
	if d.PersistentKeepalive != 0 {
		s += fmt.Sprint(" every ", d.PersistentKeepalive)
	}
	return strings.TrimSpace(s)
}

func TestDraftProposesBothDirections(t *testing.T) {
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.add("north", public("192.0.2.1"))
	w.add("south", public("south.example"), func(n *mesh.Node) { n.IPv6Address = "2001:db8::2" })
	w.add("six", func(n *mesh.Node) { n.IPv6Address = "2001:db8::3" })
	w.add("phone", func(n *mesh.Node) { n.VirtualIP6 = prefix("fd00:66::9/128"); n.VirtualIP = prefix("10.66.0.9/32") })
	w.add("tablet")
	w.add("four", func(n *mesh.Node) { n.VirtualIP6 = noPrefix })
	w.add("only6", func(n *mesh.Node) { n.VirtualIP = noPrefix; n.IPv4Address = "192.0.2.6" })
	tests := []struct {
		local, peer      string
		family           store.EndpointFamily
		forward, reverse string
		warnings         []string
	}{
		{
			"north", "south", "", "north to south [10.66.0.2/32 fd00:66::2/128] auto ipv4",
			"south to north [10.66.0.1/32 fd00:66::1/128] auto ipv4", nil,
		},
		{
			"phone", "south", "ipv6", "phone to south [10.66.0.2/32 fd00:66::2/128] auto ipv6 every 25",
			"south to phone [10.66.0.9/32 fd00:66::9/128] none", nil,
		},
		{
			"six", "phone", "ipv4", "six to phone [10.66.0.9/32 fd00:66::9/128] none",
			"phone to six [10.66.0.3/32 fd00:66::3/128] auto ipv6 every 25",
			[]string{"six has no ipv4_address, so its ipv6_address is taken."},
		},
		{
			"four", "north", "", "four to north [10.66.0.1/32] auto ipv4 every 25",
			"north to four [10.66.0.5/32] none", nil,
		},
		{
			"four", "only6", "", "four to only6 [] auto ipv4 every 25", "only6 to four [] none",
			[]string{"four and only6 have no address of the same IP version in the tunnel; give one of them a virtual_ip of the other's."},
		},
		{
			"phone", "tablet", "", "phone to tablet [10.66.0.4/32 fd00:66::4/128] none",
			"tablet to phone [10.66.0.9/32 fd00:66::9/128] none",
			[]string{"Neither phone nor tablet has a public address, so they cannot have a link. Link both with north, which has one, " +
				"or give one of them an ipv4_address or ipv6_address."},
		},
	}
	for _, tt := range tests {
		d, err := w.mesh().Draft(tt.local, tt.peer, tt.family)
		if err != nil {
			t.Fatal(err)
		}
		if got := ends(d.Link.Forward); got != tt.forward {
			t.Errorf("%s-%s: forward is %s, want %s", tt.local, tt.peer, got, tt.forward)
		}
		if got := ends(d.Link.Reverse); got != tt.reverse {
			t.Errorf("%s-%s: reverse is %s, want %s", tt.local, tt.peer, got, tt.reverse)
		}
		if !slices.Equal(d.Warnings, tt.warnings) {
			t.Errorf("%s-%s: the warnings are %q, want %q", tt.local, tt.peer, d.Warnings, tt.warnings)
		}
		if err := w.mesh().CheckLink(d.Link); err != nil {
			t.Errorf("%s-%s: the draft is refused: %v", tt.local, tt.peer, err)
		}
	}
}

func TestDraftWarnsOfWhatTheLinkMeets(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	w.add("north", public("192.0.2.1"))
	w.add("south", disabled, func(n *mesh.Node) { n.VirtualIP = noPrefix })
	w.link(t, "north", "south")
	d, err := w.mesh().Draft("south", "north", "")
	want := []string{
		"south has no address in the tunnel, so nothing can be sent to it; give it a virtual_ip.",
		"south is disabled: the link rests until it is enabled.",
		"south and north have an enabled link already; change that one, or disable it first.",
	}
	if err != nil || !slices.Equal(d.Warnings, want) {
		t.Errorf("the warnings are %q, %v; want %q", d.Warnings, err, want)
	}
}

func TestDraftRefusesNodesThatCannotBeAPair(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	w.add("north")
	_, err := w.mesh().Draft("north", "north", "")
	refusedAs(t, err, mesh.CodeInvalidPeerLink, "peer_node_id is north itself; choose another node of the mesh.")
	_, err = w.mesh().Draft("north", "gone", "")
	refusedAs(t, err, mesh.CodeInvalidPeerLink, "peer_node_id and local_node_id have to be nodes of this mesh; one of them is not.")
}

func TestCheckLinkNamesFieldAndRemedy(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	w.add("north", public("192.0.2.1"))
	w.add("south")
	w.add("west")
	d, err := w.mesh().Draft("north", "south", "")
	if err != nil {
		t.Fatal(err)
	}
	w.link(t, "west", "north")
	tests := []struct {
		change func(*store.Link)
		want   string
	}{
		{func(*store.Link) {}, ""},
		{
			func(l *store.Link) { l.Reverse.PeerNodeID = "west" },
			"forward and reverse have to be the two directions of one pair of nodes: local_node_id of the one is peer_node_id of the other.",
		},
		{
			func(l *store.Link) { l.Forward.PeerNodeID, l.Reverse.LocalNodeID = "north", "north" },
			"forward.peer_node_id is north itself; a node cannot have a link to itself.",
		},
		{
			func(l *store.Link) { l.Forward.PeerNodeID, l.Reverse.LocalNodeID = "gone", "gone" },
			`forward.peer_node_id "gone" is not a node of this mesh.`,
		},
		{
			func(l *store.Link) { l.Forward.LocalNodeID, l.Reverse.PeerNodeID = "gone", "gone" },
			`forward.local_node_id "gone" is not a node of this mesh.`,
		},
		{
			func(l *store.Link) { l.PresharedKey = "secret" },
			"preshared_key is not a key; give 32 bytes in base64, 44 characters, as wg genpsk prints them, or leave it out.",
		},
		{
			func(l *store.Link) { l.Reverse.PersistentKeepalive = 65536 },
			"reverse.persistent_keepalive 65536 is not a number of seconds from 0 to 65535; 25 is usual, 0 switches it off.",
		},
		{
			func(l *store.Link) { l.Forward.AllowedIPs = append(l.Forward.AllowedIPs, noPrefix) },
			"forward.allowed_ips has an entry that is not a network; write networks like 10.66.0.0/24.",
		},
		{
			func(l *store.Link) { l.Forward.EndpointMode = "" },
			`forward.endpoint_mode "" is unknown; give auto, manual or none.`,
		},
		{
			func(l *store.Link) { l.Forward.EndpointMode = store.EndpointManual },
			`forward.endpoint_manual_host "" is neither an address nor a host name; give one like 192.0.2.1 or vpn.example.org.`,
		},
		{
			func(l *store.Link) {
				l.Forward.EndpointMode, l.Forward.EndpointManualHost = store.EndpointManual, "a\nb"
			},
			`forward.endpoint_manual_host "a\nb" is neither an address nor a host name; give one like 192.0.2.1 or vpn.example.org.`,
		},
		{
			func(l *store.Link) {
				l.Forward.EndpointMode, l.Forward.EndpointManualHost = store.EndpointManual, "2001:db8::1"
			}, "",
		},
		{
			func(l *store.Link) { l.Forward.EndpointRefFamily = "ipv5" },
			`forward.endpoint_ref_family "ipv5" is unknown; give ipv4 or ipv6.`,
		},
		{
			func(l *store.Link) { l.Reverse.EndpointPortMode = "any" },
			`reverse.endpoint_port_mode "any" is unknown; give ref_peer_listen_port or manual.`,
		},
		{
			func(l *store.Link) {
				l.Forward.EndpointPortMode, l.Forward.EndpointManualPort = store.PortManual, 70000
			},
			"forward.endpoint_manual_port 70000 is not a port; give one from 1 to 65535.",
		},
		{
			func(l *store.Link) {
				l.Forward.PeerNodeID, l.Reverse.LocalNodeID = "west", "west"
			},
			"forward: north and west have an enabled link already (link_west_north); change that one, or disable it first.",
		},
		{
			func(l *store.Link) {
				l.Forward.PeerNodeID, l.Reverse.LocalNodeID, l.Enabled = "west", "west", false
			}, "",
		},
	}
	for _, tt := range tests {
		l := d.Link
		l.Forward.AllowedIPs = slices.Clone(l.Forward.AllowedIPs)
		tt.change(&l)
		err := w.mesh().CheckLink(l)
		var refusal *mesh.Error
		switch {
		case tt.want == "" && err == nil:
		case !errors.As(err, &refusal) || refusal.Code != mesh.CodeInvalidPeerLink || refusal.Message != tt.want:
			t.Errorf("the link is answered with %v, want %q", err, tt.want)
		case !slices.Contains([]string{"forward", "reverse", "preshared_key"}, strings.Split(refusal.Field(), ".")[0]):
			t.Errorf("%q is said to be about the field %q", tt.want, refusal.Field())
		}
	}
}
