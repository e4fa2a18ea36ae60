package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wfm/store"
)

type manyCommandsJSON struct {
	NodeID        string `json:"node_id"`
	NodeName      string `json:"node_name"`
	Command       string `json:"command"`
	Token         string `json:"token"`
	WfmctlCommand string `json:"wfmctl_command"`
	ExpiresAt     string `json:"expires_at"`
}

func (a *api) addNodes(cfg string, names ...string) (ids []string) {
	a.t.Helper()
	rows := make([]object, len(names))
	for i, name := range names {
		rows[i] = object{"name": name}
	}
	var made createdJSON
	a.post("/api/v1/configs/"+cfg+"/nodes/bulk", object{"nodes": rows}).ok(&made)
	for _, n := range made.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

func TestBindCommandsOfManyNodesAreMadeInOneCall(t *testing.T) {
	a := newAPI(t)
	cfg, other := a.addConfig("fleet"), a.addConfig("other")
	ids := a.addNodes(cfg, "a", "b", "c", "d", "e")
	foreign := a.addNode(other, "x")
	path := "/api/v1/configs/" + cfg + "/bind-commands"
	var rows []manyCommandsJSON
	a.post(path, object{"node_ids": []string{ids[2], ids[0], ids[2]}, "server_url": "https://wfm.example.org"}).ok(&rows)
	if len(rows) != 2 || rows[0].NodeID != ids[2] || rows[0].NodeName != "c" || rows[1].NodeID != ids[0] || rows[0].ExpiresAt == "" ||
		rows[0].Command != "wfm-agent bind --server https://wfm.example.org --token "+rows[0].Token ||
		rows[0].WfmctlCommand != `wfmctl bind --server "https://wfm.example.org" --token "`+rows[0].Token+`"` {
		t.Errorf("named: %+v", rows)
	}
	a.call("POST", "/api/client/bind", bindBody(rows[1].Token), as("")).ok(nil)
	a.put("/api/v1/nodes/"+ids[1], object{"enabled": false}).ok(nil)
	a.put("/api/v1/nodes/"+ids[3], object{"node_type": "static"}).ok(nil)
	r := a.post(path, object{"node_ids": []string{ids[4], ids[1], ids[3], foreign, "none"}})
	for _, i := range []int{3, 4} { // ids that are not nodes of the mesh are reported first
		r.invalid(fmt.Sprintf("node_ids[%d]", i))
	}
	r = a.post(path, object{"node_ids": []string{ids[4], ids[1], ids[3]}})
	for _, i := range []int{1, 2} {
		r.invalid(fmt.Sprintf("node_ids[%d]", i))
	}
	var free []string
	for cursor := ""; ; {
		r := a.post(path+"?limit=1&cursor="+url.QueryEscape(cursor), nil).ok(&rows)
		for _, row := range rows {
			free = append(free, row.NodeName)
		}
		if cursor = r.NextCursor; cursor == "" {
			break
		}
	}
	if fmt.Sprint(free) != "[c e]" {
		t.Errorf("without an agent: %v", free)
	}
	for _, row := range rows { // tokens of former pages are still valid
		a.call("POST", "/api/client/bind", bindBody(row.Token), as("")).ok(nil)
	}
	a.post(path+"?limit=0", nil).invalid("limit")
	a.post(path, object{"server_url": "nonsense", "node_ids": 1}).invalid("server_url")
	a.post("/api/v1/configs/none/bind-commands", nil).fails(404, "CONFIG_NOT_FOUND")
	a.put("/api/v1/configs/"+cfg, object{"enabled": false}).ok(nil)
	a.post(path, nil).fails(409, "NODE_DISABLED")
	var entries []store.AuditEntry
	if a.get("/api/v1/audit?node_id=" + ids[2]).ok(&entries); len(entries) != 3 {
		t.Errorf("audit entries of a node that was made and got two commands: %+v", entries)
	}
	for _, e := range entries {
		for _, row := range rows {
			if strings.Contains(fmt.Sprint(e), row.Token) {
				t.Error("a token is in the audit log")
			}
		}
	}
}

func TestWrongBindTokensAreBoundedAndRightOnesNot(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("fleet")
	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	a.addNodes(cfg, names...)
	var rows []manyCommandsJSON
	a.post("/api/v1/configs/"+cfg+"/bind-commands?limit=40", nil).ok(&rows)
	wantHeldOff := func(what string, body object) {
		t.Helper()
		limited := 0
		for range 30 {
			if r := a.call("POST", "/api/client/bind", body, as("")); r.status == http.StatusTooManyRequests {
				limited++
			}
		}
		if limited < 15 {
			t.Fatalf("%d of 30 %s were held off", limited, what)
		}
	}
	wantHeldOff("guesses", object{"token": "guessed"})
	var all sync.WaitGroup
	for _, row := range rows { // all at once, from the limited address
		all.Go(func() { a.call("POST", "/api/client/bind", bindBody(row.Token), as("")).ok(nil) })
	}
	all.Wait()
	wantHeldOff("spent tokens", bindBody(rows[0].Token)) // the limit has grown since the guesses
}

// A script makes and binds 10,000 nodes with one API token. Outside CI there are fewer, to be
// quick.
func TestTenThousandNodesAreMadeAndBoundWithOneToken(t *testing.T) {
	t.Parallel()
	nodes := 10_000
	if testing.Short() || os.Getenv("WFM_CI") == "" {
		nodes = 1_000
	}
	a := newAPI(t)
	a.token = a.addToken("script", "write").Token
	cfg := a.addConfig("fleet")
	for made := 0; made < nodes; made += 1000 {
		names := make([]string, 1000)
		for i := range names {
			names[i] = fmt.Sprintf("device %05d", made+i)
		}
		a.addNodes(cfg, names...)
	}
	path, cursor, bound := "/api/v1/configs/"+cfg+"/bind-commands?limit=500", "", atomic.Int64{}
	for {
		var rows []manyCommandsJSON
		r := a.post(path+"&cursor="+url.QueryEscape(cursor), nil).ok(&rows)
		var all sync.WaitGroup
		slots := make(chan struct{}, 64)
		for _, row := range rows {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				a.call("POST", "/api/client/bind", bindBody(row.Token), as("")).ok(nil)
				bound.Add(1)
			})
		}
		all.Wait()
		if cursor = r.NextCursor; cursor == "" {
			break
		}
	}
	if r := a.get("/api/v1/configs/" + cfg).ok(nil); bound.Load() != int64(nodes) || !strings.Contains(r.body, fmt.Sprintf(`"node_count":%d`, nodes)) {
		t.Errorf("%d bound: %s", bound.Load(), r.body)
	}
	if r := a.post(path, nil).ok(nil); string(r.Data) != "[]" {
		t.Errorf("some are without an agent: %.200s", r.Data)
	}
	names := map[string]bool{}
	_ = a.db.View(func(tx *store.Tx) error {
		all, err := tx.Nodes(cfg, "", 0)
		for _, n := range all {
			names[n.InterfaceName] = true
			if n.Client == nil {
				t.Errorf("%s is not bound", n.Name)
			}
		}
		return err
	})
	if len(names) != nodes {
		t.Errorf("%d interface names for %d nodes", len(names), nodes)
	}
}
