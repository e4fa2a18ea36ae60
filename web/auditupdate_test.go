package web_test

import (
	"strings"
	"testing"

	"wfm/web"
)

// TestAWriteOfTheAPIIsOneWriteToTheDisk counts the commits of requests, and what they leave in the log.
func TestAWriteOfTheAPIIsOneWriteToTheDisk(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	other := a.addNode(cfg, "other")
	token := a.addToken("script", "write")
	for _, tc := range []struct {
		method, path string
		body         any
		ids          string // of what it made
	}{
		{"POST", "/api/v1/configs", object{"name": "home"}, "config_id"},
		{"PUT", "/api/v1/configs/" + cfg, object{"description": "x"}, "config_id"},
		{"POST", "/api/v1/configs/" + cfg + "/nodes", object{"name": "new"}, "config_id node_id"},
		{"POST", "/api/v1/configs/" + cfg + "/nodes/bulk", object{"nodes": []object{{"name": "b1"}, {"name": "b2"}}}, "config_id node_ids"},
		{"PUT", "/api/v1/nodes/" + node, object{"name": "renamed"}, "node_id"},
		{"PUT", "/api/v1/configs/" + cfg + "/nodes/" + node, object{"name": "again"}, "config_id node_id"},
		{"PUT", "/api/v1/nodes/" + node + "/tags", object{"tags": []string{"x"}}, "node_id"},
		{"POST", "/api/v1/configs/" + cfg + "/nodes/" + node + "/reset-client", nil, "config_id node_id"},
		{"DELETE", "/api/v1/nodes/" + other, nil, "node_id"},
		{"POST", "/api/v1/auth/tokens", object{"name": "more", "scope": "read"}, "id"},
		{"DELETE", "/api/v1/auth/tokens/" + token.ID, nil, "id"},
		{"DELETE", "/api/v1/auth/sessions", nil, ""},
		{"POST", "/api/v1/settings/mqtt/reset", nil, ""},
		{"DELETE", "/api/v1/configs/" + cfg, nil, "config_id"},
		{"POST", "/api/v1/configs", object{"name": ""}, ""}, // refused, which is in the log too
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			before := a.db.Commits()
			r := a.call(tc.method, tc.path, tc.body)
			if n := a.db.Commits() - before; n != 1 {
				t.Errorf("%d commits", n)
			}
			entries := a.audit("limit=2")
			if e := entries[0]; e.RequestID != r.header.Get("X-Request-Id") || e.Status != r.status || entries[1].RequestID == e.RequestID {
				t.Errorf("answered %d %s, in the log: %+v", r.status, r.body, entries)
			}
			for name := range strings.FieldsSeq(tc.ids) {
				if entries[0].IDs[name] == "" {
					t.Errorf("no %s in %v", name, entries[0].IDs)
				}
			}
		})
	}
}

// TestRoutesInOneWriteAreAudited is for who renames a route.
func TestRoutesInOneWriteAreAudited(t *testing.T) {
	routes := web.AuditedRoutes(newAPI(t).server)
	for _, route := range web.RoutesInOneWrite() {
		if !routes[route] {
			t.Errorf("there is no audited route %s", route)
		}
	}
}
