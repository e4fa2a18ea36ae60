package mesh_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// networksOf returns the AllowedIPs of each peer in a node's text, as name and networks.
func networksOf(t *testing.T, w *world, id string) []string {
	t.Helper()
	names := map[string]string{}
	for _, n := range w.nodes {
		names[n.Key()] = n.Name
	}
	var all []string
	for _, p := range w.parse(t)[id].Peers {
		all = append(all, fmt.Sprint(names[p.PublicKey], " ", p.AllowedIPs))
	}
	return all
}

// crossroads is a node with two peers, and a third node with routes that is behind one of them.
func crossroads(t *testing.T) *world {
	t.Helper()
	w := newWorld("10.66.0.0/24")
	w.add("n")
	w.add("wide", public("192.0.2.1"))
	w.add("narrow", public("192.0.2.2"))
	w.add("far", routes("192.168.7.0/24"))
	w.link(t, "n", "narrow", carries("10.66.0.3/32 10.66.0.4/32", "10.66.0.1/32"))
	w.link(t, "n", "wide", carries("10.66.0.0/24", "10.66.0.1/32"))
	return w
}

func TestRoutesFollowTheNarrowestNetworkWithTheNodesAddress(t *testing.T) {
	w := crossroads(t)
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.0/24]", "narrow [10.66.0.3/32 10.66.0.4/32 192.168.7.0/24]"})
	w.links[0].Forward.AllowedIPs = prefixes("10.66.0.3/32")
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.0/24 192.168.7.0/24]", "narrow [10.66.0.3/32]"})
	w.links[1].Forward.AllowedIPs = prefixes("10.66.0.2/32")
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.2/32]", "narrow [10.66.0.3/32]"})
}

func TestRoutesOfAPeerAreReachedDirectly(t *testing.T) {
	w := crossroads(t)
	w.link(t, "far", "n", carries("10.66.0.1/32", "10.9.0.0/16"), func(l *store.Link) {
		l.Forward.EndpointMode = store.EndpointManual
		l.Forward.EndpointManualHost = "n.example"
	})
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.0/24]", "narrow [10.66.0.3/32 10.66.0.4/32]", "far [10.9.0.0/16 192.168.7.0/24]"})
}

func TestRoutesAreLeftOutWhereTheyMakeNoSense(t *testing.T) {
	for name, change := range map[string]func(*world){
		"behind the node itself":          func(w *world) { w.node("n").Routes = prefixes("192.168.7.0/24") },
		"of a disabled node":              func(w *world) { w.node("far").Enabled = false },
		"of an IP version it has not":     func(w *world) { w.node("far").Routes = prefixes("fd00:7::/64") },
		"that a link names otherwise":     func(w *world) { w.links[1].Forward.AllowedIPs = prefixes("10.66.0.0/24 192.168.7.0/24") },
		"of a node without an address":    func(w *world) { w.node("far").VirtualIP = noPrefix },
		"of a node that nothing leads to": func(w *world) { w.node("far").VirtualIP = prefix("10.70.0.1/32") },
	} {
		w := crossroads(t)
		change(w)
		if got := networksOf(t, w, "n")[1]; strings.Contains(got, "192.168.7.0/24") || strings.Contains(got, "fd00:7::/64") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestOfTwoNodesWithTheSameRouteTheOlderOneHasIt(t *testing.T) {
	w := crossroads(t)
	w.add("younger", routes("192.168.7.0/24"))
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.0/24]", "narrow [10.66.0.3/32 10.66.0.4/32 192.168.7.0/24]"})
}

func TestOfTwoLinksOfAPairTheOlderOneCounts(t *testing.T) {
	w := crossroads(t)
	w.link(t, "wide", "n", carries("10.66.0.1/32", "10.0.0.0/8"))
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.66.0.0/24]", "narrow [10.66.0.3/32 10.66.0.4/32 192.168.7.0/24]"})
	w.links[1].Enabled = false
	sameLines(t, "peers", networksOf(t, w, "n"), []string{"wide [10.0.0.0/8]", "narrow [10.66.0.3/32 10.66.0.4/32 192.168.7.0/24]"})
}

func TestAnExitNodeGetsEverythingElse(t *testing.T) {
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.add("exit", public("192.0.2.1"), routes("0.0.0.0/0", "::/0"), func(n *mesh.Node) { n.Masquerade = true })
	w.add("leaf")
	w.links = w.quick(t, mesh.Quick{Mode: mesh.HubSpoke}).Links()
	sameLines(t, "peers", networksOf(t, w, "leaf"), []string{"exit [10.66.0.0/24 fd00:66::/64 0.0.0.0/0 ::/0]"})
	hooks := managed(t, w, "exit")["PostUp"]
	if !slices.ContainsFunc(hooks, func(h string) bool {
		return strings.Contains(h, "ip saddr { 10.66.0.0/24 } ip daddr { 0.0.0.0/0 } masquerade")
	}) {
		t.Errorf("the exit does not masquerade: %q", hooks)
	}
}

func TestAroundHasAllAddressesButThoseLeftOut(t *testing.T) {
	for _, tt := range []struct{ network, out, want string }{
		{"10.66.0.0/24", "10.67.0.1 fd00::1", "10.66.0.0/24"},
		{"10.66.0.0/30", "10.66.0.1", "10.66.0.0/32 10.66.0.2/31"},
		{"10.66.0.0/30", "10.66.0.1 10.66.0.2", "10.66.0.0/32 10.66.0.3/32"},
		{"10.66.0.1/32", "::ffff:10.66.0.1", ""},
		{"fd00::/126", "fd00::3", "fd00::/127 fd00::2/128"},
	} {
		var out []netip.Addr
		for s := range strings.FieldsSeq(tt.out) {
			out = append(out, addr(s))
		}
		if got := mesh.Around(prefix(tt.network), out); !slices.Equal(got, prefixes(tt.want)) {
			t.Errorf("%s without %s is %v, want %s", tt.network, tt.out, got, tt.want)
		}
	}
	for _, network := range []string{"0.0.0.0/0", "::/0"} {
		a := addr("203.0.113.9")
		if network == "::/0" {
			a = addr("2001:db8::9")
		}
		all := mesh.Around(prefix(network), []netip.Addr{a})
		if len(all) != a.BitLen() || slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) }) {
			t.Errorf("%s without %s is %d networks, one of them with it", network, a, len(all))
		}
	}
}

func TestAFullTunnelAroundTheApplianceIsValid(t *testing.T) {
	w := trio(t)
	w.links[0].Forward.AllowedIPs = mesh.Around(prefix("0.0.0.0/0"), append(near(store.Node{}).Addresses, addr("192.0.2.1")))
	if got := findings(w); got != nil {
		t.Errorf("the findings are %q", got)
	}
}
