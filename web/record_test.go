package web_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"wfm/store"
)

type configJSON struct {
	ID             string `json:"id"`
	ConfigID       string `json:"config_id"`
	Name           string `json:"name"`
	Description    string `json:"description"`
	Enabled        bool   `json:"enabled"`
	TunnelProtocol string `json:"tunnel_protocol"`
	AWGVersion     string `json:"awg_version"`
	CreatedAt      string `json:"created_at"`
}

type nodeJSON struct {
	ID            string   `json:"id"`
	NodeID        string   `json:"node_id"`
	ConfigID      string   `json:"config_id"`
	Name          string   `json:"name"`
	Enabled       bool     `json:"enabled"`
	NodeType      string   `json:"node_type"`
	InterfaceName string   `json:"interface_name"`
	Tags          []string `json:"tags"`
	Initialized   bool     `json:"client_initialized"`
	Presence      string   `json:"client_presence_state"`
}

func TestAConfigIsMadeReadChangedListedAndDeleted(t *testing.T) {
	a := newAPI(t)
	var c, again configJSON
	a.post("/api/v1/configs", object{"name": "  Büro 東京 ", "unknown": 1, "description": "two\nlines"}).ok(&c)
	if c.ID == "" || c.ConfigID != c.ID || c.Name != "Büro 東京" || !c.Enabled || c.TunnelProtocol != "wireguard" || !strings.HasSuffix(c.CreatedAt, "Z") {
		t.Errorf("created: %+v", c)
	}
	path := "/api/v1/configs/" + c.ID
	a.get(path).ok(&again)
	if again != c {
		t.Errorf("read %+v, created %+v", again, c)
	}
	a.put(path, object{"enabled": false}).ok(&again)
	if want := c; !func() bool { want.Enabled = false; return again == want }() {
		t.Errorf("a change of enabled alone made %+v of %+v", again, c)
	}
	a.put(path, object{"tunnel_protocol": "amneziawg", "awg_version": "2.0", "description": ""}).ok(&again)
	if again.AWGVersion != "2.0" || again.Description != "" {
		t.Errorf("changed: %+v", again)
	}
	again = configJSON{}
	if r := a.put(path, object{"tunnel_protocol": "wireguard"}).ok(&again); again.AWGVersion != "" || !strings.Contains(r.body, `"awg_version":null`) {
		t.Errorf("WireGuard kept a version of AmneziaWG: %+v", again)
	}
	a.put(path, object{"awg_version": "2.0"}).invalid("awg_version")
	a.addConfig("other")
	a.put(path, object{"name": "other"}).fails(409, "CONFIG_NAME_EXISTS")
	a.post("/api/v1/configs", object{"name": "other"}).fails(409, "CONFIG_NAME_EXISTS")
	var all []configJSON
	a.get("/api/v1/configs").ok(&all)
	if len(all) != 2 {
		t.Errorf("list: %+v", all)
	}
	a.del(path).ok(nil)
	for _, r := range []*reply{
		a.get(path), a.put(path, "{}"), a.del(path), a.get(path + "/overview"), a.get(path + "/nodes"),
		a.post(path+"/nodes", object{"name": "n"}),
	} {
		r.fails(404, "CONFIG_NOT_FOUND")
	}
}

func TestANodeIsMadeReadChangedAndDeletedUnderBothPaths(t *testing.T) {
	a := newAPI(t)
	cfg, other := a.addConfig("Office"), a.addConfig("other")
	var n, again nodeJSON
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "Gate 1", "tags": []string{"edge", " edge ", "eu"}}).ok(&n)
	if n.NodeID != n.ID || n.ConfigID != cfg || !n.Enabled || n.NodeType != "dynamic" || n.InterfaceName != "office-gate1" ||
		!slices.Equal(n.Tags, []string{"edge", "eu"}) || n.Initialized || n.Presence != "offline" {
		t.Errorf("created: %+v", n)
	}
	for _, path := range []string{"/api/v1/nodes/" + n.ID, nodePath(cfg, n.ID)} {
		a.get(path).ok(&again)
		if again.Name != n.Name {
			t.Errorf("%s: %+v", path, again)
		}
	}
	for _, r := range []*reply{
		a.get(nodePath(other, n.ID)), a.put(nodePath(other, n.ID), "{}"), a.del(nodePath(other, n.ID)),
		a.post(nodePath(other, n.ID)+"/reset-client", nil), a.post(nodePath(other, n.ID)+"/bind-command", nil),
		a.post(nodePath(other, n.ID)+"/endpoint/control", object{"action": "start"}), a.get(nodePath(other, n.ID) + "/endpoint/status"),
	} {
		r.fails(400, "NODE_CONFIG_MISMATCH")
	}
	a.put(nodePath(cfg, n.ID), object{"name": "Gate 2"}).ok(&again)
	if again.Name != "Gate 2" || again.InterfaceName != "office-gate1" || len(again.Tags) != 2 {
		t.Errorf("renamed: %+v", again)
	}
	a.put("/api/v1/nodes/"+n.ID, object{"interface_name": "", "tags": []string{}}).ok(&again)
	if again.InterfaceName != "office-gate2" || again.Tags == nil || len(again.Tags) != 0 {
		t.Errorf("derived anew: %+v", again)
	}
	a.addNode(cfg, "taken")
	a.put("/api/v1/nodes/"+n.ID, object{"name": "taken"}).fails(409, "NODE_NAME_EXISTS")
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "taken"}).fails(409, "NODE_NAME_EXISTS")
	second := a.addNode(cfg, "second")
	a.del(nodePath(cfg, second)).ok(nil)
	a.get("/api/v1/nodes/"+second).fails(404, "NODE_NOT_FOUND")
	a.del("/api/v1/nodes/" + n.ID).ok(nil)
	for _, r := range []*reply{a.get("/api/v1/nodes/" + n.ID), a.put(nodePath(cfg, n.ID), "{}"), a.del("/api/v1/nodes/" + n.ID)} {
		r.fails(404, "NODE_NOT_FOUND")
	}
}

func TestWhatIsNotValidIsRefusedByNameAndChangesNothing(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	configs, nodes := "/api/v1/configs", "/api/v1/configs/"+cfg+"/nodes"
	before := a.get("/api/v1/configs/" + cfg + "/overview").body
	long, longer := strings.Repeat("é", 33), strings.Repeat("é", 65)
	for _, tc := range []struct{ path, field, body string }{
		{configs, "name", `{}`},
		{configs, "name", `{"name":null}`},
		{configs, "name", `{"name":" "}`},
		{configs, "name", `{"name":7}`},
		{configs, "name", `{"name":["a"]}`},
		{configs, "name", `{"name":"` + long + `"}`},
		{configs, "name", `{"name":"a\u0000b"}`},
		{configs, "name", `{"name":"a\nb"}`},
		{configs, "description", `{"name":"a","description":1}`},
		{configs, "description", `{"name":"a","description":"\u0007"}`},
		{configs, "description", `{"name":"a","description":"` + strings.Repeat("x", 1001) + `"}`},
		{configs, "enabled", `{"name":"a","enabled":"yes"}`},
		{configs, "enabled", `{"name":"a","enabled":1}`},
		{configs, "tunnel_protocol", `{"name":"a","tunnel_protocol":"openvpn"}`},
		{configs, "tunnel_protocol", `{"name":"a","tunnel_protocol":""}`},
		{configs, "awg_version", `{"name":"a","tunnel_protocol":"amneziawg","awg_version":"9"}`},
		{configs, "awg_version", `{"name":"a","awg_version":"2.0"}`},
		{nodes, "name", `{}`},
		{nodes, "name", `{"name":"` + longer + `"}`},
		{nodes, "enabled", `{"name":"a","enabled":{}}`},
		{nodes, "node_type", `{"name":"a","node_type":"other"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"sixteen-letters!"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"-x"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"sixteen-letters-"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"sixteen-letters-","client_platform":"linux"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"sixteen letters!!","client_platform":"windows"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"` + strings.Repeat("x", 65) + `","client_platform":"windows"}`},
		{nodes, "interface_name", `{"name":"a","interface_name":"../etc"}`},
		{nodes, "tags", `{"name":"a","tags":"edge"}`},
		{nodes, "tags", `{"name":"a","tags":[1]}`},
		{nodes, "tags", `{"name":"a","tags":[""]}`},
		{nodes, "tags", `{"name":"a","tags":["` + longer + `"]}`},
		{nodes, "tags", `{"name":"a","tags":[` + strings.Repeat(`"x",`, 16) + `"x"]}`},
	} {
		a.post(tc.path, tc.body).invalid(tc.field)
	}
	for _, tc := range []struct{ path, field, body string }{
		{"/api/v1/configs/" + cfg, "name", `{"name":""}`},
		{"/api/v1/configs/" + cfg, "tunnel_protocol", `{"enabled":false,"tunnel_protocol":"x"}`},
		{"/api/v1/nodes/" + node, "node_type", `{"enabled":false,"node_type":true}`},
	} {
		a.put(tc.path, tc.body).invalid(tc.field)
	}
	r := a.post(nodes, `{"name":1,"tags":2,"enabled":3}`)
	for _, field := range []string{"name", "tags", "enabled"} {
		r.invalid(field)
	}
	if after := a.get("/api/v1/configs/" + cfg + "/overview").body; after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	a.get("/api/v1/configs").ok(nil)
}

func TestListsAreReadPageByPage(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("node %d", i)
		a.addNode(cfg, name)
		want = append(want, name)
	}
	var got []string
	cursor, pages := "", 0
	for {
		var page []nodeJSON
		r := a.get("/api/v1/configs/" + cfg + "/nodes?limit=2&cursor=" + url.QueryEscape(cursor)).ok(&page)
		for _, n := range page {
			got = append(got, n.Name)
		}
		pages++
		if cursor = r.NextCursor; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%d pages: %v", pages, got)
	}
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=501": "limit", "limit=x": "limit", "cursor=%21": "cursor",
	} {
		a.get("/api/v1/configs?" + query).invalid(field)
		a.get("/api/v1/configs/" + cfg + "/nodes?" + query).invalid(field)
	}
	if r := a.get("/api/v1/configs/" + cfg + "/nodes?limit=5").ok(nil); r.NextCursor != "" {
		t.Errorf("a full last page has a cursor: %s", r.NextCursor)
	}
	empty := a.addConfig("empty")
	if r := a.get("/api/v1/configs/" + empty + "/nodes").ok(nil); string(r.Data) != "[]" {
		t.Errorf("an empty list is %s", r.Data)
	}
}

func TestTheOverviewCountsTheNodes(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	online := a.addNode(cfg, "a")
	a.addNode(cfg, "b")
	a.bind(online)
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(online, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
	var v struct {
		Config    configJSON     `json:"config"`
		NodeCount int            `json:"node_count"`
		Presence  map[string]int `json:"presence"`
		Nodes     []nodeJSON     `json:"nodes"`
	}
	a.get("/api/v1/configs/" + cfg + "/overview").ok(&v)
	if v.Config.ID != cfg || v.NodeCount != 2 || v.Presence["online"] != 1 || v.Presence["unbound"] != 1 || v.Nodes[0].Presence != "online" {
		t.Errorf("overview: %+v", v)
	}
}
