package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/goldentest"
	"wfm/internal/mqtttest"
)

// backend stands in for the backend of WG Free Mesh: it answers a bind, and sends commands over a
// broker that is not ours, byte for byte as the original does.
type backend struct {
	t    *testing.T
	url  string
	mqtt *mqtttest.Client
	ids  uint16
}

// startBackend starts a backend whose bind answer is modified by change.
func startBackend(t *testing.T, change func(data map[string]any)) *backend {
	t.Helper()
	port := apptest.FreePort(t)
	config := apptest.WriteFile(t, "mosquitto.conf", "listener "+port+" 127.0.0.1\nallow_anonymous true\nuser root\n")
	apptest.Spawn(t, nil, "mosquitto", "-c", config).Expect(t, "running")
	bind := goldentest.ReadBind(t)
	var answer map[string]any
	if err := json.Unmarshal(bind.Answer, &answer); err != nil {
		t.Fatal(err)
	}
	data := answer["data"].(map[string]any)
	data["mqtt"].(map[string]any)["port"] = json.Number(port)
	change(data)
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+bind.Path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, url: srv.URL, mqtt: mqtttest.Dial(t, addr, 5)}
	b.mqtt.Connect(mqtttest.Login{ClientID: "backend", Keepalive: 60})
	b.mqtt.Subscribe(1, "wfm/+/+/event", "wfm/+/+/heartbeat", "wfm/+/+/config/push/ack", "wfm/+/+/control/ack", "wfm/+/+/detect/ack", "wfm/+/+/info/ack")
	return b
}

// message is a message of the agent.
type message struct {
	Type      string         `json:"type"`
	RequestID string         `json:"request_id"`
	ConfigID  string         `json:"config_id"`
	NodeID    string         `json:"node_id"`
	BootID    string         `json:"boot_id"`
	SessionID string         `json:"session_id"`
	SentAt    string         `json:"sent_at"`
	Payload   map[string]any `json:"payload"`
	raw       []byte
}

// next returns the agent's next message.
func (b *backend) next() (m message) {
	b.t.Helper()
	pk := b.mqtt.Expect(packets.Publish)
	if pk.FixedHeader.Qos > 0 {
		b.mqtt.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
	}
	if err := json.Unmarshal(pk.Payload, &m); err != nil {
		b.t.Fatalf("%s: %v", pk.Payload, err)
	}
	if !strings.HasSuffix(pk.TopicName, "/"+m.Type) || m.ConfigID != goldentest.ConfigID || m.NodeID != goldentest.NodeID || m.BootID == "" ||
		m.SessionID == "" || m.SentAt == "" {
		b.t.Errorf("on %s came %s", pk.TopicName, pk.Payload)
	}
	m.raw = pk.Payload
	return m
}

// greeted waits for the heartbeat of an agent that has subscribed and whose tunnel does not run.
func (b *backend) greeted() {
	b.t.Helper()
	m := b.next()
	for m.Type != "heartbeat" {
		m = b.next()
	}
	if m.Payload["client_online"] != true || m.Payload["wg_online"] != false {
		b.t.Errorf("%s", m.raw)
	}
}

// give sends the command. It returns the final ACK and the events before it that name the command.
func (b *backend) give(m goldentest.Message) (ack message, output []message) {
	b.t.Helper()
	b.ids++
	b.mqtt.Publish(m.Topic, m.Payload, 1, b.ids)
	for {
		got := b.next()
		switch {
		case got.Type == "event" && got.Payload["request_id"] == m.RequestID:
			output = append(output, got)
		case got.RequestID == m.RequestID && got.Payload["status"] != "accepted":
			return got, output
		}
	}
}

// Bound to a backend of WG Free Mesh and given the same commands as that product's own client, our
// agent does the same with the real tools.
func TestOurAgentServesAtAWGFreeMeshBackend(t *testing.T) {
	t.Parallel()
	apptest.NeedRoot(t)
	apptest.Need(t, "mosquitto", "wg", "wg-quick", "wireguard-go", "ip")
	b := startBackend(t, func(map[string]any) {})
	dir := t.TempDir()
	if out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", dir, "--server", b.url, "--token", "tok"); code != 0 ||
		strings.Contains(out, "warning") {
		t.Fatalf("bind: %s", out)
	}
	stored, err := os.ReadFile(filepath.Join(dir, "tunnels", goldentest.Interface+".conf"))
	if err != nil || !bytes.Contains(stored, []byte("ListenPort = 51999")) {
		t.Fatalf("stored %q, %v", stored, err)
	}
	apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", dir).Expect(t, "msg=connected")
	t.Cleanup(func() { apptest.Run(t, "ip", "link", "del", goldentest.Interface) }) // if the test fails in between
	b.greeted()
	want := []struct{ what, status, word string }{
		{"detect", "applied", `"wg_online":false`},
		{"info wg_show", "failed", ""},
		{"control start", "applied", ""},
		{"control start", "applied", "already running"},
		{"detect", "applied", `"wg_online":true`},
		{"info wg_show", "applied", ""},
		{"config/push push_config", "applied", `"config_version":2`},
		{"config/push push_config", "failed", `"rolled_back":true`},
		{"control stop", "applied", ""},
		{"control stop", "applied", ""},
		{"control restart", "failed", `action \"restart\" is not known`},
		{"detect", "failed", `tunnel protocol \"bogus\" is not known`},
	}
	for _, m := range goldentest.Messages(t) {
		if m.FromNode {
			continue
		}
		what := m.Type
		if action, ok := m.Body["action"]; ok {
			what += fmt.Sprint(" ", action)
		}
		if len(want) == 0 || want[0].what != what {
			t.Fatalf("%s is not what is expected: %+v", what, want)
		}
		w := want[0]
		want = want[1:]
		ack, output := b.give(m)
		if ack.Type != m.Type+"/ack" || ack.Payload["status"] != w.status || !bytes.Contains(ack.raw, []byte(w.word)) || ack.Payload["message"] == "" &&
			w.status == "failed" {
			t.Errorf("%s: %s, want %s with %s", what, ack.raw, w.status, w.word)
		}
		if what == "info wg_show" && w.status == "applied" &&
			(len(output) != 1 || output[0].Payload["event"] != "command_output" || !strings.Contains(fmt.Sprint(output[0].Payload["output"]), "listening port: 51999")) {
			t.Errorf("output: %v", output)
		}
	}
	if len(want) != 0 {
		t.Errorf("never given: %+v", want)
	}
}

func TestABindAtABackendWithAnInterfaceNameThatLinuxRefusesStands(t *testing.T) {
	apptest.Need(t, "mosquitto")
	b := startBackend(t, func(data map[string]any) { data["profile"].(map[string]any)["interface_name"] = "mesh-main-node-a" })
	dir := t.TempDir()
	out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", dir, "--server", b.url, "--token", "tok")
	if code != 0 || !strings.Contains(out, `interface name "mesh-main-node-a" has 16 characters`) {
		t.Fatalf("%d %s", code, out)
	}
	apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", dir).Expect(t, "msg=connected")
	b.greeted()
	for _, m := range goldentest.Messages(t) {
		if m.FromNode || (m.Type != "detect" && m.Type != "control") {
			continue
		}
		ack, _ := b.give(m)
		if m.Type == "control" && (ack.Payload["status"] != "failed" || !bytes.Contains(ack.raw, []byte("has 16 characters"))) {
			t.Errorf("%s", ack.raw)
		}
		if m.Type == "control" {
			return
		}
		if ack.Payload["status"] != "applied" || ack.Payload["wg_online"] != false {
			t.Errorf("%s", ack.raw)
		}
	}
}
