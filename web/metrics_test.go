package web_test

import (
	"regexp"
	"strings"
	"testing"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
)

func TestMetricsWantALoginAndNeverNameANode(t *testing.T) {
	a := newAPI(t)
	a.broker.status = view.BrokerStatus{Enabled: true, Connected: true, Sessions: 7, MessagesIn: 11, MessagesOut: 12, MessagesRefused: 13}
	token := a.addToken("prometheus", "read").Token
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.bind(node)
	a.addNode(cfg, "spare")
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "phone", "node_type": "static"}).ok(nil)
	if _, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionStart}); err != nil {
		t.Fatal(err)
	}
	a.call("GET", "/metrics", nil, as("")).fails(401, "AUTH_REQUIRED")
	r := a.call("GET", "/metrics", nil, as(token))
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %v", r.status, r.header)
	}
	for _, line := range []string{
		`wfm_build_info{version="1.2.3",`, "wfm_configs 1\n", `wfm_nodes{presence="offline"} 1`, `wfm_nodes{presence="online"} 0`,
		`wfm_nodes{presence="unbound"} 1`, `wfm_nodes{presence="static"} 1`, `wfm_nodes{presence="disabled"} 0`,
		`wfm_commands_open{state="queued"} 1`, "wfm_commands_given_total 1\n", `wfm_commands_ended_total{state="applied"} 0`,
		"wfm_mqtt_sessions 7\n", `wfm_mqtt_messages_total{direction="refused"} 13`, "wfm_event_streams 0\n",
		`wfm_http_requests_total{class="probe",status="4xx"} 1`, "wfm_store_write_failing 0\n", "go_goroutines ",
	} {
		if !strings.Contains(r.body, line) {
			t.Errorf("no %q in\n%s", line, r.body)
		}
	}
	for _, id := range []string{cfg, node, "gate", "office"} {
		if strings.Contains(r.body, id) {
			t.Errorf("it names %s", id)
		}
	}
}

// The text format requires a HELP and a TYPE before the samples of a name, and each sample once.
func TestMetricsAreWellFormed(t *testing.T) {
	a := newAPI(t)
	sample := regexp.MustCompile(`^([a-z_]+)(\{([a-z_]+="[^"\\]*",?)+\})? [0-9]+(\.[0-9]+)?(e\+[0-9]+)?$`)
	typed, seen := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(a.get("/metrics").body) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# HELP "):
		case strings.HasPrefix(line, "# TYPE "):
			if typed[f[2]] || (f[3] != "gauge" && f[3] != "counter") || (f[3] == "counter") != strings.HasSuffix(f[2], "_total") {
				t.Error(line)
			}
			typed[f[2]] = true
		default:
			m := sample.FindStringSubmatch(line)
			if m == nil || !typed[m[1]] || seen[m[1]+m[2]] {
				t.Errorf("%q", line)
				continue
			}
			seen[m[1]+m[2]] = true
		}
	}
	if len(seen) < 30 {
		t.Errorf("%d samples", len(seen))
	}
}
