package web_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"wfm/web"
)

// about expects a refusal of the field, in a sentence of its own.
func (r *reply) about(status int, code, field string) {
	r.t.Helper()
	r.fails(status, code)
	if got := r.Error.Detail.Field; got != field {
		r.t.Errorf("%s: the refusal is about %q, want %q: %s", r.what, got, field, r.body)
	}
}

func TestTheDialogForANewMeshOffersAFreeNetwork(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.66.0.9/24")} }
	})
	a.browse("/").shows(`name="virtual_subnet" required data-none value="10.66.1.0/24"`, `name="virtual_subnet6" required value="fd`)
	a.post("/api/v1/configs", object{"name": "home"}).ok(nil)
	a.browse("/").shows(`value="10.66.2.0/24"`, "<code>10.66.1.0/24</code>")
	a = newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	})
	a.browse("/").shows(`name="virtual_subnet" required data-none value=""`)
}

func TestARefusedMeshSaysWhichFieldIsWrong(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.Networks = func() []netip.Prefix { return nil } })
	a.post("/api/v1/configs", object{"name": "home"}).ok(nil)
	for _, tc := range []struct {
		body        object
		status      int
		code, field string
	}{
		{object{"name": "home"}, 409, "CONFIG_NAME_EXISTS", "name"},
		{object{"name": "b", "virtual_subnet": "10.66.0.0/16"}, 422, "INVALID_SUBNET", "virtual_subnet"},
		{object{"name": "b", "virtual_subnet": "10.9.0.1"}, 422, "INVALID_SUBNET", "virtual_subnet"},
		{object{"name": "b", "virtual_subnet6": "10.9.0.0/24"}, 422, "INVALID_SUBNET", "virtual_subnet6"},
	} {
		a.post("/api/v1/configs", tc.body).about(tc.status, tc.code, tc.field)
	}
}

func TestTheSettingsOfAMeshShowEachValueButNoKey(t *testing.T) {
	a := newAPI(t)
	var made struct {
		ID      string
		S1      int    `json:"awg_s1"`
		H4      string `json:"awg_h4"`
		Options struct {
			Key string `json:"header_protection_key"`
		} `json:"awg_options"`
	}
	a.post("/api/v1/configs", object{
		"name": "home", "description": "all of us", "tunnel_protocol": "amneziawg", "awg_version": "3.1", "virtual_subnet": "10.9.0.0/24",
		"virtual_subnet6": "fd00:9::/64", "default_listen_port": 4500, "default_mtu": 1380, "default_dns": "10.9.0.1",
	}).ok(&made)
	r := a.browse("/configs/"+made.ID+"/settings").shows(
		`value="10.9.0.0/24"`, `value="fd00:9::/64"`, `value="4500"`, `value="1380"`, `value="10.9.0.1"`, "all of us", "AmneziaWG 3.1",
		fmt.Sprintf(`name="awg_s1" data-text min="0" value="%d"`, made.S1), `name="awg_h4" value="`+made.H4+`"`, `aria-current="page">Settings`)
	if made.Options.Key == "" || strings.Contains(r.body, made.Options.Key) {
		t.Errorf("the page shows the header protection key %q", made.Options.Key)
	}
	a.put("/api/v1/configs/"+made.ID, object{"awg_h1": "none"}).about(422, "INVALID_VALUE", "awg_h1")
	a.put("/api/v1/configs/"+made.ID, object{"default_mtu": 7}).about(422, "INVALID_VALUE", "default_mtu")
	if r := a.browse("/configs/" + a.addConfig("plain") + "/settings").shows("WireGuard"); strings.Contains(r.body, "awg_s1") {
		t.Error("a mesh of WireGuard shows values of AmneziaWG")
	}
}

// paged is a mesh with two gateways, amsterdam and copenhagen, and two nodes behind NAT.
func paged(t *testing.T) (a *api, cfg string, ids map[string]string) {
	t.Helper()
	a = newAPI(t, func(o *web.Options) { o.Networks = func() []netip.Prefix { return nil } })
	cfg = a.addMesh("offices", object{"virtual_subnet": "10.9.0.0/24"})
	ids = map[string]string{}
	for _, n := range []struct{ name, public string }{{"amsterdam", "192.0.2.1"}, {"berlin", ""}, {"copenhagen", "198.51.100.7"}, {"hamburg", ""}} {
		ids[n.name] = a.addMeshNode(cfg, n.name, object{"ipv4_address": n.public}).ID
	}
	return a, cfg, ids
}

func (a *api) link(cfg, from, to string, more object) (id string) {
	a.t.Helper()
	var v struct {
		ID string `json:"link_group_id"`
	}
	body := object{"forward": object{"local_node_id": from, "peer_node_id": to}}
	maps.Copy(body, more)
	a.post("/api/v1/configs/"+cfg+"/peer-links", body).ok(&v)
	return v.ID
}

func TestTheListOfLinksSaysWhoConnectsAndWhatIsWrong(t *testing.T) {
	a, cfg, ids := paged(t)
	page := "/configs/" + cfg + "/links"
	a.browse(page).shows("No link yet.", `href="/configs/`+cfg+`/quick"`)
	key := strings.Repeat("A", 42) + "E="
	first := a.link(cfg, ids["berlin"], ids["amsterdam"], object{"notes": "<the first>", "preshared_key": key})
	bad := a.link(cfg, ids["hamburg"], ids["berlin"], nil)
	r := a.browse(page).shows("amsterdam – berlin", "berlin, to 192.0.2.1:51820", "keepalive by berlin every 25 s", "&lt;the first&gt;", "10.9.0.2/32",
		"neither can", "1 finding", "Neither hamburg nor berlin has a public address", `href="/configs/`+cfg+"/links/"+bad+`">hamburg – berlin`, "1–2 of 2",
		`Links <span class="count">2</span>`)
	if strings.Contains(r.body, key) || strings.Contains(strings.ReplaceAll(r.body, `name="ipv4_address"`, ""), "ipv4_address") {
		t.Error("the page shows the preshared key, or a name of the API")
	}
	a.browse(page+"?q=AMST").shows("1–1 of 1 found", first)
	a.browse(page + "?q=none").shows("No matching link")
	a.put("/api/v1/peer-links/"+bad, object{"enabled": false}).ok(nil)
	a.put("/api/v1/nodes/"+ids["amsterdam"], object{"enabled": false}).ok(nil)
	a.browse(page).shows(`<span class="tag">disabled</span>`, `<span class="tag">rests</span>`)
}

func TestTheListOfLinksHasPages(t *testing.T) {
	a, cfg, ids := paged(t)
	for i := range 60 {
		a.link(cfg, ids["amsterdam"], a.addMeshNode(cfg, fmt.Sprintf("leaf %02d", i), nil).ID, nil)
	}
	page := "/configs/" + cfg + "/links"
	a.browse(page).shows("1–50 of 60", "page=2")
	a.browse(page+"?page=2").shows("51–60 of 60", "leaf 59")
	a.browse(page+"?q=leaf&page=9").shows("51–60 of 60", "page=1&amp;q=leaf")
}

func TestTheFormForALinkProposesOneAndShowsWhatDoesNotWork(t *testing.T) {
	a, cfg, ids := paged(t)
	at := func(from, to string) string { return "/configs/" + cfg + "/links/new?a=" + ids[from] + "&b=" + ids[to] }
	if r := a.browse("/configs/" + cfg + "/links/new").shows("Choose a node"); strings.Contains(r.body, "Add link") {
		t.Error("a link of no nodes can be added")
	}
	a.browse(at("berlin", "amsterdam")).shows(
		"Who connects: berlin, to 192.0.2.1:51820. Keepalive by berlin every 25 s.", `name="forward.allowed_ips" value="10.9.0.1/32"`,
		`name="reverse.allowed_ips" value="10.9.0.2/32"`, `name="forward.local_node_id" value="`+ids["berlin"]+`"`, "Add link")
	a.browse(at("berlin", "berlin")).shows(`aria-invalid="true"`, "cannot have a link to itself")
	a.browse(at("berlin", "hamburg")).shows("Neither of the two can reach the other.", "Link both with amsterdam")
	a.browse("/configs/" + cfg + "/links/new?a=" + ids["berlin"] + "&b=gone").shows("not in the mesh any more")

	id := a.link(cfg, ids["berlin"], ids["amsterdam"], object{"notes": "old"})
	a.browse(at("amsterdam", "berlin")).shows("have an enabled link already")
	page := "/configs/" + cfg + "/links/" + id
	a.browse(page).shows("berlin – amsterdam", `value="old"`, "Disable", "Delete link", `data-api="PUT /api/v1/peer-links/`+id+`"`)
	a.browse("/configs/" + cfg + "/links/" + a.link(cfg, ids["berlin"], ids["hamburg"], nil)).shows("Neither berlin nor hamburg has a public address")
	other := a.addConfig("other")
	if r := a.browse("/configs/" + other + "/links/" + id); r.status != 404 {
		t.Errorf("the link is shown in another mesh: %d", r.status)
	}
	a.put("/api/v1/peer-links/"+id, object{"forward": object{"endpoint_mode": "manual", "endpoint_manual_host": "no host"}}).
		about(422, "INVALID_PEER_LINK", "forward.endpoint_manual_host")
	a.post("/api/v1/configs/"+cfg+"/peer-links", object{"forward": object{"local_node_id": ids["berlin"], "peer_node_id": ids["berlin"]}}).
		about(422, "INVALID_PEER_LINK", "peer_node_id")
}

func TestTheQuickMeshShowsItsPlanBeforeItIsMade(t *testing.T) {
	a, cfg, ids := paged(t)
	page := "/configs/" + cfg + "/quick"
	r := a.browse(page).shows(`value="free_mesh" checked`, "<b>3 links</b> made, <b>0</b> changed", "<b>4 tunnel configs</b> change",
		"&#43;AllowedIPs = 10.9.0.0/24", `name="gateway_node_ids" data-list value="`+ids["amsterdam"]+", "+ids["copenhagen"]+`"`,
		"Give another node a public address")
	if n := strings.Count(r.body, "PrivateKey = (hidden)"); n == 0 || n != strings.Count(r.body, "PrivateKey = ") {
		t.Error("the differences show keys")
	}
	a.browse(page+"?mode=free_mesh&some=1&gateway="+ids["copenhagen"]).shows("<b>3 links</b> made", "amsterdam – copenhagen")
	a.browse(page + "?mode=free_mesh&some=1").shows("Choose at least one gateway.")
	a.browse(page+"?mode=hub_spoke&hub="+ids["copenhagen"]+"&psk=1").shows("<b>3 links</b> made", `name="hub_node_id" value="`+ids["copenhagen"]+`"`,
		`name="use_preshared_key" data-bool value="true"`)
	r = a.browse(page+"?mode=full_mesh").shows("berlin, hamburg", "Connect them through amsterdam", "gateway="+ids["amsterdam"])
	if strings.Contains(r.body, "gateway_node_ids [") {
		t.Error("the page gives advice for scripts")
	}
	a.browse(page + "?mode=star").shows("is unknown")

	a.post("/api/v1/configs/"+cfg+"/mesh/quick-generate", object{"mode": "free_mesh"}).ok(nil)
	a.browse(page).shows("Nothing would change.")
	a.link(cfg, ids["berlin"], ids["copenhagen"], nil)
	a.browse(page).shows("Also replace links made by hand", "Kept: 2 links", "berlin – copenhagen")
	a.browse(page + "?replace=1").shows(`name="replace_manual" data-bool value="true"`)
}

func TestAQuickMeshWithoutAGatewayAsksForAPublicAddress(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("home", object{"virtual_subnet": "10.9.0.0/24"})
	page := "/configs/" + cfg + "/quick"
	a.browse(page).shows("needs at least two nodes")
	byHand := a.addConfig("by hand")
	a.addNode(byHand, "one")
	a.addNode(byHand, "two")
	a.browse("/configs/"+byHand+"/quick").shows("The mesh has no network", `href="/configs/`+byHand+`/settings"`)
	hub := a.addMeshNode(cfg, "hub", nil).ID
	a.addMeshNode(cfg, "leaf", nil)
	a.browse(page).shows("No node has a public address yet.", `<details id="give-address" open>`,
		`data-api="PUT /api/v1/nodes/{_node}"`, `<option value="`+hub+`">hub`)
	a.put("/api/v1/nodes/"+hub, object{"ipv4_address": "no host"}).about(422, "INVALID_VALUE", "ipv4_address")
	a.put("/api/v1/nodes/"+hub, object{"ipv4_address": "vpn.example.org"}).ok(nil)
	a.browse(page).shows("<b>1 link</b> made", "hub, vpn.example.org")
}

func TestThePictureOfAMeshShowsItsNodesAndLinks(t *testing.T) {
	a, cfg, ids := paged(t)
	page := "/configs/" + cfg + "/picture"
	a.browse("/configs/" + a.addConfig("empty") + "/picture").shows("No node yet.")
	a.post("/api/v1/configs/"+cfg+"/mesh/quick-generate", object{"mode": "hub_spoke", "hub_node_id": ids["amsterdam"]}).ok(nil)
	r := a.browse(page).shows("<title>amsterdam: no agent yet</title>", `class="back gateway"`,
		`href="/configs/`+cfg+"/nodes/"+ids["berlin"]+`" class="mark state unbound"`, "berlin, copenhagen, hamburg")
	if n := strings.Count(r.body, "<line "); n != 3 {
		t.Errorf("%d lines of 3 links", n)
	}
	if strings.Contains(r.body, `class="wire rests"`) {
		t.Error("a link rests")
	}
	a.put("/api/v1/nodes/"+ids["berlin"], object{"enabled": false}).ok(nil)
	a.browse(page).shows(`class="wire rests"`, "link rests", "<title>berlin: disabled</title>")
	var rows []struct {
		Group string `json:"link_group_id"`
		Peer  string `json:"peer_node_id"`
	}
	a.get("/api/v1/configs/" + cfg + "/peer-links").ok(&rows)
	for _, row := range rows {
		if row.Peer == ids["hamburg"] {
			a.put("/api/v1/peer-links/"+row.Group, object{"enabled": false}).ok(nil)
		}
	}
	if n := strings.Count(a.browse(page).body, `<line class="wire rests"`); n != 2 {
		t.Errorf("%d links rest, want that of the disabled node and the disabled link", n)
	}
}

func TestThePictureOfALargeMeshHasOneMarkForTheNodesOfAGateway(t *testing.T) {
	a, cfg, ids := paged(t)
	rows := make([]object, 80)
	for i := range rows {
		rows[i] = object{"name": fmt.Sprintf("leaf %02d", i), "node_type": []string{"static", "dynamic"}[i%2]}
	}
	a.post("/api/v1/configs/"+cfg+"/nodes/bulk", object{"nodes": rows}).ok(nil)
	a.post("/api/v1/configs/"+cfg+"/mesh/quick-generate", object{"mode": "hub_spoke", "hub_node_id": ids["amsterdam"]}).ok(nil)
	r := a.browse("/configs/"+cfg+"/picture").shows("The mesh has 84 nodes", "83 nodes at amsterdam", "43 no agent yet, 40 static")
	if n := strings.Count(r.body, "<line "); n != 1 {
		t.Errorf("%d lines", n)
	}
}
