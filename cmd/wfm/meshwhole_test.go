package main

import (
	"path/filepath"
	"testing"
)

// The whole of a mesh as a person has it, with real agents, the real tools and real tunnels: from nothing to nodes that
// reach each other, and through all that happens to them later.
func TestAWholeMesh(t *testing.T) {
	t.Parallel()
	s := newMeshSite(t)

	s.step("the mesh is made from nothing")
	s.configID = s.Must(t, "POST", "/api/v1/configs", map[string]any{
		"name": "offices", "virtual_subnet": "10.66.0.0/24", "virtual_subnet6": "fd66::/64",
	})["config_id"].(string)
	gate := s.add(s.gate, "gate", map[string]any{"ipv4_address": s.gate.IP})
	amsterdam := s.add(s.amsterdam, "amsterdam", map[string]any{"routes": []string{lan4.String(), lan6.String()}, "masquerade": true})
	berlin := s.add(s.berlin, "berlin", nil)
	phone := s.add(s.phone, "phone", map[string]any{"node_type": "static"})
	for _, n := range []*member{gate, amsterdam, berlin} {
		s.bindAgent(n, n.Must(t, "POST", n.Path("bind-command"), nil)["command"].(string))
	}

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
	s.step("done")
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
