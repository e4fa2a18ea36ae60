package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// bigMesh makes a mesh with the given number of nodes, the first ones with a public address.
func bigMesh(t *testing.T, a *apptest.Appliance, subnet string, nodes, gateways int) (path string) {
	t.Helper()
	id := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": fmt.Sprint(nodes, " nodes"), "virtual_subnet": subnet})["config_id"].(string)
	path = "/api/v1/configs/" + id
	for first := 0; first < nodes; first += 1000 {
		var rows []map[string]any
		for i := first; i < min(first+1000, nodes); i++ {
			row := map[string]any{"name": fmt.Sprintf("node %d", i), "interface_name": fmt.Sprintf("wf%d", i)}
			if i < gateways {
				row["ipv4_address"] = fmt.Sprintf("198.51.100.%d", i+1)
			}
			rows = append(rows, row)
		}
		a.Must(t, "POST", path+"/nodes/bulk", map[string]any{"nodes": rows})
	}
	return path
}

// The figures in the log are those of the machine that ran the test.
func TestAMeshOf500NodesIsPlannedCheckedAndStagedOverHTTP(t *testing.T) {
	a := apptest.Start(t, "")
	path := bigMesh(t, a, "10.80.0.0/20", 500, 10)
	begun, last := time.Now(), time.Now()
	step := func(name, method, path string, body any) map[string]any {
		answer := a.Must(t, method, path, body)
		t.Logf("%s: %v", name, time.Since(last).Round(time.Millisecond))
		last = time.Now()
		return answer
	}
	quick := map[string]any{"mode": "free_mesh", "dry_run": true}
	if got := step("planned", "POST", path+"/mesh/quick-generate", quick); got["generated_groups"] != 535.0 { // 490 leaves, 10 × 9 / 2 pairs of gateways
		t.Errorf("%v links would be made", got["generated_groups"])
	}
	delete(quick, "dry_run")
	step("linked", "POST", path+"/mesh/quick-generate", quick)
	if got := step("checked", "POST", path+"/mesh/validate", nil); got["valid"] != true {
		t.Errorf("the mesh is not valid: %v", got["errors"])
	}
	if got := step("staged", "POST", path+"/sync-all", nil); got["synced_count"] != 500.0 {
		t.Errorf("%v were staged", got["synced_count"])
	}
	t.Logf("in all: %v", time.Since(begun).Round(time.Millisecond))
}

func TestAFullMeshOf5001NodesIsRefusedWithABetterMode(t *testing.T) {
	a := apptest.Start(t, "")
	path := bigMesh(t, a, "10.96.0.0/16", 5001, 30)
	answer := a.Call(t, "POST", path+"/mesh/quick-generate", map[string]any{"mode": "full_mesh"})
	if answer.Code != "INVALID_QUICK_MESH" || !strings.Contains(answer.Body, "5001 nodes by 12502500 links") ||
		!strings.Contains(answer.Body, "use free_mesh with 21 gateways or more") {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	if got := a.Must(t, "POST", path+"/mesh/quick-generate", map[string]any{"mode": "free_mesh", "dry_run": true}); got["generated_groups"] != 5406.0 {
		t.Errorf("%v links would be made by free_mesh", got["generated_groups"])
	}
}
