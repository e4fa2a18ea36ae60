package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

func identityConflict(t *testing.T, n *apptest.Node) map[string]any {
	t.Helper()
	c, _ := n.Must(t, "GET", "/api/v1/nodes/"+n.ID, nil)["identity_conflict"].(map[string]any)
	return c
}

func TestTwoAgentsWithOneProfileAreToldAndTellTheirUsers(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "mesh"), "twin", "wfmtwin0")
	first := n.StartAgent(t)
	twin := t.TempDir()
	if err := os.CopyFS(filepath.Join(twin, "profiles"), os.DirFS(filepath.Dir(n.ProfileFile()))); err != nil {
		t.Fatal(err)
	}
	second := apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", twin)
	first.Expect(t, "another machine uses this node's identity")
	second.Expect(t, "another machine uses this node's identity")
	apptest.Eventually(t, func() bool { return identityConflict(t, n) != nil }, func() string { return "the conflict is never told:\n" + a.Output() })
	a.Expect(t, "two machines use the identity of one node")
	if status := a.Must(t, "GET", "/api/v1/system/status", nil); fmt.Sprint(status["summary"].(map[string]any)["identity_conflicts"]) != "1" {
		t.Errorf("the status counts %v", status["summary"])
	}
	if page := a.Call(t, "GET", "/metrics", nil).Body; !strings.Contains(page, "wfm_identity_conflicts 1") {
		t.Error("no metric tells")
	}
	for _, p := range []*apptest.Process{first, second} {
		if n := strings.Count(p.Output(), "another machine uses"); n != 1 {
			t.Errorf("an agent says it %d times", n)
		}
	}
	n.Bind(t) // for the first agent; the second is a stranger from now on
	if c := identityConflict(t, n); c != nil {
		t.Errorf("after a bind: %v", c)
	}
	n.Await(t, "online")
}

func TestTwoRawClientsWithOneIdentityAreTold(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "mesh"), "raw", "wfmraw0")
	login := mqtttest.Login{ClientID: "wfm-" + n.ID, Username: n.ID, Password: n.Password, Keepalive: 60}
	port := map[bool]string{true: "127.0.0.1:0", false: "127.0.0.2:0"}
	connect := func(from string, version byte) *mqtttest.Client {
		local, err := net.ResolveTCPAddr("tcp", from)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := (&net.Dialer{LocalAddr: local}).DialContext(t.Context(), "tcp", net.JoinHostPort(a.MQTTHost, a.Port))
		if err != nil {
			t.Fatal(err)
		}
		c := mqtttest.Over(t, raw, version)
		if ack := c.Connect(login); ack.ReasonCode != 0 {
			t.Fatalf("CONNACK %d", ack.ReasonCode)
		}
		c.Ping() // the MQTT session is being served now
		return c
	}
	for range 12 { // one machine that comes back again and again
		connect("127.0.0.1:0", 4)
	}
	if c := identityConflict(t, n); c != nil {
		t.Fatalf("one address is told as two machines: %v", c)
	}
	var last *mqtttest.Client
	for i := range 5 {
		c := connect(port[i%2 == 0], byte(4+i%2))
		if last != nil && last.Version == 5 {
			if pk := last.Expect(packets.Disconnect); pk.ReasonCode != packets.ErrSessionTakenOver.Code {
				t.Errorf("DISCONNECT %#x", pk.ReasonCode)
			}
		} else if last != nil {
			_ = last.SetReadDeadline(time.Now().Add(apptest.Patience))
			if b, err := io.ReadAll(last); err != nil || len(b) != 0 {
				t.Errorf("an MQTT 3.1.1 client got %x, %v", b, err)
			}
		}
		last = c
	}
	apptest.Eventually(t, func() bool { return identityConflict(t, n) != nil }, func() string {
		return "the conflict is never told: " + a.Call(t, "GET", n.Path("endpoint/status"), nil).Body
	})
	got := fmt.Sprint(identityConflict(t, n)["addresses"])
	if len(strings.Fields(got)) != 2 || !strings.Contains(got, "127.0.0.1") || !strings.Contains(got, "127.0.0.2") {
		t.Errorf("addresses %s", got)
	}
}

func TestAgentSentToTheMQTTPortIsToldSo(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", t.TempDir(), "--server", "http://"+net.JoinHostPort(a.MQTTHost, a.Port), "--token",
		"x")
	if code == 0 || !strings.Contains(out, "This is the MQTT port") {
		t.Errorf("rc %d: %s", code, out)
	}
	apptest.Eventually(t, func() bool {
		services := a.Must(t, "GET", "/api/v1/system/status", nil)["services"].(map[string]any)
		last, _ := services["mqtt"].(map[string]any)["last_unserved"].(map[string]any)
		return strings.Contains(fmt.Sprint(last["reason"]), "HTTP on the MQTT port") && last["address"] == "127.0.0.1"
	}, func() string { return "the system status does not show it" })
}
