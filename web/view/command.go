package view

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/ui"
	"wfm/web/wire"
)

// CommandStatus returns the coarse status of the command's state, for lists and scripts.
func CommandStatus(state store.CommandState) string {
	switch state {
	case store.CommandApplied:
		return "acked"
	case store.CommandFailed, store.CommandCancelled, store.CommandSuperseded, store.CommandExpired:
		return "failed"
	case store.CommandUnknown:
		return "timeout"
	case store.CommandQueued, store.CommandSent, store.CommandAccepted:
		return "pending"
	}
	return "pending"
}

// cmdSummary describes the command's state in one line.
func cmdSummary(c store.Command) string {
	words := map[store.CommandState]string{
		store.CommandQueued:     "waits to be sent",
		store.CommandSent:       "sent; the node has not answered yet",
		store.CommandAccepted:   "the node is working on it",
		store.CommandApplied:    "done",
		store.CommandFailed:     "the node could not do it",
		store.CommandExpired:    "never sent: the node was offline for too long",
		store.CommandSuperseded: "replaced by a newer command",
		store.CommandCancelled:  "cancelled",
		store.CommandUnknown:    "sent, but the node did not answer: the outcome is unknown",
	}
	what := ui.Action(c.Action)
	if v := tunnel.PushedVersion(c); v != 0 {
		what += fmt.Sprintf(" of version %d", v)
	}
	return what + ": " + words[c.State]
}

// CommandMessage returns the most specific sentence about the command: its outcome or the event it
// waits for, the node's message, or the summary.
func CommandMessage(c store.Command) string {
	if c.Detail != "" {
		return c.Detail
	}
	if c.Ack != nil && c.Ack.Message != "" {
		return c.Ack.Message
	}
	return cmdSummary(c)
}

// cmdDetail returns all sentences about the course of the command, one a line.
func cmdDetail(c store.Command) string {
	var lines []string
	add := func(text string) {
		if text != "" && !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, text) }) {
			lines = append(lines, text)
		}
	}
	add(c.Detail)
	if c.Ack != nil {
		add(c.Ack.Message)
		add(toolsOf(c))
	}
	for _, n := range c.Notes {
		add(n.Text)
	}
	return strings.Join(lines, "\n")
}

// toolsOf names the tools that the node reported in an answer to describe. It is empty for other
// commands.
func toolsOf(c store.Command) string {
	if c.Action != protocol.ActionDescribe || c.State != store.CommandApplied {
		return ""
	}
	tools := make([]string, 0, len(c.Ack.Toolchain))
	for _, name := range slices.Sorted(maps.Keys(c.Ack.Toolchain)) {
		tools = append(tools, strings.TrimSpace(name+" "+c.Ack.Toolchain[name]))
	}
	if len(tools) == 0 {
		return "tools: none was found"
	}
	return "tools: " + strings.Join(tools, ", ")
}

// PrintedBy says in one line what printed the output.
func PrintedBy(c store.Command, o store.Output) string { return ui.Action(c.Action) + ": " + o.Stream }

// Log is one row of a node's log.
type Log struct {
	ID            string             `json:"id"`
	RequestID     string             `json:"request_id"`
	ConfigID      string             `json:"config_id"`
	NodeID        string             `json:"node_id"`
	Action        protocol.Action    `json:"action"`
	Status        string             `json:"status"`
	State         store.CommandState `json:"state"`
	RequestedBy   string             `json:"requested_by"`
	Summary       string             `json:"summary"`
	Detail        string             `json:"detail"`
	ConfigVersion int                `json:"config_version"` // of a push; 0 for any other action
	RequestedAt   *time.Time         `json:"requested_at"`
	AckAt         *time.Time         `json:"ack_at"`
	CreatedAt     *time.Time         `json:"created_at"`
	UpdatedAt     *time.Time         `json:"updated_at"`
}

// LogOf is the row of a command.
func LogOf(c store.Command) Log {
	return Log{
		ID: c.RequestID, RequestID: c.RequestID, ConfigID: c.ConfigID, NodeID: c.NodeID, Action: c.Action,
		Status: CommandStatus(c.State), State: c.State, RequestedBy: c.RequestedBy,
		Summary: cmdSummary(c), Detail: cmdDetail(c), ConfigVersion: tunnel.PushedVersion(c),
		RequestedAt: wire.When(c.CreatedAt), AckAt: wire.When(c.AckAt), CreatedAt: wire.When(c.CreatedAt), UpdatedAt: wire.When(c.UpdatedAt),
	}
}

// Command is a command with its whole course.
type Command struct {
	Log
	Seq        uint64              `json:"seq"`
	Kind       protocol.Kind       `json:"kind"`
	Payload    json.RawMessage     `json:"payload"`
	Attempts   int                 `json:"attempts"`
	SentAt     *time.Time          `json:"sent_at"`
	ExpiresAt  *time.Time          `json:"expires_at"`
	DeadlineAt *time.Time          `json:"deadline_at"`
	Ack        *protocol.Ack       `json:"ack"`
	Notes      []store.CommandNote `json:"notes"`
	Output     []store.Output      `json:"output"`
}

// CommandOf returns the command with its output.
func CommandOf(c store.Command, output []store.Output) Command {
	notes := c.Notes
	if notes == nil {
		notes = []store.CommandNote{}
	}
	return Command{
		Log: LogOf(c), Seq: c.Seq, Kind: c.Kind, Payload: ShownPayload(c), Attempts: c.Attempts,
		SentAt: wire.When(c.SentAt), ExpiresAt: wire.When(c.ExpiresAt), DeadlineAt: wire.When(c.DeadlineAt),
		Ack: c.Ack, Notes: notes, Output: output,
	}
}

// ShownPayload returns the payload without the text of a config, which holds the node's private
// key. The hash beside the text identifies it.
func ShownPayload(c store.Command) json.RawMessage {
	if len(c.Payload) == 0 {
		return json.RawMessage("{}")
	}
	if c.Kind != protocol.KindPush {
		return c.Payload
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(c.Payload, &members); err != nil {
		return json.RawMessage("{}")
	}
	delete(members, "config_text")
	raw, err := json.Marshal(members)
	if err != nil {
		return json.RawMessage("{}")
	}
	return raw
}
