package system

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"runtime/metrics"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) metricsRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/metrics", Access: wire.Session, Handle: a.metrics,
			Summary: "Metrics in the text format of Prometheus.",
			Bare:    "text/plain",
		},
	}
}

// exposition writes the text format of Prometheus, which is too small to need a library.
type exposition struct{ bytes.Buffer }

// family begins a metric.
func (x *exposition) family(name, kind, help string) {
	fmt.Fprintf(x, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// value writes one sample. labels alternates names and values; the values need no escaping, since
// they are constants.
func (x *exposition) value(name string, v any, labels ...string) {
	x.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		fmt.Fprintf(x, "%s%s=%q", map[bool]string{true: "{", false: ","}[i == 0], labels[i], labels[i+1])
	}
	if len(labels) > 0 {
		x.WriteByte('}')
	}
	fmt.Fprintf(x, " %v\n", v)
}

func (x *exposition) single(name, kind, help string, v any) {
	x.family(name, kind, help)
	x.value(name, v)
}

// metrics answers the metrics for Prometheus. It needs a login, such as an API token of scope read,
// even from this machine: behind a reverse proxy all requests come from there. No label names a
// node, so that the number of samples does not grow with the mesh.
func (a *API) metrics(c echo.Context) error {
	status, err := a.Reader.ReadStatus()
	if err != nil {
		return err
	}
	open, err := store.Read(a.DB, func(tx *store.Tx) ([]store.Command, error) { return tx.OpenCommands("") })
	if err != nil {
		return err
	}
	x := &exposition{}
	x.family("wfm_build_info", "gauge", "The version that runs.")
	x.value("wfm_build_info", 1, "version", a.Version, "go_version", runtime.Version())
	x.single("wfm_configs", "gauge", "Configs.", status.Summary.Configs)
	x.family("wfm_nodes", "gauge", "Nodes by presence; unbound, static and disabled ones cannot be online.")
	for _, state := range view.States() {
		x.value("wfm_nodes", status.Summary.Presence[state], "presence", string(state))
	}
	x.family("wfm_nodes_tunnel", "gauge", "Nodes by the wanted and the known state of their tunnel, which is unknown while a node is not online.")
	for _, wanted := range []protocol.WantedState{protocol.WantedRunning, protocol.WantedStopped, protocol.WantedNone} {
		for _, found := range []presence.Tunnel{presence.TunnelRunning, presence.TunnelStopped, presence.TunnelUnknown} {
			x.value("wfm_nodes_tunnel", status.Summary.Tunnels(wanted, found), "wanted", string(wanted), "found", string(found))
		}
	}
	x.single("wfm_identity_conflicts", "gauge", "Nodes whose identity two machines use.", status.Summary.IdentityConflicts)
	x.commands(open, a.DB.CommandCounts())
	x.mqtt(a.Reader.BrokerStatus())
	x.asked(a.Reader.Questions())
	x.http(a.Counts, a.Reader.Streams())
	x.single("wfm_store_size_bytes", "gauge", "Size of the data file.", status.Services.Store.SizeBytes)
	x.single("wfm_store_commits_total", "counter", "Writes to the data file since it was made.", a.DB.Commits())
	x.single("wfm_store_write_failing", "gauge", "1 while the data file cannot be written.", truth(status.Services.Store.Status != "ok"))
	if end := status.Services.TLS.NotAfter; end != nil {
		x.single("wfm_tls_certificate_expiry_seconds", "gauge", "When the TLS certificate that ends first ends, Unix time.", end.Unix())
	}
	x.process()
	return c.Blob(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", x.Bytes())
}

func truth(v bool) int {
	if v {
		return 1
	}
	return 0
}

func (x *exposition) commands(open []store.Command, counts store.CommandCounts) {
	now := make(map[store.CommandState]int)
	for _, c := range open {
		now[c.State]++
	}
	x.family("wfm_commands_open", "gauge", "Commands that have not ended, by state.")
	for _, state := range []store.CommandState{store.CommandQueued, store.CommandSent, store.CommandAccepted} {
		x.value("wfm_commands_open", now[state], "state", string(state))
	}
	x.single("wfm_commands_given_total", "counter", "Commands given since the start.", counts.Added)
	x.family("wfm_commands_ended_total", "counter", "Commands that have ended since the start, by state.")
	for _, state := range []store.CommandState{
		store.CommandApplied, store.CommandFailed, store.CommandExpired, store.CommandSuperseded, store.CommandCancelled, store.CommandUnknown,
	} {
		x.value("wfm_commands_ended_total", counts.Ended[state], "state", string(state))
	}
}

// asked writes the counts of an EMQX's questions.
func (x *exposition) asked(q *view.QuestionsStatus) {
	if q == nil {
		return
	}
	x.family("wfm_emqx_questions_total", "counter", "Questions of EMQX about logins and topics since the start, by answer; those with a wrong key get none.")
	x.value("wfm_emqx_questions_total", q.Allowed, "answer", "allow")
	x.value("wfm_emqx_questions_total", q.Denied, "answer", "deny")
	x.value("wfm_emqx_questions_total", q.Ignored, "answer", "ignore")
	x.value("wfm_emqx_questions_total", q.WrongKey, "answer", "wrong_key")
	if q.LastAskedAt != nil {
		x.single("wfm_emqx_last_question_timestamp_seconds", "gauge", "When EMQX last asked with the right key.", q.LastAskedAt.Unix())
	}
}

func (x *exposition) mqtt(b view.BrokerStatus) {
	x.single("wfm_mqtt_connected", "gauge", "1 while the MQTT broker serves.", truth(b.Connected))
	x.single("wfm_mqtt_sessions", "gauge", "Live MQTT sessions.", b.Sessions)
	x.family("wfm_mqtt_messages_total", "counter", "Messages since the start: of nodes and stored (in), to nodes (out), of nodes and not stored (refused).")
	x.value("wfm_mqtt_messages_total", b.MessagesIn, "direction", "in")
	x.value("wfm_mqtt_messages_total", b.MessagesOut, "direction", "out")
	x.value("wfm_mqtt_messages_total", b.MessagesRefused, "direction", "refused")
	if up := b.Upstream; up != nil {
		x.single("wfm_mqtt_upstream_sessions", "gauge", "Sessions that take nodes' messages from EMQX now.", up.Sessions)
		x.single("wfm_mqtt_sessions_lost_total", "counter",
			"Sessions of the appliance that EMQX has dropped since the start, with messages that nodes believe delivered.", up.SessionsLost)
	}
}

func (x *exposition) http(counts *view.RequestCounts, streams int) {
	x.single("wfm_event_streams", "gauge", "Open event streams.", streams)
	x.family("wfm_http_requests_total", "counter", "HTTP requests answered since the start, by class of route and status.")
	for class, name := range view.ClassNames {
		for status := 2; status < 6; status++ {
			x.value("wfm_http_requests_total", counts[class][status].Load(), "class", name, "status", fmt.Sprintf("%dxx", status))
		}
	}
}

// process writes metrics of the Go runtime, under the names that dashboards expect.
func (x *exposition) process() {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	x.single("go_goroutines", "gauge", "Goroutines.", runtime.NumGoroutine())
	x.single("go_memstats_sys_bytes", "gauge", "Memory obtained from the system.", samples[0].Value.Uint64())
	x.single("go_memstats_heap_alloc_bytes", "gauge", "Memory of live and not yet collected objects.", samples[1].Value.Uint64())
}
