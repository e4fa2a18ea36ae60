package protocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"wfm/protocol"
)

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
			"no type", protocol.KindEvent, `{"config_id":"cfg_a","node_id":"node_b","boot_id":"b","session_id":"s","sent_at":"2026-04-23T12:00:00Z",` +
				`"payload":{"event":"x"}}`,
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

// eventOfSize returns a well-formed event of exactly n bytes.
func eventOfSize(n int) []byte {
	const head, tail = `{"payload":{"output":"`, `"}}`
	return []byte(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

// marker is part of the content of every refused message. No error may contain it.
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
		{"too much outside JSON", protocol.KindEvent, strings.Repeat(marker, protocol.MaxMessageSize), protocol.ErrTooLarge},
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
			// A missing answer differs from "no": a wg_online of the wrong type must not read as a
			// stopped tunnel.
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

func TestDecodeSaysWhatIsWrongWithTheJSON(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"type":1}`: "field type has the wrong type", `[1]`: "not a JSON object", `{"a"}`: "invalid JSON (at byte 5)",
	} {
		if _, err := protocol.Decode(topicOf(protocol.KindEvent), []byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
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
			t.Fatalf("cannot decode the encoded message: %v\n%s", err, encoded)
		}
		again, err := second.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded, again) {
			t.Fatalf("encoded to\n%s\nand then to\n%s", encoded, again)
		}
		// Encoding may change the bytes of the payload (spaces, escapes) but not its meaning.
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
		t.Fatalf("payload is not JSON: %v", err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
