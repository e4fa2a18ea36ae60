package web_test

import (
	"encoding/json"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
)

func (a *api) status(cfg, node string) map[string]map[string]any {
	a.t.Helper()
	var v map[string]json.RawMessage
	a.get(nodePath(cfg, node) + "/endpoint/status").ok(&v)
	out := map[string]map[string]any{}
	for name, raw := range v {
		var part map[string]any
		if err := json.Unmarshal(raw, &part); err != nil {
			a.t.Fatalf("%s: %v", name, err)
		}
		out[name] = part
	}
	return out
}

func TestTheStatusOfANodeHasEveryField(t *testing.T) {
	a, cfg, node := controlled(t)
	a.broker.status = view.BrokerStatus{Enabled: true, Connected: true, Status: view.BrokerConnected, Mode: "embedded", LastConnectedAt: time.Now()}
	v := a.status(cfg, node)
	for part, fields := range map[string][]string{
		"node": {"id", "node_id", "name"},
		"client_state": {
			"client_initialized", "client_platform", "client_version", "client_hostname", "mqtt_username", "mqtt_client_id",
			"client_presence_state", "boot_id", "session_id", "last_heartbeat_at", "last_detect_ack_at", "last_reachable_at",
			"last_offline_at", "last_will_at", "last_event_at", "last_event",
		},
		"runtime": {
			"online", "connectivity_state", "wg_running", "wg_runtime_state", "wanted_state", "last_seen", "last_probe_sent_at",
			"last_probe_ack_at", "last_connectivity_reason",
		},
		"mqtt_service": {"enabled", "connected", "status", "last_error", "last_connected_at", "mode"},
		"config_state": {"config_id", "tunnel_protocol"},
		"evidence":     {"reason", "node_id"},
	} {
		for _, field := range fields {
			if _, ok := v[part][field]; !ok {
				t.Errorf("%s.%s is missing", part, field)
			}
		}
	}
	if c := v["client_state"]; c["client_hostname"] != "host-1" || c["mqtt_client_id"] != "wfm-"+node || c["last_will_at"] != nil {
		t.Errorf("client_state: %v", c)
	}
	if v["last_control"] != nil {
		t.Errorf("last_control: %v", v["last_control"])
	}
	if m := v["mqtt_service"]; m["status"] != "connected" || m["last_connected_at"] == nil {
		t.Errorf("mqtt_service: %v", m)
	}
}

func TestConnectivityFollowsTheNode(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	want := func(connectivity string, online bool, tunnel string) {
		t.Helper()
		r := a.status(cfg, node)["runtime"]
		if r["connectivity_state"] != connectivity || r["online"] != online || r["wg_runtime_state"] != tunnel || r["wg_running"] != (tunnel == "running") {
			t.Errorf("runtime: %v, want %s, %v, %s", r, connectivity, online, tunnel)
		}
		var rows []map[string]any
		a.get("/api/v1/configs/" + cfg + "/endpoint/runtime-snapshot").ok(&rows)
		if len(rows) != 1 || rows[0]["node_id"] != node || rows[0]["connectivity_state"] != connectivity {
			t.Errorf("snapshot: %v, want %s", rows, connectivity)
		}
	}
	want("offline", false, "unknown")
	a.bind(node)
	want("offline", false, "unknown")
	running := true
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.ReachableAt, e.TunnelRunning = tx.Now(), &running })
	})
	want("online", true, "running")
	stop, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionStop})
	if err != nil {
		t.Fatal(err)
	}
	probe, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionDetect})
	if err != nil {
		t.Fatal(err)
	}
	want("online", true, "running") // the command waits to be sent
	sent := func(c *store.Command) { c.State = store.CommandSent }
	if _, err := a.commands.end(t.Context(), probe.RequestID, sent); err != nil {
		t.Fatal(err)
	}
	want("probing", true, "running")
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.OfflineAt = tx.Now().Add(time.Nanosecond) })
	})
	want("offline", false, "unknown")
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.ReachableAt = tx.Now().Add(time.Nanosecond) })
	})
	if last := a.status(cfg, node)["last_control"]; last["request_id"] != stop.RequestID {
		t.Errorf("last_control is %v, want the stop and not the probe", last)
	}
	if _, err := a.commands.end(t.Context(), probe.RequestID, func(c *store.Command) { c.State = store.CommandApplied }); err != nil {
		t.Fatal(err)
	}
	want("online", true, "running")
	a.put("/api/v1/nodes/"+node, object{"enabled": false}).ok(nil)
	want("offline", false, "unknown")
}

func TestTheJournalIsReadNewestFirst(t *testing.T) {
	a, cfg, node := controlled(t)
	a.update(func(tx *store.Tx) error {
		return tx.Note(node, store.JournalEntry{Event: "reconnected", Message: "back"})
	})
	var page []store.JournalEntry
	r := a.get(nodePath(cfg, node) + "/endpoint/events?limit=1").ok(&page)
	if len(page) != 1 || page[0].Event != "reconnected" || r.NextCursor == "" {
		t.Fatalf("%s", r.body)
	}
	r = a.get(nodePath(cfg, node) + "/endpoint/events?limit=1&cursor=" + r.NextCursor).ok(&page)
	if len(page) != 1 || page[0].Event != "bound" || r.NextCursor != "" {
		t.Errorf("%s", r.body)
	}
}
