package main

import (
	"fmt"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// branches is a mesh of a gateway and two leaves with agents that have no tunnel yet.
type branches struct {
	*apptest.Appliance
	configID   string
	gate, a, b *apptest.Node
}

func newBranches(t *testing.T) *branches {
	t.Helper()
	s := &branches{Appliance: apptest.Start(t, "", "WFM_PRESENCE_GRACE_SECONDS=1")}
	s.configID = s.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "branches", "virtual_subnet": "10.66.0.0/24"})["config_id"].(string)
	s.gate, s.a, s.b = s.AddNode(t, s.configID, "gate", ""), s.AddNode(t, s.configID, "alpha", ""), s.AddNode(t, s.configID, "beta", "")
	s.Must(t, "PUT", "/api/v1/nodes/"+s.gate.ID, map[string]any{"ipv4_address": "192.0.2.1"})
	s.Must(t, "POST", s.path("mesh/quick-generate"), map[string]any{"mode": "hub_spoke"})
	return s
}

func (s *branches) path(of string) string { return "/api/v1/configs/" + s.configID + "/" + of }

// change gives the node another tunnel config, which is not applied.
func (s *branches) change(t *testing.T, n *apptest.Node, mtu int) {
	t.Helper()
	s.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"mtu": mtu})
}

// applied applies the mesh and waits for the rollout's end. It returns the outcomes by node, in the order
// of the turns.
func (s *branches) applied(t *testing.T) string {
	t.Helper()
	id := s.Must(t, "POST", s.path("apply"), nil)["rollout_id"].(string)
	var all []string
	apptest.Eventually(t, func() bool {
		r := s.Must(t, "GET", "/api/v1/rollouts/"+id, nil)
		all = nil
		for _, n := range r["nodes"].([]any) {
			n := n.(map[string]any)
			all = append(all, fmt.Sprintf("%s %s@%v", n["node_name"], n["outcome"], n["wave"]))
		}
		return r["finished_at"] != nil
	}, func() string { return "the rollout does not end: " + strings.Join(all, ", ") })
	return strings.Join(all, ", ")
}

// confirms waits until the node has confirmed the version.
func (s *branches) confirms(t *testing.T, n *apptest.Node, version int) {
	t.Helper()
	var got any
	apptest.Eventually(t, func() bool {
		got = s.Must(t, "GET", n.Path("sync-status"), nil)["confirmed_version"]
		return got == float64(version)
	}, func() string { return fmt.Sprintf("version %v is confirmed, not %d", got, version) })
}

func (s *branches) desired(t *testing.T, n *apptest.Node) int {
	t.Helper()
	return int(s.Must(t, "GET", n.Path("sync-status"), nil)["desired_version"].(float64))
}

func TestANodeThatIsAwayGetsWhatWasAppliedOnceItIsBackAndNothingThatIsOutdated(t *testing.T) {
	s := newBranches(t)
	s.gate.StartAgent(t)
	s.a.StartAgent(t)
	if got := s.applied(t); got != "alpha done@1, beta later@1, gate done@2" {
		t.Errorf("%s", got)
	}
	s.Kill()
	s.Respawn(t)
	agent := s.b.StartAgent(t)
	s.confirms(t, s.b, s.desired(t, s.b))

	agent.Kill()
	s.b.Await(t, "offline")
	s.change(t, s.b, 1380)
	if got := s.applied(t); got != "beta later@1" {
		t.Errorf("%s", got)
	}
	s.change(t, s.b, 1370) // and is not applied
	outdated := s.desired(t, s.b) - 1
	agent = s.b.StartAgent(t)
	apptest.Eventually(t, func() bool {
		newest := s.Must(t, "GET", s.path("apply"), nil)["nodes"].([]any)
		return len(newest) == 1 && newest[0].(map[string]any)["fate"] == "now"
	}, func() string { return "the node's push still waits" })
	s.confirms(t, s.b, outdated-1)
	text := ""
	apptest.Eventually(t, func() bool { // the plan may know that the node is back before the waiting push is looked at
		text = s.Call(t, "GET", s.b.Path("endpoint/logs"), nil).Body
		return strings.Contains(text, fmt.Sprintf("while version %d waited for the node", outdated))
	}, func() string { return "no command says that it was outdated: " + text })
	if got := s.applied(t); got != "beta done@1" {
		t.Errorf("%s", got)
	}
	s.confirms(t, s.b, outdated+1)
	agent.Kill()
}

func TestAMeshIsReviewedAndAppliedOnItsPage(t *testing.T) {
	s := newBranches(t)
	s.gate.StartAgent(t)
	s.a.StartAgent(t)
	b := openBrowser(t, s.URL, "apply", 390, 844)
	b.login()
	b.open("/configs/" + s.configID)
	b.see("3 changes not applied")
	b.open("/configs/" + s.configID + "/apply")
	b.see("3 nodes change", "is away, and gets it when it is back", "gateway")
	b.inspect("apply-plan")
	b.click("#form-apply [value=" + s.a.ID + "]") // not this one
	b.click("#form-apply [name=start]")           // no tunnel can be started here
	b.click("#form-apply .primary")
	b.see("The rollout to 2 nodes has begun.")
	b.until("document.querySelector('#rollout-title')?.innerText.includes('done')")
	b.see("1 later", "1 node changes")
	b.inspect("apply-done")
	b.click("#form-apply .primary")
	b.see("Nothing to apply now: 1 push is on its way.")
	s.b.StartAgent(t)
	b.see("Everything is applied.")
}

func TestAChangeOfANodeWithAutoSyncIsAppliedByItself(t *testing.T) {
	s := newBranches(t)
	s.a.StartAgent(t)
	s.Must(t, "PUT", "/api/v1/nodes/"+s.a.ID, map[string]any{"auto_sync": true})
	s.confirms(t, s.a, s.desired(t, s.a))
	s.change(t, s.a, 1390)
	s.Kill()
	s.Respawn(t)
	s.confirms(t, s.a, s.desired(t, s.a))
	if got := s.Must(t, "GET", s.gate.Path("sync-status"), nil)["status"]; got != "pending" {
		t.Errorf("a node without auto_sync is %v", got)
	}
}
