package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/store"
)

// auditLog returns the newest entries of the log.
func auditLog(t *testing.T, a *apptest.Appliance) []store.AuditEntry {
	t.Helper()
	var body struct{ Data []store.AuditEntry }
	if err := json.Unmarshal([]byte(a.Call(t, "GET", "/api/v1/audit", nil).Body), &body); err != nil {
		t.Fatal(err)
	}
	return body.Data
}

// killedDuring sends the request, kills the appliance once under returns (the request is then in
// progress), starts it again, and returns the newest entries of its log.
func killedDuring(t *testing.T, a *apptest.Appliance, path, body string, under func()) []store.AuditEntry {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	req.Header.Set("Content-Type", "application/json")
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		done <- err
	}()
	under()
	a.Kill()
	if err := <-done; err == nil {
		t.Error("the request was answered")
	}
	a.Restart(t)
	return auditLog(t, a)
}

// TestACommandWhoseRequestAKillEndedIsInTheAuditLog: the command and its author are one write, so
// the entry is whole although the request got no answer.
func TestACommandWhoseRequestAKillEndedIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_sub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	sub := subscribe(t, n)
	log := killedDuring(t, a, n.Path("endpoint/control"), `{"action":"start","wait":30}`, func() {
		sub.Expect(t, `"start"`) // the command is out; its ACK never comes
	})
	for _, e := range log {
		if e.Status == http.StatusOK && e.IDs["node_id"] == n.ID && e.IDs["request_id"] != "" && strings.HasSuffix(e.Action, "/endpoint/control") &&
			e.Actor == "admin" {
			return
		}
	}
	t.Errorf("the log: %+v", log)
}

// TestARequestThatAKillInterruptedIsInTheAuditLog sends a request that acts outside the store, so
// its beginning is written first.
func TestARequestThatAKillInterruptedIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	target := map[string]any{"host": "127.0.0.1", "port": mute.Addr().(*net.TCPAddr).Port, "tls": false}
	if r := a.Call(t, "PUT", "/api/v1/settings/mqtt", target); r.Status != http.StatusOK {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	log := killedDuring(t, a, "/api/v1/settings/mqtt/test", "", func() {
		conn, err := mute.Accept() // the test talks to a broker that never answers
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	})
	for _, e := range log {
		if e.Code == store.AuditInterrupted && strings.HasSuffix(e.Action, "/settings/mqtt/test") && e.Actor == "admin" {
			return
		}
	}
	t.Errorf("the log: %+v", log)
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
		text[:len(text)-9]:                       "incomplete",
		text[:strings.LastIndex(text, `{"end"`)]: "incomplete",
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
