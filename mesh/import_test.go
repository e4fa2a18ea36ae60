package mesh_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/mesh/importconf"
	"wfm/protocol"
	"wfm/store"
)

// meaning returns what a tunnel config says, without comments, orders, and the hooks for forwarding.
func meaning(text string) []string {
	var all []string
	section := ""
	var lines []string
	end := func() {
		slices.Sort(lines)
		if len(lines) > 0 {
			all = append(all, section+" "+strings.Join(slices.Compact(lines), "; "))
		}
		lines = nil
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "managed by WFM: forwarding") {
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		key, value, isValue := strings.Cut(line, " = ")
		switch {
		case strings.HasPrefix(line, "["):
			end()
			section = line
		case key == "AllowedIPs" || key == "Address":
			for network := range strings.SplitSeq(value, ", ") {
				lines = append(lines, key+" "+network)
			}
		case line == "SaveConfig = false", line == "PersistentKeepalive = 0", line == "PersistentKeepalive = off": // as without the line
		case isValue:
			lines = append(lines, line)
		}
	}
	end()
	slices.Sort(all)
	return all
}

// question asks for the import of the texts into a mesh with the settings.
func question(cfg store.Config, texts map[string]string) importconf.Question {
	q := importconf.Question{Config: cfg, NewNodeID: counter("node"), NewLinkID: counter("link")}
	for id, text := range texts {
		q.Files = append(q.Files, importconf.File{Name: "conf/" + id + ".conf", Text: text})
	}
	return q
}

func TestRandomMeshesMeanTheSameAfterTheyWereImported(t *testing.T) {
	made, kept := 0, 0
	for seed := range uint64(150) {
		r := newRandomWorld(t, seed)
		for i := range r.nodes {
			r.nodes[i].InterfaceName = r.nodes[i].ID
		}
		before := r.mesh().Texts()
		k := newKept(t)
		cfg := store.Config{ID: keptID, Name: "a", Enabled: true, TunnelProtocol: r.config.TunnelProtocol}
		if seed%3 > 0 { // else the mesh takes the subnet of the files
			cfg.VirtualSubnet, cfg.VirtualSubnet6 = r.config.VirtualSubnet, r.config.VirtualSubnet6
		}
		k.edit(t, func(e *mesh.Edit) error { c := cfg; return e.PutConfig(&c) })
		plan := importconf.Make(question(cfg, before))
		if len(plan.Problems)+len(plan.OneSided) > 0 {
			t.Fatalf("seed %d: %v, one-sided: %v\n%s", seed, plan.Problems, plan.OneSided, before)
		}
		k.edit(t, plan.Apply)
		for _, n := range plan.Nodes {
			id := strings.TrimSuffix(strings.TrimPrefix(n.File, "conf/"), ".conf")
			if got, want := meaning(k.text(n.ID)), meaning(before[id]); !slices.Equal(got, want) {
				t.Fatalf("seed %d: %s became\n%s\nwas\n%s\nwhich means\n%s\nand\n%s", seed, id, k.text(n.ID), before[id], strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if n.Text != "" {
				kept++
				if n.Text != before[id] || k.text(n.ID) != n.Text || len(n.Why) == 0 {
					t.Errorf("seed %d: the text of %s was not kept, or without a reason: %q", seed, id, n.Why)
				}
				// A network that no other node has an address to reach stands in no file but in the hooks of its node.
				if !slices.Contains(r.expected(seed%3 > 0), strings.Join(n.Why, " ")) {
					t.Errorf("seed %d: the text of %s is kept: %q\n%s", seed, id, n.Why, n.Text)
				}
			} else {
				made++
			}
		}
		if len(plan.Nodes) != len(before) {
			t.Fatalf("seed %d: %d nodes of %d texts", seed, len(plan.Nodes), len(before))
		}
	}
	if made < 2*kept {
		t.Errorf("%d are made from the mesh, and %d stay texts", made, kept)
	}
	t.Logf("%d made, %d kept", made, kept)
}

// changed returns the text with a few changes that people make.
func (r *randomWorld) changed(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for range r.IntN(4) {
		i := r.IntN(len(lines))
		key, value, _ := strings.Cut(lines[i], " = ")
		switch {
		case key == "PersistentKeepalive":
			lines[i] = "PersistentKeepalive = " + []string{"7", "0", "off"}[r.IntN(3)]
		case key == "Endpoint":
			lines[i] = strings.Replace(lines[i], ":", []string{"1.example:", ":"}[r.IntN(2)], 1) + []string{"", "1"}[r.IntN(2)]
		case key == "AllowedIPs":
			lines[i] += ", " + []string{"0.0.0.0/0", "172.16.0.0/12", "fd02::/48", "10.66.0.77/32", "192.168.7.0/24"}[r.IntN(5)]
		case key == "ListenPort" || key == "PresharedKey":
			lines[i] = "# " + lines[i]
		case key == "Address":
			lines[i] = "Address = " + strings.Replace(value, "/32", "/24", 1)
		case key == "[Interface]":
			lines[i] += "\n" + []string{"Table = off", "MTU = 1300", "DNS = 9.9.9.9, lan", "FwMark = 7", "PreUp = true", "SaveConfig = false"}[r.IntN(6)]
		case key == "[Peer]" && r.IntN(2) == 0:
			lines[i] += "\nPublicKey = " + keysOf(fmt.Sprint("stranger", r.IntN(3))).Public + "\nAllowedIPs = 10.66.0.9" + fmt.Sprint(r.IntN(3)) + "/32\n[Peer]"
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// Whatever the files say, each node's tunnel config says the same afterwards.
func TestChangedFilesKeepTheirMeaning(t *testing.T) {
	imported, made, kept := 0, 0, 0
	for seed := range uint64(200) {
		r := newRandomWorld(t, seed)
		files := map[string]string{}
		for i := range r.nodes {
			r.nodes[i].InterfaceName = r.nodes[i].ID
		}
		for _, id := range slices.Sorted(maps.Keys(r.mesh().Texts())) {
			if r.IntN(8) > 0 { // the others are missing
				files[id] = r.changed(r.mesh().Text(id))
			}
		}
		cfg := store.Config{ID: keptID, Name: "a", Enabled: true, TunnelProtocol: r.config.TunnelProtocol}
		k := newKept(t)
		k.edit(t, func(e *mesh.Edit) error { c := cfg; return e.PutConfig(&c) })
		plan := importconf.Make(question(cfg, files))
		if len(files) == 0 || len(plan.Problems) > 0 {
			continue
		}
		imported++
		k.edit(t, plan.Apply)
		for _, n := range plan.Nodes {
			if n.File == "" {
				continue
			}
			id := strings.TrimSuffix(strings.TrimPrefix(n.File, "conf/"), ".conf")
			got, want := meaning(k.text(n.ID)), meaning(files[id])
			if n.Text == "" {
				made++
			} else {
				kept++
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: %s (%q) became\n%s\nwas\n%s\nwhich means\n%s\nand\n%s", seed, id, n.Why, k.text(n.ID), files[id],
					strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	if imported < 80 || made < 100 || kept < 100 {
		t.Errorf("%d were imported, with %d texts made and %d kept", imported, made, kept)
	}
	t.Logf("%d were imported, with %d texts made and %d kept", imported, made, kept)
}

// expected returns why a text may be kept. Without a subnet of the mesh, hooks have another one; without
// the link that leads to it, a network seems to be behind the gateway.
func (r *randomWorld) expected(subnet bool) []string {
	const hooks = "It has hooks of an appliance that the mesh would not make."
	all := []string{hooks, "The mesh would give it an address of the other IP version too."}
	all = append(all, all[1]+" "+all[0])
	if !subnet || r.incomplete {
		all = append(all, hooks+" The mesh would add hooks to it.")
	}
	return all
}

// Importing finds the nodes' networks and public addresses again, not just their texts.
func TestImportFindsTheFieldsOfNodesAndLinks(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	w.add("gate", public("192.0.2.1"), func(n *mesh.Node) { n.InterfaceName = "gate" })
	w.add("office", routes("192.168.7.0/24"), func(n *mesh.Node) { n.InterfaceName, n.Masquerade, n.DNS = "office", true, "10.66.0.1, lan" })
	w.add("laptop", func(n *mesh.Node) { n.InterfaceName, n.MTU, n.PostUp = "laptop", 1380, []string{"true a", "true b"} })
	w.links = w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "gate", UsePresharedKey: true}).Links()
	cfg := store.Config{ID: keptID, Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
	plan := importconf.Make(question(cfg, w.mesh().Texts()))
	if len(plan.Problems)+len(plan.OneSided) > 0 || len(plan.Nodes) != 3 || len(plan.Links) != 2 || plan.Config.VirtualSubnet != prefix("10.66.0.0/24") {
		t.Fatalf("%+v", plan)
	}
	for i, name := range []string{"gate", "laptop", "office"} {
		got, want := plan.Nodes[i].Node, w.node(name).Node
		if got.Name != name || got.Type != store.NodeDynamic {
			t.Errorf("%+v", got)
		}
		want.ListenPort, got.ListenPort = 0, 0 // gate listens on the default
		want.KeyChosen = true                  // the agent must not replace it
		if fmt.Sprintf("%+v", got.NodeSettings) != fmt.Sprintf("%+v", want.NodeSettings) {
			t.Errorf("%s is\n%+v\nwant\n%+v", name, got.NodeSettings, want.NodeSettings)
		}
	}
	for _, l := range plan.Links {
		if !l.Manual || l.PresharedKey == "" || l.Reverse.EndpointMode != store.EndpointAuto || l.Reverse.EndpointPortMode != store.PortOfPeer ||
			slices.Contains(l.Forward.AllowedIPs, prefix("192.168.7.0/24")) {
			t.Errorf("%+v", l)
		}
	}
}
