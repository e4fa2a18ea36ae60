package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wfm/store"
	"wfm/web"
	"wfm/web/view"
)

func TestWhatIsUnknownIsAnsweredInJSON(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/configs", "/api/v1/configs/c/nothing", "/nothing", "/api/v1/configs/"} {
		for _, method := range []string{"GET", "POST"} {
			r := a.call(method, path, nil, as(""))
			if path == "/api/v1/configs/" && r.status != 404 {
				continue // an empty id needs a session like any other
			}
			r.fails(404, "NOT_FOUND")
		}
	}
	for path, method := range map[string]string{
		"/api/v1/configs": "DELETE", "/api/v1/auth/login": "GET", "/api/client/bind": "GET", "/healthz": "POST", "/api/v1/nodes/n": "POST",
	} {
		r := a.call(method, path, nil).fails(405, "METHOD_NOT_ALLOWED")
		if r.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", method, path)
		}
	}
}

func TestAnUnknownPathUnderAnObjectIsNoMissingObject(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	for _, under := range []string{
		"/api/v1/configs/" + cfg, "/api/v1/configs/none", "/api/v1/nodes/" + node, "/api/v1/nodes/none", nodePath(cfg, node), "/api/v1/commands/none",
		"/api/v1/rollouts/none", "/api/v1/auth/tokens/none", nodePath(cfg, node) + "/conf-history/1", "/static/wfm.js",
	} {
		for _, path := range []string{under + "/nothing", under + "/nothing/more"} {
			for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
				a.call(method, path, nil).fails(404, "NOT_FOUND")
			}
		}
	}
	a.get("/api/v1/nodes/none").fails(404, "NODE_NOT_FOUND")
	a.del("/api/v1/nodes/" + node).ok(nil)
}

func TestAnErrorAlwaysHasADetailToLookInto(t *testing.T) {
	a := newAPI(t)
	for _, r := range []*reply{a.get("/api/v1/nothing"), a.get("/api/v1/nodes/none"), a.call("GET", "/api/v1/configs", nil, as(""))} {
		if !strings.Contains(r.body, `"detail":{}`) {
			t.Errorf("%s: %s", r.what, r.body)
		}
	}
}

func TestABrowserGetsAPageForAnUnknownAddress(t *testing.T) {
	a := newAPI(t)
	browser := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, path := range []string{"/nonsense", "/configs", "/configs/x/nonsense", "/static/none.js", "/rollouts/x/y"} {
		r := a.call("GET", path, nil, as(""), browser)
		if r.status != 404 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || !strings.Contains(r.body, "There is nothing at this path") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	a.call("GET", "/api/v1/nonsense", nil, browser).fails(404, "NOT_FOUND")
	a.call("POST", "/nonsense", nil, browser).fails(404, "NOT_FOUND")
}

func TestTimesAreOfTheZoneThatIsTold(t *testing.T) {
	a := newAPI(t)
	var v struct {
		Timezone  string
		Timestamp string
		Enabled   bool `json:"mqtt_services_enabled"`
	}
	if a.get("/api/v1/system/timezone").ok(&v); v.Timezone != "UTC" {
		t.Errorf("%+v", v)
	}
	if a.get("/api/v1/system/health").ok(&v); v.Timezone != "UTC" || !strings.HasSuffix(v.Timestamp, "Z") || !v.Enabled {
		t.Errorf("%+v", v)
	}
}

func TestWhatIsNoJSONObjectIsRefusedInClearWords(t *testing.T) {
	a := newAPI(t)
	for _, body := range []string{
		``, `  `, `{`, `{"name":`, `nonsense`, `[]`, `"x"`, `7`, `null`, `{"name":"a"} {}`, `{'name':'a'}`, "{\"name\":\"\xff\"}",
		strings.Repeat("[", 20000),
	} {
		for _, r := range []*reply{a.post("/api/v1/configs", body), a.post("/api/v1/auth/login", body)} {
			r.fails(422, "VALIDATION_ERROR")
			if !strings.Contains(r.Error.Message, "body") || strings.Contains(r.Error.Message, "nonsense") {
				t.Errorf("%.20q: %s", body, r.Error.Message)
			}
		}
	}
	a.post("/api/v1/configs", `{"name":"`+strings.Repeat("a", 64<<10)+`"}`).fails(413, "PAYLOAD_TOO_LARGE")
	a.post("/api/v1/configs", `{"name":"after"}`).ok(nil)
}

func TestEveryAnswerHasItsSecurityHeaders(t *testing.T) {
	a := newAPI(t)
	ids := map[string]bool{}
	for _, path := range []string{"/readyz", "/healthz", "/api/v1/configs", "/api/v1/none"} {
		h := a.get(path).header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		ids[h.Get("X-Request-Id")] = true
	}
	if len(ids) != 4 || ids[""] {
		t.Errorf("request ids: %v", ids)
	}
}

func TestAPanicAndAnUnknownErrorGiveNothingAway(t *testing.T) {
	const secret = "the inside of the machine"
	a := newAPI(t, func(o *web.Options) {
		o.Evidence = func(store.Evidence) store.Evidence { panic(secret) }
	})
	cfg := a.addConfig("office")
	a.update(func(tx *store.Tx) error {
		return tx.PutNode(&store.Node{ID: "node_a", ConfigID: cfg, Name: "a", Enabled: true, Type: store.NodeDynamic})
	})
	check := func(r *reply) {
		t.Helper()
		r.fails(500, "INTERNAL_ERROR")
		if strings.Contains(r.body, secret) || strings.Contains(r.body, ".go") {
			t.Errorf("the answer tells: %s", r.body)
		}
		id := r.Error.Detail.RequestID
		if id == "" || id != r.header.Get("X-Request-Id") {
			t.Errorf("request id %q in the answer, %q in the header", id, r.header.Get("X-Request-Id"))
		}
		lines := 0
		for line := range strings.Lines(a.log.String()) {
			if strings.Contains(line, "level=ERROR") && strings.Contains(line, id) && strings.Contains(line, secret) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("logged %d times, want once", lines)
		}
	}
	check(a.get("/api/v1/nodes/node_a"))
	check(a.put("/api/v1/nodes/node_a", object{"name": "b"})) // inside the transaction
	a.get("/api/v1/auth/session").ok(nil)                     // calls that do not need the broken part
	a.update(func(*store.Tx) error { return nil })
}

func TestAFullStoreSaysSoAndChangesNothing(t *testing.T) {
	db := openStore(t, 256<<10)
	a := apiOver(t, db)
	a.token = adminSession(t, db, time.Hour)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.bind(node)
	// Write large records, then small ones, until no room is left.
	for _, size := range []int{4 << 10, 64} {
		for i := 0; ; i++ {
			err := db.Update(func(tx *store.Tx) error {
				return tx.Note(fmt.Sprintf("filler_%d_%d", size, i), store.JournalEntry{Message: strings.Repeat("x", size)})
			})
			if errors.Is(err, store.ErrFull) {
				break
			}
			if err != nil || i > 5000 {
				t.Fatalf("write %d: %v", i, err)
			}
		}
	}
	big := strings.Repeat("東", 1000)
	accepted := 1
	for ; ; accepted++ {
		r := a.post("/api/v1/configs", object{"name": fmt.Sprintf("config %d", accepted), "description": big})
		if r.status != 200 {
			r.fails(507, "STORE_FULL")
			break
		}
	}
	a.broker.taken()
	before := a.get("/api/v1/configs/" + cfg + "/overview").ok(nil).body
	for _, r := range []*reply{
		a.put("/api/v1/configs/"+cfg, object{"description": big, "enabled": false}),
		a.put("/api/v1/nodes/"+node, object{"enabled": false}),
		a.post(nodePath(cfg, node)+"/reset-client", nil),
	} {
		r.fails(507, "STORE_FULL")
		if !strings.Contains(r.Error.Message, "free some space") || strings.Contains(r.body, store.FileName) {
			t.Errorf("%s", r.body)
		}
	}
	var all []configJSON
	if a.get("/api/v1/configs?limit=500").ok(&all); len(all) != accepted {
		t.Errorf("%d configs are there, %d were accepted", len(all), accepted)
	}
	if after := a.get("/api/v1/configs/" + cfg + "/overview").ok(nil).body; after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	if rights := a.broker.taken(); rights != nil {
		t.Errorf("rights changed though nothing was committed: %v", rights)
	}
	if _, ok := db.Grant(node); !ok {
		t.Error("the node lost its right though nothing was committed")
	}
}

func TestAClosedStoreIsAnsweredAsStopping(t *testing.T) {
	a := newAPI(t)
	a.broker.status.Connected = true
	if r := a.get("/readyz"); r.status != 200 || r.body != "ready\n" {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
	if err := a.db.Close(); err != nil {
		t.Fatal(err)
	}
	a.get("/api/v1/configs").fails(503, "SHUTTING_DOWN")
	if r := a.get("/"); r.status != 503 || !strings.Contains(r.body, "The appliance is stopping") {
		t.Errorf("page: %d %s", r.status, r.body)
	}
	if r := a.get("/healthz"); r.status != 200 {
		t.Errorf("healthz: %d %s", r.status, r.body)
	}
}

func TestReadinessNeedsTheBrokerAndHealthDoesNot(t *testing.T) {
	a := bareAPI(t)
	a.broker.status = view.BrokerStatus{Enabled: true, Status: "error", LastError: "listen: in use", Mode: "embedded"}
	if r := a.get("/readyz"); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "broker") {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
	if r := a.get("/healthz"); r.status != 200 || r.body != "ok\n" {
		t.Errorf("healthz: %d %s", r.status, r.body)
	}
	var v map[string]any
	a.get("/api/v1/system/health").ok(&v)
	if v["status"] != "ok" || v["service"] != "wfm" || v["version"] != "1.2.3" || v["timestamp"] == nil {
		t.Errorf("health: %v", v)
	}
	if r := a.call("HEAD", "/healthz", nil); r.status != 200 {
		t.Errorf("HEAD /healthz: %d", r.status)
	}
}

// TestNoSecretIsEverLogged makes every call with a secret, valid and invalid, at the debug level.
func TestNoSecretIsEverLogged(t *testing.T) {
	a := bareAPI(t)
	secrets := []string{
		setupToken, "first password", "second password", "a wrong password", "token-in-a-query", "token-in-a-path", "garbage-bind-token",
		"garbage-session",
	}
	keep := func(r *reply, names ...string) {
		t.Helper()
		var v map[string]any
		if err := json.Unmarshal(r.ok(nil).Data, &v); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			s, _ := v[name].(string)
			if s == "" {
				t.Fatalf("no %s in %s", name, r.body)
			}
			secrets = append(secrets, s)
		}
	}
	a.post("/api/v1/auth/setup", object{"setup_token": "a wrong password", "password": "first password"}).fails(401, "INVALID_TOKEN")
	keep(a.post("/api/v1/auth/setup", object{"setup_token": setupToken, "password": "first password"}), "access_token")
	keep(a.post("/api/v1/auth/login", object{"username": "admin", "password": "first password"}), "access_token")
	a.post("/api/v1/auth/login", object{"username": "a wrong password", "password": "a wrong password"}).fails(401, "AUTH_FAILED")
	a.token = secrets[len(secrets)-1]
	keep(a.post("/api/v1/auth/password", object{"current_password": "first password", "new_password": "second password"}), "access_token")
	a.token = secrets[len(secrets)-1]
	a.call("GET", "/api/v1/configs?token=token-in-a-query", nil).ok(nil)
	a.call("GET", "/api/v1/token-in-a-path", nil).fails(404, "NOT_FOUND")
	a.call("GET", "/api/v1/configs", nil, as("garbage-session")).fails(401, "INVALID_TOKEN")

	keep(a.post("/api/v1/auth/tokens", object{"name": "ci", "scope": "write"}), "token")
	apiToken := secrets[len(secrets)-1]
	a.call("GET", "/api/v1/configs", nil, as(apiToken)).ok(nil)
	a.del("/api/v1/auth/tokens/"+apiToken).fails(404, "TOKEN_NOT_FOUND") // not its id
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	command := a.post(nodePath(cfg, node)+"/bind-command", nil)
	keep(command, "token", "command")
	token := secrets[len(secrets)-2]
	var b struct {
		MQTT struct{ Password string } `json:"mqtt"`
	}
	a.post("/api/client/bind", bindBody(token)).ok(&b)
	secrets = append(secrets, b.MQTT.Password)
	a.post("/api/client/bind", bindBody(token)).fails(409, "CLIENT_BIND_TOKEN_USED")
	a.post("/api/client/bind", bindBody("garbage-bind-token")).fails(401, "CLIENT_BIND_TOKEN_INVALID")
	a.commands.fail(errors.New("odd"))
	a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start"}).fails(500, "INTERNAL_ERROR")
	a.post("/api/v1/auth/login", `{"username":"admin","password":"second password"`).fails(422, "VALIDATION_ERROR")
	audit := a.get("/api/v1/audit/export").body
	a.post("/api/v1/auth/logout", nil).ok(nil)

	log := a.log.String() + audit
	if !strings.Contains(log, "agent bound") || !strings.Contains(log, "level=DEBUG") {
		t.Fatalf("the log was not captured: %s", log)
	}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("the log tells a secret: %q", secret)
		}
	}
}
