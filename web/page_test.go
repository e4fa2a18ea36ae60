package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web"
	"wfm/web/access"
	"wfm/web/ui"
)

// browse gets a page as a browser does: with the session in a cookie.
func (a *api) browse(path string) *reply {
	a.t.Helper()
	return a.call("GET", path, nil, as(""), header("Cookie", "wfm_session="+a.token))
}

// shows expects a page that contains the texts.
func (r *reply) shows(texts ...string) *reply {
	r.t.Helper()
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		r.t.Fatalf("%s: %d %s", r.what, r.status, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			r.t.Errorf("%s does not show %q:\n%s", r.what, text, r.body)
		}
	}
	return r
}

func TestPagesLeadToSetUpAndLogin(t *testing.T) {
	a := bareAPI(t)
	for path, want := range map[string]string{"/": "/setup", "/login": "/setup", "/configs/x?q=1": "/setup"} {
		if r := a.browse(path); r.status != http.StatusSeeOther || r.header.Get("Location") != want {
			t.Errorf("%s before set-up: %d %s", path, r.status, r.header.Get("Location"))
		}
	}
	if r := a.browse("/setup").shows("Set-up token"); strings.Contains(r.body, setupToken) {
		t.Error("the page tells the token to everybody")
	}
	adminSession(t, a.db, time.Hour)
	a.browse("/setup").shows("set up already")
	a.token = "nonsense"
	if r := a.browse("/configs/x?q=1"); r.header.Get("Location") != "/login?next=%2Fconfigs%2Fx%3Fq%3D1" {
		t.Errorf("without a session: %d %s", r.status, r.header.Get("Location"))
	}
}

func TestLoginLeadsToPagesOfOursOnly(t *testing.T) {
	a := newAPI(t)
	for next, want := range map[string]string{
		"/configs/x?q=1": "/configs/x?q=1", "": "/", "https://evil.example": "/", "//evil.example": "/",
		`/\evil.example`: "/", "/\t/evil.example": "/", "javascript:alert(1)": "/", "/{access_token}": "/",
		// A link to the login must not make the browser send the strict cookie to anything but a
		// page.
		"/api/v1/system/backup": "/", "/metrics": "/", "/ui/qr": "/", "/static/wfm.js": "/", "/healthz": "/",
		"/configs/../api/v1/system/backup": "/", "/configs/%2e%2e/api/v1/system/backup": "/", "/configs/..": "/", "/api%2fv1": "/",
		"/audit?actor=admin": "/audit?actor=admin", "/configs/x/nodes/y/conf?version=3": "/configs/x/nodes/y/conf?version=3",
	} {
		a.browse("/login?next=" + url.QueryEscape(next)).shows(`data-then="` + want + `"`)
	}
}

func TestPagesAllowNothingInlineAndNothingFromElsewhere(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	node := a.addNode(cfg, "router")
	for _, path := range []string{"/", "/login", "/setup", "/configs/" + cfg, "/configs/" + cfg + "/nodes/" + node, "/configs/none"} {
		r := a.browse(path)
		policy := r.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'; script-src 'self'; style-src 'self'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		for _, inline := range []string{" style=", "<style", " onclick=", "javascript:", "http://www", "https://"} {
			if strings.Contains(r.body, inline) {
				t.Errorf("%s has %q", path, inline)
			}
		}
	}
}

func TestWhatIsNotThereIsAPageThatSaysSo(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/configs/none", "/configs/none/nodes/none", "/commands/none"} {
		if r := a.browse(path); r.status != 404 || !strings.Contains(r.body, "There is no") || !strings.Contains(r.body, "<main") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	a.get("/no-such-page").fails(404, "NOT_FOUND")
	a.get("/static/none.js").fails(404, "NOT_FOUND")
}

func TestAssetsAreKeptByTheBrowserUntilTheyChange(t *testing.T) {
	a := bareAPI(t)
	for name, kind := range map[string]string{
		"wfm.js": "text/javascript", "forms.js": "text/javascript", "nodes.js": "text/javascript", "wfm.css": "text/css",
		"idiomorph.min.js": "text/javascript", "icon.svg": "image/svg+xml",
	} {
		r := a.get("/static/" + name)
		if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), kind) || r.header.Get("ETag") == "" {
			t.Errorf("%s: %d %v", name, r.status, r.header)
		}
		if again := a.call("GET", "/static/"+name, nil, header("If-None-Match", r.header.Get("ETag"))); again.status != 304 || again.body != "" {
			t.Errorf("%s again: %d", name, again.status)
		}
	}
}

func TestListOfNodesIsFilteredAndPagedByTheServer(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	a.update(func(tx *store.Tx) error {
		for i := range 120 {
			n := store.Node{
				ID: "node_" + strings.Repeat("x", i+1), ConfigID: cfg, Name: "n" + string(rune('a'+i%26)) + strings.Repeat("y", i/26), Enabled: true,
				Type: store.NodeDynamic, InterfaceName: "wg0",
			}
			if i%40 == 0 {
				n.Tags = []string{"edge", "<b>"}
			}
			if err := tx.PutNode(&n); err != nil {
				return err
			}
		}
		return nil
	})
	page := "/configs/" + cfg
	a.browse(page).shows("1–50 of 120", "page=2", "&lt;b&gt;")
	a.browse(page+"?page=3").shows("101–120 of 120", "page=2")
	a.browse(page + "?page=99").shows("101–120 of 120")
	a.browse(page + "?page=-1").shows("1–50 of 120")
	a.browse(page + "?tag=edge").shows("1–3 of 3 found")
	a.browse(page + "?q=NBY").shows("1–4 of 4 found")
	a.browse(page + "?state=online").shows("No matching node")
	a.browse(page+"?state=unbound&tag=edge&q=n").shows("1–3 of 3 found", `value="n"`)
}

func TestASearchThatIsTooLongIsToldAndRollsNothingOut(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	a.addNode(cfg, "router")
	long := strings.Repeat("x", 201)
	const told = "longer than 200 bytes"
	a.browse("/configs/"+cfg+"?q="+long).shows(told, "1–1 of 1")
	a.browse("/audit?actor=" + long).shows(told)
	if r := a.browse("/configs/" + cfg + "/rollout?q=" + long); r.status != 422 || !strings.Contains(r.body, told) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := a.browse("/configs/" + cfg + "?q=" + long[1:]).shows("No matching node"); strings.Contains(r.body, told) {
		t.Error("200 bytes are too long")
	}
}

func TestTheAuditPageFindsActorsByTheirBeginningAndLeadsBackToTheNewest(t *testing.T) {
	a := newAPI(t)
	a.call("POST", "/api/v1/configs", object{"name": "office"}, as(a.addToken("script", "write").Token)).ok(nil)
	if r := a.browse("/audit?actor=token").shows("token script"); strings.Contains(r.body, "Newest") {
		t.Error("the newest page leads to itself")
	}
	a.browse("/audit?actor=oken").shows("No matching entry")
	a.browse("/audit?actor=token&before=2").shows(`href="/audit?actor=token"`)
}

func TestTheAuditPageSaysInWordsWhatWasDone(t *testing.T) {
	for _, request := range web.AuditedRequests(web.New(web.Options{Store: openStore(t, 0)})) {
		if ui.Request(request) == "" {
			t.Errorf("no words for %s", request)
		}
	}
	a, cfg, node := controlled(t)
	a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start", "queue": true}).ok(nil)
	a.browse("/audit").shows("Give a command: start", "POST /api/v1/configs/{config_id}/nodes/{node_id}/endpoint/control", "Create a mesh")
	if err := a.db.Update(func(tx *store.Tx) error { return tx.DeleteNode(node) }); err != nil {
		t.Fatal(err)
	}
	if r := a.browse("/audit").shows("Give a command"); strings.Contains(r.body, "Give a command: start") {
		t.Error("the page knows a command that was deleted")
	}
}

func TestAFormThatTheBrowserSendsByItselfChangesNothingAndIsToldSo(t *testing.T) {
	a := newAPI(t)
	a.token = ""
	r := a.call("POST", "/ui/form", "password=hunter2", header("Content-Type", "application/x-www-form-urlencoded"))
	if r.status != http.StatusMethodNotAllowed || !strings.Contains(r.body, "JavaScript is needed") || strings.Contains(r.body, "hunter2") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if strings.Contains(a.log.String(), "hunter2") {
		t.Error("typed text is in the log")
	}
}

func TestATextIsComparedWithTheDesiredOneForWhoMayWrite(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	node := a.addNode(cfg, "router")
	path := "/ui/configs/" + cfg + "/nodes/" + node + "/diff"
	mine := object{"content": tunnelConf(2)}
	a.post(path, mine).fails(404, "CONFIG_VERSION_NOT_FOUND")
	a.save(nodePath(cfg, node), tunnelConf(1))
	var v struct {
		Version int
		Author  string
		Lines   []struct{ Class, Text string }
	}
	a.post(path, mine).ok(&v)
	var changes []string
	for _, l := range v.Lines {
		if l.Class == "add" || l.Class == "del" {
			changes = append(changes, l.Text[:1])
		}
	}
	if v.Version != 1 || v.Author != "admin" || strings.Join(changes, "") != "-+" {
		t.Errorf("%+v", v)
	}
	a.post(path, object{}).invalid("content")
	if got := a.audit("limit=50"); strings.Contains(fmt.Sprint(got), "/diff") {
		t.Errorf("a request that changes nothing is in the audit log: %+v", got)
	}
	a.call("POST", path, mine, as(a.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
}

func TestQRCodeIsDrawnForWhoIsLoggedIn(t *testing.T) {
	a := newAPI(t)
	r := a.post("/ui/qr", object{"text": "wfm-agent bind"})
	if r.status != 200 || r.header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(r.body, "<svg") {
		t.Errorf("%d %s", r.status, r.body)
	}
	a.post("/ui/qr", object{"text": strings.Repeat("x", 1001)}).invalid("text")
	a.call("POST", "/ui/qr", object{"text": "x"}, as("")).fails(401, "AUTH_REQUIRED")
}

// manyNodes fills a mesh with nodes that have evidence and tags.
func manyNodes(tb testing.TB, db *store.DB, configID string, n int) {
	tb.Helper()
	for begin := 0; begin < n; begin += 1000 {
		if err := db.Update(func(tx *store.Tx) error {
			for i := begin; i < min(begin+1000, n); i++ {
				node := store.Node{
					ID: fmt.Sprintf("node_%05d", i), ConfigID: configID, Name: fmt.Sprintf("node %05d", i), Enabled: true,
					Type: store.NodeDynamic, InterfaceName: "wg0", Tags: []string{"site " + string(rune('a'+i%20))},
				}
				if err := tx.PutNode(&node); err != nil {
					return err
				}
				if err := tx.UpdateEvidence(node.ID, func(e *store.Evidence) {
					if e.ReachableAt = tx.Now(); i%7 == 0 {
						e.OfflineAt = tx.Now()
					}
				}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			tb.Fatal(err)
		}
	}
}

// The list of a large mesh is filtered, counted and paginated again for every request.
func BenchmarkListOf10000Nodes(b *testing.B) {
	db, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	cfg := store.Config{ID: "cfg_a", Name: "large", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
	token := protocol.NewSecret()
	if err := db.Update(func(tx *store.Tx) error {
		if err := tx.CreateAdmin(access.AdminUser, "nothing"); err != nil {
			return err
		}
		_, err := tx.CreateSession(token, access.AdminUser, "", time.Hour)
		return errors.Join(err, tx.PutConfig(&cfg))
	}); err != nil {
		b.Fatal(err)
	}
	manyNodes(b, db, cfg.ID, 10_000)
	handler := web.New(web.Options{Store: db}).Handler()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/configs/cfg_a?state=offline&q=node", http.NoBody)
		r.Header.Set("Cookie", "wfm_session="+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

// Pages read only the store, so neither a broker that hangs nor a thousand open streams delay them.
func TestNothingKeepsAPageWaiting(t *testing.T) {
	hang := make(chan struct{})
	a := newAPI(t)
	t.Cleanup(func() { close(hang) })
	a.commands.wait = func(ctx context.Context, _ string) {
		select {
		case <-hang:
		case <-ctx.Done():
		}
	}
	cfg := a.addConfig("home")
	node := a.addNode(cfg, "router")
	a.bind(node)
	a.broker.settle = func(string) { <-hang }
	token := a.token
	for range 32 {
		go a.tryPost(token, nodePath(cfg, node)+"/reset-client", `{}`)
		go a.tryPost(token, nodePath(cfg, node)+"/endpoint/control", `{"action":"detect","wait":60}`)
	}
	for range 32 {
		a.token = adminSession(t, a.db, time.Hour)
		for range 32 {
			a.stream("")
		}
	}
	for _, path := range []string{"/", "/configs/" + cfg, "/configs/" + cfg + "/nodes/" + node, "/audit", "/settings", "/rollouts"} {
		a.browse(path).shows("<main")
	}
	if n := a.get("/api/v1/system/status").ok(nil); !strings.Contains(n.body, `"streams":1024`) {
		t.Errorf("streams: %s", n.body)
	}
}

// tryPost makes a request that may never be answered.
func (a *api) tryPost(token, path, body string) {
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.url+path, strings.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
}
