package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/store"
	"wfm/web"
)

// kinds returns the entries, oldest first, without the parts that change each time.
func kinds(entries []store.AuditEntry) (all []string) {
	for _, e := range entries {
		all = append([]string{strings.TrimSpace(fmt.Sprintf("%s: %s %d %s", e.Actor, e.Action, e.Status, e.Code))}, all...)
	}
	return all
}

// sum returns the number of requests that the entries stand for.
func sum(entries []store.AuditEntry) (n int) {
	for _, e := range entries {
		n += 1 + e.Repeats
	}
	return n
}

func TestAFloodOfChangesIsSummedUpAndNeverRefused(t *testing.T) {
	a := newAPI(t)
	made, other := a.addToken("busy", "write"), a.addToken("quiet", "write")
	web.SpendWrites(a.server, made.ID, 9_998)
	for range 2 {
		a.call("POST", "/api/v1/configs", object{}, as(made.Token)).invalid("name") // failures count
	}
	const more = 100
	ids := make(map[string]bool)
	for i := range more {
		var c struct{ ID string }
		a.call("POST", "/api/v1/configs", object{"name": fmt.Sprint("office ", i)}, as(made.Token)).ok(&c)
		ids[c.ID] = true
	}
	a.call("POST", "/api/v1/configs", object{"name": "office 1"}, as(made.Token)).fails(409, "CONFIG_NAME_EXISTS")
	a.call("POST", "/api/v1/configs", object{"name": "office"}, as(other.Token)).ok(nil)
	got := a.audit("limit=500&actor=" + made.ID)
	if len(got) != 2+1 || sum(got) != 2+more+1 {
		t.Fatalf("%d entries for %d requests", len(got), sum(got))
	}
	flood := got[0].Sum
	if flood == nil || flood.Requests != more+1 || flood.Kinds["POST /api/v1/configs 200"] != more ||
		flood.Kinds["POST /api/v1/configs 409 CONFIG_NAME_EXISTS"] != 1 {
		t.Fatalf("the sum is %+v", flood)
	}
	for _, id := range flood.IDs {
		delete(ids, id)
		if len(a.audit("config_id="+id)) != 1 {
			t.Errorf("the log cannot be asked for %s", id)
		}
	}
	if len(ids) > 0 {
		t.Errorf("ids that the sum does not name: %v", ids)
	}
	p, err := store.VerifyAudit(strings.NewReader(a.get("/api/v1/audit/export").body))
	if err != nil || p.Sums != 1 || p.Summed != more+1 {
		t.Errorf("the export: %+v, %v", p, err)
	}
	if got := a.audit("actor=" + other.ID); len(got) != 1 || got[0].Sum != nil {
		t.Errorf("the other login's write: %+v", got)
	}
	page := a.call("GET", "/audit", nil, header("Cookie", "wfm_session="+a.token))
	if !strings.Contains(page.body, "101 requests in one entry") || !strings.Contains(page.body, "<code>POST /api/v1/configs 200</code>") {
		t.Error("the page does not show the sum")
	}
}

func TestASumIsCutIntoFullOnesWithEveryID(t *testing.T) {
	a := newAPI(t)
	made := a.addToken("busy", "write")
	web.SpendWrites(a.server, made.ID, 10_000)
	const more = 450
	for i := range more {
		a.call("POST", "/api/v1/configs", object{"name": fmt.Sprint("office ", i)}, as(made.Token)).ok(nil)
	}
	got, ids := a.audit("limit=500&actor="+made.ID), 0
	for _, e := range got {
		ids += len(e.Sum.IDs)
		if e.Sum.IDsLeftOut != 0 {
			t.Errorf("a sum leaves out %d ids", e.Sum.IDsLeftOut)
		}
	}
	if len(got) != 3 || sum(got) != more || ids != more {
		t.Errorf("%d sums of %d requests with %d ids", len(got), sum(got), ids)
	}
}

func TestWhoIsKnownIsWrittenDownWhateverStrangersAndOthersTry(t *testing.T) {
	a := newAPI(t)
	first, second := a.addToken("first", "read"), a.addToken("second", "read")
	for range 40 {
		a.call("POST", "/api/v1/configs", object{}, as("made up")).fails(401, "INVALID_TOKEN")
		a.call("DELETE", "/api/v1/configs/c", nil, as(first.Token)).fails(403, "FORBIDDEN")
	}
	for range 3 {
		a.call("GET", "/api/v1/system/backup", nil, as(second.Token)).fails(403, "FORBIDDEN")
	}
	if got := a.audit("limit=500&actor=anonymous"); len(got) != 30 {
		t.Errorf("%d entries of strangers", len(got))
	}
	if got := a.audit("limit=500&actor=" + first.ID); len(got) != 30 || got[0].Actor != "token first" {
		t.Errorf("%d entries of the first token", len(got))
	}
	if got := a.audit("actor=token%20second"); len(got) != 3 || got[0].Action != "GET /api/v1/system/backup" || got[0].ActorID != second.ID {
		t.Errorf("of the second token: %+v", got)
	}
}

func TestWhatWasOnlyCountedIsInTheAuditLogAfterTheEnd(t *testing.T) {
	a := newAPI(t)
	const tries = 75
	for range tries {
		a.call("POST", "/api/v1/configs", object{}, as("made up")).fails(401, "INVALID_TOKEN")
	}
	if got := sum(a.audit("limit=500&actor=anonymous")); got == tries {
		t.Fatal("nothing was only counted")
	}
	if err := a.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := a.audit("limit=500&actor=anonymous")
	if sum(got) != tries || got[0].Repeats == 0 || got[0].Code != "INVALID_TOKEN" || got[0].RequestID == "" {
		t.Errorf("%d of %d attempts, the last %+v", sum(got), tries, got[0])
	}
}

func TestWhatWasOnlyCountedIsWrittenWithTheNextEntryOfAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openStore(t, 0)
		token := adminSession(t, db, time.Hour)
		handler := web.New(web.Options{Store: db}).Handler()
		post := func(token string) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/configs", strings.NewReader(`{"name":"office"}`))
			r.Header.Set("Authorization", "Bearer "+token)
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		const tries = 75
		for range tries {
			post("made up")
		}
		time.Sleep(11 * time.Minute) //nolint:forbidigo // the bubble's time
		post(token)
		_ = db.View(func(tx *store.Tx) error {
			got, err := tx.Audit(0, 500, func(e store.AuditEntry) bool { return e.Actor == "anonymous" })
			if err != nil || sum(got) != tries {
				t.Errorf("%d of %d attempts, %v", sum(got), tries, err)
			}
			return err
		})
		_ = db.Close()
	})
}

func TestWritesThatNeverReachAHandlerAreInTheAuditLog(t *testing.T) {
	a := newAPI(t)
	cookie := header("Cookie", "wfm_session="+a.token)
	expired := adminSession(t, a.db, -time.Second)
	a.call("DELETE", "/api/v1/configs/c", nil, as("made up")).fails(401, "INVALID_TOKEN")
	a.call("PUT", "/api/v1/configs/c", "{}", as(""), header("Cookie", "wfm_session="+expired), header("Origin", a.url)).fails(401, "TOKEN_EXPIRED")
	a.call("POST", "/api/v1/configs", object{}, as(""), cookie, header("Origin", "https://evil.example")).fails(403, "PUBLIC_ORIGIN_REJECTED")
	a.call("GET", "/api/v1/system/backup", nil, as("made up")).fails(401, "INVALID_TOKEN")
	a.call("GET", "/api/v1/configs", nil, as("made up")).fails(401, "INVALID_TOKEN") // a read of nothing secret
	a.call("POST", "/api/v1/configs", object{}, as("")).fails(401, "AUTH_REQUIRED")  // without a claimed identity
	want := []string{
		"anonymous: DELETE /api/v1/configs/{config_id} 401 INVALID_TOKEN",
		"anonymous: PUT /api/v1/configs/{config_id} 401 TOKEN_EXPIRED",
		"anonymous: POST /api/v1/configs 403 PUBLIC_ORIGIN_REJECTED",
		"anonymous: GET /api/v1/system/backup 401 INVALID_TOKEN",
	}
	if got := kinds(a.audit("")); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadsOfPrivateKeysAreInTheAuditLogOnceAnHourEach(t *testing.T) {
	a := newAPI(t)
	write, read := a.addToken("writer", "write"), a.addToken("reader", "read")
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	path := nodePath(cfg, node)
	a.get(path + "/applied-conf").ok(nil) // there is no text yet
	for i := range 2 {
		a.put(path+"/applied-conf", object{"content": tunnelConf(51820 + i)}).ok(nil)
	}
	begin, other := a.audit("limit=1")[0].Seq, adminSession(t, a.db, time.Hour)
	for range 3 {
		a.get(path + "/applied-conf").ok(nil)
		a.call("GET", path+"/applied-conf", nil, as(write.Token)).ok(nil)
		a.call("GET", path+"/conf-history/1", nil, as(write.Token)).ok(nil)
		a.call("GET", path+"/conf-history/2?against=1", nil, as(write.Token)).ok(nil)
		a.call("GET", "/configs/"+cfg+"/nodes/"+node+"/conf?version=1", nil, as(""), header("Cookie", "wfm_session="+other))
		for _, hidden := range []string{"/applied-conf", "/conf-history", "/conf-history/1"} {
			a.call("GET", path+hidden, nil, as(read.Token)).ok(nil)
		}
	}
	var got []string
	for _, e := range a.audit("node_id=" + node) {
		if e.Seq > begin {
			got = append([]string{strings.TrimSpace(e.Actor + " " + e.Action[strings.LastIndex(e.Action, "/"):] + " " + e.IDs["version"] + " " + e.IDs["against"])},
				got...)
		}
	}
	want := []string{
		"admin /applied-conf 2", "token writer /applied-conf 2", "token writer /{version} 1", "token writer /{version} 2 1", "admin /conf 2",
		"admin /conf 1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
