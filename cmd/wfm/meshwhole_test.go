package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	for _, n := range []*member{gate, amsterdam, berlin} {
		if got := s.Must(t, "GET", "/api/v1/nodes/"+n.ID, nil); got["key_holder"] != "node" {
			t.Errorf("the agent of %s does not keep its key: %v", n.name, got)
		}
	}
	s.Must(t, "PUT", "/api/v1/nodes/"+amsterdam.ID, map[string]any{"key_holder": "appliance"})
	o.reachAt(gate, s.gate.IP)
	o.putBehind(amsterdam, lan4.String()+", "+lan6.String())

	s.step("the nodes are linked, and have their tunnel configs")
	o.link("3 links made")
	o.apply()
	for _, n := range []*member{gate, amsterdam, berlin} { // the button starts them, too
		awaitFound(t, n.Node, "running running")
	}

	s.step("the phone fetches its file, once")
	o.fetch(phone, "Not handed out yet")
	s.inside(s.phone, "wg-quick", "up", phone.file())

	s.step("all reach each other and the host behind amsterdam")
	s.pingEachOther(gate, amsterdam, berlin, phone)
	s.pingHost(gate, berlin, phone)

	s.step("the phone's code is the file")
	o.scan(phone)

	s.step("a wrong public address of the gateway is mended")
	leaves := []*member{amsterdam, berlin}
	o.reachAt(gate, s.nobody())
	o.apply()
	for _, n := range leaves {
		if got := s.endpoint(n, gate); got != s.nobody()+":51820" {
			t.Errorf("%s looks for the gateway at %s", n.name, got)
		}
	}
	for _, n := range leaves { // the change that mends it is applied by itself
		s.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"auto_sync": true})
	}
	o.reachAt(gate, s.gate.IP)
	s.pingEachOther(gate, amsterdam, berlin, phone)
	for _, n := range leaves {
		s.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"auto_sync": false})
	}

	s.step("new keys, a deployed agent, and a port forward")
	o.rotate(gate)
	o.rotate(amsterdam)
	old := s.add(s.spare, "dublin", nil)
	client := s.bindDeployed(old)
	o.link("1 link made")
	s.service(berlin, net.JoinHostPort(berlin.v4, "80"))
	o.forward(gate, "8080", berlin, "80")
	o.apply()
	s.takeUp(old, client)
	s.inside(s.phone, "wg-quick", "down", phone.file())
	o.fetch(phone, "Changed since")
	s.inside(s.phone, "wg-quick", "up", phone.file())
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

// nobody returns an address of the public network that no machine has.
func (s *meshSite) nobody() string { return strings.TrimSuffix(s.network.HostIP, ".1") + ".250" }

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

// file is where the tunnel config of a static node is kept on its machine.
func (n *member) file() string { return filepath.Join(n.AgentDir, n.Interface+".conf") }
