package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

// bindRaw binds a node like an older agent, and returns the login for a raw client.
func bindRaw(t *testing.T, a *apptest.Appliance, configID, name string, capabilities ...string) (nodeID string, login mqtttest.Login) {
	t.Helper()
	nodes := "/api/v1/configs/" + configID + "/nodes"
	nodeID = a.Must(t, "POST", nodes, map[string]any{"name": name})["node_id"].(string)
	token := a.Must(t, "POST", nodes+"/"+nodeID+"/bind-command", nil)["token"]
	bound := a.Must(t, "POST", "/api/client/v1/bind",
		map[string]any{"token": token, "hostname": name, "platform": "linux", "client_version": "1", "capabilities": capabilities})
	mqtt := bound["mqtt"].(map[string]any)
	return nodeID, mqtttest.Login{
		ClientID: mqtt["client_id"].(string), Username: mqtt["username"].(string), Password: mqtt["password"].(string), Keepalive: 60,
		WillTopic: fmt.Sprintf("wfm/%s/%s/event", configID, nodeID), WillQos: 1,
		WillPayload: []byte(fmt.Sprintf(`{"type":"event","config_id":%q,"node_id":%q,"payload":{"level":"info","event":"offline","message":"gone"}}`, configID,
			nodeID)),
	}
}

func mqttAddr(t *testing.T, a *apptest.Appliance) net.Addr {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(a.MQTTHost, a.Port))
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// inState returns how many nodes of the mesh are in the state.
func inState(t *testing.T, a *apptest.Appliance, configID, state string) int {
	t.Helper()
	rows := a.Call(t, "GET", "/api/v1/configs/"+configID+"/endpoint/runtime-snapshot", nil)
	return strings.Count(rows.Body, `"client_presence_state":"`+state+`"`)
}

func TestApplianceRestartMakesNoneOf200NodesFlap(t *testing.T) {
	const count = 200
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	ids, logins := make([]string, count), make([]mqtttest.Login, count)
	connect := func() {
		for i := range logins {
			c := mqtttest.Dial(t, mqttAddr(t, a), byte(4+i%2))
			if ack := c.Connect(logins[i]); ack.ReasonCode != 0 {
				t.Fatalf("CONNACK %#x", ack.ReasonCode)
			}
		}
	}
	for i := range logins {
		ids[i], logins[i] = bindRaw(t, a, cfg, fmt.Sprintf("n%d", i))
	}
	connect()
	apptest.Eventually(t, func() bool { return inState(t, a, cfg, "online") == count },
		func() string { return "not all are online before the restart" })
	a.Kill()
	a.Restart(t)
	if n := inState(t, a, cfg, "online"); n != count {
		t.Errorf("%d of %d are online right after the restart, within the grace", n, count)
	}
	connect()
	for _, id := range ids {
		history := a.Call(t, "GET", "/api/v1/configs/"+cfg+"/nodes/"+id+"/endpoint/history", nil)
		if strings.Contains(history.Body, `"from":"online"`) {
			t.Fatalf("a node flapped: %s", history.Body)
		}
	}
	a.Stop(t)
	a.Restart(t)
	if n := inState(t, a, cfg, "online"); n != count {
		t.Errorf("%d of %d are online after a clean stop", n, count)
	}
}

func TestFastReconnectsLeaveANodeOnline(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	for _, version := range []byte{4, 5} {
		id, login := bindRaw(t, a, cfg, fmt.Sprintf("v%d", version))
		var last *mqtttest.Client
		for i := range 100 {
			last = mqtttest.Dial(t, mqttAddr(t, a), version)
			if ack := last.Connect(login); ack.ReasonCode != 0 {
				t.Fatalf("CONNACK %#x at the %d. connect", ack.ReasonCode, i)
			}
		}
		status := a.Must(t, "GET", "/api/v1/configs/"+cfg+"/nodes/"+id+"/endpoint/status", nil)
		if s := status["client_state"].(map[string]any); s["client_presence_state"] != "online" {
			t.Errorf("MQTT version %d: %v", version, status["evidence"])
		}
		history := a.Call(t, "GET", "/api/v1/configs/"+cfg+"/nodes/"+id+"/endpoint/history", nil)
		if strings.Contains(history.Body, `"from":"online"`) {
			t.Errorf("MQTT version %d: it flapped: %s", version, history.Body)
		}
		_ = last.Close() // with its will
		apptest.Eventually(t, func() bool {
			return strings.Contains(a.Call(t, "GET", "/api/v1/configs/"+cfg+"/nodes/"+id+"/endpoint/history", nil).Body, "last will")
		}, func() string { return "the last will of the present session was not taken" })
	}
}

// history returns the node's states, oldest first.
func history(t *testing.T, n *apptest.Node) (states []string) {
	t.Helper()
	for _, row := range n.Must(t, "GET", n.Path("endpoint/history"), nil)["transitions"].([]any) {
		states = append([]string{row.(map[string]any)["to"].(string)}, states...)
	}
	return states
}

func TestACutNetworkDropsTheNodeAndItsHealBringsItBack(t *testing.T) {
	t.Parallel()
	network := apptest.NewNetwork(t)
	far := network.Add(t)
	a := apptest.Start(t, "", "WFM_MQTT_ADDR="+network.HostIP+":0", "WFM_MQTT_PUBLIC_HOST="+network.HostIP,
		"WFM_MQTT_KEEP_ALIVE_SECONDS=5", "WFM_PRESENCE_GRACE_SECONDS=2")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	agent := far.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", n.AgentDir)
	agent.Expect(t, "msg=connected")
	n.Await(t, "online")
	far.Cut(t)
	n.Await(t, "dropped") // after the keep-alive and the grace; the broker has its will, and the agent sent none itself
	far.Heal(t)
	n.Await(t, "online")
	if got := n.Control(t, "detect"); got["status"] != "acked" {
		t.Errorf("after the heal: %v", got)
	}
	if got := strings.Join(history(t, n), " "); got != "offline online dropped online" {
		t.Errorf("history: %s", got)
	}
}

// Each way to revoke a node's right, while it is online with the real agent and with a raw client
// of either version of MQTT.
func TestAnOnlineNodeThatLosesItsRightIsOfflineAtOnceAndItsConnectionEnds(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	agentNode := a.AddNode(t, cfg, "agent", "wg0")
	agent := agentNode.StartAgent(t)
	type online struct {
		*apptest.Node
		ended     func() // waits until its connection has ended
		reconnect func() // nil: it does so by itself, much later
	}
	all := map[string]*online{"agent": {agentNode, func() { agent.Expect(t, "the broker closed the connection") }, nil}}
	for _, version := range []byte{4, 5} {
		id, login := bindRaw(t, a, cfg, fmt.Sprintf("v%d", version))
		o := &online{Node: &apptest.Node{Appliance: a, ConfigID: cfg, ID: id}}
		o.reconnect = func() {
			c := mqtttest.Dial(t, mqttAddr(t, a), version)
			if ack := c.Connect(login); ack.ReasonCode != 0 {
				t.Fatalf("CONNACK %#x", ack.ReasonCode)
			}
			o.ended = func() { c.Rest() }
		}
		o.reconnect()
		all[fmt.Sprintf("MQTT version %d", version)] = o
	}
	want := func(o *online, state, why string) {
		t.Helper()
		o.Await(t, state)
		if body := a.Call(t, "GET", o.Path("endpoint/status"), nil).Body; !strings.Contains(body, why) {
			t.Errorf("%s, but not by %q: %s", state, why, body)
		}
	}
	for name, o := range all {
		o.Await(t, "online")
		if o.reconnect == nil {
			continue
		}
		a.Must(t, "PUT", "/api/v1/nodes/"+o.ID, map[string]any{"enabled": false})
		want(o, "offline", "the node is disabled")
		o.ended()
		a.Must(t, "PUT", "/api/v1/nodes/"+o.ID, map[string]any{"enabled": true})
		want(o, "offline", "disabled") // unchanged: nothing has arrived since
		o.reconnect()
		want(o, "online", "connection is open")
		t.Log(name, "was disabled and came back")
	}
	a.Must(t, "PUT", "/api/v1/configs/"+cfg, map[string]any{"enabled": false})
	for _, o := range all {
		want(o, "offline", "the mesh is disabled")
		o.ended()
	}
	a.Must(t, "PUT", "/api/v1/configs/"+cfg, map[string]any{"enabled": true})
	for _, o := range all {
		if o.reconnect == nil {
			continue
		}
		o.reconnect()
		o.Await(t, "online")
		a.Must(t, "POST", o.Path("reset-client"), nil)
		want(o, "offline", "no agent is bound")
		o.ended()
		if got := strings.Join(history(t, o.Node), " "); got != "offline online offline online offline online offline" {
			t.Errorf("history: %s", got)
		}
	}
}

func TestADetectThatIsNotAnsweredInTheTimeItMayTakeIsNoProofAgainstAnOpenConnection(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "", "WFM_DETECT_TIMEOUT_SECONDS=1", "WFM_PRESENCE_GRACE_SECONDS=3600")
	cfg := a.AddConfig(t, "home")
	id, login := bindRaw(t, a, cfg, "silent")
	login.WillTopic = ""
	n := &apptest.Node{Appliance: a, ConfigID: cfg, ID: id}
	c := mqtttest.Dial(t, mqttAddr(t, a), 5)
	c.Connect(login)
	c.Subscribe(1, n.Topic("detect"))
	got := n.Control(t, "detect")
	if got["state"] != "unknown" || !strings.Contains(got["message"].(string), "no answer within 1s") {
		t.Errorf("a detect without an answer: %v", got)
	}
	n.Await(t, "online")
	_ = c.Close()
	n.Await(t, "dropped") // now it counts, and nothing waits for the grace
}

func TestBrokenConnectionIsDroppedAfterTheGraceAndProbesComeWhileSomebodyWatches(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "", "WFM_PRESENCE_GRACE_SECONDS=1", "WFM_DETECT_INTERVAL_SECONDS=10")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	agent := n.StartAgent(t)
	next, leave := stream(t, a, "")
	next("event: control.log.created") // sent without a request
	if data := next("data: "); !strings.Contains(data, `"action":"detect"`) || !strings.Contains(data, `"requested_by":"system"`) {
		t.Errorf("while watched: %s", data)
	}
	leave()
	agent.Kill()
	n.Await(t, "offline") // by its last will

	id, login := bindRaw(t, a, n.ConfigID, "raw")
	login.WillTopic = "" // nothing reports its end
	raw := &apptest.Node{Appliance: a, ConfigID: n.ConfigID, ID: id}
	c := mqtttest.Dial(t, mqttAddr(t, a), 5)
	c.Connect(login)
	raw.Await(t, "online")
	_ = c.Close()
	raw.Await(t, "dropped")
	mqtttest.Dial(t, mqttAddr(t, a), 4).Connect(login)
	raw.Await(t, "online")
}
