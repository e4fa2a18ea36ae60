package main

import (
	"fmt"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// The longest test of the package is in its last file: of the parallel tests, those that come last
// begin first.
func TestAConfigThatCutsTheNodeOffIsTakenBackByTheNode(t *testing.T) {
	t.Parallel()
	north, south := linkedSites(t)
	fatal := strings.Replace(north.config(south), south.inner()+"/32", south.inner()+"/32, "+north.network.HostIP+"/32", 1)
	north.Refused(t, "CONFIG_WOULD_CUT_OFF", "PUT", north.Path("applied-conf"), map[string]any{"content": fatal})
	north.Must(t, "PUT", north.Path("applied-conf"), map[string]any{"content": fatal, "force": true})
	north.Must(t, "POST", north.Path("sync"), nil)
	// The node looks for its server for a minute; nothing can come earlier.
	id := north.push(t, "sent")["request_id"].(string)
	life := map[string]any{}
	apptest.Eventually(t, func() bool {
		life = north.Must(t, "GET", "/api/v1/commands/"+id, nil)
		return life["status"] != "pending" // it may be sent again in between
	}, func() string { return "the node never came back" })
	if detail := fmt.Sprint(life["detail"]); life["state"] != "failed" || !strings.HasPrefix(detail, "rolled back: ") {
		t.Errorf("the push is %v: %s", life["state"], detail)
	}
	north.ping(t, south)
	north.wantSync(t, "pending", 2, 1)
	for _, s := range []*site{north, south} {
		s.Control(t, "stop")
	}
}
