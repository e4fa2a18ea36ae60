package protocol_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// sentAt is in a zone other than UTC on purpose: the wire has UTC.
var sentAt = time.Date(2026, 4, 23, 14, 0, 0, 123, time.FixedZone("", 2*60*60))

func topicOf(kind protocol.Kind) protocol.Topic {
	return protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: kind}
}

// golden holds one message of every kind exactly as it must be on the wire. Deployed agents read
// and write these names.
var golden = []struct {
	name      string
	kind      protocol.Kind
	requestID string
	payload   any
	wire      string
}{
	{
		"push", protocol.KindPush, "req_1",
		&protocol.Push{
			Action: protocol.ActionPush, TunnelProtocol: protocol.TunnelAmneziaWG2,
			PreviousTunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0", ConfigVersion: 7,
			ConfigSHA256: "e3b0c442", ConfigText: "[Interface]\n", AWGVersion: "2.0",
		},
		`{"type":"config/push","request_id":"req_1","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"push_config","tunnel_protocol":"amneziawg_2","previous_tunnel_protocol":"wireguard","interface_name":"wg0",` +
			`"config_version":7,"config_sha256":"e3b0c442","config_text":"[Interface]\n","awg_version":"2.0"}}`,
	},
	{
		"push without an AmneziaWG version", protocol.KindPush, "req_1",
		&protocol.Push{
			Action: protocol.ActionPush, TunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0",
			ConfigVersion: 1, ConfigSHA256: "e3b0c442", ConfigText: "# a < b",
		},
		`{"type":"config/push","request_id":"req_1","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"push_config","tunnel_protocol":"wireguard","previous_tunnel_protocol":"","interface_name":"wg0",` +
			`"config_version":1,"config_sha256":"e3b0c442","config_text":"# a \u003c b","awg_version":null}}`,
	},
	{
		"control", protocol.KindControl, "req_2",
		&protocol.Control{
			Action: protocol.ActionStart, TunnelProtocol: protocol.TunnelWireGuard,
			PreviousTunnelProtocol: protocol.TunnelAmneziaWG2, InterfaceName: "wg0",
		},
		`{"type":"control","request_id":"req_2","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"start","tunnel_protocol":"wireguard","previous_tunnel_protocol":"amneziawg_2","interface_name":"wg0","awg_version":null}}`,
	},
	{
		"detect", protocol.KindDetect, "req_3",
		&protocol.Detect{TunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0"},
		`{"type":"detect","request_id":"req_3","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"tunnel_protocol":"wireguard","interface_name":"wg0","awg_version":null}}`,
	},
	{
		"info", protocol.KindInfo, "req_4",
		&protocol.Info{Action: protocol.ActionWGShow, TunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0"},
		`{"type":"info","request_id":"req_4","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"wg_show","tunnel_protocol":"wireguard","interface_name":"wg0","awg_version":null}}`,
	},
	{
		"push ACK", protocol.KindPushAck, "req_1",
		&protocol.Ack{
			Status: protocol.AckFailed, Message: "no such tool", ConfigVersion: 6,
			ConfigSHA256: "e3b0c442", RolledBack: true,
		},
		`{"type":"config/push/ack","request_id":"req_1","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"status":"failed","message":"no such tool","config_version":6,"config_sha256":"e3b0c442","rolled_back":true}}`,
	},
	{
		"control ACK", protocol.KindControlAck, "req_2",
		&protocol.Ack{Status: protocol.AckApplied, Action: protocol.ActionStart},
		`{"type":"control/ack","request_id":"req_2","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"status":"applied","action":"start","message":""}}`,
	},
	{
		"detect ACK", protocol.KindDetectAck, "req_3",
		&protocol.Ack{
			Status: protocol.AckApplied, ConfigSHA256: "e3b0c442", ClientOnline: new(true), WGOnline: new(false),
			Platform: "linux", ClientVersion: "1.2.3",
		},
		`{"type":"detect/ack","request_id":"req_3","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"status":"applied","message":"","config_sha256":"e3b0c442","client_online":true,"wg_online":false,` +
			`"platform":"linux","client_version":"1.2.3"}}`,
	},
	{
		"info ACK", protocol.KindInfoAck, "req_4",
		&protocol.Ack{
			Status: protocol.AckAccepted, Action: protocol.ActionDescribe, Platform: "linux",
			ClientVersion: "1.2.3", Arch: "arm64", Toolchain: map[string]string{"wg-quick": "1.0", "wg": "1.0"},
			Capabilities: []string{protocol.CapabilityDedupe, protocol.CapabilityDescribe},
		},
		`{"type":"info/ack","request_id":"req_4","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"status":"accepted","action":"describe","message":"","platform":"linux","client_version":"1.2.3","arch":"arm64",` +
			`"toolchain":{"wg":"1.0","wg-quick":"1.0"},"capabilities":["dedupe","describe"]}}`,
	},
	{
		"event", protocol.KindEvent, "",
		&protocol.Event{Level: "info", Event: protocol.EventOffline, Message: "gone"},
		`{"type":"event","request_id":"","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"level":"info","event":"offline","message":"gone"}}`,
	},
	{
		"event with command output", protocol.KindEvent, "",
		&protocol.Event{
			Level: "info", Event: protocol.EventCommandOutput, Message: "m", RequestID: "req_4",
			Action: protocol.ActionWGShow, Stream: "stdout", Output: "interface: wg0\n",
		},
		`{"type":"event","request_id":"","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"level":"info","event":"command_output","message":"m","request_id":"req_4","action":"wg_show","stream":"stdout","output":"interface: wg0\n"}}`,
	},
	{
		"heartbeat", protocol.KindHeartbeat, "",
		&protocol.Heartbeat{ClientOnline: new(true), WGOnline: new(false)},
		`{"type":"heartbeat","request_id":"","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"client_online":true,"wg_online":false}}`,
	},
}

func TestEveryKindIsEncodedAsDeployedAgentsReadIt(t *testing.T) {
	covered := make(map[protocol.Kind]bool)
	for _, tt := range golden {
		covered[tt.kind] = true
		t.Run(tt.name, func(t *testing.T) {
			e, err := protocol.NewEnvelope(topicOf(tt.kind), tt.requestID, tt.payload, sentAt)
			if err != nil {
				t.Fatal(err)
			}
			data, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != tt.wire {
				t.Errorf("got  %s\nwant %s", data, tt.wire)
			}
		})
	}
	for _, kind := range slices.Concat(protocol.CommandKinds(), protocol.UpstreamKinds()) {
		if !covered[kind] {
			t.Errorf("no golden message of kind %q", kind)
		}
	}
}

func TestEveryKindIsDecodedToWhatWasEncoded(t *testing.T) {
	for _, tt := range golden {
		t.Run(tt.name, func(t *testing.T) {
			e, err := protocol.Decode(topicOf(tt.kind), []byte(tt.wire))
			if err != nil {
				t.Fatal(err)
			}
			if e.Type != tt.kind || e.RequestID != tt.requestID || e.SentAt != "2026-04-23T12:00:00Z" {
				t.Errorf("got %+v", e)
			}
			got := reflect.New(reflect.TypeOf(tt.payload).Elem()).Interface()
			if err := e.DecodePayload(got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.payload) {
				t.Errorf("got %+v, want %+v", got, tt.payload)
			}
		})
	}
}

func TestBindIsEncodedAsDeployedAgentsReadIt(t *testing.T) {
	tests := []struct {
		name  string
		value any
		wire  string
	}{
		{
			"request",
			protocol.BindRequest{Token: "t", Hostname: "h", Platform: "linux", ClientVersion: "1"},
			`{"token":"t","hostname":"h","platform":"linux","client_version":"1"}`,
		},
		{
			"request with capabilities",
			protocol.BindRequest{Token: "t", Hostname: "h", Platform: "linux", ClientVersion: "1", Capabilities: []string{"dedupe"}},
			`{"token":"t","hostname":"h","platform":"linux","client_version":"1","capabilities":["dedupe"]}`,
		},
		{
			"response",
			protocol.BindResponse{
				Profile: protocol.BindProfile{
					ProfileID: "cfg_a-node_b", ConfigID: "cfg_a", ConfigName: "Mesh", NodeID: "node_b", NodeName: "Office",
					InterfaceName: "wg0", Hostname: "h", Platform: "linux", ClientVersion: "1",
				},
				MQTT: protocol.BindMQTT{
					Host: "mqtt.example.org", Port: 8883, TLS: true, Username: "node_b", Password: "p",
					ClientID: "wfm-node_b", CACert: "pem",
					Topics: protocol.BindTopics{Subscribe: downstreamOfNodeB[:1], Publish: upstreamOfNodeB[:1]},
				},
				DesiredConf: "c", DesiredConfVersion: 7, DesiredConfSHA256: "e3b0c442",
			},
			`{"profile":{"profile_id":"cfg_a-node_b","server_url":"","config_id":"cfg_a","config_name":"Mesh","node_id":"node_b",` +
				`"node_name":"Office","interface_name":"wg0","hostname":"h","platform":"linux","client_version":"1"},` +
				`"mqtt":{"host":"mqtt.example.org","port":8883,"tls":true,"username":"node_b","password":"p","client_id":"wfm-node_b","ca_cert":"pem",` +
				`"topics":{"subscribe":["wfm/cfg_a/node_b/config/push"],"publish":["wfm/cfg_a/node_b/config/push/ack"]}},` +
				`"desired_conf":"c","desired_conf_version":7,"desired_conf_sha256":"e3b0c442"}`,
		},
		{
			"response without TLS and config",
			protocol.BindResponse{},
			`{"profile":{"profile_id":"","server_url":"","config_id":"","config_name":"","node_id":"","node_name":"","interface_name":"",` +
				`"hostname":"","platform":"","client_version":""},` +
				`"mqtt":{"host":"","port":0,"tls":false,"username":"","password":"","client_id":"","ca_cert":"","topics":{"subscribe":null,"publish":null}},` +
				`"desired_conf":"","desired_conf_version":0,"desired_conf_sha256":""}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := json.Marshal(tt.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != tt.wire {
				t.Errorf("got  %s\nwant %s", data, tt.wire)
			}
		})
	}
}

func TestNewEnvelopeRefusesAPayloadThatIsNoJSON(t *testing.T) {
	if _, err := protocol.NewEnvelope(topicOf(protocol.KindEvent), "", make(chan int), sentAt); err == nil {
		t.Error("a channel became a payload")
	}
}

func TestEncodeRefusesWhatNobodyCouldRead(t *testing.T) {
	tests := []struct {
		name   string
		kind   protocol.Kind
		change func(*protocol.Envelope)
		want   error
	}{
		{"no type", "event", func(e *protocol.Envelope) { e.Type = "" }, protocol.ErrMalformed},
		{"an unknown type", "event", func(e *protocol.Envelope) { e.Type = "status" }, protocol.ErrMalformed},
		{"no config_id", "event", func(e *protocol.Envelope) { e.ConfigID = "" }, protocol.ErrMalformed},
		{"a config_id with levels", "event", func(e *protocol.Envelope) { e.ConfigID = "a/b" }, protocol.ErrMalformed},
		{"no node_id", "event", func(e *protocol.Envelope) { e.NodeID = "" }, protocol.ErrMalformed},
		{"a node_id in upper case", "event", func(e *protocol.Envelope) { e.NodeID = "NODE" }, protocol.ErrMalformed},
		{"no request_id on a command", "control", func(e *protocol.Envelope) { e.RequestID = "" }, protocol.ErrMalformed},
		{"no request_id on an ACK", "info/ack", func(e *protocol.Envelope) { e.RequestID = "" }, protocol.ErrMalformed},
		{"a request_id on an event", "event", func(e *protocol.Envelope) { e.RequestID = "r" }, protocol.ErrMalformed},
		{"a request_id on a heartbeat", "heartbeat", func(e *protocol.Envelope) { e.RequestID = "r" }, protocol.ErrMalformed},
		{"an overlong request_id", "control", func(e *protocol.Envelope) { e.RequestID = strings.Repeat("r", 129) }, protocol.ErrMalformed},
		{"an overlong boot_id", "event", func(e *protocol.Envelope) { e.BootID = strings.Repeat("b", 129) }, protocol.ErrMalformed},
		{"an overlong session_id", "event", func(e *protocol.Envelope) { e.SessionID = strings.Repeat("s", 129) }, protocol.ErrMalformed},
		{"a request_id that is no UTF-8", "control", func(e *protocol.Envelope) { e.RequestID = "r\xff" }, protocol.ErrMalformed},
		{"a boot_id that is no UTF-8", "event", func(e *protocol.Envelope) { e.BootID = "\xff" }, protocol.ErrMalformed},
		{"no sent_at", "event", func(e *protocol.Envelope) { e.SentAt = "" }, protocol.ErrMalformed},
		{"a sent_at without zone", "event", func(e *protocol.Envelope) { e.SentAt = "2026-04-23T12:00:00" }, protocol.ErrMalformed},
		{"a sent_at that is a number", "event", func(e *protocol.Envelope) { e.SentAt = "1776945600" }, protocol.ErrMalformed},
		{
			"an overlong sent_at", "event",
			func(e *protocol.Envelope) { e.SentAt = "2026-04-23T12:00:00." + strings.Repeat("0", 128) + "Z" },
			protocol.ErrMalformed,
		},
		{"no payload", "event", func(e *protocol.Envelope) { e.Payload = nil }, protocol.ErrMalformed},
		{"a null payload", "event", func(e *protocol.Envelope) { e.Payload = json.RawMessage(`null`) }, protocol.ErrMalformed},
		{"a payload that is a list", "event", func(e *protocol.Envelope) { e.Payload = json.RawMessage(`[]`) }, protocol.ErrMalformed},
		{"a payload cut off", "event", func(e *protocol.Envelope) { e.Payload = json.RawMessage(`{"a":`) }, protocol.ErrMalformed},
		{"a payload with something after it", "event", func(e *protocol.Envelope) { e.Payload = json.RawMessage(`{}{}`) }, protocol.ErrMalformed},
		{
			"a message of more than 256 KiB", "event",
			func(e *protocol.Envelope) {
				e.Payload = json.RawMessage(`{"output":"` + strings.Repeat("x", protocol.MaxMessageSize) + `"}`)
			},
			protocol.ErrTooLarge,
		},
		{
			"a message that only escaping makes too large", "event",
			func(e *protocol.Envelope) {
				e.Payload = json.RawMessage(`{"output":"` + strings.Repeat("<", protocol.MaxMessageSize/2) + `"}`)
			},
			protocol.ErrTooLarge,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requestID := ""
			if tt.kind.IsCommand() || tt.kind.IsAck() {
				requestID = "r"
			}
			e, err := protocol.NewEnvelope(topicOf(tt.kind), requestID, struct{}{}, sentAt)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Encode(); err != nil {
				t.Fatalf("refused before the change: %v", err)
			}
			tt.change(&e)
			data, err := e.Encode()
			if !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
			if data != nil {
				t.Error("bytes came with the error")
			}
		})
	}
}

func TestEncodeAcceptsTheLastValueOfEachBound(t *testing.T) {
	t.Parallel()
	e, err := protocol.NewEnvelope(topicOf("control"), strings.Repeat("r", 128), struct{}{}, sentAt)
	if err != nil {
		t.Fatal(err)
	}
	e.BootID, e.SessionID = strings.Repeat("b", 128), strings.Repeat("s", 128)
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	fill := protocol.MaxMessageSize - len(data) - len(`"x":""`)
	e.Payload = json.RawMessage(`{"x":"` + strings.Repeat("x", fill) + `"}`)
	if data, err = e.Encode(); err != nil || len(data) != protocol.MaxMessageSize {
		t.Errorf("%d bytes, err = %v, want the largest message", len(data), err)
	}
	if got, err := protocol.Decode(topicOf("control"), data); err != nil || got.RequestID != e.RequestID {
		t.Errorf("cannot decode an encoded message: %v", err)
	}
	e.Payload = json.RawMessage(`{"x":"` + strings.Repeat("x", fill+1) + `"}`)
	if _, err := e.Encode(); !errors.Is(err, protocol.ErrTooLarge) {
		t.Errorf("err = %v for one byte more", err)
	}
}
