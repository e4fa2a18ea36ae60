package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web"
)

// Keys made for these tests.
const (
	privateKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	peerKey    = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
)

// tunnelConf returns a config with the port. more lines are added at its end, to the peer.
func tunnelConf(port int, more ...string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.99.0.1/24\nListenPort = %d\n\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.99.0.2/32\n%s",
		privateKey, port, peerKey, strings.Join(more, "\n"))
}

// swallows returns a config that routes everything into the tunnel.
func swallows(port int) string {
	return strings.Replace(tunnelConf(port), "10.99.0.2/32", "0.0.0.0/0, ::/0", 1)
}

type syncJSON struct {
	NodeID    string `json:"node_id"`
	NodeName  string `json:"node_name"`
	NodeType  string `json:"node_type"`
	Desired   int    `json:"desired_version"`
	DesiredS  string `json:"desired_sha256"`
	Staged    int    `json:"staged_version"`
	StagedS   string `json:"staged_sha256"`
	Confirmed int    `json:"confirmed_version"`
	ConfS     string `json:"confirmed_sha256"`
	Reported  int    `json:"reported_local_version"`
	ReportedS string `json:"reported_local_sha256"`
	Status    string `json:"status"`
	Warnings  []struct {
		Code string
		Line int
	} `json:"warnings"`
}

// atReachable gives the broker an address other than loopback.
func atReachable(o *web.Options) { o.MQTTHost = "203.0.113.7" }

// save saves text as the desired config and stages nothing.
func (a *api) save(path, text string) (v syncJSON) {
	a.t.Helper()
	a.put(path+"/applied-conf", object{"content": text, "stage": false}).ok(&v)
	return v
}

func (a *api) syncStatus(path string) (v syncJSON) {
	a.t.Helper()
	a.get(path + "/sync-status").ok(&v)
	return v
}

// counted returns the counts of sync states, which must be equal in the overview and in the
// system's status.
func (a *api) counted(cfg string) map[string]int {
	a.t.Helper()
	var overview struct{ Sync map[string]int }
	var status struct {
		Sync struct{ Latest, Pending, Drifted int }
	}
	a.get("/api/v1/configs/" + cfg + "/overview").ok(&overview)
	a.get("/api/v1/system/status").ok(&status)
	if s := status.Sync; fmt.Sprint(overview.Sync) != fmt.Sprint(map[string]int{"latest": s.Latest, "pending": s.Pending, "drifted": s.Drifted}) {
		a.t.Errorf("overview counts %v, the system's status %v", overview.Sync, status.Sync)
	}
	return overview.Sync
}

func TestAConfigGoesFromDesiredToConfirmedAndDriftIsSeen(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	var conf struct {
		Exists  bool
		Content string
		Source  string
		Desired int `json:"desired_version"`
		Staged  int `json:"staged_version"`
	}
	a.get(path + "/applied-conf").ok(&conf)
	if conf.Exists || conf.Content != "" || conf.Source != "" {
		t.Errorf("before: %+v", conf)
	}
	a.post(path+"/sync", nil).fails(409, "NO_DESIRED_CONFIG")
	want := func(state string, v syncJSON) {
		t.Helper()
		if v.Status != state || v.NodeID != node || v.NodeName != "gate" || v.NodeType != "dynamic" {
			t.Errorf("status %+v, want %s", v, state)
		}
		if got := a.counted(cfg); got[state] != 1 || got["latest"]+got["pending"]+got["drifted"] != 1 {
			t.Errorf("counted %v, want %s", got, state)
		}
		if c := a.status(cfg, node)["config_state"]; c["sync_status"] != state || c["desired_version"] != float64(v.Desired) {
			t.Errorf("config_state %v", c)
		}
	}
	want("latest", a.syncStatus(path))
	text := tunnelConf(51820)
	v := a.save(path, text)
	want("pending", v)
	if v.Desired != 1 || v.Staged != 0 || len(v.DesiredS) != 64 || v.Warnings == nil {
		t.Errorf("saved: %+v", v)
	}
	if again := a.save(path, text); again.Desired != 1 {
		t.Errorf("the same text made version %d", again.Desired)
	}
	a.get(path + "/applied-conf").ok(&conf)
	if !conf.Exists || conf.Content != text || conf.Source != "desired" || conf.Desired != 1 || conf.Staged != 0 {
		t.Errorf("after: %+v", conf)
	}
	var synced struct {
		Message string
		Version int    `json:"staged_version"`
		SHA     string `json:"staged_sha256"`
		Status  string `json:"sync_status"`
	}
	a.post(path+"/sync", nil).ok(&synced)
	if synced.Version != 1 || synced.SHA != v.DesiredS || synced.Status != "pending" || !strings.Contains(synced.Message, "push") {
		t.Errorf("synced: %+v", synced)
	}
	a.post(path+"/sync", nil).ok(&synced)
	if !strings.Contains(synced.Message, "already") {
		t.Errorf("synced twice: %+v", synced)
	}
	want("pending", a.syncStatus(path))
	a.update(func(tx *store.Tx) error {
		_, err := tx.ConfirmApplied(node, store.ConfRef{Version: 1, SHA256: v.DesiredS}, "wg", 7)
		return err
	})
	want("latest", a.syncStatus(path))
	a.update(func(tx *store.Tx) error { return tx.ReportStored(node, store.ConfRef{SHA256: "other"}) })
	v = a.syncStatus(path)
	want("drifted", v)
	if v.ReportedS != "other" || v.Confirmed != 1 || v.ConfS != v.StagedS {
		t.Errorf("drifted: %+v", v)
	}
	var all []syncJSON
	a.get("/api/v1/configs/" + cfg + "/sync-status").ok(&all)
	if len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(v) {
		t.Errorf("of the config: %+v", all)
	}
}

func TestAConfigThatIsNoneIsRefusedByLineAndNothingIsKept(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	r := a.put(path+"/applied-conf", object{"content": tunnelConf(70000)}).fails(422, "INVALID_TUNNEL_CONFIG")
	if d := r.Error.Detail; d.Line != 4 || d.Problem == "" || !strings.Contains(r.Error.Message, "line 4") {
		t.Errorf("%s", r.body)
	}
	a.put(path+"/applied-conf", object{"content": "[Interface]\nPrivateKey = " + privateKey[1:] + "\n"}).fails(422, "INVALID_TUNNEL_CONFIG")
	a.put(path+"/applied-conf", object{"content": tunnelConf(1, "Jc = 4")}).fails(422, "INVALID_TUNNEL_CONFIG")
	r = a.put(path+"/applied-conf", object{"content": tunnelConf(70000, "Jc = 4", "MTU = 1")}).fails(422, "INVALID_TUNNEL_CONFIG")
	if n := strings.Count(string(r.body), `{"line":`); n != 3 || !strings.Contains(r.Error.Message, "; line 10: MTU") {
		t.Errorf("%d of 3 faults: %s", n, r.body)
	}
	for field, body := range map[string]object{
		"content": {}, "note": {"content": "x", "note": strings.Repeat("n", 201)}, "force": {"content": "x", "force": "yes"},
		"base_version": {"content": "x", "base_version": -1},
	} {
		a.put(path+"/applied-conf", body).invalid(field)
	}
	a.put(path+"/applied-conf", object{"content": ""}).invalid("content")
	a.put(path+"/applied-conf", object{"content": strings.Repeat("x", 1<<20)}).fails(413, "PAYLOAD_TOO_LARGE")
	if v := a.syncStatus(path); v.Desired != 0 {
		t.Errorf("kept: %+v", v)
	}
	if strings.Contains(a.log.String(), privateKey[1:]) {
		t.Error("the log holds a key")
	}
}

// An accepted text must fit the message that pushes it, however JSON escapes it.
func TestATextIsTakenOnlyIfAPushOfItFitsAMessage(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	padded := func(n int) string { // each of these takes six bytes in JSON
		var b strings.Builder
		for ; n > 0; n -= 1000 {
			b.WriteString("#" + strings.Repeat("<", min(n, 1000)) + "\n")
		}
		return b.String() + tunnelConf(51820)
	}
	low, high := 30_000, 60_000
	r := a.put(path+"/applied-conf", object{"content": padded(high)}).fails(422, "INVALID_TUNNEL_CONFIG")
	if !strings.Contains(r.Error.Message, "too large") {
		t.Errorf("%s", r.body)
	}
	for high-low > 1 {
		if mid := (low + high) / 2; a.put(path+"/applied-conf", object{"content": padded(mid)}).status == 200 {
			low = mid
		} else {
			high = mid
		}
	}
	push := protocol.Push{
		Action: protocol.ActionPush, TunnelProtocol: "amneziawg_2", PreviousTunnelProtocol: "amneziawg_2", InterfaceName: "fifteen-letters",
		ConfigVersion: 1, ConfigSHA256: strings.Repeat("a", 64), ConfigText: padded(low), AWGVersion: "3.1",
	}
	env, err := protocol.NewEnvelope(protocol.Topic{ConfigID: cfg, NodeID: node, Kind: protocol.KindPush}, protocol.NewID("req"), push, time.Now())
	if err == nil {
		_, err = env.Encode()
	}
	if err != nil {
		t.Errorf("a text was taken and cannot be sent: %v", err)
	}
}

func TestAConfigThatWouldCutTheNodeOffNeedsForce(t *testing.T) {
	a, cfg, node := controlled(t, atReachable)
	path := nodePath(cfg, node)
	a.save(path, tunnelConf(1))
	r := a.put(path+"/applied-conf", object{"content": swallows(2)}).fails(409, "CONFIG_WOULD_CUT_OFF")
	if w := r.Error.Detail.Warnings; len(w) == 0 || w[0].Line != 8 || w[0].Message == "" || !w[0].CutsOff || !strings.Contains(r.Error.Message, "force") {
		t.Fatalf("%s", r.body)
	}
	if v := a.syncStatus(path); v.Desired != 1 {
		t.Errorf("saved although refused: %+v", v)
	}
	var v syncJSON
	a.put(path+"/applied-conf", object{"content": swallows(2), "force": true}).ok(&v)
	if v.Desired != 2 || len(v.Warnings) == 0 {
		t.Errorf("with force: %+v", v)
	}
	a.post(path+"/sync", nil).ok(nil)
	a.save(path, tunnelConf(3))
	a.post(path+"/conf-history/2/restore", nil).fails(409, "CONFIG_WOULD_CUT_OFF")
	a.post(path+"/conf-history/2/restore", object{"force": true}).ok(&v)
	if v.Desired != 4 || v.DesiredS != v.StagedS {
		t.Errorf("restored: %+v", v)
	}
}

// Only the bind shows for certain at which address the node finds the appliance.
func TestAConfigThatTurnsOutToCutTheNodeOffIsNeitherStagedNorPushedWithoutForce(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	path := nodePath(cfg, node)
	a.save(path, swallows(1)) // harmless to a client on this machine
	a.post(path+"/sync", nil).ok(nil)
	a.call("POST", "/api/client/bind", bindBody(a.bindToken(cfg, node)), host("203.0.113.7")).ok(nil)
	push := func(more object) *reply {
		more["action"] = "push_config"
		return a.post(path+"/endpoint/control", more)
	}
	if r := push(object{}).fails(409, "CONFIG_WOULD_CUT_OFF"); !strings.Contains(r.Error.Message, "Nothing was pushed") {
		t.Errorf("%s", r.body)
	}
	push(object{"force": true}).ok(nil)
	if r := a.post(path+"/sync", nil).fails(409, "CONFIG_WOULD_CUT_OFF"); !strings.Contains(r.Error.Message, "Nothing was staged") {
		t.Errorf("%s", r.body)
	}
	a.post(path+"/sync", object{"force": true}).ok(nil)
	push(object{}).ok(nil) // it has been forced before
	a.post(path+"/sync", nil).ok(nil)
}

func TestAnInterfaceIsNotRenamedWhileItsTunnelRuns(t *testing.T) {
	a, _, node := controlled(t)
	running := true
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.TunnelRunning = &running })
	})
	a.put("/api/v1/nodes/"+node, object{"interface_name": "wg7"}).fails(409, "TUNNEL_RUNNING")
	a.put("/api/v1/nodes/"+node, object{"description": "x", "name": "other"}).ok(nil)
}

func TestAStaticNodeHasNoAgentToBeCutOffAndIsSyncedByHand(t *testing.T) {
	a := newAPI(t, atReachable)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "phone")
	a.put("/api/v1/nodes/"+node, object{"node_type": "static"}).ok(nil)
	path := nodePath(cfg, node)
	if v := a.save(path, swallows(1)); v.Status != "pending" || v.NodeType != "static" {
		t.Errorf("%+v", v)
	}
	var synced struct {
		Message string
		Status  string `json:"sync_status"`
	}
	a.post(path+"/sync", nil).ok(&synced)
	if synced.Status != "latest" || !strings.Contains(synced.Message, "copy it to the device") {
		t.Errorf("%+v", synced)
	}
	a.commands.fail(store.ErrNodeStatic)
	a.post(path+"/endpoint/control", object{"action": "push_config"}).fails(400, "CLIENT_BIND_STATIC_NODE")
}

// The broker's name may not resolve here: then any default route may cut the node off.
func TestANameThatCannotBeResolvedIsNoLicence(t *testing.T) {
	asked := make(chan struct{}, 64)
	a, cfg, node := controlled(t, func(o *web.Options) {
		o.MQTTHost = "mqtt.example.org"
		o.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			asked <- struct{}{}
			return nil, errors.New("no network")
		}}
	})
	a.put(nodePath(cfg, node)+"/applied-conf", object{"content": swallows(2)}).fails(409, "CONFIG_WOULD_CUT_OFF")
	if len(asked) == 0 {
		t.Error("nothing was resolved")
	}
	a.save(nodePath(cfg, node), tunnelConf(1))
}

func TestTwoWhoEditDoNotOverwriteEachOther(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	a.put(path+"/applied-conf", object{"content": tunnelConf(1), "base_version": 0}).ok(nil)
	a.put(path+"/applied-conf", object{"content": tunnelConf(2), "base_version": 1}).ok(nil)
	r := a.put(path+"/applied-conf", object{"content": tunnelConf(3), "base_version": 1}).fails(409, "CONFIG_CONFLICT")
	if r.Error.Detail.DesiredVersion != 2 {
		t.Errorf("%s", r.body)
	}
	a.post(path+"/conf-history/1/restore", object{"base_version": 1}).fails(409, "CONFIG_CONFLICT")
	a.post(path+"/conf-history/1/restore", object{"base_version": 2}).ok(nil)
}

type versionJSON struct {
	Version   int
	SHA       string `json:"sha256"`
	Author    string
	CreatedAt time.Time `json:"created_at"`
	Source    string
	Size      int
	Note      string
	Desired   bool
	Staged    bool
	Confirmed bool
	Content   string
	Against   int
	Diff      string
}

func TestTheHistoryTellsWhoChangedWhatAndBringsItBack(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	a.put(path+"/applied-conf", object{"content": tunnelConf(1), "note": "first"}).ok(nil)
	a.post(path+"/sync", nil).ok(nil)
	a.save(path, tunnelConf(2))
	a.save(path, tunnelConf(3))
	a.post(path+"/conf-history/1/restore", nil).ok(nil)
	var all, page []versionJSON
	r := a.get(path + "/conf-history").ok(&all)
	if len(all) != 4 || all[0].Source != "restored from 1" || all[0].SHA != all[3].SHA || !all[0].Desired || all[1].Desired ||
		!all[3].Staged || all[3].Note != "first" || all[3].Source != "edited" || all[3].Author != "admin" || all[3].Size != len(tunnelConf(1)) ||
		time.Since(all[3].CreatedAt) > time.Hour {
		t.Errorf("history: %+v", all)
	}
	if strings.Contains(r.body, privateKey) {
		t.Error("the list holds a key")
	}
	for query, pages := "?limit=3", 0; query != ""; pages++ {
		var p []versionJSON
		r := a.get(path + "/conf-history" + query).ok(&p)
		if query = ""; r.NextCursor != "" {
			query = "?limit=3&cursor=" + r.NextCursor
		}
		if page = append(page, p...); pages > 2 {
			t.Fatal("no end")
		}
	}
	if !slices.Equal(page, all) {
		t.Errorf("page by page: %+v", page)
	}
	var v versionJSON
	a.get(path + "/conf-history/3").ok(&v)
	wantDiff := "--- version 2\n+++ version 3\n@@ -1,7 +1,7 @@\n"
	if v.Content != tunnelConf(3) || v.Against != 2 || !strings.HasPrefix(v.Diff, wantDiff) || !strings.Contains(v.Diff, "-ListenPort = 2\n+ListenPort = 3\n") {
		t.Errorf("version 3: %+v", v)
	}
	v = versionJSON{}
	a.get(path + "/conf-history/4?against=1").ok(&v)
	if v.Against != 1 || v.Diff != "" {
		t.Errorf("the same text: %+v", v)
	}
	v = versionJSON{}
	a.get(path + "/conf-history/1").ok(&v)
	if v.Against != 0 || v.Diff != "" || v.Content == "" {
		t.Errorf("the first: %+v", v)
	}
	for _, bad := range []string{"/conf-history/5", "/conf-history/0", "/conf-history/-1", "/conf-history/x", "/conf-history/1?against=9"} {
		a.get(path+bad).fails(404, "CONFIG_VERSION_NOT_FOUND")
	}
	a.get(path + "/conf-history/1?against=x").invalid("against")
	a.post(path+"/conf-history/9/restore", nil).fails(404, "CONFIG_VERSION_NOT_FOUND")
}

func TestSyncAllStagesWhatDiffersAndSparesNobodyForTheOthers(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "amneziawg"}).ok(nil)
	names := map[string]string{}
	for _, name := range []string{"awg", "plain", "none", "also"} {
		names[name] = a.addNode(cfg, name)
	}
	awg := strings.Replace(tunnelConf(1), "ListenPort", "Jc = 4\nListenPort", 1)
	a.save(nodePath(cfg, names["awg"]), awg)
	a.save(nodePath(cfg, names["plain"]), tunnelConf(1))
	a.post(nodePath(cfg, names["plain"])+"/sync", nil).ok(nil)
	a.save(nodePath(cfg, names["also"]), tunnelConf(2))
	type answer struct {
		Message string
		Synced  []struct {
			NodeID string `json:"node_id"`
		}
		Failed []struct {
			NodeID  string `json:"node_id"`
			Code    string
			Message string
		}
		SyncedCount int `json:"synced_count"`
		FailedCount int `json:"failed_count"`
	}
	var v answer
	a.post("/api/v1/configs/"+cfg+"/sync-all", nil).ok(&v)
	if v.SyncedCount != 2 || v.FailedCount != 0 || len(v.Synced) != 2 || v.Synced[0].NodeID != names["also"] || v.Synced[1].NodeID != names["awg"] ||
		v.Failed == nil {
		t.Errorf("%+v", v)
	}
	v = answer{}
	a.post("/api/v1/configs/"+cfg+"/sync-all", nil).ok(&v)
	if v.SyncedCount != 0 || v.FailedCount != 0 {
		t.Errorf("again: %+v", v)
	}
	// A text staged for the other tools is checked again before it may be pushed.
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "wireguard"}).ok(nil)
	a.post(nodePath(cfg, names["awg"])+"/sync", nil).fails(422, "INVALID_TUNNEL_CONFIG")
	v = answer{}
	a.post("/api/v1/configs/"+cfg+"/sync-all", nil).ok(&v)
	if v.SyncedCount != 2 || v.FailedCount != 1 || v.Failed[0].NodeID != names["awg"] || v.Failed[0].Code != "INVALID_TUNNEL_CONFIG" ||
		!strings.Contains(v.Failed[0].Message, "line") {
		t.Errorf("after the change: %+v", v)
	}
	a.commands.fail(tunnel.ErrStagedOutdated)
	a.post(nodePath(cfg, names["awg"])+"/endpoint/control", object{"action": "push_config"}).fails(409, "STAGED_CONFIG_OUTDATED")
}

func TestBindHandsOutAConfigAndRemembersTheBrokersName(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	path := nodePath(cfg, node)
	bind := func(name string) (b protocol.BindResponse) {
		a.call("POST", "/api/client/bind", bindBody(a.bindToken(cfg, node)), as(""), host(name)).ok(&b)
		return b
	}
	wantHanded := func(b protocol.BindResponse, version int, text string) {
		t.Helper()
		sum := ""
		if text != "" {
			sum = fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		}
		if b.DesiredConf != text || b.DesiredConfVersion != version || b.DesiredConfSHA256 != sum {
			t.Errorf("handed out version %d, %q with %s; want version %d, %q", b.DesiredConfVersion, b.DesiredConf, b.DesiredConfSHA256, version, text)
		}
	}
	wantHanded(bind("wfm.example.org:8000"), 0, "")
	a.save(path, tunnelConf(1))
	wantHanded(bind("wfm.example.org:8000"), 1, tunnelConf(1)) // better than "", which deployed agents write over their config
	a.post(path+"/sync", nil).ok(nil)
	a.save(path, tunnelConf(2))
	b := bind("[2001:db8::1]:8000")
	wantHanded(b, 1, tunnelConf(1))
	if err := a.db.View(func(tx *store.Tx) error {
		n, err := tx.Node(node)
		if err == nil && (n.Client.MQTTHost != "2001:db8::1" || b.MQTT.Host != "2001:db8::1") {
			t.Errorf("remembered %q, handed out %q", n.Client.MQTTHost, b.MQTT.Host)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// A config is checked against that address, whatever the host of the admin's request.
	r := a.put(path+"/applied-conf", object{"content": strings.Replace(tunnelConf(1), "10.99.0.2/32", "2001:db8::/32", 1)})
	r.fails(409, "CONFIG_WOULD_CUT_OFF")
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "amneziawg"}).ok(nil)
	wantHanded(bind("wfm.example.org"), 1, tunnelConf(1)) // the other tools accept it too
}

func TestABindNeverEmptiesANodeThatHadAConfig(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	path := nodePath(cfg, node)
	bind := func() (b protocol.BindResponse) {
		a.call("POST", "/api/client/bind", bindBody(a.bindToken(cfg, node)), as("")).ok(&b)
		return b
	}
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "amneziawg"}).ok(nil)
	awg := strings.Replace(tunnelConf(1), "[Peer]", "Jc = 4\nJmin = 40\nJmax = 70\n[Peer]", 1)
	a.save(path, awg)
	a.post(path+"/sync", nil).ok(nil)
	a.update(func(tx *store.Tx) error {
		s, err := tx.ConfState(node)
		if err == nil {
			_, err = tx.ConfirmApplied(node, s.Staged, "awg", 1)
		}
		return err
	})
	// None of the node's texts is for wg. The old one fails at a start with a reason; an empty one
	// would run.
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "wireguard"}).ok(nil)
	if b := bind(); b.DesiredConf != awg || b.DesiredConfVersion != 1 {
		t.Errorf("handed out version %d, %q", b.DesiredConfVersion, b.DesiredConf)
	}
	// A confirmed text for these tools goes before one staged for others.
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "amneziawg"}).ok(nil)
	a.save(path, tunnelConf(2))
	a.post(path+"/sync", nil).ok(nil)
	a.update(func(tx *store.Tx) error {
		s, err := tx.ConfState(node)
		if err == nil {
			_, err = tx.ConfirmApplied(node, s.Staged, "wg", 2)
		}
		return err
	})
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "wireguard"}).ok(nil)
	if b := bind(); b.DesiredConf != tunnelConf(2) || b.DesiredConfVersion != 2 {
		t.Errorf("handed out version %d, %q", b.DesiredConfVersion, b.DesiredConf)
	}
}

func TestAChangeOfAConfigIsAnEventWithoutTheConfig(t *testing.T) {
	a, cfg, node := controlled(t)
	s := a.stream("").greeted()
	a.save(nodePath(cfg, node), tunnelConf(1))
	if f := s.want("node.apply.updated"); f.payload["config_id"] != cfg || f.payload["node_id"] != node || len(f.payload) != 2 {
		t.Errorf("%s", f.data)
	}
	s.want("config.overview.updated")
	a.post(nodePath(cfg, node)+"/sync", nil).ok(nil)
	s.want("node.apply.updated")
	s.want("config.overview.updated")
	a.update(func(tx *store.Tx) error { return tx.ReportStored(node, store.ConfRef{SHA256: "other"}) })
	s.want("node.apply.updated")
}

func TestNoKeyOfAConfigIsAnywhereButInTheConfig(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	a.save(path, tunnelConf(1))
	a.post(path+"/sync", nil).ok(nil)
	payload, _ := json.Marshal(protocol.Push{ConfigVersion: 1, ConfigText: tunnelConf(1)}) // as an older version stored it
	cmd, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionPush, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{
		path, path + "/sync-status", path + "/conf-history", path + "/endpoint/status", path + "/endpoint/logs", path + "/endpoint/events",
		"/api/v1/configs/" + cfg + "/sync-status", "/api/v1/configs/" + cfg + "/overview", "/api/v1/system/status", "/api/v1/commands/" + cmd.RequestID,
	} {
		if r := a.get(p).ok(nil); strings.Contains(r.body, privateKey) {
			t.Errorf("%s holds the key", p)
		}
	}
	if strings.Contains(a.log.String(), privateKey) {
		t.Error("the log holds the key")
	}
	for _, p := range []string{"/applied-conf", "/conf-history", "/conf-history/1", "/sync-status"} {
		if r := a.call("GET", path+p, nil, as("")).fails(401, "AUTH_REQUIRED"); strings.Contains(r.body, privateKey) {
			t.Errorf("%s: shown to a stranger", p)
		}
	}
}

func TestThePathsOfAConfigNameTheRightNode(t *testing.T) {
	a, cfg, node := controlled(t)
	other := a.addConfig("other")
	a.save(nodePath(cfg, node), tunnelConf(1))
	for _, p := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/applied-conf", nil},
		{"PUT", "/applied-conf", object{"content": tunnelConf(2)}},
		{"GET", "/sync-status", nil},
		{"POST", "/sync", nil},
		{"GET", "/conf-history", nil},
		{"GET", "/conf-history/1", nil},
		{"POST", "/conf-history/1/restore", nil},
	} {
		a.call(p.method, nodePath(other, node)+p.path, p.body).fails(400, "NODE_CONFIG_MISMATCH")
		a.call(p.method, nodePath(cfg, "node_none")+p.path, p.body).fails(404, "NODE_NOT_FOUND")
	}
	a.get("/api/v1/configs/cfg_none/sync-status").fails(404, "CONFIG_NOT_FOUND")
	a.post("/api/v1/configs/cfg_none/sync-all", nil).fails(404, "CONFIG_NOT_FOUND")
	if v := a.syncStatus(nodePath(cfg, node)); v.Desired != 1 || v.Staged != 0 {
		t.Errorf("%+v", v)
	}
}
