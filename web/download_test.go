package web_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

type downloadTokenJSON struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	DownloadPath string `json:"download_path"`
	Filename     string `json:"filename"`
	Command      string `json:"command"`
}

func (a *api) addStatic(configID, name string) (id string) {
	a.t.Helper()
	var n struct{ ID string }
	a.post("/api/v1/configs/"+configID+"/nodes", object{"name": name, "node_type": "static"}).ok(&n)
	return n.ID
}

func TestATunnelConfigIsDownloadedByALoginThatMayWrite(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	at := nodePath(cfg, node) + "/download-conf"
	a.get(at).fails(409, "NO_DESIRED_CONFIG")
	a.save(nodePath(cfg, node), tunnelConf(1))
	r := a.get(at)
	if r.status != 200 || r.body != tunnelConf(1) || r.header.Get("Content-Disposition") != `attachment; filename="office-gate.conf"` {
		t.Errorf("%d %v %q", r.status, r.header, r.body)
	}
	if r := a.call("HEAD", at, nil); r.status != 200 || r.body != "" {
		t.Errorf("%d %q", r.status, r.body)
	}
	a.call("GET", at, nil, as(a.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
	a.call("GET", at, nil, as("")).fails(401, "DOWNLOAD_TOKEN_REQUIRED")
	a.call("GET", at, nil, as("made-up")).fails(401, "INVALID_TOKEN")
	if audit := a.get("/api/v1/audit").ok(nil).body; strings.Count(audit, "GET /api/v1/configs/{config_id}/nodes/{node_id}/download-conf") < 1 {
		t.Errorf("not in the audit log: %s", audit)
	}
}

func TestADownloadTokenGivesOneFileOnce(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node, other := a.addNode(cfg, "gate"), a.addNode(cfg, "other")
	a.post(nodePath(cfg, node)+"/download-token", nil).fails(409, "NO_DESIRED_CONFIG")
	a.save(nodePath(cfg, node), tunnelConf(1))
	a.save(nodePath(cfg, other), tunnelConf(2))
	var v downloadTokenJSON
	a.post(nodePath(cfg, node)+"/download-token", nil).ok(&v)
	if v.TokenType != "download" || v.Filename != "office-gate.conf" || v.DownloadPath != nodePath(cfg, node)+"/download-conf" ||
		v.Command != "curl --fail --output office-gate.conf '"+a.url+v.DownloadPath+"?download_token="+v.AccessToken+"'" {
		t.Errorf("%+v", v)
	}
	query := "?download_token=" + v.AccessToken
	a.call("GET", nodePath(cfg, other)+"/download-conf"+query, nil, as("")).fails(403, "DOWNLOAD_TOKEN_SCOPE_MISMATCH")
	if r := a.call("HEAD", v.DownloadPath+query, nil, as("")); r.status != 200 {
		t.Errorf("%d", r.status)
	}
	if r := a.call("GET", v.DownloadPath+query, nil, as("")); r.status != 200 || r.body != tunnelConf(1) {
		t.Errorf("%d %q", r.status, r.body)
	}
	a.call("GET", v.DownloadPath+query, nil, as("")).fails(401, "INVALID_DOWNLOAD_TOKEN")
	a.call("GET", v.DownloadPath+"?download_token=guess", nil, as("")).fails(401, "INVALID_DOWNLOAD_TOKEN")
	if strings.Contains(a.log.String()+a.get("/api/v1/audit").ok(nil).body, v.AccessToken) {
		t.Error("the token is in the log or in the audit log")
	}
}

func TestADownloadTokenEndsWithTheLoginThatAskedForIt(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.save(nodePath(cfg, node), tunnelConf(1))
	made := a.addToken("script", "write")
	var v downloadTokenJSON
	a.call("POST", nodePath(cfg, node)+"/download-token", nil, as(made.Token)).ok(&v)
	a.del("/api/v1/auth/tokens/" + made.ID).ok(nil)
	a.call("GET", v.DownloadPath+"?download_token="+v.AccessToken, nil, as("")).fails(401, "INVALID_DOWNLOAD_TOKEN")
}

func TestAStaticNodeIsHandedItsTunnelConfig(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	phone := a.addStatic(cfg, "phone")
	at := nodePath(cfg, phone)
	a.put(at+"/applied-conf", object{"content": tunnelConf(1), "stage": false}).ok(nil)
	type sync struct {
		Status    string
		HandedOut *struct {
			Version   int
			At, State string
		} `json:"handed_out"`
	}
	state := func() (v sync) { a.get(at + "/sync-status").ok(&v); return v }
	if v := state(); v.HandedOut != nil || v.Status != "pending" {
		t.Errorf("%+v", v)
	}
	if r := a.call("HEAD", at+"/download-conf", nil); r.status != 200 || state().HandedOut != nil {
		t.Error("a HEAD hands something out")
	}
	r := a.get(at + "/config-qr")
	if r.status != 200 || !strings.HasPrefix(r.body, "<svg ") || r.header.Get("X-QR-Warning") != "" {
		t.Errorf("%d %.40s", r.status, r.body)
	}
	if v := state(); v.HandedOut == nil || v.HandedOut.Version != 1 || v.HandedOut.State != "handed_out" || v.HandedOut.At == "" || v.Status != "latest" {
		t.Errorf("%+v", v)
	}
	a.put(at+"/applied-conf", object{"content": tunnelConf(2), "stage": false}).ok(nil)
	if v := state(); v.HandedOut == nil || v.HandedOut.Version != 1 || v.HandedOut.State != "changed_since" || v.Status != "pending" {
		t.Errorf("%+v", v)
	}
	if r := a.get(at + "/download-conf"); r.body != tunnelConf(2) {
		t.Errorf("%q", r.body)
	}
	if v := state(); v.HandedOut.Version != 2 || v.HandedOut.State != "handed_out" {
		t.Errorf("%+v", v.HandedOut)
	}
}

func TestAQRCodeSaysWhenItIsHardToReadAndWhenThereIsNone(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	at := nodePath(cfg, a.addNode(cfg, "gate"))
	a.get(at+"/config-qr").fails(409, "NO_DESIRED_CONFIG")
	pad := func(size int) string {
		return tunnelConf(1) + "# " + strings.Repeat("x", size-len(tunnelConf(1))-3) + "\n"
	}
	for _, tc := range []struct {
		size   int
		warned bool
	}{{2000, false}, {2001, true}, {2953, true}} {
		a.save(at, pad(tc.size))
		r := a.get(at + "/config-qr")
		if r.status != 200 || r.header.Get("Content-Type") != "image/svg+xml" || (r.header.Get("X-QR-Warning") != "") != tc.warned {
			t.Errorf("%d bytes: %d %v", tc.size, r.status, r.header)
		}
	}
	a.save(at, pad(2954))
	a.get(at+"/config-qr").fails(409, "CONFIG_TOO_LONG_FOR_QR")
	a.call("GET", at+"/config-qr", nil, as(a.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
}

func TestAnArchiveHasTheTunnelConfigsAndAManifest(t *testing.T) {
	a := newAPI(t)
	cfg, other := a.addConfig("Büro 1"), a.addConfig("other")
	gate, phone := a.addNode(cfg, "gate"), a.addStatic(cfg, "phone")
	bare, foreign := a.addNode(cfg, "bare"), a.addNode(other, "foreign")
	a.post("/api/v1/tools/download/config-bulk/package", object{"config_id": cfg}).fails(409, "NO_DESIRED_CONFIG")
	a.save(nodePath(cfg, gate), tunnelConf(1))
	a.save(nodePath(cfg, phone), tunnelConf(2))
	a.put("/api/v1/nodes/"+phone, object{"interface_name": "wg0"}).ok(nil)
	a.put("/api/v1/nodes/"+gate, object{"interface_name": "WG0"}).ok(nil)

	var options struct {
		ConfigName string `json:"config_name"`
		Nodes      []struct {
			NodeName  string `json:"node_name"`
			Filename  string `json:"filename"`
			Available bool
		}
	}
	a.get("/api/v1/tools/download/config-bulk/options?config_id=" + cfg).ok(&options)
	if len(options.Nodes) != 3 || options.Nodes[0].NodeName != "bare" || options.Nodes[0].Available || !options.Nodes[1].Available {
		t.Errorf("%+v", options)
	}
	a.get("/api/v1/tools/download/config-bulk/options").fails(404, "CONFIG_NOT_FOUND")

	var v struct {
		PackageID    string `json:"package_id"`
		Filename     string `json:"filename"`
		DownloadPath string `json:"download_path"`
		NodeCount    int    `json:"node_count"`
	}
	at := "/api/v1/tools/download/config-bulk/package"
	a.post(at, object{"config_id": cfg, "node_ids": []string{gate, bare}}).invalid("node_ids[1]")
	a.post(at, object{"config_id": cfg, "node_ids": []string{foreign}}).invalid("node_ids[0]")
	a.post(at, object{}).invalid("config_id")
	a.post(at, object{"config_id": "cfg_none"}).fails(404, "CONFIG_NOT_FOUND")
	a.post(at, object{"config_id": cfg}).ok(&v)
	if v.NodeCount != 2 || v.Filename != "wfm-B-ro-1.zip" || v.DownloadPath != at+"/"+v.PackageID {
		t.Errorf("%+v", v)
	}
	a.call("GET", v.DownloadPath, nil, as(a.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
	for _, path := range []string{v.DownloadPath, "/api/v1/tools/download/config-bulk/" + v.PackageID} {
		files := unzip(t, a.get(path))
		if files["WG0.conf"] != tunnelConf(1) || files["wg0-2.conf"] != tunnelConf(2) || len(files) != 3 {
			t.Errorf("%q", files)
		}
		var list struct {
			Files []struct {
				Filename string `json:"filename"`
				NodeName string `json:"node_name"`
				Version  int
			}
		}
		if err := json.Unmarshal([]byte(files["manifest.json"]), &list); err != nil || len(list.Files) != 2 || list.Files[1].NodeName != "phone" ||
			list.Files[1].Filename != "wg0-2.conf" || list.Files[1].Version != 1 {
			t.Errorf("%v: %s", err, files["manifest.json"])
		}
	}
	var sync struct {
		HandedOut *struct{ Version int } `json:"handed_out"`
	}
	if a.get(nodePath(cfg, phone) + "/sync-status").ok(&sync); sync.HandedOut == nil || sync.HandedOut.Version != 1 {
		t.Errorf("%+v", sync)
	}
	a.get(at+"/none").fails(404, "PACKAGE_NOT_FOUND")
}

func unzip(t *testing.T, r *reply) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader([]byte(r.body)), int64(len(r.body)))
	if r.status != http.StatusOK || err != nil {
		t.Fatalf("%d %v", r.status, err)
	}
	files := map[string]string{}
	for _, f := range archive.File {
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(raw)
	}
	if !slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == "manifest.json" }) {
		t.Error("no manifest")
	}
	return files
}
