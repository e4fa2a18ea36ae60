package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// patience is the limit for an agent that is cut off to take that back. It waits a minute for the
// appliance first.
const patience = 3 * time.Minute

// The agents of a mesh that was applied with force: what works stays, and what cuts a node off is taken
// back without anybody who helps.
func TestAMeshThatMayCutANodeOffIsAppliedOnlyWithForceAndTakenBackIfItDoes(t *testing.T) {
	t.Parallel()
	s := newMeshSite(t)
	s.configID = s.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "offices"})["config_id"].(string)
	gate := s.add(s.gate, "gate", map[string]any{"ipv4_address": s.gate.IP})
	berlin := s.add(s.berlin, "berlin", nil)
	for _, n := range []*member{gate, berlin} {
		s.bindAgent(n, n.Must(t, "POST", n.Path("bind-command"), nil)["command"].(string))
	}
	s.Must(t, "POST", s.path("mesh/quick-generate"), map[string]any{"mode": "hub_spoke"})
	s.apply(nil)
	s.start(gate, berlin)
	s.pingEachOther(gate, berlin)

	s.step("a network that cuts off")
	s.Must(t, "PUT", "/api/v1/nodes/"+gate.ID, map[string]any{"routes": []string{s.server.IP + "/32"}})
	s.Refused(t, "CONFIG_WOULD_CUT_OFF", "POST", s.path("apply"), nil)
	id := s.Must(t, "POST", s.path("apply"), map[string]any{"force": true})["rollout_id"].(string)
	var last apptest.Answer
	within(t, patience, func() bool {
		last = s.Call(t, "GET", "/api/v1/rollouts/"+id, nil)
		return last.Data.(map[string]any)["state"] != "running"
	}, func() string { return "the rollout does not end: " + last.Body })
	if counts := last.Data.(map[string]any)["counts"].(map[string]any); counts["failed"] != 1.0 {
		t.Errorf("the rollout: %s", last.Body)
	}
	berlin.Await(t, "online")
	s.pingEachOther(gate, berlin)

	s.step("a full tunnel, which may cut off and does not")
	service := s.network.HostIP + " 18001"
	apptest.Spawn(t, []string{serviceVariable + "=" + strings.ReplaceAll(service, " ", ":")}, os.Args[0]).Expect(t, "serving")
	seen := func() string {
		return s.inside(s.berlin, "bash", "-c", "cat </dev/tcp/"+strings.ReplaceAll(service, " ", "/"))
	}
	if as := seen(); as == s.gate.IP {
		t.Fatalf("berlin is seen from outside as %s already", as)
	}
	s.Must(t, "PUT", "/api/v1/nodes/"+gate.ID, map[string]any{"routes": []string{"0.0.0.0/0"}, "masquerade": true})
	s.Refused(t, "CONFIG_WOULD_CUT_OFF", "POST", s.path("apply"), nil)
	s.apply(map[string]any{"node_ids": []string{gate.ID}}) // or berlin would lose its way out before the gateway passes it on
	s.apply(map[string]any{"force": true})
	if as := seen(); as != s.gate.IP {
		t.Errorf("through the gateway, berlin is seen from outside as %s, want %s", as, s.gate.IP)
	}
	berlin.Await(t, "online")
	s.step("done")
}

// within is like apptest.Eventually, with another limit.
func within(t *testing.T, limit time.Duration, ok func() bool, complain func() string) {
	t.Helper()
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(limit)
	for !ok() {
		select {
		case <-ticks.C:
		case <-timeout:
			t.Fatal(complain())
		}
	}
}
