package goldentest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The mesh and node of all messages and of the bind.
const (
	ConfigID  = "cfg_4f1d2a6b9c3e"
	NodeID    = "node_8a7b6c5d4e3f"
	Interface = "office-router"
)

//go:embed testdata/messages.tsv
var messages string

//go:embed testdata/bind.json
var bind []byte

// Message is a message seen on the broker.
type Message struct {
	FromNode bool
	Topic    string
	Payload  []byte
	// Type, RequestID and Body are the envelope's type, request_id and payload.
	Type      string
	RequestID string
	Body      map[string]any
}

// Messages returns all messages, in the order they were seen.
func Messages(t *testing.T) []Message {
	t.Helper()
	var all []Message
	for line := range strings.Lines(messages) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(fields) != 3 || (fields[0] != "from node" && fields[0] != "to node") {
			t.Fatalf("not a message: %.60q", line)
		}
		m := Message{FromNode: fields[0] == "from node", Topic: fields[1], Payload: []byte(fields[2])}
		var env struct {
			Type      string         `json:"type"`
			RequestID string         `json:"request_id"`
			Payload   map[string]any `json:"payload"`
		}
		if err := json.Unmarshal(m.Payload, &env); err != nil {
			t.Fatalf("%.60q: %v", line, err)
		}
		m.Type, m.RequestID, m.Body = env.Type, env.RequestID, env.Payload
		all = append(all, m)
	}
	if len(all) == 0 {
		t.Fatal("no messages")
	}
	return all
}

// Bind is an exchange over HTTP.
type Bind struct {
	Path    string
	Request json.RawMessage // the body that was posted
	Answer  json.RawMessage // the whole answer
}

// ReadBind returns the bind.
func ReadBind(t *testing.T) Bind {
	t.Helper()
	var file struct {
		Request []struct {
			Path string          `json:"path"`
			Body json.RawMessage `json:"body"`
		} `json:"request"`
		Answer json.RawMessage `json:"answer"`
	}
	if err := json.Unmarshal(bind, &file); err != nil || len(file.Request) != 1 {
		t.Fatalf("%d requests, %v", len(file.Request), err)
	}
	return Bind{Path: file.Request[0].Path, Request: file.Request[0].Body, Answer: file.Answer}
}

// Differs compares the JSON texts like a deployed reader would: every member of theirs must be in
// ours, at the same place and of the same type. Values may differ, and ours may have more members.
// It returns one line for each difference.
func Differs(ours, theirs []byte) []string {
	var a, b any
	if err := json.Unmarshal(ours, &a); err != nil {
		return []string{fmt.Sprintf("ours is not JSON: %v", err)}
	}
	if err := json.Unmarshal(theirs, &b); err != nil {
		return []string{fmt.Sprintf("theirs is not JSON: %v", err)}
	}
	return differs("", a, b)
}

func differs(at string, ours, theirs any) []string {
	if a, b := kind(ours), kind(theirs); a != b {
		return []string{fmt.Sprintf("%s is %s, theirs is %s", at, a, b)}
	}
	var wrong []string
	switch b := theirs.(type) {
	case map[string]any:
		a, _ := ours.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(b)) {
			value, ok := a[name]
			if !ok {
				wrong = append(wrong, fmt.Sprintf("%s/%s is missing", at, name))
				continue
			}
			wrong = append(wrong, differs(at+"/"+name, value, b[name])...)
		}
	case []any:
		a, _ := ours.([]any)
		if len(a) != len(b) {
			return []string{fmt.Sprintf("%s has %d elements, theirs has %d", at, len(a), len(b))}
		}
		for i := range b {
			wrong = append(wrong, differs(fmt.Sprintf("%s/%d", at, i), a[i], b[i])...)
		}
	}
	return wrong
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	}
	return "an object"
}
