package wgconf_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/tunnel/wgconf"
)

// iface is the interface of these tests, in their own network namespace.
const iface = "wgt0"

// inNamespace runs the test again as root in network and mount namespaces of its own, in parallel
// with other tests. It reports whether this is that second run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ip", "unshare", "bash")
	if os.Getenv("WFM_WGCONF_NAMESPACE") != "" {
		return true
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil || os.Geteuid() != 0 {
		const need = "needs root and /dev/net/tun, for a tunnel in its own network namespace"
		if os.Getenv("WFM_CI") != "" {
			t.Fatal(need)
		}
		t.Skip(need)
	}
	t.Parallel()
	// wireguard-go has its sockets here for all network namespaces.
	const sockets = "/var/run/wireguard"
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "sh", "-c",
		`mkdir -p `+sockets+` && mount -t tmpfs tmpfs `+sockets+` && ip link set lo up && exec "$0" "$@"`,
		os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "WFM_WGCONF_NAMESPACE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// run runs a tool and returns its output. It ends the test if the tool fails.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "WG_ENDPOINT_RESOLUTION_RETRIES=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// startInterface makes a WireGuard interface, in the kernel if possible.
func startInterface(t *testing.T) {
	t.Helper()
	run(t, "sh", "-c", "ip link add "+iface+" type wireguard 2>/dev/null || wireguard-go "+iface)
	t.Cleanup(func() { _, _ = try(context.Background(), "ip", "link", "delete", iface) })
}

func writeConfig(t *testing.T, s string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), iface+".conf")
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// setconf applies the config to the running interface as wg-quick does.
func setconf(t *testing.T, s string) (string, error) {
	t.Helper()
	stripped, err := try(t.Context(), "wg-quick", "strip", writeConfig(t, s))
	if err != nil {
		return stripped, err
	}
	return try(t.Context(), "wg", "setconf", iface, writeConfig(t, stripped))
}

func TestRealToolsAgreeWithParse(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	startInterface(t)

	tests := []struct {
		name      string
		text      string
		we, tools bool // whether we and the tools accept it
	}{
		{"nothing but a key", text(""), true, true},
		{"everything", text("Address=10.7.0.2/24\nDNS=10.7.0.1\nMTU=1380\nTable=off\nSaveConfig=false\nPostUp=a=b\nListenPort=51820\nFwMark=0xca6c",
			"PresharedKey="+presharedKey+"\nEndpoint=[2001:db8::5]:51820\nAllowedIPs=10.7.0.0/24,::/0\nPersistentKeepalive=25"), true, true},
		{"any case", strings.ToLower("[INTERFACE]\nPRIVATEKEY = ") + ourPrivate + "\n[pEER]\npUBLICKEY\t=" + eastPublic + " # east", true, true},
		{"carriage returns", strings.ReplaceAll(text("FwMark = off", "AllowedIPs = 10.7.0.9/24 , ::1"), "\n", "\r\n"), true, true},
		{"a peer first", "[Peer]\nPublicKey=" + eastPublic + "\n" + text("ListenPort = 1"), true, true},
		{"an endpoint's zone", text("", "Endpoint = [fe80::1%"+iface+"]:51820"), true, true},

		{"byte order mark", "\uFEFF" + text(""), false, false},
		{"unknown key", text("Color = red"), false, false},
		{"empty value", text("", "AllowedIPs ="), false, false},
		{"no public key", text("[Peer]"), false, false},
		{"bad key", text("", "PresharedKey = AAAA"), false, false},
		{"stray bits in a key", text("", "PresharedKey = "+strings.Replace(presharedKey, "8=", "9=", 1)), false, false},
		{"port", text("ListenPort = 65536x"), false, false},
		{"fwmark", text("FwMark = 0Xca6c"), false, false},
		{"keepalive", text("", "PersistentKeepalive = 65536"), false, false},
		{"network", text("", "AllowedIPs = 10.0.0.0/33"), false, false},
		{"comma at the end", text("", "AllowedIPs = 10.0.0.0/8,"), false, false},
		{"no comma", text("", "AllowedIPs = 10.0.0.1 10.0.0.2"), false, false},
		{"endpoint without a port", text("", "Endpoint = 192.0.2.1"), false, false},
		{"interface's key in a peer", text("", "MTU = 1420"), false, false},
		{"AmneziaWG", text("Jc = 4"), false, false},

		// Here Parse is stricter than the tools, except for the keys that may be missing or the
		// node's own.
		{"two ports", text("ListenPort = 1\nListenPort = 2"), false, true},
		{"no private key", "[Interface]\nListenPort = 1", true, true},
		{"itself as a peer", text("\n[Peer]\nPublicKey = " + ourPublic), true, true},
		{"a port by name", text("ListenPort = domain"), false, true},
		{"IPv6 without brackets", text("", "Endpoint = 2001:db8::1:51820"), false, true},
		{"spaces in a key", text("Listen Port = 1"), false, true},
	}
	for _, tt := range tests {
		_, err := wgconf.Parse(tt.text, "wg")
		out, toolErr := setconf(t, tt.text)
		if (err == nil) != tt.we || (toolErr == nil) != tt.tools {
			t.Errorf("%s: want accepted by us: %v, by the tools: %v; we say %v, they %v %s", tt.name, tt.we, tt.tools, err, toolErr, out)
		}
	}
}

func TestRealToolsReadTheSameAsParse(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	startInterface(t)

	s := text("ListenPort = 51820", "PresharedKey = "+presharedKey+"\nEndpoint = 192.0.2.1:1\nAllowedIPs = 10.7.0.9/24, fd07::5/64\nAllowedIPs=10.9.0.1",
		"AllowedIPs = 0.0.0.0/0\nPersistentKeepalive = 25")
	if out, err := setconf(t, s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(run(t, "wg", "show", iface, "dump")), "\n")
	c := mustParse(t, s, "wg")
	if device := strings.Split(lines[0], "\t"); device[1] != c.Interface.PublicKey || device[2] != strconv.Itoa(c.Interface.ListenPort) {
		t.Errorf("public key and port: %q, %+v", device[1:], c.Interface)
	}
	for _, p := range c.Peers {
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, p.PublicKey) })
		if i < 0 {
			t.Fatalf("wg does not show the peer %+v", p)
		}
		f := strings.Split(lines[i], "\t") // key, preshared key, endpoint, AllowedIPs, handshake, received, sent, keepalive
		var networks []netip.Prefix
		for network := range strings.SplitSeq(f[3], ",") {
			networks = append(networks, netip.MustParsePrefix(network))
		}
		slices.SortFunc(networks, netip.Prefix.Compare)
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
		keepalive := strings.Replace(f[7], "off", "0", 1)
		if (f[1] != "(none)") != p.HasPresharedKey || strings.Replace(f[2], "(none)", "", 1) != p.Endpoint ||
			!slices.Equal(networks, p.AllowedIPs) || keepalive != strconv.Itoa(p.PersistentKeepalive) {
			t.Errorf("wg shows %q, Parse %+v", f[2:], p)
		}
	}
}

// The warnings must predict the kernel's choice of a route.
func TestKernelRoutesAsTheWarningsSay(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	// The node's own network has a wire and a router, which need not answer.
	run(t, "sh", "-ec", `ip link add wire0 type veth peer name wire1
		ip link set wire0 up; ip link set wire1 up
		ip addr add 192.0.2.2/24 dev wire0; ip route add default via 192.0.2.1
		ip addr add 2001:db8::2/64 dev wire0 nodad; ip route add default via 2001:db8::1`)
	// For default routes wg-quick also sets up a firewall and a sysctl against spoofing, whose
	// tools a bare Debian lacks. Neither changes a route.
	aside := t.TempDir()
	for _, tool := range []string{"nft", "sysctl"} {
		if err := os.WriteFile(filepath.Join(aside, tool), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", aside+":"+os.Getenv("PATH"))

	const far = "198.51.100.7"
	tests := []struct {
		name      string
		text      string
		appliance string
		warned    bool
		cut       bool // whether the kernel routes the appliance into the tunnel
	}{
		{"its network", text("", "AllowedIPs = 198.51.100.0/24"), far, true, true},
		{"its network, IPv6", text("Address = fd07::2/64", "AllowedIPs = 2001:db8:7::/48"), "2001:db8:7::7", true, true},
		{"everything", text("", "AllowedIPs = 0.0.0.0/0"), far, true, true},
		{"halves", text("", "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1"), far, true, true},
		{"without routes", text("Table = off", "AllowedIPs = 0.0.0.0/0"), far, false, false},
		{"own network", text("Table = off\nAddress = 198.51.100.9/24"), far, true, true},
		{"own address", text("Address = " + far), far, true, true},
		{"elsewhere", text("Address = 10.7.0.2/24", "AllowedIPs = 10.0.0.0/8"), far, false, false},
		{"loopback", text("", "AllowedIPs = 0.0.0.0/0, 127.0.0.0/8"), "127.0.0.1", false, false},
		// Unknown here: a narrower route of the node's own, and that no rule uses the table.
		{"a neighbour", text("", "AllowedIPs = 0.0.0.0/0"), "192.0.2.9", true, false},
		{"another table", text("Table = 7", "AllowedIPs = 0.0.0.0/0"), far, true, false},
	}
	for _, tt := range tests {
		_, warned := warning(mustParse(t, tt.text, "wg").Warnings(reach(tt.appliance)), wgconf.CodeRouteToAppliance)
		way := wayWhileUp(t, tt.text, tt.appliance)
		own := strings.HasPrefix(way, "local") && !strings.HasPrefix(tt.appliance, "127.")
		if cut := own || strings.Contains(way, "dev "+iface); warned != tt.warned || cut != tt.cut {
			t.Errorf("%s: want warned %v, cut off %v; warned %v, the kernel says %s", tt.name, tt.warned, tt.cut, warned, way)
		}
	}

	// With a default route, wg-quick marks the tunnel's own packets.
	const endpoint = "198.51.100.50"
	for networks, circle := range map[string]bool{"198.51.100.0/24": true, "0.0.0.0/1, 128.0.0.0/1": true, "0.0.0.0/0": false, "10.0.0.0/8": false} {
		s := text("", "Endpoint = "+endpoint+":51820\nAllowedIPs = "+networks)
		_, warned := warning(mustParse(t, s, "wg").Warnings(wgconf.Reach{}), wgconf.CodeEndpointInTunnel)
		way := wayWhileUp(t, s, endpoint, "mark", "51820")
		if inside := strings.Contains(way, "dev "+iface); warned != circle || inside != circle {
			t.Errorf("AllowedIPs %s: want a circle: %v; warned %v, the kernel says %s", networks, circle, warned, way)
		}
	}
}

// wayWhileUp returns the kernel's route to an address while the tunnel is up.
func wayWhileUp(t *testing.T, s string, to ...string) string {
	t.Helper()
	path := writeConfig(t, s)
	run(t, "wg-quick", "up", path)
	defer run(t, "wg-quick", "down", path)
	return run(t, "ip", append([]string{"route", "get"}, to...)...)
}
