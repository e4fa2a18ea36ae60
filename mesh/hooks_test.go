package mesh_test

import (
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// managed returns the managed hooks of a node's text by key, as the tools run them: without what
// follows a #.
func managed(tb testing.TB, w *world, id string) map[string][]string {
	tb.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(w.mesh().Text(id)) {
		if !mesh.IsManaged(line) {
			continue
		}
		command, _, _ := strings.Cut(line, "#")
		key, command, _ := strings.Cut(command, " = ")
		all[key] = append(all[key], strings.TrimSpace(command))
	}
	return all
}

func on(platform string) func(*mesh.Node) {
	return func(n *mesh.Node) { n.Client = &store.Client{Platform: platform} }
}

// branch is a mesh with a node that does all that takes hooks.
func branch(tb testing.TB) *world {
	tb.Helper()
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.add("gate", public("192.0.2.1"))
	w.add("branch", routes("192.168.7.0/24", "fd00:7::/64"), func(n *mesh.Node) { n.Masquerade = true })
	w.add("peer")
	w.link(tb, "branch", "gate", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.2/32 fd00:66::2/128"))
	w.link(tb, "peer", "gate", carries("10.66.0.0/24 fd00:66::/64", "10.66.0.3/32 fd00:66::3/128"))
	w.forwards = append(w.forwards, store.PortForward{
		ID: "pf_1", FromNodeID: "peer", FromPort: 80, ToNodeID: "branch", ToPort: 8080, ToPlatform: "linux", Protocol: store.ForwardAll, Enabled: true,
	})
	return w
}

func TestHooksAreMadeOnlyForNodesThatNeedThem(t *testing.T) {
	w := branch(t)
	count := func(id string, up, down int) {
		t.Helper()
		got := managed(t, w, id)
		if len(got["PostUp"]) != up || len(got["PostDown"]) != down {
			t.Errorf("%s has the hooks %q, want %d and %d to undo them", id, got, up, down)
		}
	}
	count("peer", 0, 0)
	count("gate", 2, 2)    // forwards both IP versions
	count("branch", 10, 4) // and for each: a table, routes, two protocols

	w.forwards[0].Enabled = false
	count("branch", 6, 4)
	w.node("branch").Masquerade = false
	count("branch", 2, 2)
	w.node("branch").Routes = nil
	count("branch", 0, 0)
	w.forwards[0].Enabled = true
	w.node("peer").Enabled = false
	count("branch", 0, 0)
	w.node("peer").Enabled = true
	w.node("peer").VirtualIP6 = noPrefix
	count("branch", 4, 2)
}

func TestHooksFitTheSystemOfTheNode(t *testing.T) {
	w := branch(t)
	has := func(words string) bool { return strings.Contains(w.mesh().Text("branch"), words) }
	if !has("nft ") || !has("iptables ") || has("pfctl") {
		t.Errorf("a node of unknown system does not get the hooks of Linux:\n%s", w.mesh().Text("branch"))
	}
	w.forwards[0].ToPlatform = "darwin"
	if !has("pfctl") || has("nft ") {
		t.Errorf("the platform of the port forward does not count:\n%s", w.mesh().Text("branch"))
	}
	on("linux amd64")(w.node("branch"))
	if !has("nft ") || has("pfctl") {
		t.Errorf("the agent's platform does not come first:\n%s", w.mesh().Text("branch"))
	}
	on("darwin/arm64")(w.node("branch"))
	if !has("pfctl") || has("nft ") {
		t.Errorf("the agent's platform does not come first:\n%s", w.mesh().Text("branch"))
	}
	on("windows/amd64")(w.node("branch"))
	if has("PostUp") {
		t.Errorf("there are hooks for Windows:\n%s", w.mesh().Text("branch"))
	}
}

func TestManagedHooksAreRecognised(t *testing.T) {
	w := branch(t)
	w.node("branch").PostUp = []string{"echo mine"}
	managed, others := 0, 0
	for line := range strings.Lines(w.mesh().Text("branch")) {
		switch {
		case !strings.HasPrefix(line, "PostUp"):
		case mesh.IsManaged(line):
			managed++
		default:
			others++
		}
	}
	if managed != 10 || others != 1 {
		t.Errorf("%d hooks are ours and %d are not, want 10 and 1", managed, others)
	}
}

func TestTheParserWarnsOfNothingInManagedHooksButThatTheyAreThere(t *testing.T) {
	for _, platform := range []string{"linux", "darwin"} {
		w := branch(t)
		on(platform)(w.node("branch"))
		for id, c := range w.parse(t) {
			for _, warning := range c.Warnings(noReach) {
				if warning.Code != "HOOKS" {
					t.Errorf("%s on %s: %s: %s", id, platform, warning.Code, warning.Message)
				}
			}
		}
	}
}

func TestNothingIsMasqueradedInAFamilyThatTheMeshDoesNotHave(t *testing.T) {
	w := newWorld("fd00:66::/64")
	w.add("gate", public("192.0.2.1"))
	w.add("branch", routes("192.168.7.0/24", "fd00:7::/64"), func(n *mesh.Node) { n.Masquerade = true })
	w.link(t, "branch", "gate", carries("fd00:66::/64", "fd00:66::2/128"))
	for _, platform := range []string{"linux", "darwin"} {
		on(platform)(&w.nodes[1])
		text := w.mesh().Text("branch")
		if strings.Contains(text, "{  }") || strings.Contains(text, "192.168.7.0/24 }") || !strings.Contains(text, "fd00:7::/64") {
			t.Errorf("%s:\n%s", platform, text)
		}
	}
}
