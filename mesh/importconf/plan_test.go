package importconf_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/mesh/importconf"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// private and public return the key of a name.
func private(name string) string {
	sum := sha256.Sum256([]byte(name))
	sum[0] &= 248
	sum[31] = sum[31]&127 | 64
	return base64.StdEncoding.EncodeToString(sum[:])
}

func public(name string) string {
	key, err := mesh.PublicKey(private(name))
	if err != nil {
		panic(err)
	}
	return key
}

// keys replaces {name} by a private key, <name> by a public one.
func keys(text string, names ...string) string {
	for _, n := range names {
		text = strings.NewReplacer("{"+n+"}", private(n), "<"+n+">", public(n)).Replace(text)
	}
	return text
}

var everybody = []string{"vpn", "laptop", "office", "phone", "tablet", "psk", "psk2"}

func files(all map[string]string) (list []importconf.File) {
	for name, text := range all {
		list = append(list, importconf.File{Name: name, Text: keys(text, everybody...)})
	}
	return list
}

func counter(name string) func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("%s_%02d", name, n) }
}

func question(all map[string]string) importconf.Question {
	return importconf.Question{
		Config: store.Config{ID: "cfg", Name: "home", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard},
		Files:  files(all), NewNodeID: counter("node"), NewLinkID: counter("link"),
	}
}

// home is a usual set-up: a server, a laptop, the router of an office, and a phone whose file is elsewhere.
func home() map[string]string {
	return map[string]string{
		"vpn.conf": `[Interface]
Address = 10.8.0.1/24
ListenPort = 51820
PrivateKey = {vpn}
PostUp = iptables -A FORWARD -i %i -j ACCEPT
PostDown = iptables -D FORWARD -i %i -j ACCEPT

# Client: laptop (c6a4d1f2-0b1c-4d7c-9a54-1f5b0f3f8f10)
[Peer]
PublicKey = <laptop>
PresharedKey = {psk}
AllowedIPs = 10.8.0.2/32

[Peer]
PublicKey = <office>
AllowedIPs = 10.8.0.3/32, 192.168.7.0/24

### begin Anna's phone ###
[Peer]
PublicKey = <phone>
AllowedIPs = 10.8.0.4/32
### end Anna's phone ###
`,
		"laptop.conf": `[Interface]
PrivateKey = {laptop}
Address = 10.8.0.2/24
DNS = 10.8.0.1
DNS = lan
[Peer]
PublicKey = <vpn>
PresharedKey = {psk}
Endpoint = vpn.example.org:51820
AllowedIPs = 10.8.0.0/24, 192.168.7.0/24
PersistentKeepalive = 25
`,
		"wg0.conf": `# Name = office router
[Interface]
PrivateKey = {office}
Address = 10.8.0.3/24
Table = 123
[Peer]
PublicKey = <vpn>
Endpoint = vpn.example.org:51820
AllowedIPs = 10.8.0.0/24
PersistentKeepalive = 25
`,
	}
}

func nodeOf(t *testing.T, p importconf.Plan, name string) importconf.Node {
	t.Helper()
	i := slices.IndexFunc(p.Nodes, func(n importconf.Node) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no node %s in %+v", name, p)
	}
	return p.Nodes[i]
}

func TestAUsualSetUpBecomesAMesh(t *testing.T) {
	p := importconf.Make(question(home()))
	if len(p.Problems)+len(p.OneSided) > 0 || len(p.Nodes) != 4 || len(p.Links) != 3 {
		t.Fatalf("%+v", p)
	}
	if p.Config.VirtualSubnet != netip.MustParsePrefix("10.8.0.0/24") ||
		!slices.Equal(p.Settings, []string{"The network of the mesh becomes 10.8.0.0/24, that of the files."}) {
		t.Errorf("%s, %q", p.Config.VirtualSubnet, p.Settings)
	}
	vpn, laptop, office, phone := nodeOf(t, p, "vpn"), nodeOf(t, p, "laptop"), nodeOf(t, p, "office router"), nodeOf(t, p, "Anna's phone")
	if vpn.ConfigSource != store.SourceMesh || vpn.IPv4Address != "vpn.example.org" || vpn.ListenPort != 51820 || vpn.InterfaceName != "vpn" || vpn.Text != "" ||
		!slices.Equal(vpn.PostUp, []string{"iptables -A FORWARD -i %i -j ACCEPT"}) {
		t.Errorf("%+v", vpn)
	}
	if !laptop.KeyChosen || laptop.ConfigSource != store.SourceMesh || laptop.DNS != "10.8.0.1, lan" || laptop.PublicKey != public("laptop") {
		t.Errorf("%+v", laptop)
	}
	if office.ConfigSource != store.SourceText || office.Text != keys(home()["wg0.conf"], everybody...) || office.InterfaceName != "wg0" ||
		office.PrivateKey != "" || !slices.Equal(office.Why, []string{"Table (line 5) has no field here."}) ||
		!slices.Equal(office.Routes, []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}) {
		t.Errorf("%+v", office)
	}
	if phone.Type != store.NodeStatic || phone.PublicKey != public("phone") || phone.VirtualIP.String() != "10.8.0.4/32" ||
		phone.PrivateKey != "" || phone.File != "" {
		t.Errorf("%+v", phone)
	}
	if !slices.ContainsFunc(p.Notes, func(r importconf.Remark) bool {
		return r.File == "vpn.conf" && r.Line == 19 && strings.Contains(r.Message, "static node")
	}) ||
		!slices.ContainsFunc(p.Notes, func(r importconf.Remark) bool {
			return r.File == "vpn.conf" && strings.Contains(r.Message, "forwarding")
		}) {
		t.Errorf("the notes are %v", p.Notes)
	}
	q := question(home())
	q.AsText = true
	for _, n := range importconf.Make(q).Nodes {
		if n.File != "" && (n.Text == "" || n.ConfigSource != store.SourceText || len(n.Why) != 1) {
			t.Errorf("%s is not kept: %+v", n.Name, n)
		}
	}
}

// problemsOf returns the problems, and checks that none has a secret.
func problemsOf(t *testing.T, q importconf.Question) []string {
	t.Helper()
	p := importconf.Make(q)
	var all []string
	for _, r := range slices.Concat(p.Problems, p.OneSided, p.Notes) {
		for _, name := range everybody {
			if strings.Contains(r.Message, private(name)[:20]) || strings.Contains(r.Message, "FORWARD") {
				t.Errorf("a secret is in %q", r.Message)
			}
		}
	}
	for _, r := range p.Problems {
		all = append(all, r.String())
	}
	if len(all) > 0 && (p.Nodes != nil || p.Refusal() == nil) {
		t.Error("a plan with problems can be carried out")
	}
	return all
}

func TestProblemsNameTheFileTheLineAndTheRemedy(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]string, *importconf.Question)
		want   []string
	}{
		"a broken file": {
			func(f map[string]string, _ *importconf.Question) {
				f["laptop.conf"] += "[Peer]\nPublicKey = short\nColour = red\n"
			},
			[]string{"laptop.conf, line 13: PublicKey: ", "laptop.conf, line 14: "},
		},
		"a key of AmneziaWG": {
			func(f map[string]string, _ *importconf.Question) {
				f["laptop.conf"] = strings.Replace(f["laptop.conf"], "DNS = lan", "Jc = 4", 1)
			},
			[]string{"laptop.conf, line 5: Jc: is a key of AmneziaWG, and this tunnel protocol is WireGuard; remove the line or change the protocol."},
		},
		"the same key twice": {
			func(f map[string]string, _ *importconf.Question) {
				f["copy.conf"] = strings.Replace(f["laptop.conf"], "8.0.2", "8.0.9", 1)
			},
			[]string{"laptop.conf, line 1: This file and copy.conf have the same private key. Make a key of its own for each node, with wg genkey."},
		},
		"names in another case": {
			func(f map[string]string, _ *importconf.Question) {
				f["VPN.conf"] = "[Interface]\nPrivateKey = {tablet}\nAddress = 10.8.0.9/24\n# Name = Laptop\n"
			},
			[]string{"laptop.conf: The name laptop differs from Laptop, that of VPN.conf, in upper and lower case only. Rename the file, or add a comment"},
		},
		"a name of the mesh": {
			func(_ map[string]string, q *importconf.Question) {
				q.Nodes = []mesh.Node{{Node: store.Node{Name: "vpn"}}}
			},
			[]string{"vpn.conf: The mesh has a node vpn already. Rename the file, or add a comment like “# Name = berlin” above [Interface]."},
		},
		"a key of the mesh": {
			func(_ map[string]string, q *importconf.Question) {
				q.Nodes = []mesh.Node{{Node: store.Node{Name: "old", NodeSettings: store.NodeSettings{PublicKey: public("vpn")}}}}
			},
			[]string{"vpn.conf, line 1: The mesh has a node with this key already, old. Leave the file out, or delete that node first."},
		},
		"the same address": {
			func(f map[string]string, _ *importconf.Question) {
				f["laptop.conf"] = strings.Replace(f["laptop.conf"], "8.0.2", "8.0.1", 1)
			},
			[]string{"vpn.conf, line 2: The address 10.8.0.1 is also that of the file laptop.conf. Give each node an address of its own."},
		},
		"different preshared keys": {
			func(f map[string]string, _ *importconf.Question) {
				f["laptop.conf"] = strings.Replace(f["laptop.conf"], "{psk}", "{psk2}", 1)
			},
			[]string{"laptop.conf, line 8: laptop and vpn have different preshared keys for each other (vpn.conf, line 11), so they cannot talk. " +
				"Give both the same PresharedKey, or none."},
		},
		"a subnet of another mesh": {
			func(_ map[string]string, q *importconf.Question) {
				q.Taken = []mesh.Taken{{Network: netip.MustParsePrefix("10.0.0.0/12"), By: "the mesh work"}}
			},
			[]string{"laptop.conf, line 3: The address 10.8.0.2 is in the network 10.8.0.0/24, which overlaps 10.0.0.0/12 of the mesh work."},
		},
		"a file twice": {
			func(f map[string]string, q *importconf.Question) {
				q.Files = append(q.Files, files(map[string]string{"vpn.conf": f["vpn.conf"]})...)
			},
			[]string{": Two files have this name. Give one of them another one."},
		},
	} {
		all := home()
		q := question(nil)
		tt.change(all, &q)
		q.Files = append(files(all), q.Files...)
		got := problemsOf(t, q)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) || !strings.HasSuffix(got[i], ".") {
				t.Errorf("%s: %q, want %q", name, got[i], want)
			}
		}
	}
}

func TestFilesThatAreNamedAlikeAreNamedByTheirFolders(t *testing.T) {
	all := map[string]string{}
	for i, name := range []string{"vpn", "laptop"} {
		all[name+"/wg0.conf"] = fmt.Sprintf("[Interface]\nPrivateKey = {%s}\nAddress = 10.8.0.%d/24\n", name, i+1)
	}
	p := importconf.Make(question(all))
	for _, name := range []string{"vpn", "laptop"} {
		if n := nodeOf(t, p, name); n.InterfaceName != "wg0" {
			t.Errorf("%+v", n)
		}
	}
}

func TestAUsualNameGivesWayToTheFolder(t *testing.T) {
	for file, want := range map[string]string{
		"berlin/wg0.conf": "berlin", `C:\vpn\paris\awg1.conf`: "paris", "/etc/wireguard/wg0.conf": "wg0", "berlin/gate.conf": "gate", "wg0.conf": "wg0",
	} {
		p := importconf.Make(question(map[string]string{file: "[Interface]\nPrivateKey = {vpn}\nAddress = 10.8.0.1/24\n"}))
		if len(p.Nodes) != 1 || p.Nodes[0].Name != want {
			t.Errorf("%s: %+v, want %s", file, p.Nodes, want)
		}
	}
}

func TestOneSidedPeersGetNoLink(t *testing.T) {
	all := home()
	all["vpn.conf"], _, _ = strings.Cut(all["vpn.conf"], "[Peer]\nPublicKey = <office>")
	p := importconf.Make(question(all))
	if len(p.OneSided) != 1 || p.OneSided[0].File != "wg0.conf" || p.OneSided[0].Line != 6 || !strings.Contains(p.OneSided[0].Message, "no link is made") {
		t.Fatalf("%v, %v", p.OneSided, p.Problems)
	}
	if n := nodeOf(t, p, "office router"); !slices.Contains(n.Why, "Its peer on line 6 has no link.") {
		t.Errorf("%q", n.Why)
	}
	delete(all, "vpn.conf") // the others know it by its networks only
	p = importconf.Make(question(all))
	if len(p.OneSided) != 2 || len(p.Nodes) != 2 || len(p.Links) != 0 || len(p.Problems) != 0 {
		t.Errorf("%+v", p)
	}
}

// A port that a router forwards, and an address inside of a house, are the link's.
func TestEndpointsThatDifferAreTheLinks(t *testing.T) {
	all := home()
	all["laptop.conf"] = strings.Replace(all["laptop.conf"], "vpn.example.org:51820", "vpn.example.org:443", 1)
	all["wg0.conf"] = strings.NewReplacer("vpn.example.org", "192.168.7.9", "Table = 123\n", "").Replace(all["wg0.conf"])
	all["tablet.conf"] = "[Interface]\nPrivateKey = {tablet}\nAddress = 10.8.0.5/24\n" +
		"[Peer]\nPublicKey = <vpn>\nEndpoint = vpn.example.org:51820\nAllowedIPs = 10.8.0.1\n"
	all["vpn.conf"] += "[Peer]\nPublicKey = <tablet>\nAllowedIPs = 10.8.0.5/32\n"
	p := importconf.Make(question(all))
	if n := nodeOf(t, p, "vpn"); n.IPv4Address != "vpn.example.org" {
		t.Errorf("%+v", n)
	}
	for name, want := range map[string]store.Direction{
		"laptop": {
			EndpointMode: store.EndpointAuto, EndpointRefFamily: store.EndpointIPv4, EndpointPortMode: store.PortManual, EndpointManualPort: 443,
		},
		"office router": {EndpointMode: store.EndpointManual, EndpointManualHost: "192.168.7.9", EndpointPortMode: store.PortOfPeer},
		"tablet":        {EndpointMode: store.EndpointAuto, EndpointRefFamily: store.EndpointIPv4, EndpointPortMode: store.PortOfPeer},
	} {
		n := nodeOf(t, p, name)
		i := slices.IndexFunc(p.Links, func(l store.Link) bool { return l.Forward.LocalNodeID == n.ID || l.Reverse.LocalNodeID == n.ID })
		got := p.Links[i].Forward
		if got.LocalNodeID != n.ID {
			got = p.Links[i].Reverse
		}
		want.LocalNodeID, want.PeerNodeID, want.AllowedIPs, want.PersistentKeepalive = got.LocalNodeID, got.PeerNodeID, got.AllowedIPs, got.PersistentKeepalive
		if fmt.Sprint(got) != fmt.Sprint(want) || n.ConfigSource != store.SourceMesh {
			t.Errorf("%s: %+v, want %+v; %q", name, got, want, n.Why)
		}
	}
}

func TestANodeMayKeepItsPrivateKey(t *testing.T) {
	all := home()
	all["laptop.conf"] = strings.Replace(all["laptop.conf"], "{laptop}", wgconf.KeptOnNode, 1)
	p := importconf.Make(question(all))
	if n := nodeOf(t, p, "laptop"); n.KeyHolder != store.KeyAtNode || n.PublicKey != public("laptop") || n.ConfigSource != store.SourceMesh {
		t.Errorf("%+v, %v", n, p.Problems)
	}
	all["laptop.conf"] = strings.Replace(all["laptop.conf"], "PrivateKey = "+wgconf.KeptOnNode, "PostUp = wg set %i private-key /etc/wireguard/key", 1)
	p = importconf.Make(question(all))
	if n := nodeOf(t, p, "laptop"); n.PublicKey != public("laptop") || n.Text == "" || len(p.Links) != 3 {
		t.Errorf("%+v, %v", n, p.Problems)
	}
}

const awgValues = "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 20\nS2 = 30\nH1 = 100\nH2 = 200\nH3 = 300\nH4 = 400 - 500\n"

func TestValuesOfAmneziaWGHaveToAgree(t *testing.T) {
	all := home()
	for name := range all {
		all[name] = strings.Replace(all[name], "[Interface]\n", "[Interface]\n"+awgValues, 1)
	}
	all["laptop.conf"] = strings.Replace(all["laptop.conf"], "Jc = 4", "Jc = 5", 1)
	all["wg0.conf"] = strings.Replace(all["wg0.conf"], "Table = 123\n", "", 1)
	q := question(all)
	q.Config.TunnelProtocol, q.Config.AWGVersion = protocol.TunnelAmneziaWG, "1.5"
	p := importconf.Make(q)
	if p.Config.AWGVersion != "2.0" || p.Config.AWG != (store.AWGMesh{S1: "20", S2: "30", H1: "100", H2: "200", H3: "300", H4: "400-500"}) || len(p.Problems) > 0 {
		t.Fatalf("%+v, %v", p.Config, p.Problems)
	}
	for name, jc := range map[string]string{"laptop": "5", "vpn": "4", "office router": "4"} {
		if n := nodeOf(t, p, name); n.AWG.Jc != jc || n.AWG.Jmax != "70" || n.ConfigSource != store.SourceMesh {
			t.Errorf("%s: %+v, %q", name, n.AWG, n.Why)
		}
	}
	all["wg0.conf"] = strings.Replace(all["wg0.conf"], "S1 = 20\n", "S1 = 21\n", 1)
	all["vpn.conf"] = strings.Replace(all["vpn.conf"], "S2 = 30\n", "", 1)
	q.Files = files(all)
	want := []string{
		`vpn.conf: All nodes of a mesh need the same S2: this file has none, which means 0, and laptop.conf has "30" on line 6. Correct one of them.`,
		`wg0.conf, line 6: All nodes of a mesh need the same S1: this file has "21" on line 6, and laptop.conf has "20" on line 5. Correct one of them.`,
	}
	if got := problemsOf(t, q); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Plain files in a mesh of AmneziaWG mean WireGuard's own values.
func TestFilesWithoutValuesGetNone(t *testing.T) {
	all := home()
	q := question(all)
	q.Config.TunnelProtocol = protocol.TunnelAmneziaWG
	p := importconf.Make(q)
	if n := nodeOf(t, p, "laptop"); n.ConfigSource != store.SourceMesh || n.AWG.Jc != "0" || p.Config.AWG.H4 != "4" {
		t.Errorf("%+v, %+v", n, p.Config)
	}
}

func TestCommentsThatAreNoNames(t *testing.T) {
	for comment, want := range map[string]string{
		"# Name = berlin":                   "berlin",
		"# friendly_name=Anna's laptop":     "Anna's laptop",
		"# PrivateKey = {tablet}":           "10.8.0.4",
		"# {tablet}":                        "10.8.0.4",
		"#":                                 "10.8.0.4",
		"# " + strings.Repeat("long ", 20):  "10.8.0.4",
		"# laptop":                          "10.8.0.4", // another node has it
		"# Client: new phone (0123abcd-99)": "new phone",
	} {
		all := home()
		all["vpn.conf"] = strings.Replace(all["vpn.conf"], "### begin Anna's phone ###", comment, 1)
		p := importconf.Make(question(all))
		if n := p.Nodes[len(p.Nodes)-1]; n.Name != want {
			t.Errorf("%q names %q, want %q", comment, n.Name, want)
		}
	}
}

func BenchmarkMake(b *testing.B) {
	all := map[string]string{}
	var server strings.Builder
	server.WriteString("[Interface]\nPrivateKey = " + private("server") + "\nAddress = 10.8.0.1/16\nListenPort = 51820\n")
	for i := range 900 {
		name := fmt.Sprint("leaf", i)
		address := netip.AddrFrom4([4]byte{10, 8, byte(1 + i/250), byte(1 + i%250)}).String()
		fmt.Fprintf(&server, "[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, 10.%d.%d.0/24\n", public(name), address, 100+i/250, i%250)
		all[name+".conf"] = "[Interface]\nPrivateKey = " + private(name) + "\nAddress = " + address + "/16\n[Peer]\nPublicKey = " + public("server") +
			"\nAllowedIPs = 10.8.0.0/16, 10.100.0.0/14\nEndpoint = 192.0.2.1:51820\n"
	}
	all["server.conf"] = server.String()
	for b.Loop() {
		if p := importconf.Make(question(all)); len(p.Links) != 900 || len(p.Problems) > 0 {
			b.Fatal(p.Problems, len(p.Links))
		}
	}
}
