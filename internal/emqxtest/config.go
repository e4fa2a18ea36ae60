package emqxtest

import (
	"encoding/json"
	"net/http"
)

// getSourceStatus reports whether the authorization source can be reached.
func (e *Server) getSourceStatus(w http.ResponseWriter, _ *http.Request) {
	s := e.config()
	if s.AuthzURL == "" {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	status := "connected"
	if s.Told.Unreached || e.dead(s.AuthzURL) {
		status = "disconnected"
	}
	answer(w, map[string]any{"status": status, "node_status": []map[string]string{{"node": brokerName, "status": status}}})
}

func (e *Server) getListeners(w http.ResponseWriter, _ *http.Request) {
	answer(w, []map[string]any{
		{"id": "tcp:default", "type": "tcp", "name": "default", "enable": true, "bind": e.address, "zone": "default"},
		{"id": "tcp:wfm", "type": "tcp", "name": ownListener, "enable": true, "bind": e.own, "zone": ownListener},
	})
}

// getConfigs returns the part of the configuration that the query's key names, as HOCON. JSON is a
// subset of that.
func (e *Server) getConfigs(w http.ResponseWriter, r *http.Request) {
	s := e.config()
	zone := func(z Zone) map[string]any {
		return map[string]any{
			"force_shutdown": map[string]any{"enable": z.MaxMailbox > 0, "max_mailbox_size": z.MaxMailbox},
			"mqtt":           map[string]any{"max_inflight": z.MaxInflight, "max_mqueue_len": z.MaxMQueue, "shared_subscription": !z.NoShared},
		}
	}
	all := map[string]any{
		"delayed": map[string]any{"enable": s.Delayed},
		"broker":  map[string]any{"shared_subscription_group": map[string]any{"wfm": map[string]any{"strategy": s.ShareStrategy}}},
		"mqtt":    zone(s.Zone)["mqtt"], "force_shutdown": zone(s.Zone)["force_shutdown"],
	}
	if s.Told.Zones {
		all["zones"] = map[string]any{ownListener: zone(s.OwnZone)}
	}
	if key := r.URL.Query().Get("key"); key != "" {
		part, ok := all[key]
		if !ok { // or a hidden one: the key is one of a list
			refuse(w, http.StatusBadRequest, "BAD_REQUEST")
			return
		}
		all = map[string]any{key: part}
	}
	w.Header().Set("Content-Type", "text/plain")
	_ = json.NewEncoder(w).Encode(all)
}
