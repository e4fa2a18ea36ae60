package mesh_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// office is a small mesh with a bit of everything.
func office(tb testing.TB) *world {
	tb.Helper()
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.config.DefaultMTU, w.config.DefaultDNS = 1420, "9.9.9.9, corp.example"
	w.add("gate", public("192.0.2.1"), func(n *mesh.Node) { n.PostUp, n.PostDown = []string{"echo up"}, []string{"echo down"} })
	w.add("branch", routes("192.168.7.0/24"), func(n *mesh.Node) { n.Masquerade, n.DNS, n.MTU = true, "10.66.0.1", 1380 })
	w.add("phone", func(n *mesh.Node) { n.Type, n.ListenPort = store.NodeStatic, 40000 })
	w.link(tb, "branch", "gate", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.2/32 fd00:66::2/128"), func(l *store.Link) {
		l.PresharedKey = keysOf("psk").Private
	})
	w.link(tb, "phone", "gate", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.3/32 fd00:66::3/128"))
	return w
}

func TestTextOfAGateway(t *testing.T) {
	got := office(t).mesh().Text("gate")
	// The hooks have tests of their own.
	var lines []string
	for line := range strings.Lines(got) {
		if !mesh.IsManaged(line) {
			lines = append(lines, line)
		}
	}
	want := `[Interface]
PrivateKey = ` + keysOf("gate").Private + `
Address = 10.66.0.1/32, fd00:66::1/128
ListenPort = 51820
DNS = 9.9.9.9, corp.example
MTU = 1420
PostUp = echo up
PostDown = echo down

# branch
[Peer]
PublicKey = ` + keysOf("branch").Public + `
PresharedKey = ` + keysOf("psk").Private + `
AllowedIPs = 10.66.0.2/32, fd00:66::2/128, 192.168.7.0/24

# phone
[Peer]
PublicKey = ` + keysOf("phone").Public + `
AllowedIPs = 10.66.0.3/32, fd00:66::3/128
`
	if text := strings.Join(lines, ""); text != want {
		t.Errorf("the text is\n%s\nwant\n%s", text, want)
	}
	up, down := strings.Index(got, "PostUp = echo up"), strings.Index(got, "forwarding of IPv4")
	if up < 0 || down < up {
		t.Errorf("the managed hooks do not follow those of the operator:\n%s", got)
	}
}

func TestTextOfAStaticNode(t *testing.T) {
	want := `[Interface]
PrivateKey = ` + keysOf("phone").Private + `
Address = 10.66.0.3/32, fd00:66::3/128
ListenPort = 40000
DNS = 9.9.9.9, corp.example
MTU = 1420

# gate
[Peer]
PublicKey = ` + keysOf("gate").Public + `
AllowedIPs = 10.66.0.0/24, fd00:66::/64, 192.168.7.0/24
Endpoint = 192.0.2.1:51820
PersistentKeepalive = 25
`
	if got := office(t).mesh().Text("phone"); got != want {
		t.Errorf("the text is\n%s\nwant\n%s", got, want)
	}
}

func TestSettingsOfTheNodeComeBeforeThoseOfTheMesh(t *testing.T) {
	got := office(t).mesh().Text("branch")
	for _, line := range []string{"DNS = 10.66.0.1\n", "MTU = 1380\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("there is no %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "ListenPort") {
		t.Errorf("a node that needs no fixed port has one:\n%s", got)
	}
}

func TestANodeWhosePortOthersNameListensOnIt(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	w.config.DefaultListenPort = 5000
	w.add("north")
	w.add("south")
	w.link(t, "north", "south", func(l *store.Link) {
		l.Forward.EndpointMode, l.Forward.EndpointManualHost = store.EndpointManual, "2001:db8::1"
	})
	if got := w.mesh().Text("south"); !strings.Contains(got, "ListenPort = 5000\n") {
		t.Errorf("south has no port:\n%s", got)
	}
	if got := w.mesh().Text("north"); !strings.Contains(got, "Endpoint = [2001:db8::1]:5000\n") {
		t.Errorf("north does not find south:\n%s", got)
	}
	w.links[0].Forward.EndpointPortMode, w.links[0].Forward.EndpointManualPort = store.PortManual, 6000
	if got := w.mesh().Text("north"); !strings.Contains(got, "Endpoint = [2001:db8::1]:6000\n") {
		t.Errorf("north does not take the port of the link:\n%s", got)
	}
}

func TestWhatIsDisabledRestsAndComesBack(t *testing.T) {
	w := office(t)
	before := w.mesh().Texts()
	w.node("phone").Enabled = false
	if w.mesh().Generated("phone") || w.mesh().Text("phone") != "" {
		t.Error("a disabled node has a text")
	}
	if got := w.mesh().Text("gate"); strings.Contains(got, "# phone") {
		t.Errorf("the gateway has a disabled peer:\n%s", got)
	}
	w.node("phone").Enabled = true
	w.links[0].Enabled = false
	if got := w.mesh().Text("branch"); strings.Contains(got, "[Peer]") {
		t.Errorf("a disabled link is in the text:\n%s", got)
	}
	w.links[0].Enabled = true
	for id, text := range w.mesh().Texts() {
		if text != before[id] {
			t.Errorf("the text of %s is another one after a rest:\n%s", id, text)
		}
	}
}

func TestATextNodeTakesPartWithWhatItsTextSays(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	keys := keysOf("by hand")
	text, err := mesh.ReadText(w.config, "north", "[Interface]\nPrivateKey = "+keys.Private+"\nAddress = 10.66.0.77/24\nListenPort = 4000\n")
	if err != nil {
		t.Fatal(err)
	}
	w.add("north", public("192.0.2.1"), func(n *mesh.Node) {
		n.NodeSettings = store.NodeSettings{IPv4Address: "192.0.2.1"}
		n.Text = text
	})
	w.add("south")
	w.link(t, "south", "north")
	if w.mesh().Generated("north") {
		t.Error("a text is made for a node that has its own")
	}
	got := w.mesh().Text("south")
	for _, line := range []string{"PublicKey = " + keys.Public + "\n", "AllowedIPs = 10.66.0.77/32\n", "Endpoint = 192.0.2.1:4000\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("there is no %q in\n%s", line, got)
		}
	}
	if _, err := mesh.ReadText(w.config, "north", "[Interface"); err == nil {
		t.Error("a broken text was read")
	}
}

func TestAKeyThatStaysOnTheNodeIsNotInTheText(t *testing.T) {
	w := office(t)
	w.node("gate").KeyHolder = store.KeyAtNode
	line := "PrivateKey = (kept on the node) # public key: " + keysOf("gate").Public + "\n"
	if got := w.mesh().Text("gate"); !strings.Contains(got, line) || strings.Contains(got, keysOf("gate").Private) {
		t.Errorf("the text is\n%s", got)
	}
	w.parse(t)
	before := w.mesh().Text("gate")
	w.node("gate").PublicKey = keysOf("next").Public
	if after := w.mesh().Text("gate"); mesh.SameButComments(before, after) {
		t.Errorf("another key of the node changes no more than a comment:\n%s", after)
	}
	w.node("gate").PublicKey = "" // its agent has not told it yet
	if got := w.mesh().Text("phone"); strings.Contains(got, "[Peer]") {
		t.Errorf("a peer without a key is in the text:\n%s", got)
	}
}

func TestANewNameChangesCommentsOnly(t *testing.T) {
	w := office(t)
	before := w.mesh().Texts()
	w.node("gate").Name, w.node("phone").Name = "zebra", "a\nPostUp = rm"
	for id, text := range w.mesh().Texts() {
		if text == before[id] && id != "gate" && id != "phone" {
			t.Errorf("the text of %s does not have the new names:\n%s", id, text)
		}
		if !mesh.SameButComments(text, before[id]) {
			t.Errorf("the text of %s changed in more than comments:\n%s\n%s", id, before[id], text)
		}
	}
}

func TestSameButComments(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{"[Peer]\nX = 1\n", "# c\n[Peer] # d\n\n X = 1", true},
		{"X = 1\nY = 2", "Y = 2\nX = 1", false},
		{"X = 1", "X = 2", false},
		{"X = 1", "X = 1\nX = 1", false},
	}
	for _, tt := range tests {
		if got := mesh.SameButComments(tt.a, tt.b); got != tt.same {
			t.Errorf("SameButComments(%q, %q) = %t", tt.a, tt.b, got)
		}
	}
}

func TestTheOrderOfRecordsDoesNotMatter(t *testing.T) {
	w := office(t)
	for i := range w.nodes { // all of the same moment
		w.nodes[i].CreatedAt = time.Time{}
	}
	want := w.mesh().Texts()
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		random.Shuffle(len(w.nodes), func(i, j int) { w.nodes[i], w.nodes[j] = w.nodes[j], w.nodes[i] })
		random.Shuffle(len(w.links), func(i, j int) { w.links[i], w.links[j] = w.links[j], w.links[i] })
		for id, text := range w.mesh().Texts() {
			if text != want[id] {
				t.Fatalf("the text of %s depends on the order:\n%s\n%s", id, want[id], text)
			}
		}
	}
}

func TestManyNetworksStandOnSeveralLines(t *testing.T) {
	w := newWorld("10.66.0.0/16")
	w.add("north", public("192.0.2.1"))
	w.add("south", public("192.0.2.2"))
	w.link(t, "north", "south", func(l *store.Link) {
		l.Forward.AllowedIPs = nil
		for a := addr("10.66.8.1"); len(l.Forward.AllowedIPs) < 1000; a = a.Next() {
			l.Forward.AllowedIPs = append(l.Forward.AllowedIPs, prefix(a.String()+"/32"))
		}
	})
	text := w.mesh().Text("north")
	for line := range strings.Lines(text) {
		if len(line) > 400 {
			t.Fatalf("a line has %d bytes: %.80s…", len(line), line)
		}
	}
	if got := len(w.parse(t)["north"].Peers[0].AllowedIPs); got != 1000 {
		t.Errorf("%d networks are read back, want 1000", got)
	}
	if took := wgconf.ExtraTime(text); took > 90*time.Second {
		t.Errorf("wg-quick would take %s longer", took)
	}
}

func TestValuesOfAmneziaWGStandInTheInterface(t *testing.T) {
	w := office(t)
	w.config.TunnelProtocol = protocol.TunnelAmneziaWG
	w.config.AWG = store.AWGMesh{S1: "20", S2: "30", S3: "40", S4: "12", H1: "100-200", H2: "300", H3: "400", H4: "500", RandomTrailers: true}
	w.node("gate").AWG = store.AWGNode{Jc: "4", Jmin: "40", Jmax: "70", I1: "<b 0xc0ff><r 16>"}
	for version, want := range map[string]string{
		"1.5": "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 20\nS2 = 30\nH1 = 100-200\nH2 = 300\nH3 = 400\nH4 = 500\nI1 = <b 0xc0ff><r 16>\nPostUp",
		"":    "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 20\nS2 = 30\nS3 = 40\nS4 = 12\nH1 = 100-200\nH2 = 300\nH3 = 400\nH4 = 500\nI1 = <b 0xc0ff><r 16>\nPostUp",
		"3.1": "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 20\nS2 = 30\nS3 = 40\nS4 = 12\nH1 = 100-200\nH2 = 300\nH3 = 400\nH4 = 500\nI1 = <b 0xc0ff><r " +
			"16>\nRandomTrailers = on\nPostUp",
	} {
		w.config.AWGVersion = version
		if got := w.mesh().Text("gate"); !strings.Contains(got, "MTU = 1420\n"+want) {
			t.Errorf("%q: the text is\n%s", version, got)
		}
		w.parse(t)
	}
	w.config.TunnelProtocol = protocol.TunnelWireGuard
	if got := w.mesh().Text("gate"); strings.Contains(got, "Jc") {
		t.Errorf("values of AmneziaWG are in a text for WireGuard:\n%s", got)
	}
}
