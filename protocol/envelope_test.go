package protocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// sentAt is given in another zone than UTC on purpose: the wire has UTC.
var sentAt = time.Date(2026, 4, 23, 14, 0, 0, 123, time.FixedZone("", 2*60*60))

func topicOf(kind protocol.Kind) protocol.Topic {
	return protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: kind}
}

// golden is one message of every kind as it must be on the wire, byte for byte: agents that are
// deployed read and write these names.
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
			`"config_version":1,"config_sha256":"e3b0c442","config_text":"# a \u003c b"}}`,
	},
	{
		"control", protocol.KindControl, "req_2",
		&protocol.Control{
			Action: protocol.ActionStart, TunnelProtocol: protocol.TunnelWireGuard,
			PreviousTunnelProtocol: protocol.TunnelAmneziaWG, InterfaceName: "wg0",
		},
		`{"type":"control","request_id":"req_2","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"start","tunnel_protocol":"wireguard","previous_tunnel_protocol":"amneziawg","interface_name":"wg0"}}`,
	},
	{
		"detect", protocol.KindDetect, "req_3",
		&protocol.Detect{TunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0"},
		`{"type":"detect","request_id":"req_3","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"tunnel_protocol":"wireguard","interface_name":"wg0"}}`,
	},
	{
		"info", protocol.KindInfo, "req_4",
		&protocol.Info{Action: protocol.ActionWGShow, TunnelProtocol: protocol.TunnelWireGuard, InterfaceName: "wg0"},
		`{"type":"info","request_id":"req_4","config_id":"cfg_a","node_id":"node_b","boot_id":"","session_id":"","sent_at":"2026-04-23T12:00:00Z",` +
			`"payload":{"action":"wg_show","tunnel_protocol":"wireguard","interface_name":"wg0"}}`,
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
				DesiredConf: &protocol.DesiredConf{Version: 7, SHA256: "e3b0c442", Content: "c"},
			},
			`{"profile":{"profile_id":"cfg_a-node_b","server_url":"","config_id":"cfg_a","config_name":"Mesh","node_id":"node_b",` +
				`"node_name":"Office","interface_name":"wg0","hostname":"h","platform":"linux","client_version":"1"},` +
				`"mqtt":{"host":"mqtt.example.org","port":8883,"tls":true,"username":"node_b","password":"p","client_id":"wfm-node_b","ca_cert":"pem",` +
				`"topics":{"subscribe":["wfm/cfg_a/node_b/config/push"],"publish":["wfm/cfg_a/node_b/config/push/ack"]}},` +
				`"desired_conf":{"version":7,"sha256":"e3b0c442","content":"c"}}`,
		},
		{
			"response without TLS and config",
			protocol.BindResponse{},
			`{"profile":{"profile_id":"","server_url":"","config_id":"","config_name":"","node_id":"","node_name":"","interface_name":"",` +
				`"hostname":"","platform":"","client_version":""},` +
				`"mqtt":{"host":"","port":0,"tls":false,"username":"","password":"","client_id":"","topics":{"subscribe":null,"publish":null}},` +
				`"desired_conf":null}`,
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

func TestDecodeTakesWhatIsAbsentFromTheTopic(t *testing.T) {
	tests := []struct {
		name string
		kind protocol.Kind
		data string
		want protocol.Envelope
	}{
		{
			"empty object", protocol.KindHeartbeat, `{}`,
			protocol.Envelope{},
		},
		{
			"space around it", protocol.KindHeartbeat, " \r\n\t{}\n",
			protocol.Envelope{},
		},
		{
			"ACK with its request id only", protocol.KindControlAck, `{"request_id":"r"}`,
			protocol.Envelope{RequestID: "r"},
		},
		{
			"no type", protocol.KindEvent, `{"config_id":"cfg_a","node_id":"node_b","boot_id":"b","session_id":"s","sent_at":"2026-04-23T12:00:00Z","payload":{"event":"x"}}`,
			protocol.Envelope{BootID: "b", SessionID: "s", SentAt: "2026-04-23T12:00:00Z", Payload: json.RawMessage(`{"event":"x"}`)},
		},
		{
			"no config_id", protocol.KindEvent, `{"type":"event","node_id":"node_b"}`,
			protocol.Envelope{},
		},
		{
			"no node_id", protocol.KindEvent, `{"type":"event","config_id":"cfg_a"}`,
			protocol.Envelope{},
		},
		{
			"no boot_id", protocol.KindEvent, `{"session_id":"s"}`,
			protocol.Envelope{SessionID: "s"},
		},
		{
			"every field null", protocol.KindEvent,
			`{"type":null,"request_id":null,"config_id":null,"node_id":null,"boot_id":null,"session_id":null,"sent_at":null,"payload":null}`,
			protocol.Envelope{},
		},
		{
			"every field empty", protocol.KindEvent,
			`{"type":"","request_id":"","config_id":"","node_id":"","boot_id":"","session_id":"","sent_at":"","payload":{}}`,
			protocol.Envelope{},
		},
		{
			"unknown fields", protocol.KindEvent, `{"trace":[1,{"a":null}],"v":2,"payload":{"event":"x"}}`,
			protocol.Envelope{Payload: json.RawMessage(`{"event":"x"}`)},
		},
		{
			"unreadable sent_at", protocol.KindEvent, `{"sent_at":"yesterday"}`,
			protocol.Envelope{SentAt: "yesterday"},
		},
		{
			"request id on an event", protocol.KindEvent, `{"request_id":"r"}`,
			protocol.Envelope{RequestID: "r"},
		},
		{
			"null payload on an ACK", protocol.KindInfoAck, `{"request_id":"r","payload": null }`,
			protocol.Envelope{RequestID: "r"},
		},
		{
			"longest ids", protocol.KindEvent,
			fmt.Sprintf(`{"request_id":%[1]q,"boot_id":%[1]q,"session_id":%[1]q,"sent_at":%[1]q}`, strings.Repeat("x", 128)),
			protocol.Envelope{
				RequestID: strings.Repeat("x", 128), BootID: strings.Repeat("x", 128),
				SessionID: strings.Repeat("x", 128), SentAt: strings.Repeat("x", 128),
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := protocol.Decode(topicOf(tt.kind), []byte(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Type, want.ConfigID, want.NodeID = tt.kind, "cfg_a", "node_b"
			if want.Payload == nil {
				want.Payload = json.RawMessage(`{}`)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestDecodeAcceptsTheLargestMessage(t *testing.T) {
	data := eventOfSize(protocol.MaxMessageSize)
	if _, err := protocol.Decode(topicOf(protocol.KindEvent), data); err != nil {
		t.Error(err)
	}
}

// eventOfSize is a well-formed event of exactly n bytes.
func eventOfSize(n int) []byte {
	const head, tail = `{"payload":{"output":"`, `"}}`
	return []byte(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

// marker is in the content of every message that is refused, and must be in no error.
const marker = "s3cret"

func TestDecodeRefuses(t *testing.T) {
	long := marker + strings.Repeat("x", 129-len(marker))
	tests := []struct {
		name string
		kind protocol.Kind
		data string
		want error
	}{
		{"another node_id", protocol.KindEvent, `{"node_id":"` + marker + `"}`, protocol.ErrMismatch},
		{"a longer node_id", protocol.KindEvent, `{"node_id":"node_b` + marker + `"}`, protocol.ErrMismatch},
		{"a node_id that is a prefix", protocol.KindEvent, `{"node_id":"node_","boot_id":"` + marker + `"}`, protocol.ErrMismatch},
		{"a node_id in upper case", protocol.KindEvent, `{"node_id":"NODE_B","boot_id":"` + marker + `"}`, protocol.ErrMismatch},
		{"another config_id", protocol.KindEvent, `{"config_id":"` + marker + `"}`, protocol.ErrMismatch},
		{"an unknown type", protocol.KindEvent, `{"type":"` + marker + `"}`, protocol.ErrMismatch},
		{"the type of another topic", protocol.KindEvent, `{"type":"heartbeat","boot_id":"` + marker + `"}`, protocol.ErrMismatch},
		{"the type of the command on its ACK topic", protocol.KindControlAck, `{"type":"control","request_id":"` + marker + `"}`, protocol.ErrMismatch},

		{"an ACK without request_id", protocol.KindPushAck, `{"boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"an ACK with an empty request_id", protocol.KindControlAck, `{"request_id":"","boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"an ACK with a null request_id", protocol.KindDetectAck, `{"request_id":null,"boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"a command without request_id", protocol.KindControl, `{"payload":{"action":"` + marker + `"}}`, protocol.ErrMalformed},

		{"nothing", protocol.KindEvent, ``, protocol.ErrMalformed},
		{"only space", protocol.KindEvent, " \n", protocol.ErrMalformed},
		{"null", protocol.KindEvent, `null`, protocol.ErrMalformed},
		{"null with space around it", protocol.KindEvent, " null\n", protocol.ErrMalformed},
		{"an array", protocol.KindEvent, `["` + marker + `"]`, protocol.ErrMalformed},
		{"an array of a message", protocol.KindEvent, `[{"boot_id":"` + marker + `"}]`, protocol.ErrMalformed},
		{"a string", protocol.KindEvent, `"` + marker + `"`, protocol.ErrMalformed},
		{"a number", protocol.KindEvent, `1`, protocol.ErrMalformed},
		{"plain text", protocol.KindEvent, marker, protocol.ErrMalformed},
		{"an object cut off", protocol.KindEvent, `{"boot_id":"` + marker, protocol.ErrMalformed},
		{"two objects", protocol.KindEvent, `{"boot_id":"` + marker + `"}{}`, protocol.ErrMalformed},
		{"a trailing comma", protocol.KindEvent, `{"boot_id":"` + marker + `",}`, protocol.ErrMalformed},
		{"a literal nobody knows", protocol.KindEvent, `{"boot_id":` + marker + `}`, protocol.ErrMalformed},
		{"a byte order mark", protocol.KindEvent, "\ufeff" + `{"boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"too deep", protocol.KindEvent, `{"` + marker + `":` + strings.Repeat("[", 20_000), protocol.ErrMalformed},

		{"a type that is a number", protocol.KindEvent, `{"type":1,"boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"a node_id that is a list", protocol.KindEvent, `{"node_id":["` + marker + `"]}`, protocol.ErrMalformed},
		{"a request_id that is a number", protocol.KindControlAck, `{"request_id":1,"boot_id":"` + marker + `"}`, protocol.ErrMalformed},
		{"a payload that is a string", protocol.KindEvent, `{"payload":"` + marker + `"}`, protocol.ErrMalformed},
		{"a payload that is a list", protocol.KindEvent, `{"payload":["` + marker + `"]}`, protocol.ErrMalformed},
		{"a payload that is true", protocol.KindEvent, `{"payload":true,"boot_id":"` + marker + `"}`, protocol.ErrMalformed},

		{"an overlong request_id", protocol.KindControlAck, `{"request_id":"` + long + `"}`, protocol.ErrMalformed},
		{"an overlong boot_id", protocol.KindEvent, `{"boot_id":"` + long + `"}`, protocol.ErrMalformed},
		{"an overlong session_id", protocol.KindEvent, `{"session_id":"` + long + `"}`, protocol.ErrMalformed},
		{"an overlong sent_at", protocol.KindEvent, `{"sent_at":"` + long + `"}`, protocol.ErrMalformed},
		{
			"an id that only its replacement characters make overlong", protocol.KindEvent,
			`{"boot_id":"` + marker + strings.Repeat("\xff", 100) + `"}`, protocol.ErrMalformed,
		},

		{"one byte too much", protocol.KindEvent, string(eventOfSize(protocol.MaxMessageSize + 1)), protocol.ErrTooLarge},
		{"too much that is no JSON", protocol.KindEvent, strings.Repeat(marker, protocol.MaxMessageSize), protocol.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := protocol.Decode(topicOf(tt.kind), []byte(tt.data))
			if !errors.Is(err, tt.want) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), marker) {
				t.Errorf("the error repeats the message: %v", err)
			}
		})
	}
}

func TestDecodePayloadSkipsAFieldOfTheWrongType(t *testing.T) {
	tests := []struct {
		name    string
		kind    protocol.Kind
		payload string
		want    any
	}{
		{
			"a number for a bool", protocol.KindHeartbeat, `{"client_online":1,"wg_online":true}`,
			&protocol.Heartbeat{WGOnline: new(true)},
		},
		{
			// An absent answer and "no" differ: an odd wg_online must not read as a stopped tunnel.
			"a string for a bool", protocol.KindHeartbeat, `{"client_online":true,"wg_online":"yes"}`,
			&protocol.Heartbeat{ClientOnline: new(true)},
		},
		{
			"null for a bool", protocol.KindHeartbeat, `{"client_online":null,"wg_online":false}`,
			&protocol.Heartbeat{WGOnline: new(false)},
		},
		{
			"a string for a number", protocol.KindPushAck, `{"config_version":"7","status":"applied","rolled_back":true}`,
			&protocol.Ack{Status: protocol.AckApplied, RolledBack: true},
		},
		{
			"a fraction for a number", protocol.KindPushAck, `{"status":"applied","config_version":7.5}`,
			&protocol.Ack{Status: protocol.AckApplied},
		},
		{
			"a number beyond an int", protocol.KindPushAck, `{"config_version":99999999999999999999,"status":"applied"}`,
			&protocol.Ack{Status: protocol.AckApplied},
		},
		{
			"several wrong fields", protocol.KindDetectAck,
			`{"status":"applied","message":{"text":"x"},"client_online":[],"wg_online":{},"platform":1,"client_version":"1.2.3"}`,
			&protocol.Ack{Status: protocol.AckApplied, ClientVersion: "1.2.3"},
		},
		{
			"a list for a map", protocol.KindInfoAck, `{"toolchain":["wg"],"status":"applied","capabilities":["dedupe"]}`,
			&protocol.Ack{Status: protocol.AckApplied, Capabilities: []string{"dedupe"}},
		},
		{
			"a map of something else", protocol.KindInfoAck, `{"toolchain":{"wg":{"version":1}},"status":"applied"}`,
			&protocol.Ack{Status: protocol.AckApplied},
		},
		{
			"a list of something else", protocol.KindInfoAck, `{"capabilities":["dedupe",1],"status":"applied"}`,
			&protocol.Ack{Status: protocol.AckApplied},
		},
		{
			"a number for the status", protocol.KindControlAck, `{"status":0,"action":"start"}`,
			&protocol.Ack{Action: protocol.ActionStart},
		},
		{
			"a name in another case", protocol.KindHeartbeat, `{"WG_Online":"yes","client_online":true}`,
			&protocol.Heartbeat{ClientOnline: new(true)},
		},
		{
			"the same field twice", protocol.KindHeartbeat, `{"wg_online":"yes","WG_ONLINE":true,"client_online":true}`,
			&protocol.Heartbeat{ClientOnline: new(true)},
		},
		{
			"an unknown field beside it", protocol.KindEvent, `{"level":3,"event":"offline","extra":{"a":[1]},"message":"m"}`,
			&protocol.Event{Event: protocol.EventOffline, Message: "m"},
		},
		{
			"unknown fields only", protocol.KindEvent, `{"extra":{"a":[1]}}`,
			&protocol.Event{},
		},
		{
			"no field", protocol.KindEvent, `{}`,
			&protocol.Event{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := protocol.Decode(topicOf(tt.kind), []byte(`{"request_id":"r","payload":`+tt.payload+`}`))
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(tt.want).Elem()).Interface()
			if err := e.DecodePayload(got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				gotJSON, _ := json.Marshal(got)
				wantJSON, _ := json.Marshal(tt.want)
				t.Errorf("got %s, want %s", gotJSON, wantJSON)
			}
		})
	}
}

func TestDecodePayloadRefusesWhatIsNoObject(t *testing.T) {
	for _, payload := range []string{``, `{`, `{"event":` + marker + `}`, `["` + marker + `"]`, `"` + marker + `"`} {
		t.Run(payload, func(t *testing.T) {
			e := protocol.Envelope{Type: protocol.KindEvent, Payload: json.RawMessage(payload)}
			var event protocol.Event
			err := e.DecodePayload(&event)
			if !errors.Is(err, protocol.ErrMalformed) {
				t.Fatalf("err = %v, want ErrMalformed", err)
			}
			if strings.Contains(err.Error(), marker) {
				t.Errorf("the error repeats the message: %v", err)
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

func FuzzDecode(f *testing.F) {
	for _, tt := range golden {
		f.Add(topicOf(tt.kind).String(), []byte(tt.wire))
	}
	for _, data := range []string{
		``, `null`, `{}`, `[]`, `{"payload":null}`, `{"request_id":"r","payload":{"a":"<\u0000\ud800"}}`,
		`{"node_id":"node_c"}`, `{"boot_id":"` + "\xff" + `"}`, `{"payload":{"wg_online":"yes"}}`,
		`{"sent_at":"2026-04-23T12:00:00.5+02:00","payload":{ "a" : 1 }}`,
	} {
		f.Add("wfm/cfg_a/node_b/event", []byte(data))
		f.Add("wfm/cfg_a/node_b/control/ack", []byte(data))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		topic, err := protocol.ParseTopic(name)
		if err != nil {
			return
		}
		first, err := protocol.Decode(topic, data)
		if err != nil {
			if !errors.Is(err, protocol.ErrMalformed) && !errors.Is(err, protocol.ErrMismatch) && !errors.Is(err, protocol.ErrTooLarge) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		if first.Type != topic.Kind || first.ConfigID != topic.ConfigID || first.NodeID != topic.NodeID {
			t.Fatalf("decoded on %q to %+v", name, first)
		}
		for _, payload := range []any{
			new(protocol.Push), new(protocol.Control), new(protocol.Info), new(protocol.Detect),
			new(protocol.Ack), new(protocol.Event), new(protocol.Heartbeat),
		} {
			if err := first.DecodePayload(payload); err != nil {
				t.Fatalf("decoded, but not its payload into %T: %v", payload, err)
			}
		}
		encoded, err := first.Encode()
		if err != nil {
			return // read leniently, written strictly
		}
		second, err := protocol.Decode(topic, encoded)
		if err != nil {
			t.Fatalf("encoded to what does not decode: %v\n%s", err, encoded)
		}
		again, err := second.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded, again) {
			t.Fatalf("encoded to\n%s\nand then to\n%s", encoded, again)
		}
		// Encoding may write the payload's bytes another way (space, escapes), not what they say.
		if a, b := canonical(t, first.Payload), canonical(t, second.Payload); a != b {
			t.Fatalf("payload %s became %s", a, b)
		}
		first.Payload, second.Payload = nil, nil
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v", first, second)
		}
	})
}

func canonical(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("payload is no JSON: %v", err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
