package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"wfm/internal/apptest"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(serviceVariable); address != "" {
		fmt.Println(answerAt(address))
		os.Exit(1)
	}
	os.Exit(apptest.Main(m))
}

// mosquitto returns the arguments with which the mosquitto clients log in as the node.
func mosquitto(n *apptest.Node, version string, more ...string) []string {
	return append([]string{
		"-h", n.MQTTHost, "-p", n.Port, "-V", version, "-i", "wfm-" + n.ID, "-u", n.ID, "-P", n.Password,
	}, more...)
}

// subscribe holds an MQTT session of the node that receives commands and never answers.
func subscribe(t *testing.T, n *apptest.Node) *apptest.Process {
	t.Helper()
	sub := apptest.Spawn(t, nil, "stdbuf", append([]string{"-oL", "mosquitto_sub"},
		mosquitto(n, "5", "-d", "-q", "1", "-t", n.Topic("control"), "-F", "%p")...)...)
	sub.Expect(t, "Subscribed")
	return sub
}

func publish(t *testing.T, n *apptest.Node, suffix, message string) string {
	t.Helper()
	out, _ := apptest.Run(t, "mosquitto_pub", mosquitto(n, "5", "-q", "1", "-t", n.Topic(suffix), "-m", message)...)
	return out
}

func envelope(n *apptest.Node, kind, requestID, payload string) string {
	return fmt.Sprintf(`{"type":%q,"request_id":%q,"config_id":%q,"node_id":%q,"boot_id":"b","session_id":"s","sent_at":"2026-04-23T12:00:00Z","payload":%s}`,
		kind, requestID, n.ConfigID, n.ID, payload)
}

// tunnelConfig gives the agent a config for its interface, with a real key.
func tunnelConfig(t *testing.T, n *apptest.Node, address string) {
	t.Helper()
	key, code := apptest.Run(t, "wg", "genkey")
	if code != 0 {
		t.Fatal(key)
	}
	dir := filepath.Join(n.AgentDir, "tunnels")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "[Interface]\nPrivateKey = " + strings.TrimSpace(key) + "\nAddress = " + address + "\n"
	if err := os.WriteFile(filepath.Join(dir, n.Interface+".conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The main job, with the real agent, the real tools and a real tunnel.
func TestAdminBindsNodesCommandsThemAndSeesTheirACKs(t *testing.T) {
	t.Parallel()
	apptest.NeedRoot(t)
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ip")
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	for i, name := range []string{"north", "south"} {
		n := a.AddNode(t, cfg, name, fmt.Sprintf("wfmt%d", i))
		tunnelConfig(t, n, fmt.Sprintf("10.99.%d.1/24", i))
		n.StartAgent(t)

		for _, action := range []string{"detect", "start", "start", "detect", "describe"} {
			if got := n.Control(t, action); got["status"] != "acked" || got["state"] != "applied" {
				t.Fatalf("%s on %s: %v", action, name, got)
			}
		}
		status := n.Must(t, "GET", n.Path("endpoint/status"), nil)
		if rt := status["runtime"].(map[string]any); rt["wg_runtime_state"] != "running" {
			t.Errorf("tunnel state after start: %v", rt)
		}
		show := n.Control(t, "wg_show")
		if text := fmt.Sprint(show["output"]); show["status"] != "acked" || !strings.Contains(text, "interface: "+n.Interface) ||
			!strings.Contains(text, "public key") {
			t.Errorf("wg_show: %v", show)
		}
		if got := n.Control(t, "stop"); got["status"] != "acked" {
			t.Errorf("stop: %v", got)
		}
		if _, code := apptest.Run(t, "ip", "link", "show", n.Interface); code == 0 {
			t.Error("the interface is there after stop")
		}
		logs := n.Call(t, "GET", n.Path("endpoint/logs"), nil)
		entries, _ := logs.Data.([]any)
		if shown := fmt.Sprint(entries); !strings.Contains(shown, "detail:interface: "+n.Interface) || !strings.Contains(shown, "tools: ") {
			t.Errorf("the log has not what wg show printed, or not the node's tools: %s", logs.Body)
		}
		entries = slices.DeleteFunc(entries, func(e any) bool { return e.(map[string]any)["action"] == "event" })
		if len(entries) != 7 {
			t.Errorf("%d log entries for 7 commands: %s", len(entries), logs.Body)
		}
		for _, e := range entries {
			if row := e.(map[string]any); row["status"] != "acked" || row["ack_at"] == nil || row["requested_by"] != "admin" {
				t.Errorf("log entry: %v", row)
			}
		}
		life := n.Must(t, "GET", "/api/v1/commands/"+show["request_id"].(string), nil)
		if !strings.Contains(fmt.Sprint(life), "interface: "+n.Interface) {
			t.Errorf("the command's life does not hold its output: %v", life)
		}
	}
}

func TestNodeReachesNothingButItself(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub", "mosquitto_sub")
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	nodeA, nodeB := a.AddNode(t, cfg, "a", "wg0"), a.AddNode(t, cfg, "b", "wg1")
	agentB := nodeB.StartAgent(t)
	before := a.Call(t, "GET", nodeB.Path("endpoint/events"), nil).Body

	for _, version := range []string{"mqttv311", "mqttv5"} {
		for _, filter := range []string{
			nodeB.Topic("control"), nodeB.Topic("config/push"), nodeB.Topic("detect"), nodeB.Topic("info"), nodeB.Topic("event"),
			nodeA.Topic("event"), nodeA.Topic("#"), nodeA.Topic("+"), "#", "+/#", "wfm/#", "wfm/+/" + nodeA.ID + "/control",
			"$share/g/" + nodeA.Topic("control"), "$share/g/#", "$SYS/#", "$SYS/broker/version",
		} {
			out, code := apptest.Run(t, "mosquitto_sub", mosquitto(nodeA, version, "-E", "-W", "5", "-t", filter)...)
			if !strings.Contains(out, "All subscription requests were denied") {
				t.Errorf("%s: subscribing %s: exit code %d, %q", version, filter, code, out)
			}
		}
		for _, suffix := range []string{
			"config/push", "control", "detect", "info", "config/push/ack", "control/ack", "detect/ack", "info/ack", "event",
			"heartbeat",
		} {
			out, code := apptest.Run(t, "mosquitto_pub",
				mosquitto(nodeA, version, "-q", "1", "-t", nodeB.Topic(suffix), "-m", envelope(nodeB, suffix, "req_x", "{}"))...)
			if code == 0 && !strings.Contains(out, "Not authorized") {
				t.Errorf("%s: publishing to B's %s: exit code %d, %q", version, suffix, code, out)
			}
		}
		to := func(id, user, password string) []string {
			return []string{"-h", a.MQTTHost, "-p", a.Port, "-V", version, "-i", id, "-u", user, "-P", password}
		}
		for what, tc := range map[string]struct {
			args   []string
			v3, v5 string // as the clients print the CONNACK code
		}{
			"B's event as will":   {mosquitto(nodeA, version, "--will-topic", nodeB.Topic("event"), "--will-payload", "{}"), "not authorised", "Not authorized"},
			"B's control as will": {mosquitto(nodeA, version, "--will-topic", nodeB.Topic("control"), "--will-payload", "{}"), "not authorised", "Not authorized"},
			"own control as will": {mosquitto(nodeA, version, "--will-topic", nodeA.Topic("control"), "--will-payload", "{}"), "not authorised", "Not authorized"},
			"B's client id":       {to("wfm-"+nodeB.ID, nodeA.ID, nodeA.Password), "identifier rejected", "Client Identifier not valid"},
			"a made-up client id": {to("x", nodeA.ID, nodeA.Password), "identifier rejected", "Client Identifier not valid"},
			"B's user name":       {to("wfm-"+nodeB.ID, nodeB.ID, nodeA.Password), "not authorised", "Bad User Name or Password"},
			"no user name":        {to("x", nodeA.ID, nodeA.Password)[:8], "not authorised", "Bad User Name or Password"},
		} {
			want := tc.v5
			if version == "mqttv311" {
				want = tc.v3
			}
			out, code := apptest.Run(t, "mosquitto_pub", append(tc.args, "-t", nodeA.Topic("event"), "-m", "{}")...)
			if code == 0 || !strings.Contains(out, want) {
				t.Errorf("%s: connecting with %s: exit code %d, %q, want %q", version, what, code, out, want)
			}
		}
	}
	if after := a.Call(t, "GET", nodeB.Path("endpoint/events"), nil).Body; after != before {
		t.Errorf("node A left something in B's journal:\n%s\n%s", before, after)
	}
	if got := nodeB.Control(t, "detect"); got["status"] != "acked" {
		t.Errorf("B after all that: %v", got)
	}
	if out := agentB.Output(); strings.Count(out, "msg=connected") != 1 {
		t.Errorf("node A disturbed B's session:\n%s", out)
	}
	// Permitted operations work.
	if out := publish(t, nodeA, "heartbeat", envelope(nodeA, "heartbeat", "", `{"client_online":true}`)); out != "" {
		t.Errorf("own heartbeat: %s", out)
	}
	nodeA.Await(t, "online")
}

func TestResetEndsTheSessionAtOnceAndForGood(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_sub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	sub := subscribe(t, n)
	n.Await(t, "online")
	got := n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "start"})
	if got["state"] != "sent" {
		t.Errorf("before the reset: %v", got)
	}
	state := n.Must(t, "POST", n.Path("reset-client"), nil)["client_state"].(map[string]any)
	if state["client_presence_state"] != "offline" || state["client_initialized"] != false {
		t.Errorf("after the reset: %v", state)
	}
	// It was kicked, and is refused when it tries again.
	sub.Expect(t, "Received DISCONNECT (152)") // administrative action
	if out := publish(t, n, "event", envelope(n, "event", "", "{}")); !strings.Contains(out, "Bad User Name or Password") {
		t.Errorf("the old credentials after the reset: %q", out)
	}
	n.Refused(t, "CLIENT_NOT_INITIALIZED", "POST", n.Path("endpoint/control"), map[string]any{"action": "start"})
	cmd := n.Must(t, "GET", "/api/v1/commands/"+got["request_id"].(string), nil)
	if cmd["state"] != "cancelled" {
		t.Errorf("the open command after the reset: %v", cmd)
	}
	n.Bind(t)
	n.StartAgent(t)
}

func TestKillBetweenPublishAndACKLosesNothing(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub", "mosquitto_sub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	sub := subscribe(t, n)
	id := n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "stop"})["request_id"].(string)
	sub.Expect(t, id) // it has arrived
	a.Kill()
	sub.Kill()

	a.Restart(t)
	if cmd := n.Must(t, "GET", "/api/v1/commands/"+id, nil); cmd["state"] != "sent" {
		t.Fatalf("after the restart: %v", cmd)
	}
	if out := publish(t, n, "control/ack", envelope(n, "control/ack", id, `{"status":"applied","action":"stop","message":"done"}`)); out != "" {
		t.Fatal(out)
	}
	if cmd := n.Must(t, "GET", "/api/v1/commands/"+id, nil); cmd["state"] != "applied" {
		t.Errorf("after the ACK: %v", cmd)
	}
}

// slowTools installs stand-ins for the WireGuard tools that wait until the test lets them continue.
func slowTools(t *testing.T) (path, gate string) {
	t.Helper()
	path, gate = t.TempDir(), filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho run >> '" + gate + ".log'\nread line < '" + gate + "'\n"
	if err := os.WriteFile(filepath.Join(path, "wg-quick"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, gate
}

func TestAgentAnswersARestartedApplianceWithoutExecutingTwice(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wfmnone0")
	dir := filepath.Join(n.AgentDir, "tunnels")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "wfmnone0.conf"), []byte("[Interface]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tools, gate := slowTools(t)
	agent := n.StartAgent(t, "PATH="+tools+":"+os.Getenv("PATH"))
	id := n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "start"})["request_id"].(string)
	apptest.Eventually(t, func() bool { _, err := os.Stat(gate + ".log"); return err == nil },
		func() string { return "the tool was never run" })
	a.Kill()
	agent.Expect(t, "connection lost")
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agent.Expect(t, "command executed")
	a.Restart(t)
	var state any
	apptest.Eventually(t, func() bool {
		state = n.Must(t, "GET", "/api/v1/commands/"+id, nil)["state"]
		return state == "applied" || state == "failed"
	}, func() string { return fmt.Sprint("the command is ", state) })
	if log, err := os.ReadFile(gate + ".log"); err != nil || string(log) != "run\n" {
		t.Errorf("the tool ran: %q (%v)", log, err)
	}
}
