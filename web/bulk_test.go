package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"wfm/store"
)

type createdJSON struct {
	CreatedCount int `json:"created_count"`
	Nodes        []struct {
		nodeJSON
		Warnings []string `json:"warnings"`
	} `json:"nodes"`
}

func TestManyNodesAreMadeInOneCallWithOneAuditEntry(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("fleet")
	rows := make([]object, 1000)
	for i := range rows {
		rows[i] = object{"name": fmt.Sprintf("device %04d of the fleet", i), "tags": []string{"bulk"}}
	}
	rows[7]["private_key"], rows[7]["mtu"] = "x", nil
	var made createdJSON
	a.post("/api/v1/configs/"+cfg+"/nodes/bulk", object{"nodes": rows}).ok(&made)
	if made.CreatedCount != 1000 || len(made.Nodes) != 1000 || made.Nodes[999].Name != "device 0999 of the fleet" {
		t.Fatalf("%d made, %d answered", made.CreatedCount, len(made.Nodes))
	}
	names := map[string]bool{}
	for i, n := range made.Nodes {
		names[n.InterfaceName] = true
		if want := i == 7; (len(n.Warnings) == 1 && strings.HasPrefix(n.Warnings[0], "private_key: ignored")) != want {
			t.Errorf("row %d: warnings %v", i, n.Warnings)
		}
	}
	if len(names) != 1000 {
		t.Errorf("%d interface names for 1000 nodes", len(names))
	}
	var entries []store.AuditEntry
	a.get("/api/v1/audit?node_id=" + made.Nodes[500].ID).ok(&entries)
	if len(entries) != 1 || !strings.HasSuffix(entries[0].Action, "/nodes/bulk") || len(strings.Fields(entries[0].IDs["node_ids"])) != 1000 {
		t.Errorf("audit entries about one of them: %+v", entries)
	}
	a.browse("/audit").shows("<summary>1000 nodes</summary>")
}

func TestABulkCallNamesEveryFaultOfEveryRowAndDoesNothing(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("fleet")
	a.addNode(cfg, "taken")
	path := "/api/v1/configs/" + cfg + "/nodes/bulk"
	r := a.post(path, object{"nodes": []object{
		{"name": "fine"},
		{"name": ""},
		{"name": "taken", "node_type": "other"},
		{"tags": "edge", "enabled": 1},
		{"name": "fine"},
		{"name": "long", "interface_name": "longer-than-linux-takes"},
		{"name": "windows", "interface_name": "longer-than-linux-takes", "client_platform": "windows/amd64"},
	}})
	for _, field := range []string{
		"nodes[1].name", "nodes[2].name", "nodes[2].node_type", "nodes[3].name", "nodes[3].tags", "nodes[3].enabled", "nodes[4].name", "nodes[5].interface_name",
	} {
		r.invalid(field)
	}
	if len(r.Error.Detail.Fields) != 8 {
		t.Errorf("faults: %v", r.Error.Detail.Fields)
	}
	many := make([]object, 500)
	for i := range many {
		many[i] = object{"name": ""}
	}
	if r := a.post(path, object{"nodes": many}); len(r.Error.Detail.Fields) != 500 || len(r.Error.Message) > 1000 ||
		!strings.Contains(r.Error.Message, "and 490 more") {
		t.Errorf("%d faults, said in %d bytes: %.300s", len(r.Error.Detail.Fields), len(r.Error.Message), r.Error.Message)
	}
	for _, body := range []string{`{}`, `{"nodes":[]}`, `{"nodes":{}}`, `{"nodes":[` + strings.Repeat(`{"name":"x"},`, 1000) + `{"name":"x"}]}`} {
		a.post(path, body).invalid("nodes")
	}
	mixed := a.post(path, `{"nodes":[{"name":""},7,null,"a",{"name":"taken"}]}`)
	for _, field := range []string{"nodes[0].name", "nodes[1]", "nodes[2]", "nodes[3]", "nodes[4].name"} {
		mixed.invalid(field)
	}
	a.post("/api/v1/configs/none/nodes/bulk", object{"nodes": []object{{"name": "a"}}}).fails(404, "CONFIG_NOT_FOUND")
	var nodes []nodeJSON
	if a.get("/api/v1/configs/" + cfg + "/nodes").ok(&nodes); len(nodes) != 1 {
		t.Errorf("something was made: %+v", nodes)
	}
}

func TestManyNodesAreChangedInOneCallOrNone(t *testing.T) {
	a := newAPI(t)
	cfg, other := a.addConfig("fleet"), a.addConfig("other")
	n1, n2, n3, foreign := a.addNode(cfg, "a"), a.addNode(cfg, "b"), a.addNode(cfg, "c"), a.addNode(other, "d")
	path := "/api/v1/configs/" + cfg + "/nodes/bulk-update"
	type answer struct {
		Message   string
		Updated   int      `json:"updated_count"`
		Unchanged int      `json:"unchanged_count"`
		IDs       []string `json:"updated_node_ids"`
	}
	node := func(id string) (n nodeJSON) {
		t.Helper()
		a.get("/api/v1/nodes/" + id).ok(&n)
		return n
	}
	var v answer
	a.put("/api/v1/nodes/"+n1+"/tags", object{"tags": []string{"old", "edge"}}).ok(nil)
	a.put("/api/v1/nodes/"+n2, object{"enabled": false}).ok(nil)
	a.post(path, object{"node_ids": []string{n1, n2, n1}, "enabled": false, "add_tags": []string{"edge", "eu"}, "remove_tags": []string{"old", "none"}}).ok(&v)
	if v.Updated != 2 || v.Unchanged != 0 || v.Message != "Changed 2 nodes." || !slices.Equal(v.IDs, []string{n1, n2}) {
		t.Errorf("%+v", v)
	}
	if n := node(n1); n.Enabled || !slices.Equal(n.Tags, []string{"edge", "eu"}) {
		t.Errorf("%+v", n)
	}
	a.post(path, object{"node_ids": []string{n1, n2, n3}, "enabled": true}).ok(&v)
	if v.Updated != 2 || v.Unchanged != 1 || v.Message != "Changed 2 nodes. 1 had this already." || !node(n2).Enabled {
		t.Errorf("%+v", v)
	}
	a.browse("/audit").shows("Change nodes", "<summary>3 nodes</summary>")

	full := make([]string, store.MaxNodeTags)
	for i := range full {
		full[i] = fmt.Sprint("t", i)
	}
	a.put("/api/v1/nodes/"+n3+"/tags", object{"tags": full}).ok(nil)
	many := make([]string, 5001)
	for i := range many {
		many[i] = n1
	}
	for field, body := range map[string]object{
		"node_ids[1]": {"node_ids": []string{n1, foreign}, "enabled": false},
		"node_ids[2]": {"node_ids": []string{n1, n2, n3}, "enabled": false, "add_tags": []string{"one more"}},
		"node_ids":    {"node_ids": many, "enabled": false},
		"enabled":     {"node_ids": []string{n1}},
		"add_tags":    {"node_ids": []string{n1}, "add_tags": []string{""}, "enabled": false},
		"remove_tags": {"node_ids": []string{n1}, "remove_tags": append(full, "x")},
	} {
		a.post(path, body).invalid(field)
	}
	a.post(path, object{"node_ids": []string{}, "enabled": false}).invalid("node_ids")
	a.post("/api/v1/configs/none/nodes/bulk-update", object{"node_ids": []string{n1}, "enabled": false}).fails(404, "CONFIG_NOT_FOUND")
	if n := node(n1); !n.Enabled || !slices.Equal(n.Tags, []string{"edge", "eu"}) {
		t.Errorf("half of it was done: %+v", n)
	}
}

// A disabled node's links rest, so its peers get new tunnel configs, each one only.
func TestNodesThatAreDisabledTogetherGiveTheirPeersOneNewVersion(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	hub := a.addMeshNode(cfg, "hub", object{"ipv4_address": "192.0.2.1"})
	b, c := a.addMeshNode(cfg, "b", nil), a.addMeshNode(cfg, "c", nil)
	a.post("/api/v1/configs/"+cfg+"/mesh/quick-generate", object{"mode": "hub_spoke", "hub_node_id": hub.ID}).ok(nil)
	_, before := a.text(cfg, hub.ID)
	var v meshNodeJSON
	a.post("/api/v1/configs/"+cfg+"/nodes/bulk-update", object{"node_ids": []string{b.ID, c.ID}, "enabled": false}).ok(&v)
	text, after := a.text(cfg, hub.ID)
	if after != before+1 || strings.Contains(text, "[Peer]") || !slices.Equal(v.AffectedNodeIDs, []string{hub.ID}) {
		t.Errorf("version %d after %d, affected %v:\n%s", after, before, v.AffectedNodeIDs, text)
	}
}

func TestTagsAreKeptAppliedAndDeleted(t *testing.T) {
	a := newAPI(t)
	cfg, other := a.addConfig("office"), a.addConfig("other")
	n1, n2, foreign := a.addNode(cfg, "a"), a.addNode(cfg, "b"), a.addNode(other, "c")
	tags := "/api/v1/configs/" + cfg + "/tags"
	want := func(want string) {
		t.Helper()
		if r := a.get(tags).ok(nil); string(r.Data) != want {
			t.Errorf("tags %s, want %s", r.Data, want)
		}
	}
	want(`[]`)
	var tag store.Tag
	if a.post(tags, object{"name": " spare "}).ok(&tag); tag != (store.Tag{Name: "spare"}) {
		t.Errorf("made: %+v", tag)
	}
	a.post(tags, object{"name": "spare"}).ok(nil)
	var nodes []nodeJSON
	a.post(tags+"/apply", object{"tag": "edge/1 50%", "node_ids": []string{n2, n1, n2}}).ok(&nodes)
	if len(nodes) != 2 || nodes[0].ID != n2 || !slices.Equal(nodes[1].Tags, []string{"edge/1 50%"}) {
		t.Errorf("applied: %+v", nodes)
	}
	want(`[{"name":"edge/1 50%","count":2},{"name":"spare","count":0}]`)
	r := a.post(tags+"/apply", object{"tag": "x", "node_ids": []string{n1, foreign, "none"}})
	r.invalid("node_ids[1]")
	r.invalid("node_ids[2]")
	var n nodeJSON
	a.put("/api/v1/nodes/"+n1+"/tags", object{"tags": []string{"eu", "edge/1 50%", "eu"}}).ok(&n)
	if !slices.Equal(n.Tags, []string{"eu", "edge/1 50%"}) {
		t.Errorf("replaced: %+v", n)
	}
	a.del("/api/v1/nodes/" + n1 + "/tags/edge%2F1%2050%25").ok(&n)
	a.del("/api/v1/nodes/"+n1+"/tags/edge%2F1%2050%25").fails(404, "TAG_NOT_FOUND")
	if !slices.Equal(n.Tags, []string{"eu"}) {
		t.Errorf("taken away: %+v", n)
	}
	want(`[{"name":"edge/1 50%","count":1},{"name":"eu","count":1},{"name":"spare","count":0}]`)
	if r := a.del(tags + "/edge%2F1%2050%25").ok(nil); !strings.Contains(string(r.Data), `"removed_count":1`) {
		t.Errorf("deleted: %s", r.Data)
	}
	a.del(tags + "/spare").ok(nil)
	a.del(tags+"/spare").fails(404, "TAG_NOT_FOUND")
	want(`[{"name":"eu","count":1}]`)
	a.put("/api/v1/nodes/"+n1+"/tags", object{"tags": []string{}}).ok(nil)
	want(`[]`)

	full := make([]string, store.MaxNodeTags)
	for i := range full {
		full[i] = fmt.Sprint("t", i)
	}
	a.put("/api/v1/nodes/"+n1+"/tags", object{"tags": full}).ok(nil)
	a.post(tags+"/apply", object{"tag": "one more", "node_ids": []string{n2, n1}}).fails(409, "TOO_MANY_TAGS")
	if a.get("/api/v1/nodes/" + n2).ok(&n); len(n.Tags) != 0 {
		t.Errorf("half of it was done: %+v", n)
	}
	for _, r := range []*reply{a.put("/api/v1/nodes/"+n1+"/tags", `{}`), a.put("/api/v1/nodes/"+n1+"/tags", object{"tags": append(full, "x")})} {
		r.invalid("tags")
	}
	a.post(tags, `{"name":"\n"}`).invalid("name")
	a.post(tags+"/apply", `{"tag":"x"}`).invalid("node_ids")
	for _, r := range []*reply{
		a.get("/api/v1/configs/none/tags"), a.post("/api/v1/configs/none/tags", object{"name": "x"}), a.del("/api/v1/configs/none/tags/x"),
		a.post("/api/v1/configs/none/tags/apply", object{"tag": "x", "node_ids": []string{}}),
	} {
		r.fails(404, "CONFIG_NOT_FOUND")
	}
	a.put("/api/v1/nodes/none/tags", object{"tags": full}).fails(404, "NODE_NOT_FOUND")
}

func TestALongInterfaceNameIsForANodeThatRunsWindows(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("Außenstellen")
	const long = "aussenstellen-hannover-lager"
	var n nodeJSON
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": strings.Repeat("é", 64), "interface_name": long, "client_platform": "windows"}).ok(&n)
	if n.InterfaceName != long {
		t.Errorf("%+v", n)
	}
	node := a.addNode(cfg, "pc")
	a.put("/api/v1/nodes/"+node, object{"interface_name": long}).invalid("interface_name")
	a.update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken(node, 1e9)
		if err == nil {
			_, err = tx.Bind(token, store.Client{Platform: "windows"})
		}
		return err
	})
	if a.put("/api/v1/nodes/"+node, object{"interface_name": long}).ok(&n); n.InterfaceName != long {
		t.Errorf("%+v", n)
	}
	a.put("/api/v1/nodes/"+node, object{"enabled": false}).ok(nil) // keeps its config
}

func TestWhatMeansSomethingElsewhereIsAnsweredAsIgnored(t *testing.T) {
	a := newAPI(t)
	warnings := func(method, path string, body object) (names []string) {
		t.Helper()
		var v struct{ Warnings []string }
		a.call(method, path, body).ok(&v)
		for _, w := range v.Warnings {
			name, rest, _ := strings.Cut(w, ": ")
			if !strings.HasPrefix(rest, "ignored, ") || strings.Contains(w, "secret") {
				t.Errorf("%q", w)
			}
			names = append(names, name)
		}
		return names
	}
	cfg := a.addConfig("home")
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		config, node := "/api/v1/configs", "/api/v1/configs/"+cfg+"/nodes"
		if method == http.MethodPut {
			config, node = "/api/v1/configs/"+cfg, "/api/v1/nodes/"+a.addNode(cfg, "n")
		}
		got := warnings(method, config, object{
			"name": "mesh " + method, "auto_sync": false, "default_dns": "", "default_mtu": nil,
			"awg_h1": "5-9", "zebra": 1,
		})
		if want := []string{"awg_h1"}; !slices.Equal(got, want) {
			t.Errorf("%s %s: %v, want %v", method, config, got, want)
		}
		got = warnings(method, node, object{
			"name": "node " + method, "private_key": "secret", "virtual_ip": "10.66.0.5/32", "listen_port": 51820,
			"post_up": []string{"secret"},
		})
		if want := []string{"listen_port", "post_up", "private_key", "virtual_ip"}; !slices.Equal(got, want) {
			t.Errorf("%s %s: %v, want %v", method, node, got, want)
		}
		if got := warnings(method, config, object{"name": "plain " + method}); got != nil {
			t.Errorf("without cause: %v", got)
		}
	}
}

func TestConfigsAreListedWithTheNumberOfTheirNodes(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	online, off := a.addNode(cfg, "a"), a.addNode(cfg, "b")
	a.addNode(cfg, "c")
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "phone", "node_type": "static"}).ok(nil)
	a.put("/api/v1/nodes/"+off, object{"enabled": false}).ok(nil)
	a.bind(online)
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(online, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
	if r := a.get("/api/v1/system/status").ok(nil); !strings.Contains(r.body, `"nodes":4,"dynamic_nodes":2,"online_nodes":1`) ||
		!strings.Contains(r.body, `"timezone":"UTC"`) {
		t.Errorf("system status: %s", r.body)
	}
	if r := a.get(nodePath(cfg, online) + "/endpoint/status").ok(nil); !strings.Contains(r.body,
		`"config_sync_state":"latest","last_control_channel_seen_at":"2`) ||
		!strings.Contains(r.body, `"sync_status":"latest","status":"latest"`) {
		t.Errorf("endpoint status: %s", r.body)
	}
	for _, state := range []string{"online", "unbound", "static", "disabled"} {
		a.browse("/configs/"+cfg+"?state="+state).shows("1–1 of 1 found", `<option value="`+state+`" selected>`)
	}
	a.browse("/configs/" + cfg + "?state=offline").shows("No matching node")
	a.browse("/configs/"+cfg).shows(`<a class="figure static" href="/configs/`+cfg+`?state=static"><b>1</b>`, ">no agent yet</span>")
	a.browse("/").shows("1 no agent yet</span>", "1 static</span>", "1 disabled</span>", "0 offline</span>")
	const want = `"node_count":4,"dynamic_node_count":2,"online_node_count":1,"offline_node_count":1,"disabled_node_count":1,` +
		`"static_node_count":1,"unbound_node_count":1`
	for _, path := range []string{"/api/v1/configs", "/api/v1/configs/" + cfg, "/api/v1/configs/" + cfg + "/overview"} {
		if r := a.get(path).ok(nil); !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}
