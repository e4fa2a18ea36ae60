package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/store"
)

// auditLog is the newest entries of the log.
func auditLog(t *testing.T, a *apptest.Appliance) []store.AuditEntry {
	t.Helper()
	var body struct{ Data []store.AuditEntry }
	if err := json.Unmarshal([]byte(a.Call(t, "GET", "/api/v1/audit", nil).Body), &body); err != nil {
		t.Fatal(err)
	}
	return body.Data
}

func TestARequestThatAKillInterruptedIsInTheAuditLog(t *testing.T) {
	apptest.Need(t, "mosquitto_sub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	sub := subscribe(t, n)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+n.Path("endpoint/control"), strings.NewReader(`{"action":"start","wait":30}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	done := make(chan error, 1)
	go func() { // waits for an ACK that never comes
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		done <- err
	}()
	sub.Expect(t, `"start"`) // the command is out, so the request's beginning is on disk
	a.Kill()
	if err := <-done; err == nil {
		t.Error("the request was answered")
	}
	a.Restart(t)
	for _, e := range auditLog(t, a) {
		if e.Code == store.AuditInterrupted && e.IDs["node_id"] == n.ID && strings.HasSuffix(e.Action, "/endpoint/control") && e.Actor == "admin" {
			return
		}
	}
	t.Errorf("the log: %+v", auditLog(t, a))
}

func TestAuditVerifyTellsAnIntactExportFromAForgedOne(t *testing.T) {
	a := apptest.Start(t, "")
	a.AddConfig(t, "home")
	text := a.Call(t, "GET", "/api/v1/audit/export", nil).Body
	verify := func(text string, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		code = run(t.Context(), append([]string{"audit", "verify"}, args...), strings.NewReader(text), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	if code, out := verify(text); code != exitOK || !strings.Contains(out, "intact: 3 entries, 1 to 3") {
		t.Errorf("%d %s", code, out)
	}
	for short, says := range map[string]string{
		"": "nothing came in",
		`{"success":false,"error":{"code":"AUTH_REQUIRED"}}`: "Was the export refused?",
		text[:len(text)-9]:                       "not whole",
		text[:strings.LastIndex(text, `{"end"`)]: "not whole",
	} {
		if code, out := verify(short); code != exitFailure || !strings.Contains(out, says) {
			t.Errorf("%q: %d %s", short, code, out)
		}
	}
	file := filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(file, []byte(strings.Replace(text, `"admin"`, `"nobody"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := verify("", file); code != exitFailure || !strings.Contains(out, "line 1 ") {
		t.Errorf("%d %s", code, out)
	}
	if code, out := verify("", file+"x"); code != exitFailure || !strings.Contains(out, "no such file") {
		t.Errorf("%d %s", code, out)
	}
	if code, _ := verify("", file, file); code != exitUsage {
		t.Errorf("two files: %d", code)
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		t.Error("the file is gone")
	}
}
