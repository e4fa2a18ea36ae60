package web_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
)

type confImportJSON struct {
	DryRun       bool `json:"dry_run"`
	Valid        bool
	Message      string
	CreatedCount int `json:"created_count"`
	Settings     []string
	Nodes        []struct {
		NodeID       string `json:"node_id"`
		Name, File   string
		NodeType     string `json:"node_type"`
		ConfigSource string `json:"config_source"`
		PublicKey    string `json:"public_key"`
		Why          []string
		Addresses    []string
		IPv4Address  string `json:"ipv4_address"`
	}
	Links []struct {
		LinkGroupID     string `json:"link_group_id"`
		Local           string `json:"local_node"`
		Peer            string `json:"peer_node"`
		HasPresharedKey bool   `json:"has_preshared_key"`
	}
	OneSided        []remarkJSON `json:"one_sided"`
	Problems, Notes []remarkJSON
	AffectedNodeIDs []string `json:"affected_node_ids"`
}

type remarkJSON struct {
	File    string
	Line    int
	Message string
}

func randomPrivateKey(t *testing.T) string {
	t.Helper()
	keys, err := mesh.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Private
}

// wgQuickFiles are the files of a server and a router, and the server's peer without a file.
func wgQuickFiles(t *testing.T) (files []object, secrets []string) {
	t.Helper()
	var public []string
	for range 4 {
		key := randomPrivateKey(t)
		of, err := mesh.PublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		secrets, public = append(secrets, key), append(public, of)
	}
	server := "[Interface]\nPrivateKey = " + secrets[0] + "\nAddress = 10.8.0.1/24\nListenPort = 51820\nPostUp = echo hook-secret\n\n" +
		"# router\n[Peer]\nPublicKey = " + public[1] + "\nPresharedKey = " + secrets[3] + "\nAllowedIPs = 10.8.0.2/32, 192.168.7.0/24\n\n" +
		"# Anna's phone\n[Peer]\nPublicKey = " + public[2] + "\nAllowedIPs = 10.8.0.3/32\n"
	router := "[Interface]\nPrivateKey = " + secrets[1] + "\nAddress = 10.8.0.2/24\nTable = 7\n[Peer]\nPublicKey = " + public[0] +
		"\nPresharedKey = " + secrets[3] + "\nEndpoint = vpn.example.org:51820\nAllowedIPs = 10.8.0.0/24\nPersistentKeepalive = 25\n"
	return []object{{"name": "server.conf", "text": server}, {"name": "router.conf", "text": router}}, append(secrets, "hook-secret")
}

func TestExistingFilesAreBroughtIntoAMesh(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("home", nil)
	at := "/api/v1/configs/" + cfg + "/import-conf"
	files, secrets := wgQuickFiles(t)
	var plan, made confImportJSON
	answer := a.post(at, object{"files": files, "dry_run": true}).ok(&plan)
	if !plan.DryRun || !plan.Valid || len(plan.Nodes) != 3 || len(plan.Links) != 2 || plan.Nodes[0].NodeID != "" || plan.Links[0].LinkGroupID != "" ||
		!slices.Equal(plan.Settings, []string{"The network of the mesh becomes 10.8.0.0/24, that of the files, instead of 10.66.0.0/24."}) {
		t.Errorf("%+v", plan)
	}
	var nodes []meshNodeJSON
	if a.get("/api/v1/configs/" + cfg + "/nodes").ok(&nodes); len(nodes) != 0 {
		t.Fatalf("a dry run made %+v", nodes)
	}
	answer2 := a.post(at, object{"files": files}).ok(&made)
	if made.DryRun || made.CreatedCount != 3 || len(made.AffectedNodeIDs) != 1 {
		t.Errorf("%+v", made)
	}
	for i, want := range []struct{ name, source, kind, address, public string }{
		{"router", "text", "dynamic", "10.8.0.2/24", ""},
		{"server", "mesh", "dynamic", "10.8.0.1/24", "vpn.example.org"},
		{"Anna's phone", "text", "static", "10.8.0.3/32", ""},
	} {
		n := made.Nodes[i]
		if n.Name != want.name || n.ConfigSource != want.source || n.NodeType != want.kind || !slices.Equal(n.Addresses, []string{want.address}) ||
			n.IPv4Address != want.public || n.NodeID == "" || n.PublicKey == "" {
			t.Errorf("%+v, want %+v", n, want)
		}
	}
	if text, version := a.text(cfg, made.Nodes[0].NodeID); text != files[1]["text"] || version != 1 {
		t.Errorf("the text of the router became version %d\n%s", version, text)
	}
	text, version := a.text(cfg, made.Nodes[1].NodeID)
	for line := range strings.SplitSeq(files[0]["text"].(string), "\n") {
		if !strings.Contains(text, line) && !strings.HasPrefix(line, "#") {
			t.Errorf("version %d of the server lacks %q:\n%s", version, line, text)
		}
	}
	var links []struct{ Manual bool }
	if a.get("/api/v1/configs/" + cfg + "/peer-links").ok(&links); len(links) != 4 {
		t.Errorf("%+v", links)
	}
	var report struct{ Valid bool }
	if r := a.post("/api/v1/configs/"+cfg+"/mesh/validate", nil).ok(&report); !report.Valid {
		t.Error(r.body)
	}
	again := a.post(at, object{"files": files})
	again.fails(422, "INVALID_IMPORT")
	if !strings.Contains(again.Error.Message, "router.conf, line 1: The mesh has a node with this key already, router.") {
		t.Error(again.Error.Message)
	}
	audit := a.get("/api/v1/audit").ok(nil).body
	for _, secret := range secrets {
		for place, text := range map[string]string{"answer": answer.body + answer2.body + again.body, "audit log": audit, "log": a.log.String()} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in the %s", place)
			}
		}
	}
}

func TestAnImportIsAllOrNothing(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("home", nil)
	at := "/api/v1/configs/" + cfg + "/import-conf"
	files, _ := wgQuickFiles(t)
	broken := append(slices.Clone(files), object{"name": "broken.conf", "text": "[Interface]\nAddress = 10.8.0.9/24\nColour = red\n"})
	r := a.post(at, object{"files": broken})
	r.fails(422, "INVALID_IMPORT")
	if !strings.HasPrefix(r.Error.Message, "Nothing was imported. broken.conf, line 3: ") {
		t.Error(r.Error.Message)
	}
	var plan confImportJSON
	a.post(at, object{"files": broken, "dry_run": true}).ok(&plan)
	if plan.Valid || len(plan.Problems) != 1 || plan.Problems[0].File != "broken.conf" || plan.Problems[0].Line != 3 || len(plan.Nodes) != 0 ||
		!strings.Contains(plan.Message, "1 problem has to be solved first") {
		t.Errorf("%+v", plan)
	}
	var nodes []meshNodeJSON
	if a.get("/api/v1/configs/" + cfg + "/nodes").ok(&nodes); len(nodes) != 0 {
		t.Errorf("%+v", nodes)
	}
	a.addMesh("work", object{"virtual_subnet": "10.8.0.0/16"})
	r = a.post(at, object{"files": files})
	r.fails(422, "INVALID_IMPORT")
	if !strings.Contains(r.Error.Message, "router.conf, line 3: The address 10.8.0.2 is in the network 10.8.0.0/24, which overlaps 10.8.0.0/16 of") {
		t.Error(r.Error.Message)
	}
	a.post(at, object{}).invalid("files")
	a.post(at, object{"files": []object{{"name": "x.conf"}}}).invalid("files[0].text")
	a.post("/api/v1/configs/cfg_none/import-conf", object{"files": files}).fails(404, "CONFIG_NOT_FOUND")
	var kept confImportJSON
	other := a.addMesh("text", object{"virtual_subnet": nil})
	alone := []object{{"name": "wg0.conf", "node_type": "static", "text": "[Interface]\nPrivateKey = " + newPrivateKey(t) + "\nAddress = 172.20.1.1/32\n"}}
	a.post("/api/v1/configs/"+other+"/import-conf", object{"files": alone, "as_text": true}).ok(&kept)
	a.post(at, object{"files": []object{{"name": "x.conf", "text": "x", "node_type": "phone"}}}).invalid("files[0].node_type")
	if kept.Nodes[0].NodeType != "static" || kept.Nodes[0].ConfigSource != "text" || !slices.Equal(kept.Nodes[0].Why, []string{"You asked to keep every file."}) {
		t.Errorf("%+v", kept)
	}
}
