package mesh_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// near is an appliance at an address that is in no network of the tests.
func near(store.Node) wgconf.Reach {
	return wgconf.Reach{Host: "203.0.113.9", Addresses: []netip.Addr{addr("203.0.113.9")}}
}

// findings returns those of the world, each in a line.
func findings(w *world) []string {
	var lines []string
	for _, f := range w.mesh().Validate(mesh.Surroundings{Reach: near, Addresses: []netip.Addr{addr("198.51.100.1")}}).Findings {
		lines = append(lines, fmt.Sprintf("%s %s %s%s: %s", f.Severity, f.Code, f.NodeID, f.LinkID, f.Message))
	}
	return lines
}

// trio is a valid mesh: a hub, a leaf and a second one with a network behind it.
func trio(tb testing.TB) *world {
	tb.Helper()
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.add("hub", public("192.0.2.1"))
	w.add("leaf")
	w.add("lan", routes("192.168.7.0/24"))
	w.link(tb, "leaf", "hub", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.2/32 fd00:66::2/128"))
	w.link(tb, "lan", "hub", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.3/32 fd00:66::3/128"))
	return w
}

func TestAGoodMeshHasNoFindings(t *testing.T) {
	if got := findings(trio(t)); got != nil {
		t.Errorf("the findings are %q", got)
	}
}

func TestTheApplianceMayRunOnANodeOfTheMesh(t *testing.T) {
	w := trio(t)
	hub := w.node("hub")
	for _, tt := range []struct {
		own  string
		want int
	}{{hub.VirtualIP.Addr().String(), 0}, {hub.VirtualIP6.Addr().String(), 0}, {"10.66.0.200", 1}, {"fd00:66::200", 1}} {
		around := mesh.Surroundings{Reach: near, Addresses: []netip.Addr{addr("198.51.100.1"), addr(tt.own)}}
		if got := w.mesh().Validate(around).Findings; len(got) != tt.want {
			t.Errorf("with the appliance at %s: %+v", tt.own, got)
		}
	}
}

func TestAnExitForPhonesHasNoFindings(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	phone := func(n *mesh.Node) { n.Type = store.NodeStatic }
	w.add("exit", public("192.0.2.1"), routes("0.0.0.0/0"))
	w.add("router", public("192.0.2.2"), phone)
	w.add("a", phone)
	w.add("b", phone)
	w.links = w.quick(t, mesh.Quick{Mode: mesh.FreeMesh}).Links()
	if got := findings(w); got != nil {
		t.Errorf("the findings are %q", got)
	}
}

func TestValidateNamesWhatIsWrongAndTheRemedy(t *testing.T) {
	forwardTo := func(entry string) store.PortForward {
		return store.PortForward{ID: "pf_1", Enabled: true, FromNodeID: "hub", FromPort: 80, ToNodeID: entry, ToPort: 80, Protocol: "tcp", ToPlatform: "linux"}
	}
	noWay := func(to string) string {
		return "warning NO_WAY hub: hub passes packets on for others, and none of its links carries the virtual_ip of " + to + ". " +
			"Make the quick mesh again, or add the address to allowed_ips of the link that leads there."
	}
	tests := []struct {
		name   string
		change func(*world)
		want   []string
	}{
		{
			"two links of a pair", func(w *world) { w.link(t, "hub", "leaf") },
			[]string{"error DUPLICATE_LINK hublink_hub_leaf: hub and leaf have two enabled links, link_leaf_hub and link_hub_leaf; disable or delete one of them."},
		},
		{
			"a deleted node", func(w *world) { w.nodes = slices.Delete(w.nodes, 1, 2) },
			[]string{"error BROKEN_LINK hublink_leaf_hub: The link link_leaf_hub of hub leads to a node that is not in the mesh any more; delete it."},
		},
		{
			"a disabled node", func(w *world) { w.node("leaf").Enabled = false },
			[]string{"warning LINK_RESTS leaf: leaf is disabled, so its links rest: with hub. Enable it, or delete the links."},
		},
		{
			"a link with itself", func(w *world) {
				w.links[0].Forward.PeerNodeID, w.links[0].Reverse.LocalNodeID = "leaf", "leaf"
			},
			[]string{
				"error BROKEN_LINK leaflink_leaf_hub: The link link_leaf_hub of leaf is one of a node with itself; delete it.",
				"warning NO_LINKS leaf: leaf has no link in use, so it reaches no other node; link it with another node, or make a quick mesh.",
			},
		},
		{
			"directions of two pairs", func(w *world) { w.links[0].Reverse.LocalNodeID = "lan" },
			[]string{
				"error BROKEN_LINK leaflink_leaf_hub: The link of leaf and hub has directions of different pairs of nodes; delete it, and make it again.",
				"warning NO_LINKS leaf: leaf has no link in use, so it reaches no other node; link it with another node, or make a quick mesh.",
			},
		},
		{
			"no endpoint", func(w *world) { w.node("hub").IPv4Address = "" },
			[]string{
				"error UNREACHABLE leaflink_leaf_hub: Neither leaf nor hub has a public address, so they cannot have a link. " +
					"Give one of them an ipv4_address or ipv6_address, or link both with a node that has one.",
				"error UNREACHABLE lanlink_lan_hub: Neither lan nor hub has a public address, so they cannot have a link. " +
					"Give one of them an ipv4_address or ipv6_address, or link both with a node that has one.",
			},
		},
		{
			"an endpoint of another IP version", func(w *world) { w.links[0].Forward.EndpointRefFamily = store.EndpointIPv6 },
			[]string{
				"error UNREACHABLE leaflink_leaf_hub: The link of leaf and hub names no endpoint, although hub has the public address 192.0.2.1; " +
					"set endpoint_mode of the link to auto, and endpoint_ref_family to the IP version of that address.",
			},
		},
		{
			"a node that came later", func(w *world) {
				w.add("router", public("192.0.2.2"), func(n *mesh.Node) { n.VirtualIP6 = noPrefix })
				w.add("far", func(n *mesh.Node) { n.VirtualIP6 = noPrefix })
				w.link(t, "router", "hub", carries("10.66.0.0/24", "10.66.0.4/32"))
				w.link(t, "far", "router", carries("10.66.0.0/24", "10.66.0.5/32"))
			},
			[]string{
				noWay("far"),
				"warning ALLOWED_IPS_OVERLAP router: router has peers whose allowed_ips are a part of another peer's, and go to the narrower one: " +
					"10.66.0.5/32 of far, in 10.66.0.0/24 of hub. Take them out of one of the links if that is not meant.",
			},
		},
		{
			"an address twice", func(w *world) { w.node("lan").VirtualIP6 = prefix("fd00:66::2/128") },
			[]string{"error ADDRESS_TWICE lan: virtual_ip fd00:66::2 belongs to leaf and to lan; give one of them another one."},
		},
		{
			"an address in routes", func(w *world) { w.node("lan").Routes = prefixes("10.66.0.0/30") },
			[]string{
				"error ADDRESS_IN_ROUTES lan: routes: 10.66.0.0/30 behind lan has the virtual_ip of hub, leaf, lan; leave the mesh's own addresses out of routes.",
				"warning ALLOWED_IPS_OVERLAP hub: hub has peers whose allowed_ips are a part of another peer's, and go to the narrower one: " +
					"10.66.0.2/32 of leaf, in 10.66.0.0/30 of lan. Take them out of one of the links if that is not meant.",
			},
		},
		{
			"an address outside", func(w *world) { w.node("leaf").VirtualIP = prefix("10.67.0.2/32") },
			[]string{"warning ADDRESS_OUTSIDE leaf: leaf: virtual_ip 10.67.0.2 is outside of the mesh's subnet 10.66.0.0/24: " +
				"links that carry the subnet do not reach it by themselves.", noWay("leaf")},
		},
		{
			"a broadcast address", func(w *world) { w.node("leaf").VirtualIP = prefix("10.66.0.255/32") },
			[]string{"error INVALID_VIRTUAL_IP leaf: leaf: virtual_ip 10.66.0.255 is the broadcast address of 10.66.0.0/24; choose another one.", noWay("leaf")},
		},
		{
			"no address", func(w *world) { w.node("leaf").VirtualIP, w.node("leaf").VirtualIP6 = noPrefix, noPrefix },
			[]string{"error NO_ADDRESS leaf: leaf has no address in the tunnel; give it a virtual_ip."},
		},
		{
			"the same network behind two nodes", func(w *world) { w.node("leaf").Routes = prefixes("192.168.7.0/24") },
			[]string{"error ROUTES_OVERLAP lan: routes: 192.168.7.0/24 is behind leaf and behind lan; name it at one of " +
				"them, or give one of the networks other addresses."},
		},
		{
			"a network in another one", func(w *world) { w.node("leaf").Routes = prefixes("192.168.0.0/16") },
			[]string{
				"warning ROUTES_OVERLAP lan: routes: 192.168.7.0/24 behind lan is a part of 192.168.0.0/16 behind leaf; what is in both goes to lan.",
				"warning ALLOWED_IPS_OVERLAP hub: hub has peers whose allowed_ips are a part of another peer's, and go to the narrower one: " +
					"192.168.7.0/24 of lan, in 192.168.0.0/16 of leaf. Take them out of one of the links if that is not meant.",
			},
		},
		{
			"equal AllowedIPs", func(w *world) { w.links[1].Reverse.AllowedIPs = prefixes("10.66.0.2/32") },
			[]string{
				"error ALLOWED_IPS_TWICE hub: hub has two peers with the same allowed_ips, and only one of them can get the packets: " +
					"10.66.0.2/32 (leaf and lan). Give each network to one link.",
				noWay("lan"),
			},
		},
		{
			"no AllowedIPs", func(w *world) { w.links[0].Reverse.AllowedIPs = nil },
			[]string{"warning NO_ALLOWED_IPS hublink_leaf_hub: hub sends nothing to leaf; give allowed_ips of the link, such as the virtual_ip of leaf.", noWay("leaf")},
		},
		{
			"the appliance in the subnet", func(w *world) {
				w.config.VirtualSubnet = prefix("198.51.0.0/16")
				for i := range w.nodes {
					w.nodes[i].VirtualIP = noPrefix
				}
			},
			[]string{
				"error SUBNET_TAKEN : virtual_subnet 198.51.0.0/16 has the address of the appliance, 198.51.100.1: nodes would " +
					"look for it in the tunnel. Choose another virtual_subnet.",
			},
		},
		{
			"a public address in the subnet", func(w *world) { w.node("hub").IPv4Address = "10.66.0.200" },
			[]string{
				"error SUBNET_TAKEN hub: virtual_subnet 10.66.0.0/24 has the public address of hub, 10.66.0.200: the others would look for it in the tunnel. " +
					"Choose another virtual_subnet, or correct the address.",
				"warning ENDPOINT_IN_TUNNEL leaf: leaf: The ",
				"warning ENDPOINT_IN_TUNNEL lan: lan: The ",
			},
		},
		{
			"one public address and port", func(w *world) { w.node("leaf").IPv4Address = "192.0.2.1" },
			[]string{
				"error PUBLIC_ADDRESS_TWICE leaf: hub and leaf are both reached at 192.0.2.1:51820; give one of them another listen_port, " +
					"and forward that port to it if both are behind one router.",
			},
		},
		{"one public address, two ports", func(w *world) { w.node("leaf").IPv4Address, w.node("leaf").ListenPort = "192.0.2.1", 51821 }, nil},
		{
			"a full tunnel", func(w *world) { w.links[0].Forward.AllowedIPs = prefixes("0.0.0.0/0 ::/0") },
			[]string{"error CUTS_OFF leaf: leaf: The "},
		},
		{
			"a full tunnel of a phone", func(w *world) {
				w.links[0].Forward.AllowedIPs = prefixes("0.0.0.0/0 ::/0")
				w.node("leaf").Type = store.NodeStatic
			}, nil,
		},
		{
			"no private key", func(w *world) { w.node("leaf").PrivateKey, w.node("leaf").PublicKey = "", "" },
			[]string{"error NO_KEY leaf: leaf has no private_key; make keys for it, or set key_holder to node."},
		},
		{
			"a key that the node has not told", func(w *world) {
				n := w.node("leaf")
				n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtNode, "", ""
			},
			[]string{"warning NO_KEY leaf: leaf has not told its public key yet: its links rest until its agent is bound."},
		},
		{
			"no key", func(w *world) { w.node("leaf").PrivateKey = "secret" },
			[]string{"error INVALID_VALUE leaf: leaf: private_key is not a key; give 32 bytes in base64, 44 characters, as wg genkey prints them."},
		},
		{
			"keys of two pairs", func(w *world) { w.node("leaf").PrivateKey = keysOf("other").Private },
			[]string{"error KEY_MISMATCH leaf: leaf: public_key does not belong to private_key; leave public_key out, and it is derived."},
		},
		{
			"the same keys", func(w *world) {
				w.node("lan").PrivateKey, w.node("lan").PublicKey = w.node("leaf").PrivateKey, w.node("leaf").PublicKey
			},
			[]string{
				"error KEY_TWICE lan: leaf and lan have the same public_key, so others cannot tell them apart; make new keys for one of them.",
				"error INVALID_TEXT hub: The tunnel config of hub: line ",
			},
		},
		{
			"masquerade without routes", func(w *world) { w.node("leaf").Masquerade = true },
			[]string{"warning MASQUERADE_WITHOUT_ROUTES leaf: leaf: masquerade does nothing without routes; give the " +
				"networks behind the node in routes, or switch it off."},
		},
		{
			"a hook of two lines", func(w *world) { w.node("leaf").PostUp = []string{"true\n[Peer]"} },
			[]string{"error INVALID_VALUE leaf: leaf: post_up: has a control character, such as a line break; remove it."},
		},
		{
			"a hook that is cut", func(w *world) { w.node("leaf").PreDown = []string{"echo #1", ""} },
			[]string{
				"error INVALID_VALUE leaf: leaf: pre_down: has a #, which begins a comment wherever it stands; write it without.",
				"error INVALID_VALUE leaf: leaf: pre_down: is empty; give a value.",
			},
		},
		{
			"values that no config has", func(w *world) {
				n := w.node("leaf")
				n.MTU, n.DNS, n.ListenPort, n.IPv4Address, n.Routes = 10, "9.9.9", 70000, "a:b", []netip.Prefix{netip.PrefixFrom(addr("10.9.0.1"), 24)}
			},
			[]string{
				`error INVALID_VALUE leaf: leaf: ipv4_address: "a:b" is neither such an address nor a host name; ` +
					`give one like 192.0.2.1 or vpn.example.org, without a port.`,
				`error INVALID_VALUE leaf: leaf: listen_port: `, `error INVALID_VALUE leaf: leaf: mtu: `, `error INVALID_VALUE leaf: leaf: dns: `,
				`error INVALID_VALUE leaf: leaf: routes: 10.9.0.1/24 is not a network; write it like 192.168.1.0/24.`,
			},
		},
		{
			"routes that lead nowhere", func(w *world) {
				w.node("leaf").Routes = []netip.Prefix{prefix("127.0.0.0/8"), prefix("224.0.0.0/4"), prefix("fe80::/10")}
			},
			[]string{
				`error INVALID_VALUE leaf: leaf: routes: 127.0.0.0/8 never leaves a machine or its own network; `,
				`error INVALID_VALUE leaf: leaf: routes: 224.0.0.0/4 never leaves a machine or its own network; `,
				`error INVALID_VALUE leaf: leaf: routes: fe80::/10 never leaves a machine or its own network; `,
			},
		},
		{
			"IPv6 in an IPv4 field", func(w *world) { w.node("hub").IPv4Address = "2001:db8::1" },
			[]string{`error INVALID_VALUE hub: hub: ipv4_address: "2001:db8::1" is neither such an address nor a host name; ` +
				`give one like 192.0.2.1 or vpn.example.org, without a port.`},
		},
		{
			"a small MTU with IPv6", func(w *world) { w.node("leaf").MTU = 1000 },
			[]string{"error INVALID_TEXT leaf: The tunnel config of leaf: line "},
		},
		{
			"a wrong endpoint", func(w *world) { w.links[0].Forward.EndpointMode = "any" },
			[]string{
				"error UNREACHABLE leaflink_leaf_hub: The link of leaf and hub names no endpoint",
				`error INVALID_VALUE leaflink_leaf_hub: The link of leaf and hub, leaf to hub: endpoint_mode "any" is unknown; give auto, manual or none.`,
			},
		},
		{
			"no preshared key", func(w *world) { w.links[0].PresharedKey = "x" },
			[]string{"error INVALID_VALUE leaflink_leaf_hub: The link of leaf and hub: preshared_key is not a key; make a new one, or leave it out."},
		},
		{
			"settings of the mesh", func(w *world) {
				w.config.DefaultDNS, w.config.VirtualSubnet6 = "9.9.9", netip.PrefixFrom(addr("fd00:66::1"), 64)
			},
			[]string{
				"error INVALID_VALUE : default_dns: ", "error INVALID_SUBNET : virtual_subnet6 fd00:66::1/64 is an address in a " +
					"network; write the network, fd00:66::/64.",
				"error INVALID_TEXT hub: ", "error INVALID_TEXT leaf: ", "error INVALID_TEXT lan: ",
			},
		},
		{
			"a port forward at a node that is written by hand", func(w *world) {
				w.node("hub").ConfigSource = store.SourceText
				w.forwards = append(w.forwards, store.PortForward{
					ID: "pf_1", FromNodeID: "leaf", FromPort: 80, ToNodeID: "hub", ToPort: 80, ToPlatform: "linux", Protocol: store.ForwardTCP, Enabled: true,
				})
			},
			[]string{
				"warning TEXT_LACKS_PEER hub", "warning TEXT_LACKS_PEER hub",
				"warning BAD_PORT_FORWARD hub: The port forward of port 80 (tcp): the tunnel config of hub is written by hand, ",
			},
		},
		{
			"a port forward to itself", func(w *world) {
				w.forwards = append(w.forwards, forwardTo("hub"))
			},
			[]string{"error BAD_PORT_FORWARD hub: The port forward of port 80 (tcp): from_node_id and to_node_id are both hub; " +
				"the service and the entry have to be two nodes."},
		},
		{
			"a port forward without an entry", func(w *world) {
				w.forwards = append(w.forwards, forwardTo("gone"))
			},
			[]string{`error BAD_PORT_FORWARD : The port forward of port 80 (tcp): to_node_id "gone" is not a node of this mesh; delete the port forward.`},
		},
		{
			"a port twice", func(w *world) {
				f := forwardTo("hub")
				f.FromNodeID = "leaf"
				w.forwards = append(w.forwards, f)
				f.ID, f.Protocol, f.FromNodeID = "pf_2", "all", "lan"
				w.forwards = append(w.forwards, f)
				f.ID, f.Protocol, f.ToPort = "pf_3", "udp", 81
				w.forwards = append(w.forwards, f)
			},
			[]string{"error BAD_PORT_FORWARD hub: The port forward of port 80: to_port 80 (tcp) of hub is forwarded already; choose another port."},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := trio(t)
			tt.change(w)
			got := findings(w)
			ok := len(got) == len(tt.want)
			for i := range min(len(got), len(tt.want)) {
				// The words of the parser have tests of their own.
				ok = ok && (got[i] == tt.want[i] || strings.HasPrefix(got[i], tt.want[i]) && strings.HasSuffix(got[i], ".") && !strings.HasSuffix(tt.want[i], "."))
			}
			if !ok {
				t.Errorf("the findings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestValidateFindsWhatATextLacks(t *testing.T) {
	w := trio(t)
	w.config.TunnelProtocol, w.config.AWG = protocol.TunnelAmneziaWG, store.AWGMesh{S1: "20", H1: "100-200"}
	byHand := func(text string) {
		t.Helper()
		n := w.node("leaf")
		n.ConfigSource = store.SourceText
		var err error
		if n.Text, err = mesh.ReadText(w.config, "leaf", text); err != nil {
			t.Fatal(err)
		}
	}
	const iface = "[Interface]\nAddress = 10.66.0.2/32\nPrivateKey = "
	own := iface + keysOf("leaf").Private + "\ns1 = 20\nH1 = 100 - 200\nS2 = 0\n"
	byHand(own + "[Peer]\nPublicKey = " + keysOf("hub").Public + "\n")
	if got := findings(w); got != nil {
		t.Errorf("a text that fits has the findings %q", got)
	}
	byHand(own)
	sameLines(t, "findings", findings(w), []string{
		"warning TEXT_LACKS_PEER leaflink_leaf_hub: The tunnel config of leaf, which is written by " +
			"hand, has no peer with the PublicKey of hub, " + keysOf("hub").Public +
			"; add it, or let the mesh make the config (config_source mesh).",
	})
	byHand(iface + keysOf("leaf").Private + "\nH1 = 101-200\nH2 = 2\n[Peer]\nPublicKey = " + keysOf("hub").Public + "\n")
	sameLines(t, "findings", findings(w), []string{
		"error AWG_DIFFERS leaf: The tunnel config of leaf, which is written by hand, does not have the mesh's " +
			"S1, H1, and all nodes need the same; correct the config.",
	})
	w.node("leaf").Text, w.node("leaf").PublicKey = nil, ""
	sameLines(t, "findings", findings(w), []string{
		"warning NO_KEY leaf: The public key of leaf is not known: its links rest. Give its public_key, or a tunnel config with a PrivateKey.",
		"warning TEXT_LACKS_PEER leaflink_leaf_hub: leaf has no tunnel config; write one, or let the mesh make it (config_source mesh).",
	})
}

func TestCheckPortForward(t *testing.T) {
	w := trio(t)
	w.add("by hand", func(n *mesh.Node) { n.ConfigSource = store.SourceText })
	w.add("six", func(n *mesh.Node) { n.VirtualIP = noPrefix })
	w.node("lan").VirtualIP6 = noPrefix
	good := store.PortForward{FromNodeID: "leaf", FromPort: 80, ToNodeID: "hub", ToPort: 8080, Protocol: store.ForwardAll, ToPlatform: "linux"}
	if err := w.mesh().CheckPortForward(good); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
	for want, change := range map[string]func(*store.PortForward){
		`to_node_id "gone" is not a node of this mesh.`:                                         func(f *store.PortForward) { f.ToNodeID = "gone" },
		`from_node_id "gone" is not a node of this mesh.`:                                       func(f *store.PortForward) { f.FromNodeID = "gone" },
		"from_port 0 is not a port; give one from 1 to 65535.":                                  func(f *store.PortForward) { f.FromPort = 0 },
		"to_port 65536 is not a port; give one from 1 to 65535.":                                func(f *store.PortForward) { f.ToPort = 65536 },
		`protocol "sctp" is unknown; give tcp, udp or all.`:                                     func(f *store.PortForward) { f.Protocol = "sctp" },
		`to_platform "plan9" is unknown; give linux or darwin.`:                                 func(f *store.PortForward) { f.ToPlatform = "plan9" },
		"to_port 51820 is the listen_port of hub, which its tunnel needs; choose another port.": func(f *store.PortForward) { f.ToPort = 51820 },
		"six and lan have no address of the same IP version in the tunnel; give them one.": func(f *store.PortForward) {
			f.FromNodeID, f.ToNodeID = "six", "lan"
		},
		"the tunnel config of by hand is written by hand, so no hooks are added to it; let the mesh make " +
			"it (config_source mesh), or choose another entry.": func(f *store.PortForward) {
			f.ToNodeID = "by hand"
		},
	} {
		f := good
		change(&f)
		refusedAs(t, w.mesh().CheckPortForward(f), mesh.CodeInvalidPortForward, want)
	}
}

func TestFindingsShowNoSecret(t *testing.T) {
	w := trio(t)
	w.config.TunnelProtocol = protocol.TunnelAmneziaWG
	const secret = "2EST6W9WOcmeMyZklTII+xm4S99muecEe1w2Ea0U51"
	w.node("leaf").PrivateKey, w.links[0].PresharedKey = secret, secret
	w.config.AWG.HeaderProtectionKey, w.config.AWGVersion = secret, "3.1"
	got := strings.Join(findings(w), "\n")
	if strings.Contains(got, secret[:20]) || !strings.Contains(got, "awg_options.header_protection_key: ") {
		t.Errorf("the findings are\n%s", got)
	}
}
