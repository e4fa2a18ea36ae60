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

// MaxMessageSize is the size limit of one message in either direction: 256 KiB, in bytes.
const MaxMessageSize = 256 << 10

// maxFieldLength is the limit, in bytes, for each short string of an envelope that a node chooses.
const maxFieldLength = 128

var (
	// ErrMalformed is returned for a message that is not a JSON object of the expected form.
	ErrMalformed = errors.New("malformed message")
	// ErrMismatch is returned for a message whose envelope contradicts its topic.
	ErrMismatch = errors.New("envelope contradicts its topic")
	// ErrTooLarge is returned for a message over MaxMessageSize.
	ErrTooLarge = errors.New("message too large")
)

// Envelope is the JSON object of every message, in both directions.
type Envelope struct {
	Type      Kind   `json:"type"`
	RequestID string `json:"request_id"`
	ConfigID  string `json:"config_id"`
	NodeID    string `json:"node_id"`
	// The agent chooses BootID and SessionID; both are empty in messages from the appliance.
	// Deployed agents change both on every connection, so a new BootID does not prove a reboot.
	BootID    string `json:"boot_id"`
	SessionID string `json:"session_id"`
	// SentAt is the time by the sender's own clock, RFC 3339. It orders the messages of one session
	// where the broker does not keep their order; nothing else depends on it.
	SentAt  string          `json:"sent_at"`
	Payload json.RawMessage `json:"payload"`
}

// Decode reads a message that arrived on topic. Absent fields are taken from the topic; unknown
// fields are ignored. Errors: [ErrTooLarge], [ErrMalformed] (not a JSON object, a field of the
// wrong type or length, an ACK or command without request_id), [ErrMismatch] (type, config_id or
// node_id differ from the topic's). No error text repeats the content of the message.
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
		return e, fmt.Errorf("config_id differs from the topic: %w", ErrMismatch)
	}
	if e.NodeID != "" && e.NodeID != topic.NodeID {
		return e, fmt.Errorf("node_id differs from the topic: %w", ErrMismatch)
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

// NewEnvelope builds a message for topic with the given payload. Its SentAt is now.
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

// Encode returns the message as JSON. It refuses, with [ErrMalformed] or [ErrTooLarge], any message
// that [Decode] or a deployed agent could not read: an unknown type, invalid ids, a request_id that
// is missing on a command or ACK or present elsewhere, an id that is too long or not UTF-8, a
// sent_at that is not an RFC 3339 time, a payload that is not an object.
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
		// json.Marshal would replace bytes that are not UTF-8, and the other end would read another
		// id.
		if len(f) > maxFieldLength || !utf8.ValidString(f) {
			return nil, fmt.Errorf("request_id, boot_id, session_id or sent_at is longer than %d bytes or not UTF-8: %w", maxFieldLength, ErrMalformed)
		}
	}
	if _, err := time.Parse(time.RFC3339, e.SentAt); err != nil {
		return nil, fmt.Errorf("sent_at is not an RFC 3339 time: %w", ErrMalformed)
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

// DecodePayload reads the payload into v, a pointer to a zero struct. It is lenient: a field of an
// unexpected type is skipped and keeps its zero value, so that one such field of a deployed agent
// does not cost the whole message. It returns [ErrMalformed] if the payload is not an object.
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
		// Unmarshal continued after the field, but it may have changed the field's value: a *bool
		// that meets a string is left pointing to false. So remove the field and start again.
		name, _, _ := strings.Cut(odd.Field, ".")
		if payload, err = withoutField(payload, name); err != nil {
			return fmt.Errorf("payload of %s: %w", e.Type, err)
		}
		reflect.ValueOf(v).Elem().SetZero()
	}
}

// withoutField returns object without the field name. Like encoding/json, it ignores the case of
// names. It returns an error if there is no such field.
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
		return nil, fmt.Errorf("invalid JSON: %w", ErrMalformed)
	}
	return rest, nil
}

// jsonProblem describes a JSON error without repeating any of the JSON text.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var odd *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("invalid JSON (at byte %d)", syntax.Offset)
	case errors.As(err, &odd) && odd.Field != "":
		return fmt.Sprintf("field %s has the wrong type", odd.Field)
	case errors.As(err, &odd):
		return "not a JSON object"
	default:
		return "invalid JSON"
	}
}
