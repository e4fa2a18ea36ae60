package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

// bindRaw binds a node as an older agent does, and returns what a raw client logs in with.
func bindRaw(t *testing.T, a *apptest.Appliance, configID, name string, capabilities ...string) (nodeID string, login mqtttest.Login) {
	t.Helper()
	nodes := "/api/v1/configs/" + configID + "/nodes"
	nodeID = a.Must(t, "POST", nodes, map[string]any{"name": name})["node_id"].(string)
	token := a.Must(t, "POST", nodes+"/"+nodeID+"/bind-command", nil)["token"]
	bound := a.Must(t, "POST", "/api/client/v1/bind", map[string]any{"token": token, "hostname": name, "platform": "linux", "client_version": "1", "capabilities": capabilities})
	mqtt := bound["mqtt"].(map[string]any)
	return nodeID, mqtttest.Login{
		ClientID: mqtt["client_id"].(string), Username: mqtt["username"].(string), Password: mqtt["password"].(string), Keepalive: 60,
		WillTopic: fmt.Sprintf("wfm/%s/%s/event", configID, nodeID), WillQos: 1,
		WillPayload: []byte(fmt.Sprintf(`{"type":"event","config_id":%q,"node_id":%q,"payload":{"level":"info","event":"offline","message":"gone"}}`, configID, nodeID)),
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

// online is how many nodes of the config are in the state.
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

func TestBrokenConnectionIsDroppedAfterTheGraceAndProbesComeWhileSomebodyWatches(t *testing.T) {
	a := apptest.Start(t, "", "WFM_PRESENCE_GRACE_SECONDS=1", "WFM_DETECT_INTERVAL_SECONDS=10")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	agent := n.StartAgent(t)
	next, leave := stream(t, a, "")
	next("event: control.log.created") // nobody asked for it
	if data := next("data: "); !strings.Contains(data, `"action":"detect"`) || !strings.Contains(data, `"requested_by":"system"`) {
		t.Errorf("while watched: %s", data)
	}
	leave()
	agent.Kill()
	n.Await(t, "offline") // by its last will

	id, login := bindRaw(t, a, n.ConfigID, "raw")
	login.WillTopic = "" // nothing says that it goes
	raw := &apptest.Node{Appliance: a, ConfigID: n.ConfigID, ID: id}
	c := mqtttest.Dial(t, mqttAddr(t, a), 5)
	c.Connect(login)
	raw.Await(t, "online")
	_ = c.Close()
	raw.Await(t, "dropped")
	mqtttest.Dial(t, mqttAddr(t, a), 4).Connect(login)
	raw.Await(t, "online")
}
