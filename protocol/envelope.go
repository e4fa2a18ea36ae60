package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxMessageSize bounds one message in bytes, both ways: 256 KiB.
const MaxMessageSize = 256 << 10

// maxFieldLength bounds the short strings of an envelope that a node chooses.
const maxFieldLength = 128

var (
	// ErrMalformed is returned for a message that is no JSON object of the expected form.
	ErrMalformed = errors.New("malformed message")
	// ErrMismatch is returned for a message whose envelope contradicts its topic.
	ErrMismatch = errors.New("envelope contradicts its topic")
	// ErrTooLarge is returned for a message over MaxMessageSize.
	ErrTooLarge = errors.New("message too large")
)

// Envelope is the one JSON object that every message is, both ways.
type Envelope struct {
	Type      Kind   `json:"type"`
	RequestID string `json:"request_id"`
	ConfigID  string `json:"config_id"`
	NodeID    string `json:"node_id"`
	// BootID and SessionID are chosen by the agent and empty in messages from the appliance.
	// Deployed agents change both on every connection, so BootID proves no reboot.
	BootID    string `json:"boot_id"`
	SessionID string `json:"session_id"`
	// SentAt is the sender's own clock, RFC 3339. It is informative: no decision rests on it.
	SentAt  string          `json:"sent_at"`
	Payload json.RawMessage `json:"payload"`
}

// Decode reads a message that arrived on topic. Fields that are absent are taken from the topic;
// unknown ones are ignored. Errors: [ErrTooLarge], [ErrMalformed] (no JSON object, a field of the
// wrong type or length, an ACK or command without request_id), [ErrMismatch] (type, config_id or
// node_id differ from the topic's). No error text repeats the message's content.
func Decode(topic Topic, data []byte) (Envelope, error) {
	var e Envelope
	if len(data) > MaxMessageSize {
		return e, fmt.Errorf("%d bytes, at most %d: %w", len(data), MaxMessageSize, ErrTooLarge)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%s: %w", jsonProblem(err), ErrMalformed)
	}
	if bytes.TrimSpace(data)[0] != '{' { // null unmarshals into a struct without an error
		return e, fmt.Errorf("not a JSON object: %w", ErrMalformed)
	}
	if e.Type != "" && e.Type != topic.Kind {
		return e, fmt.Errorf("type is not %q: %w", topic.Kind, ErrMismatch)
	}
	if e.ConfigID != "" && e.ConfigID != topic.ConfigID {
		return e, fmt.Errorf("config_id is another one: %w", ErrMismatch)
	}
	if e.NodeID != "" && e.NodeID != topic.NodeID {
		return e, fmt.Errorf("node_id is another one: %w", ErrMismatch)
	}
	e.Type, e.ConfigID, e.NodeID = topic.Kind, topic.ConfigID, topic.NodeID
	if needsRequestID(e.Type) && e.RequestID == "" {
		return e, fmt.Errorf("request_id is missing: %w", ErrMalformed)
	}
	for _, f := range []string{e.RequestID, e.BootID, e.SessionID, e.SentAt} {
		if len(f) > maxFieldLength {
			return e, fmt.Errorf("request_id, boot_id, session_id or sent_at is longer than %d bytes: %w", maxFieldLength, ErrMalformed)
		}
	}
	trimmed := bytes.TrimSpace(e.Payload)
	if len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		trimmed = []byte("{}")
	}
	if trimmed[0] != '{' {
		return e, fmt.Errorf("payload is not an object: %w", ErrMalformed)
	}
	e.Payload = trimmed
	return e, nil
}

func needsRequestID(k Kind) bool { return k.IsCommand() || k.IsAck() }

// NewEnvelope builds a message for topic with payload, stamped with now.
func NewEnvelope(topic Topic, requestID string, payload any, now time.Time) (Envelope, error) {
	raw, err := json.Marshal(payload)
	if err != nil {
		return Envelope{}, fmt.Errorf("encode %s payload: %w", topic.Kind, err)
	}
	return Envelope{
		Type: topic.Kind, RequestID: requestID, ConfigID: topic.ConfigID, NodeID: topic.NodeID,
		SentAt: now.UTC().Format(time.RFC3339), Payload: raw,
	}, nil
}

// Encode writes the message. It refuses, with [ErrMalformed] or [ErrTooLarge], what [Decode] or a
// deployed agent could not read: an unknown type, invalid ids, a request_id that is missing on a
// command or ACK or present elsewhere, an id that is too long or no UTF-8, a sent_at that is no
// RFC 3339 time, a payload that is no object.
func (e Envelope) Encode() ([]byte, error) {
	switch {
	case !e.Type.IsCommand() && !e.Type.IsUpstream():
		return nil, fmt.Errorf("unknown type %q: %w", e.Type, ErrMalformed)
	case !ValidID(e.ConfigID) || !ValidID(e.NodeID):
		return nil, fmt.Errorf("invalid config_id or node_id: %w", ErrMalformed)
	case needsRequestID(e.Type) != (e.RequestID != ""):
		return nil, fmt.Errorf("request_id on a %s must be set on commands and ACKs only: %w", e.Type, ErrMalformed)
	}
	for _, f := range []string{e.RequestID, e.BootID, e.SessionID, e.SentAt} {
		// json.Marshal would replace what is no UTF-8, and the other end would read another id.
		if len(f) > maxFieldLength || !utf8.ValidString(f) {
			return nil, fmt.Errorf("request_id, boot_id, session_id or sent_at is longer than %d bytes or no UTF-8: %w", maxFieldLength, ErrMalformed)
		}
	}
	if _, err := time.Parse(time.RFC3339, e.SentAt); err != nil {
		return nil, fmt.Errorf("sent_at is no RFC 3339 time: %w", ErrMalformed)
	}
	if p := bytes.TrimSpace(e.Payload); len(p) == 0 || p[0] != '{' {
		return nil, fmt.Errorf("payload is not an object: %w", ErrMalformed)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type, ErrMalformed)
	}
	if len(data) > MaxMessageSize {
		return nil, fmt.Errorf("%s of %d bytes, at most %d: %w", e.Type, len(data), MaxMessageSize, ErrTooLarge)
	}
	return data, nil
}

// DecodePayload reads the payload into v, a pointer to a zero struct, leniently: a field of an
// unexpected type is skipped and keeps its zero value, so that one odd field of a deployed agent
// does not cost the whole message. A payload that is no object is [ErrMalformed].
func (e Envelope) DecodePayload(v any) error {
	payload := []byte(e.Payload)
	for {
		err := json.Unmarshal(payload, v)
		if err == nil {
			return nil
		}
		var odd *json.UnmarshalTypeError
		if !errors.As(err, &odd) || odd.Field == "" {
			return fmt.Errorf("payload of %s: %s: %w", e.Type, jsonProblem(err), ErrMalformed)
		}
		// Unmarshal went on after the odd field, but it may have touched it: a *bool that meets a
		// string is left pointing to false. So take the field out and start again.
		name, _, _ := strings.Cut(odd.Field, ".")
		if payload, err = withoutField(payload, name); err != nil {
			return fmt.Errorf("payload of %s: %w", e.Type, err)
		}
		reflect.ValueOf(v).Elem().SetZero()
	}
}

// withoutField takes the field name out of a JSON object, in whatever case it is written there,
// as encoding/json matches names. A field that is not there is an error.
func withoutField(object []byte, name string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", jsonProblem(err), ErrMalformed)
	}
	before := len(fields)
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, name) })
	if len(fields) == before {
		return nil, fmt.Errorf("field %s has the wrong type: %w", name, ErrMalformed)
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("no valid JSON: %w", ErrMalformed)
	}
	return rest, nil
}

// jsonProblem says what is wrong with a JSON text without repeating any of it.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var odd *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("no valid JSON (at byte %d)", syntax.Offset)
	case errors.As(err, &odd) && odd.Field != "":
		return fmt.Sprintf("field %s has the wrong type", odd.Field)
	case errors.As(err, &odd):
		return "not a JSON object"
	default:
		return "no valid JSON"
	}
}
