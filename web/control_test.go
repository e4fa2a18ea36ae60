package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web"
)

type controlJSON struct {
	RequestID string         `json:"request_id"`
	Message   string         `json:"message"`
	Status    string         `json:"status"`
	State     string         `json:"state"`
	Output    []store.Output `json:"output"`
}

// controlled is an API with one bound node.
func controlled(t *testing.T, adjust ...func(*web.Options)) (a *api, cfg, node string) {
	t.Helper()
	a = newAPI(t, adjust...)
	cfg = a.addConfig("office")
	node = a.addNode(cfg, "gate")
	a.bind(node)
	return a, cfg, node
}

func TestACommandIsGivenAndItsOutcomeAnswered(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node) + "/endpoint/control"
	var v controlJSON
	a.post(path, object{"action": "start", "queue": true}).ok(&v)
	if v.RequestID == "" || v.Status != "pending" || v.State != "queued" || v.Message == "" || v.Output != nil {
		t.Errorf("%+v", v)
	}
	if got := a.commands.issuedSoFar(); len(got) != 1 || got[0] != (issued{node, protocol.ActionStart, "admin", true}) {
		t.Errorf("issued: %+v", got)
	}
	ctx := t.Context() // the request's context would join its transaction
	a.commands.wait = func(_ context.Context, id string) {
		_, err := a.commands.end(ctx, id, func(c *store.Command) {
			c.State, c.Ack = store.CommandApplied, &protocol.Ack{Status: protocol.AckApplied, Message: "shown"}
		})
		a.update(func(tx *store.Tx) error {
			return errors.Join(err, tx.AddOutput(id, store.Output{Stream: "stdout", Output: "interface: wg0"}))
		})
	}
	a.post(path, object{"action": "wg_show", "wait": 60}).ok(&v)
	if v.Status != "acked" || v.State != "applied" || v.Message != "shown" || len(v.Output) != 1 || v.Output[0].Output != "interface: wg0" {
		t.Errorf("%+v", v)
	}
	a.save(nodePath(cfg, node), tunnelConf(1))
	for _, action := range []string{"stop", "push_config", "detect", "describe"} {
		a.post(path, object{"action": action}).ok(nil)
	}
}

func TestAWaitEndsWithTheCommandStillOpen(t *testing.T) {
	a, cfg, node := controlled(t)
	a.commands.wait = func(ctx context.Context, _ string) { <-ctx.Done() }
	var v controlJSON
	a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start", "wait": 1}).ok(&v)
	if v.Status != "pending" || v.State != "queued" {
		t.Errorf("%+v", v)
	}
}

func TestAWaitOutlastsTheTimeToReadARequest(t *testing.T) {
	a, cfg, node := controlled(t)
	s := httptest.NewUnstartedServer(web.New(web.Options{Store: a.db, Commands: a.commands, MQTTEnabled: true}).Handler())
	s.Config.ReadTimeout = 500 * time.Millisecond // below the wait
	s.Start()
	defer s.Close()
	a.url = s.URL
	a.commands.wait = func(ctx context.Context, _ string) {
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("the wait ended early: %v", ctx.Err())
		}
	}
	a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start", "wait": 1}).ok(nil)
}

func TestShutdownAnswersThoseThatWait(t *testing.T) {
	a, cfg, node := controlled(t)
	waiting := make(chan struct{})
	a.commands.wait = func(ctx context.Context, _ string) { close(waiting); <-ctx.Done() }
	s := web.New(web.Options{Store: a.db, Commands: a.commands, MQTTEnabled: true})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	a.url = "http://" + l.Addr().String()
	answered := make(chan *reply, 1)
	go func() {
		answered <- a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start", "wait": 60})
	}()
	<-waiting
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	(<-answered).ok(nil)
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Errorf("a second shutdown: %v", err)
	}
}

func TestShutdownClosesHardWhenItsTimeIsOver(t *testing.T) {
	a, cfg, node := controlled(t)
	waiting, release := make(chan struct{}), make(chan struct{})
	a.commands.wait = func(context.Context, string) { close(waiting); <-release }
	s := web.New(web.Options{Store: a.db, Commands: a.commands, MQTTEnabled: true})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, failed := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	go func() {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
			"http://"+l.Addr().String()+nodePath(cfg, node)+"/endpoint/control", strings.NewReader(`{"action":"start","wait":60}`))
		if err != nil {
			failed <- nil
			return
		}
		req.Header.Set("Authorization", "Bearer "+a.token)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-waiting
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the connection was not closed")
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	close(release)
}

func TestEveryRefusalOfACommandHasItsCode(t *testing.T) {
	a, cfg, node := controlled(t)
	for err, want := range map[error]string{
		store.ErrNodeNotFound: "404 NODE_NOT_FOUND", store.ErrNodeDisabled: "409 NODE_DISABLED",
		store.ErrNodeStatic: "400 CLIENT_BIND_STATIC_NODE", refusal.ErrNotInitialized: "409 CLIENT_NOT_INITIALIZED",
		refusal.ErrNodeOffline: "409 NODE_OFFLINE", tunnel.ErrNoStagedConfig: "409 NO_STAGED_CONFIG",
		protocol.ErrInvalidAction: "400 INVALID_ACTION", refusal.ErrTooManyCommands: "409 TOO_MANY_COMMANDS",
		refusal.ErrMQTTDisabled: "409 MQTT_DISABLED", refusal.ErrMQTTUnavailable: "503 MQTT_CONTROL_UNAVAILABLE",
		store.ErrFull: "507 STORE_FULL", store.ErrReadOnly: "503 STORE_READ_ONLY", errors.New("odd"): "500 INTERNAL_ERROR",
	} {
		a.commands.fail(fmt.Errorf("issue start to %s: %w", node, err))
		r := a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start"})
		if got := fmt.Sprintf("%d %s", r.status, r.Error.Code); got != want || r.Error.Message == "" || strings.Contains(r.body, "issue start") {
			t.Errorf("%v: %s, want %s", err, r.body, want)
		}
	}
}

func TestAnIllFormedCommandReachesNobody(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node) + "/endpoint/control"
	a.post(path, object{"action": "reboot"}).fails(400, "INVALID_ACTION")
	a.post(path, object{}).invalid("action")
	a.post(path, object{"action": 1}).invalid("action")
	a.post(path, object{"action": "start", "queue": "yes"}).invalid("queue")
	for _, wait := range []any{-1, 61, 1.5, "5", true} {
		a.post(path, object{"action": "start", "wait": wait}).invalid("wait")
	}
	a.post(nodePath(cfg, "node_none")+"/endpoint/control", object{"action": "start"}).fails(404, "NODE_NOT_FOUND")
	if got := a.commands.issuedSoFar(); got != nil {
		t.Errorf("issued: %+v", got)
	}
}

func TestEveryStateOfACommandIsMappedInLogsAndDetail(t *testing.T) {
	a, cfg, node := controlled(t)
	for state, status := range map[store.CommandState]string{
		store.CommandQueued: "pending", store.CommandSent: "pending", store.CommandAccepted: "pending",
		store.CommandApplied: "acked", store.CommandFailed: "failed", store.CommandCancelled: "failed",
		store.CommandSuperseded: "failed", store.CommandExpired: "failed", store.CommandUnknown: "timeout",
	} {
		cmd, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionStop, RequestedBy: "admin"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.commands.end(t.Context(), cmd.RequestID, func(c *store.Command) { c.State, c.Detail = state, "because" }); err != nil {
			t.Fatal(err)
		}
		var logs []map[string]any
		a.get(nodePath(cfg, node) + "/endpoint/logs?limit=1").ok(&logs)
		l := logs[0]
		for field, want := range map[string]any{
			"id": cmd.RequestID, "request_id": cmd.RequestID, "config_id": cfg, "node_id": node, "action": "stop", "status": status,
			"state": string(state), "requested_by": "admin", "detail": "because", "ack_at": nil,
		} {
			if l[field] != want {
				t.Errorf("%s: %s is %v, want %v", state, field, l[field], want)
			}
		}
		for _, field := range []string{"summary", "requested_at", "created_at", "updated_at"} {
			if s, _ := l[field].(string); s == "" {
				t.Errorf("%s: %s is empty", state, field)
			}
		}
	}
	page := a.get(nodePath(cfg, node) + "/endpoint/logs?limit=4").ok(nil)
	var rest []map[string]any
	a.get(nodePath(cfg, node) + "/endpoint/logs?cursor=" + page.NextCursor).ok(&rest)
	if len(rest) != 6 || rest[5]["action"] != "event" || rest[5]["summary"] != "bound" {
		t.Errorf("after a page of 4 of 9 commands and the bind come %d: %v", len(rest), rest)
	}
	a.get(nodePath(cfg, node) + "/endpoint/logs?cursor=eA").invalid("cursor")
}

func TestOneCommandsWholeLifeIsShownWithoutTheConfigText(t *testing.T) {
	a, cfg, node := controlled(t)
	const key = "PrivateKey = c2VjcmV0"
	payload, err := json.Marshal(protocol.Push{Action: protocol.ActionPush, ConfigVersion: 3, ConfigSHA256: "abc", ConfigText: key})
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionPush, Payload: payload, RequestedBy: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	a.update(func(tx *store.Tx) error {
		return errors.Join(tx.AddNote(cmd.RequestID, "a late ACK"), tx.AddOutput(cmd.RequestID, store.Output{Stream: "stderr", Output: "hm"}))
	})
	path := "/api/v1/commands/" + cmd.RequestID
	var v struct {
		RequestID string         `json:"request_id"`
		NodeID    string         `json:"node_id"`
		Kind      string         `json:"kind"`
		Payload   map[string]any `json:"payload"`
		Notes     []store.CommandNote
		Output    []store.Output
		SentAt    *time.Time `json:"sent_at"`
		State     string     `json:"state"`
	}
	r := a.get(path).ok(&v)
	if v.RequestID != cmd.RequestID || v.NodeID != node || v.Kind != "config/push" || v.Payload["config_version"] != 3.0 ||
		len(v.Notes) != 1 || len(v.Output) != 1 || v.SentAt != nil || v.State != "queued" {
		t.Errorf("%s", r.body)
	}
	if strings.Contains(r.body, "c2VjcmV0") {
		t.Errorf("the config's text is shown: %s", r.body)
	}
	a.post(path+"/cancel", nil).ok(&v)
	if v.State != "cancelled" {
		t.Errorf("cancelled: %+v", v)
	}
	a.post(path+"/cancel", nil).fails(409, "COMMAND_ENDED")
	a.get("/api/v1/commands/cmd_none").fails(404, "CONTROL_LOG_NOT_FOUND")
	a.post("/api/v1/commands/cmd_none/cancel", nil).fails(404, "CONTROL_LOG_NOT_FOUND")
	_ = cfg
}

type probeJSON struct {
	Dispatched []struct {
		NodeID    string `json:"node_id"`
		RequestID string `json:"request_id"`
	} `json:"dispatched"`
	Skipped []struct {
		NodeID string `json:"node_id"`
		Code   string `json:"code"`
		Reason string `json:"reason"`
	} `json:"skipped"`
}

func TestAProbeBatchReachesAllThatHaveAnAgent(t *testing.T) {
	a, cfg, node := controlled(t)
	away, unbound := a.addNode(cfg, "away"), a.addNode(cfg, "unbound")
	a.bind(away)
	foreign := a.addNode(a.addConfig("other"), "foreign")
	a.commands.errs = map[string]error{away: refusal.ErrNodeOffline, unbound: refusal.ErrNotInitialized}
	path := "/api/v1/configs/" + cfg + "/endpoint/probe-batch"
	for _, body := range []any{nil, object{}, object{"node_ids": []string{}}, object{"node_ids": nil}} {
		var v probeJSON
		a.post(path, body).ok(&v)
		if len(v.Dispatched) != 1 || v.Dispatched[0].NodeID != node || v.Dispatched[0].RequestID == "" ||
			len(v.Skipped) != 1 || v.Skipped[0].NodeID != away || v.Skipped[0].Code != "NODE_OFFLINE" || v.Skipped[0].Reason == "" {
			t.Errorf("%v: %+v", body, v)
		}
	}
	var v probeJSON
	a.post(path, object{"node_ids": []string{node, node, unbound, foreign, "node_none"}}).ok(&v)
	codes := map[string]string{}
	for _, s := range v.Skipped {
		codes[s.NodeID] = s.Code
	}
	if len(v.Dispatched) != 1 || len(codes) != 3 || codes[unbound] != "CLIENT_NOT_INITIALIZED" ||
		codes[foreign] != "NODE_CONFIG_MISMATCH" || codes["node_none"] != "NODE_NOT_FOUND" {
		t.Errorf("%+v", v)
	}
	a.post(path, object{"node_ids": "all"}).invalid("node_ids")
	a.post("/api/v1/configs/none/endpoint/probe-batch", nil).fails(404, "CONFIG_NOT_FOUND")
	a.commands.errs = nil
	a.commands.fail(refusal.ErrMQTTUnavailable)
	a.post(path, nil).fails(503, "MQTT_CONTROL_UNAVAILABLE")
}

func TestWithoutMQTTEverythingElseWorks(t *testing.T) {
	a, cfg, node := controlled(t, func(o *web.Options) { o.MQTTEnabled, o.Commands, o.Broker = false, nil, nil })
	cmd, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionStart})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*reply{
		a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start"}),
		a.post("/api/v1/configs/"+cfg+"/endpoint/probe-batch", nil),
		a.post(nodePath(cfg, node)+"/bind-command", nil),
		a.post("/api/client/bind", bindBody("x")),
		a.post("/api/v1/commands/"+cmd.RequestID+"/cancel", nil),
	} {
		r.fails(409, "MQTT_DISABLED")
	}
	a.get("/api/v1/commands/" + cmd.RequestID).ok(nil)
	var v struct {
		MQTTService map[string]any `json:"mqtt_service"`
	}
	a.get(nodePath(cfg, node) + "/endpoint/status").ok(&v)
	if v.MQTTService["enabled"] != false || v.MQTTService["status"] != "disabled" || v.MQTTService["mode"] != "disabled" {
		t.Errorf("%+v", v.MQTTService)
	}
	a.post(nodePath(cfg, node)+"/reset-client", nil).ok(nil)
	a.put("/api/v1/nodes/"+node, object{"enabled": false}).ok(nil)
	if r := a.get("/readyz"); r.status != 200 {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
}

func TestAPushOfAVersionThatIsNotStagedAnyMoreIsRefused(t *testing.T) {
	a, cfg, node := controlled(t)
	path := nodePath(cfg, node)
	push := func(version any) *reply {
		return a.post(path+"/endpoint/control", object{"action": "push_config", "staged_version": version})
	}
	for want := 1; want <= 2; want++ {
		a.save(path, tunnelConf(want))
		a.post(path+"/sync", nil).ok(nil)
	}
	push(1).fails(409, "CONFIG_CONFLICT")
	push("2").invalid("staged_version")
	push(2).ok(nil)
	a.post(path+"/endpoint/control", object{"action": "stop", "staged_version": 1}).ok(nil)
}
