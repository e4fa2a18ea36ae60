package web_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"wfm/store"
	"wfm/web"
	"wfm/web/access"
)

// oneWrite is a request that makes one write to the disk, with the names of the ids in its audit
// entry.
type oneWrite struct {
	route, path string // path is empty if it equals the route's, which then has no ids
	body        any
	ids         string
}

// written is an API with the objects that the writing routes need, by the names in their paths.
type written struct {
	*api
	cfg, node, other, token, session, rollout, command string
	made                                               string // the link or port forward that a request made last
}

func newWritten(t *testing.T) *written {
	t.Helper()
	a, cfg, _, ids := rollingOut(t)
	w := &written{api: a, cfg: cfg}
	w.node, w.other = a.addNode(cfg, "gate"), a.addNode(cfg, "other")
	a.bind(w.node)
	for _, id := range ids { // for sync-all
		a.save(nodePath(cfg, id), tunnelConf(1))
	}
	a.save(nodePath(cfg, w.node), tunnelConf(1))
	a.save(nodePath(cfg, w.node), tunnelConf(2))
	w.token = a.addToken("script", "write").ID
	a.update(func(tx *store.Tx) error {
		s, err := tx.CreateSession("other session", access.AdminUser, "192.0.2.1", 1e12)
		w.session = s.ID
		return err
	})
	cmd, err := a.commands.add(t.Context(), store.Command{NodeID: w.node, Action: "start"})
	if err != nil {
		t.Fatal(err)
	}
	w.command = cmd.RequestID
	return w
}

func (w *written) requests() []oneWrite {
	config, node := "/api/v1/configs/"+w.cfg, nodePath(w.cfg, w.node)
	conf := object{"content": tunnelConf(3), "base_version": 2}
	const pathNode = " /api/v1/configs/:config_id/nodes/:node_id"
	return []oneWrite{
		{"POST /api/v1/configs", "", object{"name": "second"}, "config_id"},
		{"PUT /api/v1/configs/:config_id", config, object{"description": "x"}, "config_id"},
		{"POST /api/v1/configs/:config_id/nodes", config + "/nodes", object{"name": "new"}, "config_id node_id"},
		{"POST /api/v1/configs/:config_id/nodes/bulk", config + "/nodes/bulk", object{"nodes": []object{{"name": "b1"}, {"name": "b2"}}}, "config_id node_ids"},
		{
			"POST /api/v1/configs/:config_id/nodes/bulk-update", config + "/nodes/bulk-update",
			object{"node_ids": []string{w.node, w.other}, "enabled": true, "add_tags": []string{"rack"}},
			"config_id node_ids",
		},
		{"POST /api/v1/configs/:config_id/nodes/import", config + "/nodes/import", object{"csv": "c1\nc2"}, "config_id node_ids"},
		{"POST /api/v1/configs/:config_id/import-conf", config + "/import-conf", object{"files": []object{
			{"name": "i1.conf", "text": "[Interface]\nPrivateKey = " + randomPrivateKey(w.t) + "\nAddress = 10.9.0.1/24\n"},
			{"name": "i2.conf", "text": "[Interface]\nPrivateKey = " + randomPrivateKey(w.t) + "\nAddress = 10.9.0.2/24\n"},
		}}, "config_id node_ids"},
		{"POST /api/v1/configs/:config_id/bind-commands", config + "/bind-commands", object{"node_ids": []string{w.node, w.other}}, "config_id node_ids"},
		{"POST" + pathNode + "/bind-command", node + "/bind-command", nil, "config_id node_id"},
		{"PUT /api/v1/nodes/:node_id", "/api/v1/nodes/" + w.node, object{"name": "renamed"}, "node_id"},
		{"PUT" + pathNode, node, object{"name": "again"}, "config_id node_id"},
		{"POST /api/v1/configs/:config_id/tags", config + "/tags", object{"name": "blue"}, "config_id"},
		{"POST /api/v1/configs/:config_id/tags/apply", config + "/tags/apply", object{"tag": "blue", "node_ids": []string{w.node}}, "config_id"},
		{"PUT /api/v1/nodes/:node_id/tags", "/api/v1/nodes/" + w.node + "/tags", object{"tags": []string{"blue", "red"}}, "node_id"},
		{"DELETE /api/v1/nodes/:node_id/tags/:tag", "/api/v1/nodes/" + w.node + "/tags/red", nil, "node_id"},
		{"DELETE /api/v1/configs/:config_id/tags/:tag", config + "/tags/blue", nil, "config_id"},
		{"PUT" + pathNode + "/applied-conf", node + "/applied-conf", conf, "config_id node_id"},
		{"PUT" + pathNode + "/applied-conf", node + "/applied-conf", object{"content": tunnelConf(4), "push": true}, "config_id node_id request_id"},
		{"POST" + pathNode + "/conf-history/:version/restore", node + "/conf-history/1/restore", nil, "config_id node_id"},
		{"POST" + pathNode + "/sync", node + "/sync", nil, "config_id node_id"},
		{"POST" + pathNode + "/sync", node + "/sync", nil, "config_id node_id"}, // staged already
		{"POST" + pathNode + "/download-token", node + "/download-token", nil, "config_id node_id"},
		{"POST /api/v1/tools/download/config-bulk/package", "", object{"config_id": w.cfg}, "config_id"},
		{"POST /api/v1/configs/:config_id/sync-all", config + "/sync-all", nil, "config_id"},
		{"POST" + pathNode + "/endpoint/control", node + "/endpoint/control", object{"action": "stop"}, "config_id node_id request_id"},
		{"POST" + pathNode + "/endpoint/control", node + "/endpoint/control", object{"action": "push_config"}, "config_id node_id request_id"},
		{"POST" + pathNode + "/endpoint/control", node + "/endpoint/control", object{"action": "wg_show", "wait": 1}, "config_id node_id request_id"},
		{"POST /api/v1/commands/:request_id/cancel", "/api/v1/commands/" + w.command + "/cancel", nil, "request_id node_id"},
		{
			"POST /api/v1/configs/:config_id/endpoint/control-batch", config + "/endpoint/control-batch",
			object{"action": "stop", "node_ids": []string{w.node}},
			"config_id rollout_id",
		},
		{"POST /api/v1/rollouts/:rollout_id/pause", "rollout/pause", nil, "rollout_id"},
		{"POST /api/v1/rollouts/:rollout_id/resume", "rollout/resume", nil, "rollout_id"},
		{"POST /api/v1/rollouts/:rollout_id/cancel", "rollout/cancel", nil, "rollout_id"},
		{"POST /api/v1/configs/:config_id/peer-links", config + "/peer-links", object{
			"forward": object{"local_node_id": w.node, "peer_node_id": w.other},
		}, "config_id link_group_id"},
		{"PUT /api/v1/peer-links/:link_group_id", "/api/v1/peer-links/MADE", object{"notes": "x"}, "link_group_id"},
		{"DELETE /api/v1/peer-links/:link_group_id", "/api/v1/peer-links/MADE", nil, "link_group_id"},
		{"POST /api/v1/configs/:config_id/mesh/quick-generate", config + "/mesh/quick-generate", object{"mode": "full_mesh"}, "config_id"},
		{"PUT" + pathNode, node, object{"config_source": "mesh"}, "config_id node_id"},
		{"PUT /api/v1/nodes/:node_id", "/api/v1/nodes/" + w.other, object{"config_source": "mesh", "virtual_ip": "10.99.0.7"}, "node_id"},
		{"POST /api/v1/tools/port-forwards/configs/:config_id", "/api/v1/tools/port-forwards/configs/" + w.cfg, object{
			"from_node_id": w.other, "from_port": 80, "to_node_id": w.node, "to_port": 8080,
		}, "config_id rule_id"},
		{"PUT /api/v1/tools/port-forwards/:rule_id/enabled", "/api/v1/tools/port-forwards/MADE/enabled", object{"enabled": false}, "rule_id"},
		{"DELETE /api/v1/tools/port-forwards/:rule_id", "/api/v1/tools/port-forwards/MADE", nil, "rule_id"},
		{"POST" + pathNode + "/reset-client", node + "/reset-client", nil, "config_id node_id"},
		{"DELETE /api/v1/nodes/:node_id", "/api/v1/nodes/" + w.other, nil, "node_id"},
		{"DELETE" + pathNode, node, nil, "config_id node_id"},
		{"PUT /api/v1/settings/mqtt", "", object{"host": "mqtt.example.org"}, ""},
		{"POST /api/v1/settings/mqtt/reset", "", nil, ""},
		{"POST /api/v1/auth/tokens", "", object{"name": "more", "scope": "read"}, "id"},
		{"DELETE /api/v1/auth/tokens/:id", "/api/v1/auth/tokens/" + w.token, nil, "id"},
		{"DELETE /api/v1/auth/sessions/:id", "/api/v1/auth/sessions/" + w.session, nil, "id"},
		{"DELETE /api/v1/auth/sessions", "", nil, ""},
		{"DELETE /api/v1/configs/:config_id", config, nil, "config_id"},
		{"POST /api/v1/configs", "", object{"name": ""}, ""}, // a refused request is in the log too
		{"POST /api/v1/auth/logout", "", nil, ""},
	}
}

// TestAWriteOfTheAPIIsOneWriteToTheDisk counts the commits of requests, and checks their entries in
// the log.
func TestAWriteOfTheAPIIsOneWriteToTheDisk(t *testing.T) {
	w := newWritten(t)
	counted := map[string]bool{ // tested separately, since they need a password
		"POST /api/v1/auth/password": true, "POST /api/v1/settings/password": true,
	}
	for _, tc := range w.requests() {
		method, path, _ := strings.Cut(tc.route, " ")
		counted[tc.route] = true
		if tc.path != "" {
			path = tc.path
		}
		if verb, ok := strings.CutPrefix(path, "rollout/"); ok {
			path = "/api/v1/rollouts/" + w.rollout + "/" + verb
		}
		path = strings.Replace(path, "MADE", w.made, 1)
		t.Run(method+" "+path, func(t *testing.T) {
			e := oneCommit(t, w.api, method, path, tc.body)
			for name := range strings.FieldsSeq(tc.ids) {
				if e.IDs[name] == "" {
					t.Errorf("no %s in %v", name, e.IDs)
				}
			}
			w.made = cmp.Or(e.IDs["link_group_id"], e.IDs["rule_id"], w.made)
			if id := e.IDs["rollout_id"]; id != "" {
				w.rollout = id
			}
		})
	}
	for _, route := range web.RoutesInOneWrite(w.server) {
		if !counted[route] {
			t.Errorf("the commits of %s are not counted", route)
		}
	}
}

// oneCommit makes the request and returns its audit entry. It fails the test unless the request
// makes one entry and one commit.
func oneCommit(t *testing.T, a *api, method, path string, body any) store.AuditEntry {
	t.Helper()
	before := a.db.Commits()
	r := a.call(method, path, body)
	if n := a.db.Commits() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	if r.status >= 500 || r.status == 404 || (r.status >= 400 && r.Error.Code != "VALIDATION_ERROR") {
		t.Errorf("%d %s", r.status, r.body)
	}
	var entries []store.AuditEntry
	if err := a.db.View(func(tx *store.Tx) (err error) {
		entries, err = tx.Audit(0, 2, func(store.AuditEntry) bool { return true })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("nothing in the log")
	}
	if e := entries[0]; e.RequestID != r.header.Get("X-Request-Id") || e.Status != r.status || (len(entries) > 1 && entries[1].RequestID == e.RequestID) {
		t.Errorf("answered %d %s, in the log: %+v", r.status, r.body, entries)
	}
	return entries[0]
}

// TestAProofIsOneWriteToTheDisk covers the requests that prove an identity: set-up, login and bind.
func TestAProofIsOneWriteToTheDisk(t *testing.T) {
	const first, second = "correct horse battery", "staple horse battery"
	a := bareAPI(t)
	if e := oneCommit(t, a, "POST", "/api/v1/auth/setup", object{"setup_token": setupToken, "password": first}); e.Actor != "admin" || e.ActorID == "" {
		t.Errorf("setup: %+v", e)
	}
	var v struct {
		Token string `json:"access_token"`
	}
	login := object{"username": "admin", "password": first}
	if e := oneCommit(t, a, "POST", "/api/v1/auth/login", login); e.Actor != "admin" || e.ActorID == "" {
		t.Errorf("login: %+v", e)
	}
	a.post("/api/v1/auth/login", login).ok(&v)
	a.token = v.Token
	oneCommit(t, a, "POST", "/api/v1/auth/password", object{"current_password": first, "new_password": second})
	a.post("/api/v1/auth/login", object{"username": "admin", "password": second}).ok(&v)
	a.token = v.Token
	oneCommit(t, a, "POST", "/api/v1/settings/password", object{"current_password": second, "new_password": first})
	a.post("/api/v1/auth/login", login).ok(&v)
	a.token = v.Token
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	for _, path := range []string{"/api/client/bind", "/api/client/v1/bind"} {
		token := a.bindToken(cfg, node)
		if e := oneCommit(t, a, "POST", path, object{"token": token}); e.Actor != "agent" || e.IDs["node_id"] != node || e.IDs["config_id"] != cfg {
			t.Errorf("bind: %+v", e)
		}
	}
}

// inMoreWrites lists the audited routes whose beginning is written before their handler runs, with
// the reason.
var inMoreWrites = map[string]string{
	"POST /api/v1/configs/:config_id/endpoint/probe-batch":      "each node's detect goes out by itself",
	"POST /api/v1/configs/:config_id/nodes/:node_id/rotate-key": "the node may make the keys, and a rollout may follow",
	"POST /api/v1/configs/:config_id/apply":                     "the tunnel configs of a large mesh are staged in several",
	"POST /api/v1/settings/mqtt/test":                           "it does something outside of the store",
	"POST /api/v1/system/mqtt/reconcile":                        "it does something outside of the store",
	"POST /api/v1/system/certificates/renew":                    "it does something outside of the store",
	"GET /api/v1/system/backup":                                 "the copy goes out before its end is known",
}

// TestEveryAuditedRouteIsInOneWrite fails if a route is added or renamed and is in neither list.
func TestEveryAuditedRouteIsInOneWrite(t *testing.T) {
	var audited []string
	server := newAPI(t).server
	for route, is := range web.AuditedRoutes(server) {
		if is {
			audited = append(audited, route)
		}
	}
	want := slices.Concat(web.RoutesInOneWrite(server), slices.Collect(maps.Keys(inMoreWrites)))
	slices.Sort(audited)
	slices.Sort(want)
	if !slices.Equal(audited, want) {
		t.Errorf("audited are\n%s\nin one write, or known to need more, are\n%s", strings.Join(audited, "\n"), strings.Join(want, "\n"))
	}
}
