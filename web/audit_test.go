package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wfm/store"
	"wfm/web"
	"wfm/web/access"
	"wfm/web/reach"
)

func (a *api) audit(query string) (entries []store.AuditEntry) {
	a.t.Helper()
	a.get("/api/v1/audit?" + query).ok(&entries)
	return entries
}

func TestEveryWriteIsInTheAuditLogWithWhoWhatFromWhereAndHowItEnded(t *testing.T) {
	a := newAPI(t)
	token := a.addToken("script", "write").Token
	cfg := a.addConfig("office")
	r := a.call("POST", "/api/v1/configs/"+cfg+"/nodes", object{"name": "gate"}, as(token)).ok(nil)
	var n struct{ ID string }
	r.ok(&n)
	refused := a.put("/api/v1/nodes/node_none", "{}").fails(404, "NODE_NOT_FOUND")
	a.get("/api/v1/configs").ok(nil)
	a.post("/api/client/bind", bindBody(a.bindToken(cfg, n.ID))).ok(nil)

	got := a.audit("limit=50")
	var short []string
	for _, e := range got {
		short = append(short, fmt.Sprintf("%s %s %d %s", e.Actor, e.Action, e.Status, e.Code))
		if e.RemoteAddr != "127.0.0.1" || time.Since(e.At) > time.Minute || e.RequestID == "" {
			t.Errorf("%+v", e)
		}
	}
	want := `agent POST /api/client/bind 200 
admin POST /api/v1/configs/{config_id}/nodes/{node_id}/bind-command 200 
admin PUT /api/v1/nodes/{node_id} 404 NODE_NOT_FOUND
token script POST /api/v1/configs/{config_id}/nodes 200 
admin POST /api/v1/configs 200 
admin POST /api/v1/auth/tokens 200 `
	if all := strings.Join(short, "\n"); all != want {
		t.Errorf("the log is\n%s\nwant\n%s", all, want)
	}
	if e := got[2]; e.RequestID != refused.header.Get("X-Request-Id") || e.IDs["node_id"] != "node_none" {
		t.Errorf("refused: %+v", e)
	}
	if e := got[3]; e.RequestID != r.header.Get("X-Request-Id") || e.IDs["config_id"] != cfg || e.IDs["node_id"] != n.ID {
		t.Errorf("made a node: %+v", e)
	}
	if by := a.audit("node_id=" + n.ID); len(by) != 3 {
		t.Errorf("about the node: %+v", by)
	}
	if by := a.audit("actor=token%20script"); len(by) != 1 || by[0].Seq != got[3].Seq {
		t.Errorf("by the token: %+v", by)
	}
	var page []store.AuditEntry
	first := a.get("/api/v1/audit?limit=2").ok(&page)
	if a.get("/api/v1/audit?limit=1&cursor=" + first.NextCursor).ok(&page); page[0].Seq != got[2].Seq {
		t.Errorf("the second page begins with %+v", page[0])
	}
}

func TestLoginsAreInTheAuditLogWithoutWhatWasTyped(t *testing.T) {
	a := bareAPI(t)
	const password = "the right password"
	if err := access.SetUpAdmin(a.db, password); err != nil {
		t.Fatal(err)
	}
	a.post("/api/v1/auth/login", object{"username": "my password by mistake", "password": "wrong"}).fails(401, "AUTH_FAILED")
	var s session
	a.post("/api/v1/auth/login", object{"username": "admin", "password": password}).ok(&s)
	a.token = s.AccessToken
	a.post("/api/v1/auth/password", object{"current_password": "wrong again", "new_password": "another password"}).fails(401, "ADMIN_PASSWORD_INVALID")
	r := a.get("/api/v1/audit").ok(nil)
	var got []store.AuditEntry
	r.ok(&got)
	if len(got) != 4 || got[3].Actor != "admin" || got[3].Action != "set up at the start" || got[2].Actor != "anonymous" || got[2].Code != "AUTH_FAILED" ||
		got[1].Actor != "admin" || got[1].Status != 200 ||
		got[0].Code != "ADMIN_PASSWORD_INVALID" {
		t.Errorf("%s", r.body)
	}
	for _, typed := range []string{"mistake", "wrong", password, "another", s.AccessToken} {
		if strings.Contains(r.body, typed) {
			t.Errorf("it tells %q: %s", typed, r.body)
		}
	}
}

func TestStrangersCannotFloodTheAuditLogAndAreCounted(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.TrustedProxies, _ = access.ParseProxies("127.0.0.1") })
	const tries = 200
	bind := func(i int) {
		a.call("POST", "/api/client/bind", object{"token": "guess"}, // each from another address, so that the limit of attempts does not apply
			header("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250))).fails(401, "CLIENT_BIND_TOKEN_INVALID")
	}
	for i := range tries {
		bind(i)
	}
	got := a.audit("limit=500&actor=agent")
	if len(got) < 30 || len(got) > 35 {
		t.Errorf("%d entries of %d attempts", len(got), tries)
	}
	for _, e := range got {
		if !strings.HasPrefix(e.RemoteAddr, "198.51.100.") {
			t.Errorf("from %s", e.RemoteAddr)
		}
	}
	// Admins' changes are still recorded.
	a.addConfig("office")
	if got := a.audit("actor=admin"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestAPanicEndsItsAuditEntry(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.Evidence = func(store.Evidence) store.Evidence { panic("x") }
	})
	cfg := a.addConfig("office")
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "n"}).fails(500, "INTERNAL_ERROR")
	if got := a.audit(""); got[0].Status != 500 || got[0].Code != "INTERNAL_ERROR" {
		t.Errorf("%+v", got[0])
	}
	a.update((*store.Tx).SettleAudit)
	if got := a.audit(""); got[0].Code == store.AuditInterrupted {
		t.Errorf("still open: %+v", got[0])
	}
}

// TestTheBeginningIsOnDiskBeforeAnythingIsDone kills nothing: from within the request it reads the
// records that a kill at that moment would leave.
func TestTheBeginningIsOnDiskBeforeAnythingIsDone(t *testing.T) {
	var a *api
	seen := make(chan error, 1)
	a = newAPI(t, func(o *web.Options) {
		o.TestMQTT = func(context.Context, reach.MQTTTarget) error {
			seen <- a.db.Update((*store.Tx).SettleAudit) // as the next start does
			return nil
		}
	})
	a.post("/api/v1/settings/mqtt/test", nil).ok(nil)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	got := a.audit("")
	if len(got) != 2 || got[1].Code != store.AuditInterrupted || got[1].Actor != "admin" || got[0].Status != 200 || got[0].RequestID != got[1].RequestID {
		t.Errorf("%+v", got)
	}
}

// TestACommandIsInTheLogTogetherWithItsAuthor looks from within a request that waits for its command.
func TestACommandIsInTheLogTogetherWithItsAuthor(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.bind(node)
	seen := make(chan error, 1)
	var given string
	a.commands.mu.Lock()
	a.commands.wait = func(_ context.Context, id string) {
		given = id
		seen <- a.db.Update((*store.Tx).SettleAudit) // as the next start does
	}
	a.commands.mu.Unlock()
	a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "start", "wait": 1}).ok(nil)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	got := a.audit("node_id=" + node)
	if len(got) != 2 || got[0].Status != 200 || got[0].Actor != "admin" || got[0].IDs["request_id"] != given {
		t.Errorf("%+v", got)
	}
}

func TestTheExportIsTheWholeLogAndProvesItself(t *testing.T) {
	a := newAPI(t)
	if r := a.get("/api/v1/audit/export"); r.status != 200 || r.body != `{"end":{"entries":0,"head":""}}`+"\n" {
		t.Errorf("an empty log: %d %q", r.status, r.body)
	}
	const n = 1203 // more than two read transactions hold
	a.update(func(tx *store.Tx) error {
		for i := range n {
			if err := tx.CloseAudit(store.AuditEntry{Actor: "admin", RequestID: fmt.Sprint(i), Status: 200}); err != nil {
				return err
			}
		}
		return nil
	})
	r := a.get("/api/v1/audit/export")
	if r.status != 200 || r.header.Get("Content-Type") != "application/x-ndjson" || !strings.Contains(r.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%d %v", r.status, r.header)
	}
	p, err := store.VerifyAudit(strings.NewReader(r.body))
	if err != nil || p.Entries != n {
		t.Errorf("%+v, %v", p, err)
	}
	if r := a.call("HEAD", "/api/v1/audit/export", nil); r.status != http.StatusOK || r.body != "" {
		t.Errorf("HEAD: %d %q", r.status, r.body)
	}
	lines := strings.Split(r.body, "\n")
	var e store.AuditEntry
	if err := json.Unmarshal([]byte(lines[n-1]), &e); err != nil || e.Hash != p.Head {
		t.Errorf("%+v, %v", e, err)
	}
}
