package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// journal returns the node's journal as text.
func journal(t *testing.T, n *apptest.Node) string {
	t.Helper()
	return n.Call(t, "GET", n.Path("endpoint/events"), nil).Body
}

func TestBadMessagesAreRefusedRecordedAndLoseNothing(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub", "mosquitto_sub")
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	n, other := a.AddNode(t, cfg, "a", "wg0"), a.AddNode(t, cfg, "b", "wg1")
	for name, tc := range map[string]struct{ suffix, message, journal string }{
		"malformed JSON":       {"heartbeat", `{"type":`, "heartbeat: invalid JSON"},
		"not an object":        {"event", `[1,2]`, "event: "},
		"another node's id":    {"heartbeat", envelope(other, "heartbeat", "", "{}"), "heartbeat: node_id differs from the topic"},
		"another type":         {"heartbeat", envelope(n, "event", "", "{}"), "heartbeat: type is not"},
		"ACK without an id":    {"control/ack", envelope(n, "control/ack", "", `{"status":"applied"}`), "control/ack: request_id is missing"},
		"payload is no object": {"event", envelope(n, "event", "", `"x"`), "event: payload is not an object"},
	} {
		out := publish(t, n, tc.suffix, tc.message)
		if !strings.Contains(out, "ayload format invalid") {
			t.Errorf("%s: the client was told %q", name, out)
		}
		if j := journal(t, n); !strings.Contains(j, tc.journal) {
			t.Errorf("%s: the journal does not say %q: %s", name, tc.journal, j)
		}
	}
	if strings.Contains(journal(t, other), "refused") {
		t.Error("the other node's journal tells of it")
	}
	if out := publish(t, n, "control/ack", envelope(n, "control/ack", "req_unknown", `{"status":"applied"}`)); out != "" {
		t.Errorf("an ACK for an unknown request_id: %s", out)
	}
	if j := journal(t, n); !strings.Contains(j, "req_unknown") || !strings.Contains(j, "ack_unmatched") {
		t.Errorf("an ACK for an unknown request_id is not visible: %s", j)
	}

	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("x", 300<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	// An MQTT 5 client learns the limit when it connects and does not even send the message.
	apptest.Run(t, "mosquitto_pub", mosquitto(n, "mqttv311", "-q", "1", "-t", n.Topic("event"), "-f", big)...)
	apptest.Eventually(t, func() bool { return strings.Contains(journal(t, n), "packet too large") },
		func() string { return "300 KiB over MQTT 3.1.1 is not visible: " + journal(t, n) })
	n.StartAgent(t)
	if got := n.Control(t, "detect"); got["status"] != "acked" {
		t.Errorf("after all that: %v", got)
	}
}

func TestBadRequestsGetAClearErrorAndChangeNothing(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	n := a.AddNode(t, cfg, "a", "wg0")
	control, bind := n.Path("endpoint/control"), "/api/client/bind"
	n.StartAgent(t)
	a.Refused(t, "INVALID_ACTION", "POST", control, map[string]any{"action": "explode"})
	a.Refused(t, "VALIDATION_ERROR", "POST", control, `{"action":`)
	a.Refused(t, "VALIDATION_ERROR", "POST", control, `{"action":5}`)
	a.Refused(t, "NO_STAGED_CONFIG", "POST", control, map[string]any{"action": "push_config"})
	a.Refused(t, "PAYLOAD_TOO_LARGE", "POST", control, `{"action":"`+strings.Repeat("x", 300<<10)+`"}`)
	a.Refused(t, "CONTROL_LOG_NOT_FOUND", "GET", "/api/v1/commands/req_unknown", nil)
	a.Refused(t, "NODE_NOT_FOUND", "POST", "/api/v1/configs/"+cfg+"/nodes/node_x/endpoint/control", map[string]any{"action": "start"})
	a.Refused(t, "CLIENT_BIND_TOKEN_INVALID", "POST", bind, map[string]any{"token": "garbage"})
	token := a.Must(t, "POST", n.Path("bind-command"), nil)["token"]
	a.Must(t, "POST", bind, map[string]any{"token": token, "hostname": "h", "platform": "linux", "client_version": "1"})
	a.Refused(t, "CLIENT_BIND_TOKEN_USED", "POST", "/api/client/v1/bind", map[string]any{"token": token})
	if logs := a.Call(t, "GET", n.Path("endpoint/logs"), nil); logs.Status != 200 ||
		strings.Count(logs.Body, `"action":`) != strings.Count(logs.Body, `"action":"event"`) {
		t.Errorf("refused requests left commands: %s", logs.Body)
	}
}

func TestDisablingAConnectedNodeEndsItsSession(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	agent := n.StartAgent(t)
	a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"enabled": false})
	if line := agent.Expect(t, "the broker closed the connection"); !strings.Contains(line, "reason_code=152 ") { // administrative action
		t.Error(line)
	}
	n.Await(t, "offline")
	a.Refused(t, "NODE_DISABLED", "POST", n.Path("endpoint/control"), map[string]any{"action": "start"})
	a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"enabled": true})
	agent.Kill()
	n.StartAgent(t) // the same binding
}

func TestFullDiskIsSaidAndNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	apptest.NeedRoot(t)
	apptest.Need(t, "mosquitto_pub")
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	a := apptest.Start(t, dir)
	cfg := a.AddConfig(t, "home")
	n := a.AddNode(t, cfg, "a", "wg0")
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 4<<20), 0o600) // as much as fits

	var refused apptest.Answer
	var created []string
	for i := range 400 {
		refused = a.Call(t, "POST", "/api/v1/configs",
			map[string]any{"name": strings.Repeat("n", 20) + string(rune('a'+i/26)) + string(rune('a'+i%26)), "description": strings.Repeat("d", 200)})
		if refused.Status >= 300 {
			break
		}
		created = append(created, refused.Data.(map[string]any)["config_id"].(string))
	}
	if refused.Code != "STORE_FULL" || !strings.Contains(refused.Body, "space") || strings.Contains(refused.Body, dir) {
		t.Errorf("on a full disk: %d %s", refused.Status, refused.Body)
	}
	event := envelope(n, "event", "", `{"event":"kept","message":"`+strings.Repeat("m", 900)+`"}`)
	taken, failed := 0, false
	for range 300 {
		if out := publish(t, n, "event", event); strings.Contains(out, "uota exceeded") {
			failed = true
			break
		} else if out != "" {
			t.Fatalf("publish on a full disk: %q", out)
		}
		taken++
	}
	if !failed {
		t.Error("every message was acknowledged on a full disk")
	}
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 503 {
		t.Logf("readyz while the disk is full: %d %s", ans.Status, ans.Body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 200 {
		t.Errorf("readyz with space again: %d %s", ans.Status, ans.Body)
	}
	if out := publish(t, n, "event", event); out != "" {
		t.Errorf("publish with space again: %s", out)
	}
	a.Kill()
	a.Restart(t)
	for _, id := range created {
		a.Must(t, "GET", "/api/v1/configs/"+id, nil)
	}
	if got := strings.Count(n.Call(t, "GET", n.Path("endpoint/events")+"?limit=500", nil).Body, `"kept"`); got != min(taken+1, 190) && got < min(taken+1, 190) {
		t.Errorf("%d of %d acknowledged events are there", got, taken+1)
	}
}

func TestServeSaysInOneSentenceWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(a.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	free := []string{"--data-dir", t.TempDir(), "--http-addr", "127.0.0.1:0", "--mqtt-addr", "127.0.0.1:0"}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"taken HTTP port":  {append(free[:2:2], "--http-addr", "127.0.0.1:"+port, "--mqtt-addr", "127.0.0.1:0"), "address already in use"},
		"taken MQTT port":  {append(free[:4:4], "--mqtt-addr", "127.0.0.1:"+a.Port), "address already in use"},
		"data in use":      {append([]string{"--data-dir", a.Dir}, free[2:]...), "another process is using the data file"},
		"directory a file": {append([]string{"--data-dir", file}, free[2:]...), file},
		"no directory":     {append([]string{"--data-dir", "/proc/nope"}, free[2:]...), "/proc/nope"},
		"bad address":      {[]string{"--http-addr", "8000"}, "--http-addr is \"8000\": want host:port"},
		"bad port":         {[]string{"--mqtt-addr", ":99999"}, "from 0 to 65535"},
		"bad bool":         {[]string{"--enable-mqtt-services", "maybe"}, "want true or false"},
		"bad level":        {[]string{"--log-level", "loud"}, "want debug, info, warn or error"},
		"bad origin":       {[]string{"--public-origin", "example.org"}, "--public-origin"},
		"short password":   {append([]string{"--admin-password", "short"}, free...), "10"},
		"unknown flag":     {[]string{"--nope"}, "nope"},
		"stray argument":   {[]string{"now"}, "unexpected argument"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := apptest.Run(t, apptest.Binary("wfm"), append([]string{"serve"}, tc.args...)...)
			if code == 0 || !strings.Contains(out, tc.want) || strings.Count(strings.TrimSpace(out), "\n") != 0 || strings.Contains(out, "goroutine") {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
}

func TestReadOnlyDataDirectoryIsNamed(t *testing.T) {
	apptest.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	out, code := apptest.Run(t, apptest.Binary("wfm"), "serve", "--data-dir", dir, "--http-addr", "127.0.0.1:0", "--mqtt-addr", "127.0.0.1:0")
	if code == 0 || !strings.Contains(out, "read-only") || !strings.Contains(out, dir) {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestServeWithoutMQTTSaysDisabled(t *testing.T) {
	a := apptest.Start(t, "", "WFM_ENABLE_MQTT_SERVICES=false")
	cfg := a.AddConfig(t, "home")
	id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "a"})["node_id"].(string)
	path := "/api/v1/configs/" + cfg + "/nodes/" + id + "/"
	a.Refused(t, "MQTT_DISABLED", "POST", path+"bind-command", nil)
	a.Refused(t, "MQTT_DISABLED", "POST", path+"endpoint/control", map[string]any{"action": "start"})
	a.Refused(t, "MQTT_DISABLED", "POST", "/api/client/bind", map[string]any{"token": "x"})
	a.Stop(t)
}

func TestSIGTERMStopsCleanlyWhateverClientsDo(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_sub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	sub := subscribe(t, n)
	sub.Signal(t, syscall.SIGSTOP) // a client that stops reading
	for _, addr := range []string{net.JoinHostPort(a.MQTTHost, a.Port), strings.TrimPrefix(a.URL, "http://")} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("P")); err != nil { // half a request
			t.Fatal(err)
		}
	}
	waiting := make(chan apptest.Answer, 1)
	go func() {
		waiting <- a.Call(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "start", "wait": 60})
	}()
	apptest.Eventually(t, func() bool {
		return strings.Contains(n.Call(t, "GET", n.Path("endpoint/logs"), nil).Body, "pending")
	}, func() string { return "the command was never written" })
	a.Stop(t)
	select {
	case ans := <-waiting:
		if ans.Status != 200 || !strings.Contains(ans.Body, "sent") {
			t.Errorf("who waited for the command was told: %d %s", ans.Status, ans.Body)
		}
	case <-time.After(apptest.Patience):
		t.Error("who waited for the command was told nothing")
	}
}

func TestLogThatNobodyReadsAnyMoreEndsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := apptest.Start(t, dir)
	a.Stop(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), apptest.Binary("wfm"), "serve", "--data-dir", dir, "--http-addr",
		strings.TrimPrefix(a.URL, "http://"), "--mqtt-addr", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	_ = write.Close()
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	apptest.Eventually(t, func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", cmd.Args[5])
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, func() string { return "it does not serve" })
	for range 3 { // each leaves a line in the log
		a.Must(t, "POST", "/api/v1/auth/login", map[string]any{"username": "admin", "password": apptest.Password})
	}
}
