package web_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"wfm/store"
)

var rowLink = regexp.MustCompile(`<a href="/configs/[^"]*/nodes/[^"]*">([^<]*)</a>`)

// rows are the names in the list of nodes, in order.
func (r *reply) rows() string {
	var names []string
	for _, m := range rowLink.FindAllStringSubmatch(r.body, -1) {
		names = append(names, m[1])
	}
	return strings.Join(names, " ")
}

func TestTheListOfNodesIsSortedByEachColumn(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	a.addMeshNode(cfg, "n10", object{"virtual_ip": "10.66.0.9", "tags": []string{"eu"}, "ipv4_address": "vpn.example.org"})
	a.addMeshNode(cfg, "n2", object{"virtual_ip": "10.66.0.10", "node_type": "static", "tags": []string{"asia"}})
	online := a.addMeshNode(cfg, "N1", object{"virtual_ip": "10.66.0.100"})
	a.bind(online.ID)
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(online.ID, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
	page := "/configs/" + cfg
	for sort, want := range map[string]string{
		"": "N1 n2 n10", "-name": "n10 n2 N1", "address": "n10 n2 N1", "-address": "N1 n2 n10", "public": "n10 N1 n2", "-public": "n10 N1 n2",
		"state": "N1 n10 n2", "-state": "n2 n10 N1", "tags": "n2 n10 N1", "-tags": "n10 n2 N1", "seen": "N1 n2 n10", "nonsense": "N1 n2 n10",
		"sync": "N1 n10 n2", "tunnel": "N1 n2 n10",
	} {
		if got := a.browse(page + "?sort=" + sort).rows(); got != want {
			t.Errorf("sort=%s: %s, want %s", sort, got, want)
		}
	}
	a.browse(page).shows(`<th scope="col" aria-sort="ascending"><a href="`+page+`?sort=-name"`, `<th scope="col"><a href="`+page+`?sort=address"`)
	a.browse(page+"?sort=-address&q=n&state=").shows(`<th scope="col" aria-sort="descending"><a href="`+page+`?q=n&amp;sort=address"`,
		`<option value="-address" selected>Address, reversed</option>`)
}

func TestTheListOfNodesShowsAndFindsAddressesAndKeys(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", object{"virtual_subnet6": "fd00:66::/64"})
	hub := a.addMeshNode(cfg, "hub", object{"ipv4_address": "203.0.113.7"})
	a.addMeshNode(cfg, "leaf", nil)
	text := a.addMeshNode(cfg, "by hand", object{"config_source": "text"})
	a.save(nodePath(cfg, text.ID), "[Interface]\nPrivateKey = "+strings.Repeat("c", 42)+"A=\nAddress = 10.99.7.1/24\n")
	page := "/configs/" + cfg
	a.browse(page).shows("<code>10.66.0.1</code>", "<code>fd00:66::2</code>", "<code>203.0.113.7</code>", "<code>10.99.7.1</code>")
	for query, want := range map[string]string{
		"10.66.0.2": "leaf", "fd00:66::1": "hub", "203.0.113": "hub", hub.PublicKey[:12]: "hub", "10.99.7": "by hand", "office-le": "leaf", "10.66.0.77": "",
	} {
		if got := a.browse(page + "?q=" + strings.ReplaceAll(query, "+", "%2B")).rows(); got != want {
			t.Errorf("%s: found %q, want %q", query, got, want)
		}
	}
	if got := a.browse(page + "?sort=-address").rows(); got != "by hand leaf hub" {
		t.Errorf("by address: %s", got)
	}
}

func TestTheListOfNodesHasPagesOfTheChosenSize(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	manyNodes(t, a.db, cfg, 260)
	page := "/configs/" + cfg
	r := a.browse(page + "?page=3&size=25&sort=-name")
	r.shows("51–75 of 260", `href="`+page+`?page=2&amp;size=25&amp;sort=-name" rel="prev"`, `aria-current="page" data-nav`, `aria-label="Page 11">11</a>`,
		`<option selected>25</option>`, `<option value="">50</option>`)
	if strings.Contains(r.body, `aria-label="Page 8"`) || strings.Count(r.body, `<span class="gap">`) != 1 {
		t.Error("not only the pages near this one have links")
	}
	a.browse(page + "?size=7").shows("1–50 of 260")
	a.browse(page + "?size=200&page=2").shows("201–260 of 260")
	if r := a.browse(page + "?q=node+00001"); strings.Contains(r.body, `aria-label="Page 1"`) {
		t.Error("a single page has a link")
	}
}

func TestTheListOfNodesShowsWhetherAStaticNodeHasItsTunnelConfig(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	phone := a.addMeshNode(cfg, "phone", object{"node_type": "static"})
	page := "/configs/" + cfg
	a.browse(page).shows("not handed out", "<b>1</b><span>", "to hand out</span>")
	a.get(nodePath(cfg, phone.ID) + "/download-conf")
	a.browse(page).shows("handed out v1")
	a.browse(page + "?sync=to_hand_out").shows("No matching node")
	a.put("/api/v1/nodes/"+phone.ID, object{"mtu": 1280}).ok(nil)
	r := a.browse(page + "?sync=to_hand_out").shows("changed since")
	if strings.Contains(r.body, "pending</span>") && strings.Contains(r.body, "sync-pending") {
		t.Error("a static node is pending")
	}
}

func TestTheNodesThatMatchCanBeChosenOnEveryPage(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	manyNodes(t, a.db, cfg, 120)
	var v struct {
		Nodes []struct{ ID, State string }
	}
	a.get("/ui/configs/" + cfg + "/nodes?tag=site+b&page=2").ok(&v)
	if len(v.Nodes) != 6 || v.Nodes[0].ID != "node_00001" || v.Nodes[0].State != "unbound" {
		t.Errorf("%+v", v)
	}
	a.get("/ui/configs/" + cfg + "/nodes?q=" + strings.Repeat("x", 201)).invalid("")
	a.get("/ui/configs/none/nodes").fails(404, "CONFIG_NOT_FOUND")
	a.call("GET", "/ui/configs/"+cfg+"/nodes", nil, as("")).fails(401, "AUTH_REQUIRED")
	a.browse("/login?next=%2Fui%2Fconfigs%2F" + cfg + "%2Fnodes").shows(`data-then="/"`)

	a.browse("/configs/"+cfg+"/rollout?nodes=node_00001,node_00007,none").shows("Command 2 nodes of home", `value="node_00001,node_00007"`)
	if got := a.browse("/configs/" + cfg + "?nodes=node_00001,node_00007").shows("Only the chosen nodes are shown.").rows(); got != "node 00001 node 00007" {
		t.Errorf("chosen: %s", got)
	}
	apply := "/configs/" + cfg + "/apply"
	a.save(nodePath(cfg, "node_00001"), tunnelConf(1))
	a.save(nodePath(cfg, "node_00002"), tunnelConf(1))
	if r := a.browse(apply).shows("node 00001</a>", "node 00002</a>"); strings.Contains(r.body, "Only the chosen nodes") {
		t.Error("the whole plan is called a part")
	}
	for _, query := range []string{"?nodes=node_00002", "?q=node+00002", "?tag=site+c"} {
		r := a.browse(apply+query).shows("Only the chosen nodes are shown.", "node 00002</a>")
		if strings.Contains(r.body, "node 00001</a>") {
			t.Errorf("%s shows another node", query)
		}
	}
	a.bind("node_00001")
	a.bind("node_00002")
	a.browse(apply + "?nodes=node_00002").shows(`<input type="hidden" name="node_ids" data-list value="node_00002">`)
	long := make([]string, 2000)
	for i := range long {
		long[i] = fmt.Sprintf("node_%026d", i)
	}
	if r := a.browse("/configs/" + cfg + "/rollout?nodes=" + strings.Join(long, ",")); r.status != 422 || !strings.Contains(r.body, "more than 500 nodes") {
		t.Errorf("%d", r.status)
	}
	if r := a.browse(apply + "?q=" + strings.Repeat("x", 201)); r.status != 422 {
		t.Errorf("%d", r.status)
	}
}

func TestANodeOfAMeshIsAddedWithWhatItsDialogOffers(t *testing.T) {
	a := newAPI(t)
	cfg, byHand := a.addMesh("office", nil), a.addMesh("by hand", object{"virtual_subnet": nil})
	for _, tab := range []string{"", "/settings", "/import"} {
		a.browse("/configs/"+cfg+tab).shows(`name="virtual_ip"`, `name="node_type" value="static"`, `href="/configs/`+cfg+`/import">Add several…`)
	}
	if r := a.browse("/configs/" + byHand); strings.Contains(r.body, `name="virtual_ip"`) {
		t.Error("a mesh without a subnet offers an address")
	}
	a.browse("/configs/"+cfg+"/import").shows(`data-api="POST /api/v1/configs/`+cfg+`/nodes/import"`, "Up to 5,000 nodes")
	if r := a.browse("/configs/none/import"); r.status != 404 {
		t.Errorf("%d", r.status)
	}
}
