package wgconf_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/tunnel/wgconf"
)

func reach(host string, addrs ...string) wgconf.Reach {
	r := wgconf.Reach{Host: host}
	for _, s := range addrs {
		r.Addresses = append(r.Addresses, netip.MustParseAddr(s))
	}
	return r
}

func warning(all []wgconf.Warning, code string) (wgconf.Warning, bool) {
	i := slices.IndexFunc(all, func(w wgconf.Warning) bool { return w.Code == code })
	if i < 0 {
		return wgconf.Warning{}, false
	}
	return all[i], true
}

func TestConfigThatTakesTheWayToTheApplianceCutsOff(t *testing.T) {
	const elsewhere = "AllowedIPs = 10.7.0.0/24"
	tests := []struct {
		name  string
		text  string
		reach wgconf.Reach
		line  int // of the warning; 0: there is none
	}{
		{"its network", text("", "AllowedIPs = 198.51.100.0/24"), reach("198.51.100.7"), 6},
		{"its address", text("", elsewhere, "AllowedIPs = 198.51.100.7"), reach("198.51.100.7"), 9},
		{"its name's address", text("", "AllowedIPs = 198.51.100.0/24"), reach("ctl.example.org", "198.51.100.7"), 6},
		{"one of its addresses", text("", "AllowedIPs = 2001:db8::/32"), reach("ctl.example.org", "198.51.100.7", "2001:db8::7"), 6},
		{"its mapped address", text("", "AllowedIPs = 198.51.100.0/24"), reach("ctl.example.org", "::ffff:198.51.100.7"), 6},
		{"its address in brackets", text("", "AllowedIPs = ::/0"), reach("[2001:db8::7]"), 6},
		{"everything", text("", "AllowedIPs = 0.0.0.0/0, ::/0"), reach("198.51.100.7"), 6},
		{"everything, in its own table", text("Table = 7", "AllowedIPs = 0.0.0.0/0"), reach("198.51.100.7"), 6},
		{"everything, without routes", text("Table = off", "AllowedIPs = 0.0.0.0/0"), reach("198.51.100.7"), 0},
		{"the tunnel's own network", text("Table = off\nAddress = 198.51.100.200/24", elsewhere), reach("198.51.100.7"), 4},
		{"its address as the node's own", text("Address = 198.51.100.7", elsewhere), reach("198.51.100.7"), 3},
		{"other networks", text("Address = 10.7.0.2/24", elsewhere), reach("198.51.100.7"), 0},
		{"the other family", text("", "AllowedIPs = ::/0"), reach("198.51.100.7"), 0},
		{"loopback", text("", "AllowedIPs = 0.0.0.0/0, ::/0, 127.0.0.0/8"), reach("127.0.0.1"), 0},
		{"localhost", text("", "AllowedIPs = 0.0.0.0/0, ::/0"), reach("localhost", "127.0.0.1", "::1"), 0},
		{"localhost, not resolved", text("", "AllowedIPs = 0.0.0.0/0"), reach("LOCALHOST."), 0},
		{"nothing known", text("", "AllowedIPs = 0.0.0.0/0"), reach(""), 0},
		{"unknown address, default route", text("", "AllowedIPs = 0.0.0.0/0"), reach("ctl.example.org"), 6},
		{"unknown address, default route of IPv6", text("", elsewhere+"\nAllowedIPs = ::/0"), reach("ctl.example.org"), 6},
		{"unknown address, halves", text("", "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1"), reach("ctl.example.org"), 6},
		{"unknown address, everything but", text("", "AllowedIPs = 0.0.0.0/5, 8.0.0.0/7, 11.0.0.0/8"), reach("ctl.example.org"), 6},
		{"unknown address, private networks", text("", "AllowedIPs = 10.0.0.0/8, 192.168.0.0/16, fc00::/7"), reach("ctl.example.org"), 0},
		{"unknown address, no routes", text("Table = off", "AllowedIPs = 0.0.0.0/0"), reach("ctl.example.org"), 0},
		// The address comes from the appliance's own /etc/hosts; the node's resolver gives another
		// one.
		{"name that is loopback here", text("", "AllowedIPs = 0.0.0.0/0"), reach("ctl.example.org", "127.0.1.1"), 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, ok := warning(mustParse(t, tt.text, "wg").Warnings(tt.reach), wgconf.CodeRouteToAppliance)
			if ok != (tt.line > 0) || w.Line != tt.line || w.CutsOff != ok {
				t.Errorf("want a warning on line %d (0: none), got %+v", tt.line, w)
			}
		})
	}
}

func TestDNSThroughTheTunnelCutsOffFromANamedAppliance(t *testing.T) {
	const peer = "AllowedIPs = 10.7.0.0/24"
	named := reach("ctl.example.org", "198.51.100.7")
	tests := []struct {
		name  string
		text  string
		reach wgconf.Reach
		want  bool
	}{
		{"inside", text("DNS = 10.7.0.1", peer), named, true},
		{"inside, address unknown", text("DNS = 10.7.0.1, corp.example", peer), reach("ctl.example.org"), true},
		{"all inside", text("DNS = 10.7.0.1, 10.7.0.3", peer), named, true},
		{"in the tunnel's own network", text("Table = off\nAddress = 10.7.0.2/24\nDNS = 10.7.0.1", peer), named, true},
		{"one outside", text("DNS = 10.7.0.1, 9.9.9.9", peer), named, false},
		{"outside", text("DNS = 9.9.9.9", peer), named, false},
		{"inside, without routes", text("Table = off\nDNS = 10.7.0.1", peer), named, false},
		{"on the node itself", text("Address = 10.7.0.2/24\nDNS = 10.7.0.2", peer), named, false},
		{"a search domain only", text("DNS = corp.example", peer), named, false},
		{"none", text("", peer), named, false},
		{"appliance by address", text("DNS = 10.7.0.1", peer), reach("198.51.100.7"), false},
		{"appliance by localhost", text("DNS = 10.7.0.1", peer), reach("localhost"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, ok := warning(mustParse(t, tt.text, "wg").Warnings(tt.reach), wgconf.CodeDNSOfAppliance)
			if ok != tt.want || w.CutsOff != ok {
				t.Errorf("want a warning: %v, got %+v", tt.want, w)
			}
		})
	}
}

func TestOtherWarningsDoNotCutOff(t *testing.T) {
	const far = "AllowedIPs = 10.7.0.0/24"
	tests := []struct {
		name string
		text string
		code string
		line int // 0: there is none
	}{
		{"endpoint inside", text("", "Endpoint = 192.0.2.5:1\nAllowedIPs = 192.0.2.0/24"), wgconf.CodeEndpointInTunnel, 4},
		{"endpoint inside another peer's", text("", far, "Endpoint = [2001:db8::5]:1\nAllowedIPs = 10.8.0.0/24, 2001:db8::/64"), wgconf.CodeEndpointInTunnel, 7},
		{"endpoint inside halves", text("", "Endpoint = 192.0.2.5:1\nAllowedIPs = 0.0.0.0/1, 128.0.0.0/1"), wgconf.CodeEndpointInTunnel, 4},
		{"endpoint inside the default route", text("", "Endpoint = 192.0.2.5:1\nAllowedIPs = 0.0.0.0/0"), wgconf.CodeEndpointInTunnel, 0},
		{"endpoint inside, in its own table", text("Table = 7", "Endpoint = 192.0.2.5:1\nAllowedIPs = 192.0.2.0/24"), wgconf.CodeEndpointInTunnel, 0},
		{"endpoint by name", text("", "Endpoint = example.org:1\nAllowedIPs = 192.0.2.0/24"), wgconf.CodeEndpointInTunnel, 0},
		{"endpoint outside", text("", "Endpoint = 192.0.2.5:1\n"+far), wgconf.CodeEndpointInTunnel, 0},
		{"same network at two peers", text("", far, "AllowedIPs = 10.7.0.9/24"), wgconf.CodeDuplicateAllowedIPs, 9},
		{"narrower network at another peer", text("", far, "AllowedIPs = 10.7.0.9"), wgconf.CodeDuplicateAllowedIPs, 0},
		{"same network twice at one", text("", "AllowedIPs = 10.7.0.0/24, 10.7.0.0/24"), wgconf.CodeDuplicateAllowedIPs, 0},
		{"no AllowedIPs", text("", far, "Endpoint = example.org:1"), wgconf.CodeNoAllowedIPs, 7},
		{"AllowedIPs", text("", far), wgconf.CodeNoAllowedIPs, 0},
		{"hooks", text("MTU = 1400\nPreDown = true\nPostUp = true"), wgconf.CodeHooks, 4},
		{"no hooks", text(""), wgconf.CodeHooks, 0},
		{"save", text("SaveConfig = true"), wgconf.CodeSaveConfig, 3},
		{"do not save", text("SaveConfig = false"), wgconf.CodeSaveConfig, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, ok := warning(mustParse(t, tt.text, "wg").Warnings(reach("198.51.100.7")), tt.code)
			if ok != (tt.line > 0) || w.Line != tt.line || w.CutsOff {
				t.Errorf("want a warning on line %d (0: none), got %+v", tt.line, w)
			}
		})
	}
}

func TestWarningsAreWrittenForPeople(t *testing.T) {
	peers := text("DNS = 10.7.0.1\nPostUp = curl -H 'X-Token: hunter2' example.org\nSaveConfig = true",
		"Endpoint = 10.7.0.5:51820\nAllowedIPs = 10.7.0.0/24, 0.0.0.0/0", "AllowedIPs = 10.7.0.0/24") +
		"\n[Peer]\nPublicKey = BkHR1IzTbzQO1kIyDDMRUDvxIHgOo+HmFGHwmeNawS8="
	want := []string{
		"The node would reach the appliance (198.51.100.7) through the tunnel, because of AllowedIPs 0.0.0.0/0 (line 9). " +
			"Unless the tunnel leads there, the node loses the appliance once the tunnel is up. " +
			"Leave the appliance's address out of these networks, or set Table = off " +
			"and add the routes of AllowedIPs yourself.",
		"The node asks DNS (10.7.0.1, line 3) through the tunnel, also for the appliance, \"ctl.example.org\": when the tunnel " +
			"fails, the node can no longer find the appliance. Add a DNS server outside AllowedIPs, or hand out the appliance's " +
			"address instead of its name.",
		"The tunnel routes its own endpoint into itself: 10.7.0.5:51820 of the peer on line 6 by AllowedIPs 10.7.0.0/24 (line 9). " +
			"Its packets then go in a circle, unless the node has a narrower route. Leave the endpoint out of these networks.",
		"Two peers have the same AllowedIPs: 10.7.0.0/24 (lines 9 and 12). Each network moves to the last one, and the one before " +
			"gets none of its traffic. Give each network to one peer.",
		"A peer has no AllowedIPs (line 13): nothing is sent to it, and all it sends is dropped. Give it the addresses that are " +
			"behind it.",
		"The tunnel config has commands that run as root on the node: PostUp (line 4). Push it only if you trust them; what they do to " +
			"routes and firewall is not checked here.",
		"SaveConfig = true lets the tool overwrite this tunnel config when the tunnel stops: the node will show as drifted. Remove the " +
			"line and change the tunnel config here.",
	}
	var got []string
	for _, w := range mustParse(t, peers, "wg").Warnings(reach("ctl.example.org", "198.51.100.7")) {
		got = append(got, w.Message)
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	unknown := mustParse(t, text("", "AllowedIPs = 0.0.0.0/0"), "wg").Warnings(reach("ctl.example.org"))
	if len(unknown) != 1 || !strings.HasPrefix(unknown[0].Message,
		`The node would reach the appliance ("ctl.example.org", whose address is not known here) through the tunnel, because of `) {
		t.Errorf("%+v", unknown)
	}
}

func TestWarningsStayShort(t *testing.T) {
	many := "AllowedIPs = " + strings.Repeat("198.51.100.7, ", 999) + "198.51.100.7"
	for _, w := range mustParse(t, text(strings.Repeat("PostUp = true\n", 999), many, many), "wg").Warnings(reach("198.51.100.7")) {
		if len(w.Message) > 600 {
			t.Errorf("%s has %d bytes", w.Code, len(w.Message))
		}
		if w.Code == wgconf.CodeHooks && !strings.Contains(w.Message, "PostUp (line 7) and 994 more. ") {
			t.Errorf("hooks: %s", w.Message)
		}
	}
}

func TestOrdinaryConfigHasNoWarnings(t *testing.T) {
	c := mustParse(t, text("Address = 10.7.0.2/24\nListenPort = 51820", "Endpoint = 203.0.113.1:51820\nAllowedIPs = 10.7.0.0/24"), "wg")
	if w := c.Warnings(reach("ctl.example.org", "198.51.100.7")); len(w) != 0 {
		t.Errorf("%+v", w)
	}
}
