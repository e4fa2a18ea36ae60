package web_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

func bindBody(token string) object {
	return object{"token": token, "hostname": "gate-1", "platform": "linux", "client_version": "1.0", "capabilities": []string{"dedupe"}, "new": 1}
}

func TestAnAgentBindsOverBothPathsAndItsCredentialsWork(t *testing.T) {
	for _, path := range []string{"/api/client/bind", "/api/client/v1/bind"} {
		a := newAPI(t)
		cfg := a.addConfig("office")
		node := a.addNode(cfg, "gate")
		token := a.bindToken(cfg, node)
		var b protocol.BindResponse
		r := a.call("POST", path, bindBody(token), as("")).ok(&b)
		if !strings.Contains(r.body, `"desired_conf":""`) || !strings.Contains(r.body, `"server_url":""`) {
			t.Errorf("%s: %s", path, r.body)
		}
		wantProfile := protocol.BindProfile{
			ProfileID: cfg + "-" + node, ConfigID: cfg, ConfigName: "office", NodeID: node, NodeName: "gate",
			InterfaceName: "office-gate", Hostname: "gate-1", Platform: "linux", ClientVersion: "1.0",
		}
		if b.Profile != wantProfile {
			t.Errorf("profile: %+v", b.Profile)
		}
		m := b.MQTT
		if m.Host != "127.0.0.1" || m.Port != 1883 || m.TLS || m.Username != node || m.ClientID != "wfm-"+node ||
			!slices.Equal(m.Topics.Subscribe, protocol.SubscribeTopics(cfg, node)) || len(m.Topics.Publish) != 6 {
			t.Errorf("mqtt: %+v", m)
		}
		if g, ok := a.db.Grant(node); !ok || !g.CheckPassword([]byte(m.Password)) {
			t.Errorf("the password that was handed out does not work (grant: %v)", ok)
		}
		a.call("POST", path, bindBody(token), as("")).fails(409, "CLIENT_BIND_TOKEN_USED")
		if rights := a.broker.taken(); !slices.Equal(rights, []string{node}) {
			t.Errorf("rights changed: %v", rights)
		}
	}
}

func TestAnOlderAgentMayTellLittleAboutItself(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.MQTTHost, o.MQTTPort = "mqtt.example.org", 2883 })
	cfg := a.addConfig("office")
	var b protocol.BindResponse
	a.post("/api/client/bind", object{"token": a.bindToken(cfg, a.addNode(cfg, "gate")), "hostname": nil, "platform": ""}).ok(&b)
	if b.MQTT.Host != "mqtt.example.org" || b.MQTT.Port != 2883 {
		t.Errorf("mqtt: %+v", b.MQTT)
	}
}

func TestABindIsRefusedInWordsForThePersonAtTheNode(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	issue := func(node string, ttl time.Duration) (token string) {
		a.update(func(tx *store.Tx) (err error) { token, _, err = tx.IssueBindToken(node, ttl); return err })
		return token
	}
	bind := func(token string, status int, code string) {
		t.Helper()
		r := a.call("POST", "/api/client/bind", bindBody(token), as("")).fails(status, code)
		if !strings.HasSuffix(r.Error.Message, ".") || len(r.Error.Message) < 40 {
			t.Errorf("%s: the message is not a sentence to act on: %q", code, r.Error.Message)
		}
	}
	bind("garbage", 401, "CLIENT_BIND_TOKEN_INVALID")
	bind(issue(a.addNode(cfg, "late"), -time.Second), 401, "CLIENT_BIND_TOKEN_EXPIRED")

	newer := a.addNode(cfg, "newer")
	old := issue(newer, time.Minute)
	issue(newer, time.Minute)
	bind(old, 401, "CLIENT_BIND_TOKEN_INVALID")

	// Disabling invalidates the token itself.
	disabled := a.addNode(cfg, "disabled")
	token := issue(disabled, time.Minute)
	a.put("/api/v1/nodes/"+disabled, object{"enabled": false}).ok(nil)
	bind(token, 401, "CLIENT_BIND_TOKEN_INVALID")

	a.put("/api/v1/nodes/"+newer, object{"node_type": "static"}).ok(nil)
	a.post(nodePath(cfg, newer)+"/bind-command", nil).fails(400, "CLIENT_BIND_STATIC_NODE")
	a.post(nodePath(cfg, disabled)+"/bind-command", nil).fails(409, "NODE_DISABLED")
	a.post(nodePath(cfg, newer)+"/reset-client", nil).fails(400, "CLIENT_BIND_STATIC_NODE")
	a.put("/api/v1/configs/"+cfg, object{"enabled": false}).ok(nil)
	a.post(nodePath(cfg, a.addNode(cfg, "of a disabled config"))+"/bind-command", nil).fails(409, "NODE_DISABLED")
}

func TestABindRequestIsCheckedFieldByField(t *testing.T) {
	// Each case has a server of its own, since the limit of binds is low.
	for field, body := range map[string]string{
		"token":          `{"hostname":"h"}`,
		"hostname":       `{"token":"t","hostname":"` + strings.Repeat("h", 256) + `"}`,
		"platform":       `{"token":"t","platform":"a\u0000b"}`,
		"client_version": `{"token":"t","client_version":` + strings.Repeat("1", 70) + `}`,
		"capabilities":   `{"token":"t","capabilities":[` + strings.Repeat(`"c",`, 32) + `"c"]}`,
	} {
		a := bareAPI(t)
		a.post("/api/client/bind", body).invalid(field)
		a.post("/api/client/bind", `{"token":"`+strings.Repeat("t", 129)+`"}`).invalid("token")
		a.post("/api/client/bind", `{"token":"`+strings.Repeat("t", 17<<10)+`"}`).fails(413, "PAYLOAD_TOO_LARGE")
	}
}

// An HTTP/1.0 client may name no host, and then there is none that an agent could find.
func TestABindWithoutAHostForTheBrokerSpendsNoToken(t *testing.T) {
	a := bareAPI(t)
	a.call("POST", "/api/client/bind", object{"token": "t"}, host(strings.Repeat("x", 300))).fails(422, "VALIDATION_ERROR")
	a.post("/api/client/bind", object{"token": "t"}).fails(401, "CLIENT_BIND_TOKEN_INVALID")
}

func TestBindsAreLimitedByAddress(t *testing.T) {
	a := bareAPI(t)
	for range 10 {
		a.post("/api/client/bind", object{"token": "x"}).fails(401, "CLIENT_BIND_TOKEN_INVALID")
	}
	for range 3 {
		if r := a.post("/api/client/v1/bind", object{"token": "x"}); r.status == 429 {
			if r.fails(429, "RATE_LIMITED").header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
	}
	t.Error("no limit was met")
}

func TestABindCommandCanBePastedIntoAShell(t *testing.T) {
	type answer struct {
		Command   string    `json:"command"`
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	a := newAPI(t)
	cfg := a.addConfig("office")
	path := nodePath(cfg, a.addNode(cfg, "gate")) + "/bind-command"
	for given, want := range map[string]string{
		"":                               a.url,
		"https://wfm.example.org/":       "https://wfm.example.org",
		"http://10.0.0.1:8000/base/path": "http://10.0.0.1:8000/base/path",
		"http://[2001:db8::1]:8000":      "'http://[2001:db8::1]:8000'",
	} {
		body := object{}
		if given != "" {
			body["server_url"] = given
		}
		var v answer
		a.post(path, body).ok(&v)
		if v.Command != "wfm-agent bind --server "+want+" --token "+v.Token || v.Token == "" {
			t.Errorf("%q: %q", given, v.Command)
		}
		if left := time.Until(v.ExpiresAt); left < 4*time.Minute || left > 5*time.Minute {
			t.Errorf("valid for %v", left)
		}
	}
	for _, bad := range []string{
		"wfm.example.org", "ftp://a", "http://", "http://a b", "http://a;rm", "http://a/$(id)", "http://a/`id`", "http://a/'x'",
		"http://u@a", "http://a?q=1", "http://a#f", "http://a/%20", "http://a\n", "http://" + strings.Repeat("a", 300),
	} {
		if strings.TrimSpace(bad) != bad {
			continue // valid once trimmed
		}
		a.post(path, object{"server_url": bad}).invalid("server_url")
	}
	a.call("POST", path, nil, host("a$b")).invalid("server_url")

	behind := newAPI(t, func(o *web.Options) { o.PublicOrigin = "https://wfm.example.org" })
	at := host("wfm.example.org")
	var c configJSON
	behind.call("POST", "/api/v1/configs", object{"name": "c"}, at).ok(&c)
	var n nodeJSON
	behind.call("POST", "/api/v1/configs/"+c.ID+"/nodes", object{"name": "n"}, at).ok(&n)
	var v answer
	behind.call("POST", nodePath(c.ID, n.ID)+"/bind-command", nil, at).ok(&v)
	if !strings.HasPrefix(v.Command, "wfm-agent bind --server https://wfm.example.org --token ") {
		t.Errorf("with a public origin: %q", v.Command)
	}
}

// TestAnAnswerWaitsUntilTheSessionOfALostRightIsGone loses the right in every possible way.
func TestAnAnswerWaitsUntilTheSessionOfALostRightIsGone(t *testing.T) {
	for name, tc := range map[string]struct {
		revoke func(a *api, cfg, node string)
		both   bool // the mesh's other node too
	}{
		"client reset":   {func(a *api, cfg, node string) { a.post(nodePath(cfg, node)+"/reset-client", nil).ok(nil) }, false},
		"node disabled":  {func(a *api, _, node string) { a.put("/api/v1/nodes/"+node, object{"enabled": false}).ok(nil) }, false},
		"turned static":  {func(a *api, _, node string) { a.put("/api/v1/nodes/"+node, object{"node_type": "static"}).ok(nil) }, false},
		"node deleted":   {func(a *api, _, node string) { a.del("/api/v1/nodes/" + node).ok(nil) }, false},
		"config disable": {func(a *api, cfg, _ string) { a.put("/api/v1/configs/"+cfg, object{"enabled": false}).ok(nil) }, true},
		"config deleted": {func(a *api, cfg, _ string) { a.del("/api/v1/configs/" + cfg).ok(nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			cfg := a.addConfig("office")
			one, two := a.addNode(cfg, "one"), a.addNode(cfg, "two")
			a.bind(one)
			a.bind(two)
			a.broker.taken()
			var answered atomic.Bool
			a.broker.settle = func(node string) {
				if _, ok := a.db.Grant(node); ok {
					t.Errorf("the session of %s is ended while it still has the right to come back", node)
				}
				if answered.Load() {
					t.Errorf("the session of %s is ended after the answer", node)
				}
			}
			tc.revoke(a, cfg, one)
			answered.Store(true)
			want := []string{one}
			if tc.both {
				want = append(want, two)
				slices.Sort(want)
			}
			rights := a.broker.taken()
			slices.Sort(rights)
			if !slices.Equal(rights, want) {
				t.Errorf("rights changed of %v, want %v", rights, want)
			}
		})
	}
}

func TestARefusedOrHarmlessChangeTakesNoRight(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.addNode(cfg, "taken")
	a.bind(node)
	a.broker.taken()
	a.put("/api/v1/nodes/"+node, object{"name": "taken", "enabled": false}).fails(409, "NODE_NAME_EXISTS")
	a.put("/api/v1/nodes/"+node, object{"name": "renamed"}).ok(nil)
	a.put("/api/v1/configs/"+cfg, object{"description": "x"}).ok(nil)
	a.post("/api/client/bind", object{"token": "x"}).fails(401, "CLIENT_BIND_TOKEN_INVALID")
	if rights := a.broker.taken(); rights != nil {
		t.Errorf("rights changed: %v", rights)
	}
	if _, ok := a.db.Grant(node); !ok {
		t.Error("the node lost its right")
	}
}

func TestResetAnswersTheStateOfANodeNobodyIsBoundTo(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.bind(node)
	var v struct {
		ClientState struct {
			Initialized bool   `json:"client_initialized"`
			Presence    string `json:"client_presence_state"`
			Username    string `json:"mqtt_username"`
			OfflineAt   string `json:"last_offline_at"`
		} `json:"client_state"`
	}
	a.post(nodePath(cfg, node)+"/reset-client", nil).ok(&v)
	if s := v.ClientState; s.Initialized || s.Presence != "offline" || s.Username != "" || s.OfflineAt == "" {
		t.Errorf("%+v", s)
	}
}
