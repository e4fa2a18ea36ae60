package web_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wfm/internal/emqxcall"
	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
	"wfm/web/view"
)

const sharedKey = "the-shared-key"

func external(change ...func(*web.ExternalBroker)) func(*web.Options) {
	return func(o *web.Options) {
		o.External = &web.ExternalBroker{
			Key: emqxcall.NewKey(sharedKey), Username: "wfm-backend", Password: "backend-password", ClientIDs: []string{"wfm-backend-1"},
			Account:   func(string) view.AccountState { return view.AccountState{State: "pending", Detail: "EMQX is away"} },
			Settled:   func(string) bool { return true },
			Reconcile: func(context.Context) error { return nil },
		}
		for _, f := range change {
			f(o.External)
		}
	}
}

// boundNode makes a node and binds an agent to it.
func (a *api) boundNode() (configID string, bound store.Bound) {
	a.t.Helper()
	configID = a.addConfig(protocol.NewID("c")[:20])
	return configID, a.bindStored(a.addNode(configID, "n"))
}

func (a *api) bindStored(nodeID string) (bound store.Bound) {
	a.t.Helper()
	if err := a.db.Update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken(nodeID, time.Minute)
		if err == nil {
			bound, err = tx.Bind(token, store.Client{})
		}
		return err
	}); err != nil {
		a.t.Fatal(err)
	}
	return bound
}

// asked asks EMQX's question. It returns the verdict, or the status if that is not 200.
func (a *api) asked(what string, q object) string {
	a.t.Helper()
	r := a.call("POST", "/api/internal/emqx/"+what, q, as(""), header("x-wfm-internal-key", sharedKey))
	if r.status != http.StatusOK {
		return r.body
	}
	for _, v := range []string{"allow", "deny", "ignore"} {
		if strings.HasPrefix(r.body, `{"result":"`+v+`"`) {
			return v
		}
	}
	return r.body
}

func TestEMQXIsToldWhatTheEmbeddedBrokerWouldDecide(t *testing.T) {
	a := newAPI(t, external())
	cfg, bound := a.boundNode()
	_, other := a.boundNode()
	id := bound.Node.ID
	own := func(kind string) string { return "wfm/" + cfg + "/" + id + "/" + kind }
	for _, c := range []struct {
		want, action, topic string
		change              object
	}{
		{"allow", "subscribe", own("control"), nil},
		{"allow", "subscribe", own("config/push"), nil},
		{"allow", "publish", own("heartbeat"), nil},
		{"allow", "publish", own("event"), object{"retain": "false", "qos": "1"}},
		{"deny", "publish", own("event"), object{"retain": "true"}},
		{"deny", "publish", own("event"), object{"retain": true}},
		{"deny", "publish", own("control"), nil},
		{"deny", "subscribe", own("heartbeat"), nil},
		{"deny", "subscribe", own("#"), nil},
		{"deny", "subscribe", own("+"), nil},
		{"deny", "subscribe", "wfm/#", nil},
		{"deny", "subscribe", "$share/g/" + own("control"), nil},
		{"deny", "subscribe", "$SYS/brokers/+/clients/+/connected", nil},
		{"deny", "publish", "wfm/" + cfg + "/" + other.Node.ID + "/event", nil},
		{"deny", "all", own("event"), nil},
		{"deny", "publish", own("event"), object{"clientid": "wfm-" + other.Node.ID}},
		{"deny", "publish", own("event"), object{"username": "stranger"}},
		{"deny", "publish", own("event"), object{"username": ""}},
	} {
		q := object{"username": id, "clientid": "wfm-" + id, "topic": c.topic, "action": c.action}
		maps.Copy(q, c.change)
		if got := a.asked("authz", q); got != c.want {
			t.Errorf("%s %s %v: %s, want %s", c.action, c.topic, c.change, got, c.want)
		}
	}
	a.post(nodePath(cfg, id)+"/reset-client", nil).ok(nil)
	if got := a.asked("authz", object{"username": id, "clientid": "wfm-" + id, "topic": own("event"), "action": "publish"}); got != "deny" {
		t.Errorf("after a reset: %s", got)
	}
}

func TestNodeWhoseAccountEMQXDoesNotKnowYetMayDoNothing(t *testing.T) {
	settled := false
	a := newAPI(t, external(func(e *web.ExternalBroker) { e.Settled = func(string) bool { return settled } }))
	cfg, bound := a.boundNode()
	id := bound.Node.ID
	for _, want := range []string{"deny", "allow"} {
		for action, kind := range map[string]string{"publish": "event", "subscribe": "control"} {
			q := object{"username": id, "clientid": "wfm-" + id, "topic": "wfm/" + cfg + "/" + id + "/" + kind, "action": action}
			if got := a.asked("authz", q); got != want {
				t.Errorf("settled %v: %s: %s", settled, action, got)
			}
		}
		settled = true
	}
}

// EMQX acknowledges a message that it receives before the appliance has subscribed, and the message
// is lost.
func TestNodeLogsInToEMQXOnlyWhileTheApplianceTakesWhatItSends(t *testing.T) {
	ready := false
	a := newAPI(t, external(func(e *web.ExternalBroker) { e.Ready = func() bool { return ready } }))
	_, bound := a.boundNode()
	id := bound.Node.ID
	for _, want := range []string{"deny", "allow"} {
		if got := a.asked("auth", object{"username": id, "clientid": "wfm-" + id, "password": bound.Password}); got != want {
			t.Errorf("ready %v: %s", ready, got)
		}
		ready = true
	}
}

func TestAppliancesOwnAccountMayUseItsTopicsAndReadSYS(t *testing.T) {
	a := newAPI(t, external())
	for _, c := range []struct{ want, action, topic, clientID string }{
		{"allow", "subscribe", "wfm/+/+/event", "wfm-backend-1"},
		{"allow", "publish", "wfm/cfg_a/node_a/control", "wfm-backend-1"},
		{"allow", "subscribe", "$SYS/brokers/+/clients/+/connected", "wfm-backend-1"},
		{"deny", "publish", "$SYS/brokers", "wfm-backend-1"},
		{"deny", "subscribe", "#", "wfm-backend-1"},
		{"deny", "publish", "wfm/cfg_a/node_a/control", "wfm-other"},
	} {
		q := object{"username": "wfm-backend", "clientid": c.clientID, "topic": c.topic, "action": c.action}
		if got := a.asked("authz", q); got != c.want {
			t.Errorf("%v: %s", c, got)
		}
	}
}

func TestEMQXMayAskWhoLogsIn(t *testing.T) {
	a := newAPI(t, external())
	_, bound := a.boundNode()
	id := bound.Node.ID
	login := func(user, password, clientID string) string {
		return a.asked("auth", object{"username": user, "password": password, "clientid": clientID})
	}
	check, checkPassword := emqxcall.NewKey(sharedKey).Check(time.Now())
	for _, c := range []struct{ want, user, password, clientID string }{
		{"allow", id, bound.Password, "wfm-" + id},
		{"deny", id, bound.Password + "x", "wfm-" + id},
		{"deny", id, bound.Password, "wfm-other"},
		{"deny", protocol.NewID("node"), bound.Password, "wfm-" + id},
		{"allow", "wfm-backend", "backend-password", "wfm-backend-1"},
		{"deny", "wfm-backend", "wrong", "wfm-backend-1"},
		{"deny", "wfm-backend", "", "wfm-backend-1"},
		{"allow", check, checkPassword, "wfm-" + check},
		{"deny", check, "wrong", "wfm-" + check},
		{"ignore", "somebody-else", "x", "y"},
	} {
		if got := login(c.user, c.password, c.clientID); got != c.want {
			t.Errorf("%s as %s: %s, want %s", c.user, c.clientID, got, c.want)
		}
	}
	body := a.call("POST", "/api/internal/emqx/auth", object{"username": id, "password": bound.Password, "clientid": "wfm-" + id},
		header("x-wfm-internal-key", sharedKey)).body
	if !strings.Contains(body, `"expire_at":1`) || strings.Contains(body, "is_superuser") {
		t.Errorf("a node's session: %s", body)
	}
	a.call("POST", "/api/internal/emqx/auth", object{"username": id, "password": bound.Password + "\xff"}, header("x-wfm-internal-key", sharedKey))
	if strings.Contains(a.log.String(), bound.Password) || strings.Contains(a.log.String(), "backend-password") {
		t.Error("a password is in the log")
	}
}

func TestWrongKeyIsRefusedAndTellsNothing(t *testing.T) {
	a := newAPI(t, external())
	_, bound := a.boundNode()
	q := object{"username": bound.Node.ID, "password": bound.Password, "clientid": "wfm-" + bound.Node.ID}
	for _, path := range []string{"authz", "auth"} {
		for _, key := range []string{"", "wrong", sharedKey + "x"} {
			r := a.call("POST", "/api/internal/emqx/"+path, q, header("x-wfm-internal-key", key))
			if r.status != http.StatusUnauthorized || r.body != "" {
				t.Errorf("%s with %q: %d %q", path, key, r.status, r.body)
			}
		}
	}
	if strings.Contains(a.log.String(), sharedKey) {
		t.Error("the key is in the log")
	}
}

func TestQuestionsThatMakeNoSenseAreDenied(t *testing.T) {
	a := newAPI(t, external())
	for _, body := range []string{"", "{", "[]", `{"username":1}`, strings.Repeat("x", 1<<20)} {
		r := a.call("POST", "/api/internal/emqx/authz", body, header("x-wfm-internal-key", sharedKey))
		if r.status != http.StatusOK || strings.TrimSpace(r.body) != `{"result":"deny"}` {
			t.Errorf("%.20q: %d %s", body, r.status, r.body)
		}
	}
}

func TestWithoutAnExternalBrokerNobodyMayAsk(t *testing.T) {
	a := newAPI(t)
	a.call("POST", "/api/internal/emqx/authz", object{}, header("x-wfm-internal-key", "")).fails(404, "NOT_FOUND")
	a.post("/api/v1/system/mqtt/reconcile", nil).fails(409, "MQTT_EMBEDDED")
}

func TestCallbacksCanHaveAListenerOfTheirOwn(t *testing.T) {
	a := newAPI(t, external(func(e *web.ExternalBroker) { e.Apart = true }))
	a.call("POST", "/api/internal/emqx/authz", object{}, header("x-wfm-internal-key", sharedKey)).fails(404, "NOT_FOUND")

	o := web.Options{Store: a.db, MQTTEnabled: true}
	external(func(e *web.ExternalBroker) { e.Apart = true })(&o)
	server := web.New(o)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeCallbacks(l) }()
	a.url = "http://" + l.Addr().String()
	if got := a.asked("authz", object{}); got != "deny" {
		t.Errorf("there: %s", got)
	}
	for _, path := range []string{"/", "/login", "/static/wfm.js"} {
		a.get(path).fails(404, "NOT_FOUND")
	}
	if err := errors.Join(server.Stop(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

func TestReconcileAndAccountsAreShown(t *testing.T) {
	calls := 0
	a := newAPI(t, external(func(e *web.ExternalBroker) {
		e.Reconcile = func(context.Context) error { calls++; return refusal.ErrMQTTUnavailable }
	}))
	a.broker.status = view.BrokerStatus{Enabled: true, Mode: "external", Status: "error", Accounts: &view.AccountsStatus{Pending: 1, LastError: "EMQX is away"}}
	a.post("/api/v1/system/mqtt/reconcile", nil).fails(503, "MQTT_CONTROL_UNAVAILABLE")
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	cfg, bound := a.boundNode()
	var status struct {
		MQTTAccount view.AccountState `json:"mqtt_account"`
		MQTTService struct {
			Mode     string
			Accounts view.AccountsStatus
		} `json:"mqtt_service"`
	}
	a.get(nodePath(cfg, bound.Node.ID) + "/endpoint/status").ok(&status)
	if status.MQTTAccount.State != "pending" || status.MQTTService.Mode != "external" || status.MQTTService.Accounts.Pending != 1 {
		t.Errorf("%+v", status)
	}
	a.call("POST", "/api/v1/system/mqtt/reconcile", nil, as("")).fails(401, "AUTH_REQUIRED")
}

func TestWhileEMQXIsAwayACommandIsNotBlamedOnTheNode(t *testing.T) {
	a := newAPI(t, external())
	cfg, bound := a.boundNode()
	a.commands.fail(refusal.ErrNodeOffline)
	a.broker.status = view.BrokerStatus{Enabled: true, Status: "error", Mode: "external"}
	a.post(nodePath(cfg, bound.Node.ID)+"/endpoint/control", object{"action": "start"}).fails(503, "MQTT_CONTROL_UNAVAILABLE")
}

func TestBindHandsOutTheCAOfEMQXWithTLS(t *testing.T) {
	c := &certificates{hosts: map[string]bool{}} // for HTTPS; the broker has others
	a := newAPI(t, withTLS(c, external(func(e *web.ExternalBroker) { e.CACert = "EMQX's CA" }))...)
	cfg := a.addConfig("office")
	var b protocol.BindResponse
	a.post("/api/client/bind", bindBody(a.bindToken(cfg, a.addNode(cfg, "gate")))).ok(&b)
	if m := b.MQTT; !m.TLS || m.CACert != "EMQX's CA" || m.Port != 8883 {
		t.Errorf("mqtt: %+v", m)
	}
	a.put("/api/v1/settings/mqtt", object{"host": "emqx.example.org"}).ok(nil)
	if len(c.covered) != 0 {
		t.Errorf("our own certificate is to cover EMQX's host: %v", c.covered)
	}
}

func TestQuestionsOfEMQXAreNotAuditedAndAReconciliationIs(t *testing.T) {
	a := newAPI(t, external())
	a.broker.status = view.BrokerStatus{Enabled: true, Mode: "external", Accounts: &view.AccountsStatus{}}
	a.asked("authz", object{"username": "x"})
	a.call("POST", "/api/internal/emqx/authz", object{}, header("x-wfm-internal-key", "wrong"))
	a.post("/api/v1/system/mqtt/reconcile", nil).ok(nil)
	if got := a.audit(""); len(got) != 1 || got[0].Action != "POST /api/v1/system/mqtt/reconcile" {
		t.Errorf("%+v", got)
	}
	if raw := a.get("/api/openapi.json").body; strings.Contains(raw, "/api/internal/") {
		t.Error("the questions of EMQX are described as part of the API")
	}
}

func TestEMQXIsNotSentToHTTPS(t *testing.T) {
	a := newAPI(t, external(), func(o *web.Options) { o.HTTPSPort, o.PublicOrigin = 8443, "https://wfm.example.org" })
	if got := a.asked("authz", object{"username": "x"}); got != "deny" {
		t.Errorf("without TLS, and at another Host: %s", got)
	}
}

func TestTheOverviewShowsHowEMQXIs(t *testing.T) {
	a := newAPI(t, external())
	a.broker.status = view.BrokerStatus{
		Enabled: true, Mode: "external", Status: "error", LastError: "EMQX is away", Accounts: &view.AccountsStatus{Synced: 3, Pending: 2},
	}
	a.browse("/").shows("external", "EMQX is away", "3 up to date, 2 pending")
}
