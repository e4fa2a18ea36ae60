package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"wfm/internal/agenttest"
	"wfm/internal/apptest"
)

// The whole of a mesh as a person has it, with real agents, the real tools and real tunnels: from nothing to nodes that
// reach each other, and through all that happens to them later.
func TestAWholeMesh(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "zbarimg", "chromium")
	s := newMeshSite(t)

	s.step("the mesh is made from nothing")
	o := s.operator()
	o.makeMesh("offices")
	gate := o.addNode(s.gate, "gate", "dynamic")
	o.bind(gate)
	amsterdam := o.addNode(s.amsterdam, "amsterdam", "dynamic")
	o.bind(amsterdam)
	berlin := o.addNode(s.berlin, "berlin", "dynamic")
	o.bind(berlin)
	phone := o.addNode(s.phone, "phone", "static")
	s.set(gate, map[string]any{"ipv4_address": s.gate.IP})
	s.set(amsterdam, map[string]any{"routes": []string{lan4.String(), lan6.String()}, "masquerade": true})

	s.step("the nodes are linked, and have their tunnel configs")
	s.Must(t, "POST", s.path("mesh/quick-generate"), map[string]any{"mode": "hub_spoke", "use_preshared_key": true})
	s.rollOut("push_config", gate, amsterdam, berlin)
	s.rollOut("start", gate, amsterdam, berlin)

	s.step("the phone fetches its file, once")
	s.fetch(phone)
	s.inside(s.phone, "wg-quick", "up", phone.file())

	s.step("all reach each other and the host behind amsterdam")
	s.pingEachOther(gate, amsterdam, berlin, phone)
	s.pingHost(gate, berlin, phone)

	s.step("the phone's code is the file")
	s.scan(o, phone)

	s.step("a wrong public address of the gateway is mended")
	leaves := []*member{amsterdam, berlin}
	s.move(gate, s.nobody(), leaves)
	for _, n := range leaves {
		if got := s.endpoint(n, gate); got != s.nobody()+":51820" {
			t.Errorf("%s looks for the gateway at %s", n.name, got)
		}
	}
	s.move(gate, s.gate.IP, leaves)
	s.pingEachOther(gate, amsterdam, berlin, phone)

	s.step("a deployed agent is a leaf like the others, and a port forward leads into the mesh")
	old := s.add(s.spare, "dublin", nil)
	client := s.bindDeployed(old)
	s.Must(t, "POST", s.path("mesh/quick-generate"), map[string]any{"mode": "hub_spoke", "use_preshared_key": true})
	s.service(berlin, net.JoinHostPort(berlin.v4, "80"))
	s.Must(t, "POST", "/api/v1/tools/port-forwards/configs/"+s.configID, map[string]any{
		"from_node_id": berlin.ID, "from_port": 80, "to_node_id": gate.ID, "to_port": 8080, "protocol": "all",
	})
	s.rollOut("push_config", old, gate)
	s.takeUp(old, client)
	s.pingEachOther(gate, amsterdam, berlin, phone, old)
	s.pingHost(gate, berlin, phone, old)
	for _, network := range []string{"tcp", "udp"} {
		if seen := s.seenFromOutside(network, net.JoinHostPort(s.gate.IP, "8080")); seen != gate.v4 {
			t.Errorf("by %s the service sees %s, want the gateway's %s", network, seen, gate.v4)
		}
	}
	if v := client.Violations(); len(v) > 0 {
		t.Errorf("the deployed agent complains: %v", v)
	}
	s.step("done")
}

// set changes settings of the node.
func (s *meshSite) set(n *member, settings map[string]any) {
	s.t.Helper()
	s.Must(s.t, "PUT", "/api/v1/nodes/"+n.ID, settings)
}

// nobody is an address in the public network that no machine has.
func (s *meshSite) nobody() string { return strings.TrimSuffix(s.network.HostIP, ".1") + ".250" }

// move gives the gateway another public address and applies that to the leaves.
func (s *meshSite) move(gate *member, address string, leaves []*member) {
	s.t.Helper()
	s.set(gate, map[string]any{"ipv4_address": address})
	s.rollOut("push_config", leaves...)
}

// endpoint returns where the node's tunnel looks for the peer.
func (s *meshSite) endpoint(n, peer *member) string {
	s.t.Helper()
	key := s.Must(s.t, "GET", "/api/v1/nodes/"+peer.ID, nil)["public_key"].(string)
	for line := range strings.Lines(s.inside(n.Machine, "wg", "show", n.Interface, "endpoints")) {
		if endpoint, ok := strings.CutPrefix(line, key+"\t"); ok {
			return strings.TrimSpace(endpoint)
		}
	}
	return ""
}

// bindDeployed binds an agent that stands in for a deployed one.
func (s *meshSite) bindDeployed(n *member) *agenttest.Client {
	s.t.Helper()
	client, err := agenttest.Bind(s.t, s.URL, n.Must(s.t, "POST", n.Path("bind-command"), nil)["token"].(string))
	if err != nil {
		s.t.Fatal(err)
	}
	client.Run()
	n.Await(s.t, "online")
	return client
}

// takeUp runs the tunnel that a deployed agent stored.
func (s *meshSite) takeUp(n *member, client *agenttest.Client) {
	s.t.Helper()
	if err := os.WriteFile(n.file(), []byte(client.Stored()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.inside(n.Machine, "wg-quick", "up", n.file())
}

// scan checks that the QR code of a static node, as a browser shows it, has the bytes of its file.
func (s *meshSite) scan(o *operator, n *member) {
	s.t.Helper()
	o.open(n.Path("config-qr"))
	picture, err := act(o.browser, chromedp.FullScreenshot(100))
	if err != nil {
		s.t.Fatal(err)
	}
	image := filepath.Join(s.t.TempDir(), "code.png")
	if err := os.WriteFile(image, picture, 0o600); err != nil {
		s.t.Fatal(err)
	}
	text, err := exec.CommandContext(s.t.Context(), "zbarimg", "--quiet", "--raw", image).Output()
	if err != nil {
		s.t.Fatalf("zbarimg: %v %s", err, text)
	}
	file, err := os.ReadFile(n.file())
	if err != nil || string(text) != string(file)+"\n" { // zbarimg adds the end of a line
		s.t.Errorf("the code has %q, the file %q (%v)", text, file, err)
	}
}

// file is where the tunnel config of a static node is kept on its machine.
func (n *member) file() string { return filepath.Join(n.AgentDir, n.Interface+".conf") }

// fetch gets the file of a static node with the command of a one-time link, which does not work again.
func (s *meshSite) fetch(n *member) {
	s.t.Helper()
	link := n.Must(s.t, "POST", n.Path("download-token"), nil)
	command := "cd " + n.AgentDir + " && umask 077 && " + link["command"].(string)
	s.inside(n.Machine, "sh", "-c", command)
	if out, code := n.Run(s.t, "sh", "-c", command); code == 0 {
		s.t.Errorf("the link gives the file twice: %s", out)
	}
}
