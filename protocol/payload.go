package protocol

import (
	"encoding/json"
	"strings"
)

// AckStatus is payload.status of an ACK.
type AckStatus string

// The three results an ACK can carry. Deployed agents never send AckAccepted.
const (
	AckAccepted AckStatus = "accepted" // received or queued; another ACK follows
	AckApplied  AckStatus = "applied"  // done
	AckFailed   AckStatus = "failed"   // not done; message says why
)

// Valid reports whether s is one of the three statuses.
func (s AckStatus) Valid() bool { return s == AckAccepted || s == AckApplied || s == AckFailed }

// Action is what a command asks for.
type Action string

// The actions on the wire. ActionDetect has no wire field: the topic says it.
const (
	ActionStart    Action = "start"
	ActionStop     Action = "stop"
	ActionPush     Action = "push_config"
	ActionWGShow   Action = "wg_show"
	ActionDescribe Action = "describe" // extension
	ActionDetect   Action = "detect"
)

// Kind is the topic a command for a travels on, or "" for an unknown action.
func (a Action) Kind() Kind {
	switch a {
	case ActionStart, ActionStop:
		return KindControl
	case ActionPush:
		return KindPush
	case ActionWGShow, ActionDescribe:
		return KindInfo
	case ActionDetect:
		return KindDetect
	}
	return ""
}

// Tunnel protocols. AmneziaWG has two spellings that mean the same.
const (
	TunnelWireGuard  = "wireguard"
	TunnelAmneziaWG  = "amneziawg"
	TunnelAmneziaWG2 = "amneziawg_2" // the one on the wire
)

// WireTunnel is the tunnel protocol as the wire spells it: [TunnelAmneziaWG2] for both spellings of
// AmneziaWG, since older agents take any other for WireGuard and run the wrong tools, and
// [TunnelWireGuard] for none, since not every backend names one. Anything else stays as it is. Two
// protocols are the same when their wire spellings are.
func WireTunnel(tunnelProtocol string) string {
	switch tunnelProtocol {
	case "":
		return TunnelWireGuard
	case TunnelAmneziaWG:
		return TunnelAmneziaWG2
	}
	return tunnelProtocol
}

// ToolFamily is the prefix of the command line tools for a tunnel protocol: "wg" for WireGuard,
// "awg" for both spellings of AmneziaWG, "" for anything else.
func ToolFamily(tunnelProtocol string) string {
	switch tunnelProtocol {
	case TunnelWireGuard:
		return "wg"
	case TunnelAmneziaWG, TunnelAmneziaWG2:
		return "awg"
	}
	return ""
}

// AWGVersion is awg_version of a command, the version of AmneziaWG the tunnel is made for. The empty
// one is written as null.
type AWGVersion string

// MarshalJSON writes null for no version.
func (v AWGVersion) MarshalJSON() ([]byte, error) {
	if v == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(v))
}

// ValidAWGVersion reports whether v is a version of AmneziaWG the protocol knows.
func ValidAWGVersion(v string) bool { return v == "1.5" || v == "2.0" || v == "3.1" }

// ValidInterfaceName reports whether name can be a Linux network interface and is safe in a path
// and on a command line: 1 to 15 bytes of [A-Za-z0-9_=+.-], no leading dash, neither
// "." nor ".." nor a name that the system or the tools use for something else.
func ValidInterfaceName(name string) bool {
	switch name {
	case "", ".", "..", "lo", "all", "interfaces": // the last two are words of `wg show`
		return false
	}
	if len(name) > 15 || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		alnum := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		if !alnum && !strings.ContainsRune("_=+.-", rune(c)) {
			return false
		}
	}
	return true
}

// Push is the payload of config/push.
type Push struct {
	Action                 Action     `json:"action"`
	TunnelProtocol         string     `json:"tunnel_protocol"` // see [WireTunnel], as in all commands
	PreviousTunnelProtocol string     `json:"previous_tunnel_protocol"`
	InterfaceName          string     `json:"interface_name"`
	ConfigVersion          int        `json:"config_version"`
	ConfigSHA256           string     `json:"config_sha256"` // hex of ConfigText's hash
	ConfigText             string     `json:"config_text"`
	AWGVersion             AWGVersion `json:"awg_version"`
}

// Control is the payload of control. From other backends InterfaceName may be empty, here and in
// Info and Detect: then the profile's own is meant.
type Control struct {
	Action                 Action     `json:"action"`
	TunnelProtocol         string     `json:"tunnel_protocol"`
	PreviousTunnelProtocol string     `json:"previous_tunnel_protocol"`
	InterfaceName          string     `json:"interface_name"`
	AWGVersion             AWGVersion `json:"awg_version"`
	// Extension, for agents with CapabilityWantedState. Missing, the action says it.
	WantedState WantedState `json:"wanted_state,omitempty"`
}

// Info is the payload of info. An absent action means wg_show.
type Info struct {
	Action         Action     `json:"action,omitempty"`
	TunnelProtocol string     `json:"tunnel_protocol"`
	InterfaceName  string     `json:"interface_name"`
	AWGVersion     AWGVersion `json:"awg_version"`
}

// Detect is the payload of detect.
type Detect struct {
	TunnelProtocol string     `json:"tunnel_protocol"`
	InterfaceName  string     `json:"interface_name"`
	AWGVersion     AWGVersion `json:"awg_version"`
}

// Ack is the payload of every ACK: the union of the four kinds' fields, each omitted where the
// kind does not have it.
type Ack struct {
	Status  AckStatus `json:"status"`
	Action  Action    `json:"action,omitempty"`
	Message string    `json:"message"`

	// config/push/ack, detect/ack and info/ack for describe, extension: what is stored on the node.
	ConfigVersion int    `json:"config_version,omitempty"` // 0 also when the text was changed on the node
	ConfigSHA256  string `json:"config_sha256,omitempty"`
	// config/push/ack, and control/ack for start, extension: failed, and the node is as it was before.
	RolledBack bool `json:"rolled_back,omitempty"`

	// detect/ack.
	ClientOnline *bool `json:"client_online,omitempty"`
	// This node's interface only. Extension: also in control/ack of a start that failed, where the
	// tunnel may run as before.
	WGOnline *bool `json:"wg_online,omitempty"`
	// detect/ack, extension: the wanted state the agent holds.
	WantedState WantedState `json:"wanted_state,omitempty"`

	// detect/ack, and info/ack for describe.
	Platform      string            `json:"platform,omitempty"`
	ClientVersion string            `json:"client_version,omitempty"`
	Arch          string            `json:"arch,omitempty"`
	Toolchain     map[string]string `json:"toolchain,omitempty"` // tool → version, for those that exist
	Capabilities  []string          `json:"capabilities,omitempty"`
}

// Event names that mean something to the appliance, or that both sides write; any other is only recorded.
const (
	EventOffline       = "offline"
	EventCommandOutput = "command_output"
	// EventTunnelDown: a tunnel that is wanted running was found stopped.
	EventTunnelDown = "tunnel_down"
	// EventTunnelRestored: it runs again, or a change was taken back long after it was answered as failed.
	EventTunnelRestored = "tunnel_restored"
	// EventTunnelNotRestored: several attempts to start it have failed; the next ones follow at long intervals.
	EventTunnelNotRestored = "tunnel_not_restored"
)

// Event is the payload of event.
type Event struct {
	Level   string `json:"level"`
	Event   string `json:"event"`
	Message string `json:"message"`

	// Command output fields, with Event == EventCommandOutput.
	RequestID string `json:"request_id,omitempty"`
	Action    Action `json:"action,omitempty"`
	Stream    string `json:"stream,omitempty"` // stdout or stderr
	Output    string `json:"output,omitempty"`
}

// Heartbeat is the payload of heartbeat.
type Heartbeat struct {
	ClientOnline *bool `json:"client_online,omitempty"`
	WGOnline     *bool `json:"wg_online,omitempty"`

	// Extension: what the agent is, so that one that was replaced without a new bind is known.
	ClientVersion string   `json:"client_version,omitempty"`
	Capabilities  []string `json:"capabilities,omitempty"`
	// Extension: the wanted state the agent holds.
	WantedState WantedState `json:"wanted_state,omitempty"`
}

// Capabilities an agent can report at bind and in describe (extension).
const (
	// CapabilityDedupe: executes each request_id once and repeats its ACK, so a command whose
	// outcome is unknown may simply be sent again.
	CapabilityDedupe = "dedupe"
	// CapabilityDescribe: answers info with action describe.
	CapabilityDescribe = "describe"
	// CapabilityCommitConfirm: after a push to a running interface, or a start, proves that it
	// still reaches the server and otherwise takes the change back; says accepted in between. An
	// applied detect or describe without config_sha256 means that nothing is stored.
	CapabilityCommitConfirm = "commit_confirm"
	// CapabilityWantedState: keeps the wanted state it was told last, restores a tunnel that is to
	// run and does not, and reports the state it holds.
	CapabilityWantedState = "wanted_state"
)
