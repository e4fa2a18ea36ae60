package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

// wantedNode is a bound node with a config stored, whose agent runs.
func wantedNode(t *testing.T, a *apptest.Appliance, address string) (*apptest.Node, *apptest.Process) {
	t.Helper()
	apptest.NeedRoot(t)
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ip")
	iface := apptest.Interface()
	n := a.AddNode(t, a.AddConfig(t, "site"), "site", iface)
	tunnelConfig(t, n, address)
	t.Cleanup(func() { _, _ = apptest.Run(t, "ip", "link", "delete", "dev", iface) })
	return n, n.StartAgent(t)
}

func linkThere(t *testing.T, n *apptest.Node) bool {
	t.Helper()
	_, code := apptest.Run(t, "ip", "link", "show", "up", "dev", n.Interface)
	return code == 0
}

// found returns the wanted and the actual state of the node's tunnel.
func found(t *testing.T, n *apptest.Node) string {
	t.Helper()
	rt := n.Must(t, "GET", n.Path("endpoint/status"), nil)["runtime"].(map[string]any)
	return fmt.Sprint(rt["wanted_state"], " ", rt["wg_runtime_state"])
}

func awaitFound(t *testing.T, n *apptest.Node, want string) {
	t.Helper()
	last := ""
	apptest.Eventually(t, func() bool { last = found(t, n); return last == want },
		func() string { return fmt.Sprintf("wanted and found: %s, want %s", last, want) })
}

// events returns the number of the node's events with that name.
func events(t *testing.T, n *apptest.Node, name string) int {
	t.Helper()
	list, _ := n.Call(t, "GET", n.Path("endpoint/events"), nil).Data.([]any)
	count := 0
	for _, e := range list {
		if e.(map[string]any)["event"] == name {
			count++
		}
	}
	return count
}

func awaitEvents(t *testing.T, n *apptest.Node, name string, want int) {
	t.Helper()
	apptest.Eventually(t, func() bool { return events(t, n, name) >= want },
		func() string { return fmt.Sprintf("%d events %s, want %d", events(t, n, name), name, want) })
	if got := events(t, n, name); got != want {
		t.Errorf("%d events %s, want %d", got, name, want)
	}
}

// given returns the node's commands, newest first.
func given(t *testing.T, n *apptest.Node) (commands []map[string]any) {
	t.Helper()
	list, _ := n.Call(t, "GET", n.Path("endpoint/logs"), nil).Data.([]any)
	for _, e := range list {
		if row := e.(map[string]any); row["action"] != "event" {
			commands = append(commands, row)
		}
	}
	return commands
}

// powerCut ends the agent and the tunnel, like a power cut of the machine.
func powerCut(t *testing.T, n *apptest.Node, agent *apptest.Process) {
	t.Helper()
	agent.Kill()
	_, _ = apptest.Run(t, "ip", "link", "delete", "dev", n.Interface)
}

func TestTunnelRunsAgainAfterAPowerCutIfItIsWanted(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, agent := wantedNode(t, a, "10.99.70.1/24")
	if got := n.Control(t, "start"); got["state"] != "applied" || found(t, n) != "running running" {
		t.Fatalf("%v, %s", got, found(t, n))
	}
	before := len(given(t, n))
	powerCut(t, n, agent)
	agent = n.StartAgent(t)
	awaitEvents(t, n, "tunnel_restored", 1)
	awaitFound(t, n, "running running")
	if !linkThere(t, n) || len(given(t, n)) != before {
		t.Errorf("link %v, %d commands, want %d", linkThere(t, n), len(given(t, n)), before)
	}

	// Stopped by the operator, the tunnel stays down. A command that changes the node waits for the
	// first check.
	n.Control(t, "stop")
	powerCut(t, n, agent)
	agent = n.StartAgent(t)
	if got := n.Control(t, "stop"); got["state"] != "applied" || linkThere(t, n) || found(t, n) != "stopped stopped" {
		t.Errorf("%v, link %v, %s", got, linkThere(t, n), found(t, n))
	}

	// A tunnel whose start was taken back stays down, too.
	conf := filepath.Join(n.AgentDir, "tunnels", n.Interface+".conf")
	good, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, append(slices.Clone(good), "PostUp = false\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := n.Control(t, "start"); got["state"] != "failed" {
		t.Errorf("start: %v", got)
	}
	if err := os.WriteFile(conf, good, 0o600); err != nil {
		t.Fatal(err)
	}
	powerCut(t, n, agent)
	n.StartAgent(t)
	awaitFound(t, n, "none stopped")
	if linkThere(t, n) {
		t.Error("a start that was taken back is repeated")
	}
	metrics := a.Call(t, "GET", "/metrics", nil).Body
	if !strings.Contains(metrics, `wfm_nodes_tunnel{wanted="none",found="stopped"} 1`) {
		t.Error(metrics)
	}
}

func TestTunnelThatEndsBehindTheAgentsBackIsToldAndRunsAgain(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, _ := wantedNode(t, a, "10.99.71.1/24")
	n.Control(t, "start")
	conf := filepath.Join(n.AgentDir, "tunnels", n.Interface+".conf")
	for i, end := range []func(){
		func() { _, _ = apptest.Run(t, "ip", "link", "delete", "dev", n.Interface) },
		func() { _, _ = apptest.Run(t, "wg-quick", "down", conf) },
		func() { _, _ = apptest.Run(t, "ip", "link", "set", n.Interface, "down") },
		func() {
			if pid := daemonOf(n.Interface); pid > 0 { // otherwise it runs in the kernel
				_ = syscall.Kill(pid, syscall.SIGKILL)
			} else {
				_, _ = apptest.Run(t, "ip", "link", "delete", "dev", n.Interface)
			}
		},
	} {
		end()
		awaitEvents(t, n, "tunnel_down", i+1)
		awaitEvents(t, n, "tunnel_restored", i+1)
		awaitFound(t, n, "running running")
		if !linkThere(t, n) {
			t.Errorf("%d: the link is not there", i)
		}
	}
	if out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "restore", "--dir", n.AgentDir, n.ID, "off"); code != 0 {
		t.Fatal(out)
	}
	n.Await(t, "online")
	if _, code := apptest.Run(t, "wg-quick", "down", conf); code != 0 {
		t.Fatal("wg-quick down")
	}
	awaitEvents(t, n, "tunnel_down", 5)
	awaitFound(t, n, "running stopped")
	page := a.Call(t, "GET", "/api/v1/system/status", nil).Body
	if !strings.Contains(page, `"tunnels_unwanted":1`) {
		t.Error(page)
	}
	if linkThere(t, n) || events(t, n, "tunnel_restored") != 4 {
		t.Error("restored although the profile says not to")
	}
}

func TestInterfaceOfAnotherKindInTheWayIsLeftAloneAndTold(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, agent := wantedNode(t, a, "10.99.73.1/24")
	n.Control(t, "start")
	powerCut(t, n, agent)
	for _, args := range [][]string{{"link", "add", n.Interface, "type", "bridge"}, {"link", "set", n.Interface, "up"}} {
		if out, code := apptest.Run(t, "ip", args...); code != 0 {
			t.Fatal(out)
		}
	}
	n.StartAgent(t)
	awaitEvents(t, n, "tunnel_down", 1)
	awaitFound(t, n, "running stopped")
	awaitEvents(t, n, "tunnel_restored", 0)
	if !linkThere(t, n) {
		t.Error("the bridge is gone")
	}
	if out, code := apptest.Run(t, "ip", "link", "delete", "dev", n.Interface); code != 0 {
		t.Fatal(out)
	}
	awaitEvents(t, n, "tunnel_restored", 1)
	awaitFound(t, n, "running running")
}

// daemonOf returns the process id of the interface's userspace daemon, or 0.
func daemonOf(iface string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.HasSuffix(string(line), "wireguard-go\x00"+iface+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}

func TestPowerCutsAtAnyMomentEndInTheWantedState(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, agent := wantedNode(t, a, "10.99.72.1/24")
	conf, err := os.ReadFile(filepath.Join(n.AgentDir, "tunnels", n.Interface+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	for i, action := range []string{"start", "push_config", "stop", "start", "stop", "push_config", "start", "push_config"} {
		body := map[string]any{"action": action}
		if action == "push_config" {
			text := fmt.Sprintf("%s# version %d\n", conf, i)
			n.Must(t, "PUT", n.Path("applied-conf"), map[string]any{"content": text})
			n.Must(t, "POST", n.Path("sync"), nil)
		}
		id := n.Must(t, "POST", n.Path("endpoint/control"), body)["request_id"].(string)
		<-time.After(rand.N(1500 * time.Millisecond)) // the moment of the cut, not a wait for anything
		powerCut(t, n, agent)
		agent = n.StartAgent(t)
		var state any
		apptest.Eventually(t, func() bool {
			state = n.Must(t, "GET", "/api/v1/commands/"+id, nil)["state"]
			return state == "applied" || state == "failed"
		}, func() string { return fmt.Sprintf("%s: %v", action, state) })
		last, up := "", false
		apptest.Eventually(t, func() bool {
			last, up = found(t, n), linkThere(t, n)
			return (last == "running running" && up) || (!up && (last == "stopped stopped" || last == "none stopped"))
		}, func() string {
			return fmt.Sprintf("%s, which %v: wanted and found: %s, link %v", action, state, last, up)
		})
		t.Logf("%s %v: %s", action, state, last)
		if wanted := map[string]string{"start": "running", "stop": "stopped"}[action]; state == "applied" && wanted != "" && !strings.HasPrefix(last, wanted) {
			t.Errorf("%s was applied: %s", action, last)
		}
	}
}

// fieldAgent is like a deployed agent: it does not know the wanted state.
type fieldAgent struct {
	*mqtttest.Client
	n       *apptest.Node
	runs    bool
	starts  int
	refuses bool // it cannot start its tunnel
}

func (d *fieldAgent) say(suffix, requestID, payload string) {
	d.Publish(d.n.Topic(suffix), []byte(envelope(d.n, suffix, requestID, payload)), 0, 0)
}

func (d *fieldAgent) beat() {
	d.say("heartbeat", "", fmt.Sprintf(`{"client_online":true,"wg_online":%v}`, d.runs))
}

// connectDeployed connects the node's agent. runs says whether its tunnel runs.
func connectDeployed(t *testing.T, n *apptest.Node, runs bool) *fieldAgent {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(n.MQTTHost, n.Port))
	if err != nil {
		t.Fatal(err)
	}
	d := &fieldAgent{Client: mqtttest.Dial(t, addr, 5), n: n, runs: runs}
	d.Connect(mqtttest.Login{ClientID: "wfm-" + n.ID, Username: n.ID, Password: n.Password, Keepalive: 60})
	d.Subscribe(1, n.Topic("control"), n.Topic("detect"), n.Topic("config/push"))
	d.beat()
	return d
}

// startDeployed pushes a config to the agent and starts its tunnel.
func startDeployed(t *testing.T, a *apptest.Appliance) (*apptest.Node, *fieldAgent) {
	t.Helper()
	n := a.AddNode(t, a.AddConfig(t, "old"), "old", "wg0")
	d := connectDeployed(t, n, false)
	n.Await(t, "online")
	n.Must(t, "PUT", n.Path("applied-conf"), map[string]any{"content": "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"})
	n.Must(t, "POST", n.Path("sync"), nil)
	for _, action := range []string{"push_config", "start"} {
		id := n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": action})["request_id"].(string)
		d.serveOne(t)
		apptest.Eventually(t, func() bool {
			return n.Must(t, "GET", "/api/v1/commands/"+id, nil)["state"] == "applied"
		}, func() string { return action + " was not applied" })
	}
	awaitFound(t, n, "running running")
	return n, d
}

// serve answers commands until the count of starts is reached.
func (d *fieldAgent) serve(t *testing.T, starts int) {
	t.Helper()
	for d.starts < starts {
		d.serveOne(t)
	}
}

// serveOne answers the next command.
func (d *fieldAgent) serveOne(t *testing.T) {
	t.Helper()
	pk := d.Expect(packets.Publish)
	d.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
	var env struct {
		Type      string `json:"type"`
		RequestID string `json:"request_id"`
		Payload   struct {
			Action string `json:"action"`
			Wanted any    `json:"wanted_state"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(pk.Payload, &env); err != nil || env.Payload.Wanted != nil {
		t.Fatalf("%s: %v", pk.Payload, err)
	}
	status := "applied"
	if env.Type == "control" {
		if d.runs = env.Payload.Action == "start" && !d.refuses; d.refuses {
			status = "failed"
		}
		if env.Payload.Action == "start" {
			d.starts++
		}
	}
	d.say(env.Type+"/ack", env.RequestID, fmt.Sprintf(`{"status":%q,"action":%q,"message":"","client_online":true,"wg_online":%v}`, status, env.Payload.Action,
		d.runs))
}

func TestDeployedAgentThatComesBackStoppedIsStartedByTheAppliance(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, d := startDeployed(t, a)
	_ = d.Close() // a power cut
	d = connectDeployed(t, n, false)
	d.serve(t, 1)
	awaitFound(t, n, "running running")
	if newest := given(t, n)[0]; newest["action"] != "start" || newest["requested_by"] != "wanted state" {
		t.Errorf("%v", newest)
	}
	awaitEvents(t, n, "tunnel_down", 1)
	awaitEvents(t, n, "tunnel_restored", 1)

	// A tunnel that is not wanted is not started: a heartbeat that reports it down triggers
	// nothing.
	n.Must(t, "POST", n.Path("reset-client"), nil)
	if got := found(t, n); !strings.HasPrefix(got, "none") {
		t.Errorf("after the reset: %s", got)
	}
}

func TestDeployedAgentWhoseStartFailsIsNotAskedForEver(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n, d := startDeployed(t, a)
	_ = d.Close()
	d = connectDeployed(t, n, false)
	d.refuses = true
	d.serve(t, 1)
	n.Await(t, "online")
	if got := found(t, n); !strings.HasPrefix(got, "running") {
		t.Errorf("the operator's word went with a start that was not theirs: %s", got)
	}
	d.beat()
	starts := 0
	for _, row := range given(t, n) {
		if row["action"] == "start" {
			starts++
		}
	}
	if starts != 2 {
		t.Errorf("%d starts, want the operator's and one", starts)
	}
}
