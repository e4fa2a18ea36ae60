package emqxtest

import (
	"cmp"
	"fmt"
	"net/http"

	"wfm/protocol"
)

// Told are settings that the management API shows, without an effect on the stand-in itself.
type Told struct {
	// Zones makes the API show other zones than the default one, which EMQX up to 5.10 does not.
	Zones         bool
	Retained      bool
	NodeCache     bool
	LoginCache    bool // answers to logins are cached; from 5.9 on
	NoEvents      bool // no events about connections
	PacketSize    string
	Unreached     bool // the HTTP resources are not connected
	ReadOnly      bool // the API key is a viewer's
	DatabaseFirst bool // the built-in database is asked before the appliance
	Open          bool // no authenticator checks logins at the nodes' listener
	Mountpoint    string
}

// told returns the settings in the API of an EMQX with the configuration that `wfm emqx config`
// prints.
func told() Told { return Told{PacketSize: "1MB"} }

// toldRoutes are the routes that answer from Told.
func (e *Server) toldRoutes(v5 string) map[string]http.HandlerFunc {
	get := func(f func(Told) any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { answer(w, f(e.config().Told)) }
	}
	status := get(func(t Told) any {
		if t.Unreached {
			return map[string]string{"status": "disconnected"}
		}
		return map[string]string{"status": "connected"}
	})
	return map[string]http.HandlerFunc{
		"GET " + v5 + "/nodes": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, []map[string]string{{"node": brokerName, "version": cmp.Or(e.config().Version, "5.8.9")}})
		},
		"GET " + v5 + "/clients/{id}":   e.getClient,
		"GET " + v5 + "/listeners/{id}": e.getListener,
		"GET " + v5 + "/listeners": get(func(Told) any {
			return []map[string]any{{"id": "tcp:default", "enable": true}, {"id": "tcp:" + ownListener, "enable": true}, {"id": "ws:off", "enable": false}}
		}),
		"GET " + v5 + "/configs/global_zone": func(w http.ResponseWriter, _ *http.Request) {
			s := e.config()
			answer(w, map[string]any{
				"force_shutdown": map[string]any{"enable": s.Zone.MaxMailbox > 0},
				"mqtt":           map[string]any{"retain_available": s.Told.Retained, "max_packet_size": s.Told.PacketSize},
			})
		},
		"GET " + v5 + "/configs/sys_topics": get(func(t Told) any {
			return map[string]any{"sys_event_messages": map[string]bool{"client_connected": !t.NoEvents, "client_disconnected": !t.NoEvents}}
		}),
		"GET " + v5 + "/configs/broker": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"shared_subscription_group": map[string]any{"wfm": map[string]string{"strategy": e.config().ShareStrategy}}})
		},
		"GET " + v5 + "/authorization/node_cache": get(func(t Told) any { return map[string]bool{"enable": t.NodeCache} }),
		"GET " + v5 + "/authentication/settings": func(w http.ResponseWriter, _ *http.Request) {
			s := e.config()
			if s.Version == "" || s.before(5, 9, 0) {
				refuse(w, http.StatusNotFound, "NOT_FOUND") // there is no authenticator of this name
				return
			}
			answer(w, map[string]any{"node_cache": map[string]any{"enable": s.Told.LoginCache, "cache_ttl": "1m"}})
		},
		"GET " + v5 + "/mqtt/delayed": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]bool{"enable": e.config().Delayed})
		},
		"GET " + v5 + "/mqtt/delayed/messages": func(w http.ResponseWriter, r *http.Request) {
			page(w, r, e.heldBack())
		},
		"DELETE " + v5 + "/mqtt/delayed/messages/{node}/{id}": func(w http.ResponseWriter, r *http.Request) {
			e.release(r.PathValue("id"))
			w.WriteHeader(http.StatusNoContent)
		},
		"GET " + v5 + "/authorization/sources/http/status":         status,
		"GET " + v5 + "/authentication/password_based:http/status": status,
	}
}

func (e *Server) getClient(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	b := e.running()
	if b == nil || b.client(id) == nil {
		refuse(w, http.StatusNotFound, "CLIENTID_NOT_FOUND")
		return
	}
	cl := b.client(id)
	z, listener := b.zone(cl), "tcp:default"
	if cl.Net.Listener == ownListener {
		listener = "tcp:" + ownListener
	}
	answer(w, map[string]any{"clientid": id, "connected": true, "listener": listener, "inflight_max": z.MaxInflight, "mqueue_max": z.MaxMQueue})
}

func (e *Server) getListener(w http.ResponseWriter, r *http.Request) {
	zone, ok := map[string]string{"tcp:default": "default", "tcp:" + ownListener: ownListener}[r.PathValue("id")]
	if !ok {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	l := map[string]any{"id": r.PathValue("id"), "zone": zone, "enable_authn": true, "mountpoint": ""}
	if told := e.config().Told; zone == "default" {
		l["enable_authn"], l["mountpoint"] = !told.Open, told.Mountpoint
	}
	answer(w, l)
}

// Held is a message that $delayed delays.
type Held struct {
	ID       string `json:"msgid"`
	Node     string `json:"node"`
	Topic    string `json:"topic"`
	ClientID string `json:"from_clientid"`
}

// hold lists a delayed message, and returns its id.
func (e *Server) hold(clientID, topic string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil {
		e.held = make(map[string]Held)
	}
	id := fmt.Sprintf("id-%d-of-%s", len(e.held), clientID)
	e.held[id] = Held{ID: id, Node: brokerName, Topic: topic, ClientID: clientID}
	return id
}

// release removes a message from the list, and reports whether it was still there.
func (e *Server) release(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.held[id]
	delete(e.held, id)
	return ok
}

func (e *Server) heldBack() []Held {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []Held{}
	for _, m := range e.held {
		out = append(out, m)
	}
	return out
}

// MayLogIn asks the question of a login of the node.
func (e *Server) MayLogIn(nodeID, password string) bool {
	b := e.running()
	if b == nil {
		return false
	}
	_, code := b.authenticate(protocol.ClientID(nodeID), nodeID, password)
	return code == 0
}
