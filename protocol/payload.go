package protocol

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// AckStatus is the payload.status of an ACK.
type AckStatus string

// The three results that an ACK can carry. Deployed agents never send AckAccepted.
const (
	AckAccepted AckStatus = "accepted" // received or queued; another ACK follows
	AckApplied  AckStatus = "applied"  // done
	AckFailed   AckStatus = "failed"   // not done; message gives the reason
)

// Valid reports whether s is one of the three statuses.
func (s AckStatus) Valid() bool { return s == AckAccepted || s == AckApplied || s == AckFailed }

// Tunnel protocols. AmneziaWG has two spellings with one meaning.
const (
	TunnelWireGuard  = "wireguard"
	TunnelAmneziaWG  = "amneziawg"
	TunnelAmneziaWG2 = "amneziawg_2" // the spelling on the wire
)

// WireTunnel returns the tunnel protocol as the wire spells it: [TunnelAmneziaWG2] for both
// spellings of AmneziaWG, since older agents take any other spelling for WireGuard and run the
// wrong tools; [TunnelWireGuard] for "", since not every backend names a protocol. Any other value
// is returned unchanged. Two protocols are the same if their wire spellings are.
func WireTunnel(tunnelProtocol string) string {
	switch tunnelProtocol {
	case "":
		return TunnelWireGuard
	case TunnelAmneziaWG:
		return TunnelAmneziaWG2
	}
	return tunnelProtocol
}

// ToolFamily returns the prefix of the command line tools for a tunnel protocol: "wg" for
// WireGuard, "awg" for both spellings of AmneziaWG, "" for anything else.
func ToolFamily(tunnelProtocol string) string {
	switch tunnelProtocol {
	case TunnelWireGuard:
		return "wg"
	case TunnelAmneziaWG, TunnelAmneziaWG2:
		return "awg"
	}
	return ""
}

// AWGVersion is the awg_version of a command: the version of AmneziaWG that the tunnel is made for.
// The empty version is written as null.
type AWGVersion string

// MarshalJSON writes null for no version.
func (v AWGVersion) MarshalJSON() ([]byte, error) {
	if v == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(v))
}

// ValidAWGVersion reports whether v is a version of AmneziaWG that the protocol knows.
func ValidAWGVersion(v string) bool { return v == "1.5" || v == "2.0" || v == "3.1" }

// ValidInterfaceName reports whether name can be a Linux network interface and is safe in a path
// and on a command line: 1 to 15 bytes of [A-Za-z0-9_=+.-], no leading dash, neither "." nor ".."
// nor a name that the system or the tools use for another purpose.
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

// ValidPublicKey reports whether s is a public key as wg(8) writes it: 32 bytes in base64, not all zeros.
func ValidPublicKey(s string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32 && len(s) == base64.StdEncoding.EncodedLen(32) && [32]byte(b) != [32]byte{}
}

// Push is the payload of config/push.
type Push struct {
	Action                 Action     `json:"action"`
	TunnelProtocol         string     `json:"tunnel_protocol"` // see [WireTunnel], as in all commands
	PreviousTunnelProtocol string     `json:"previous_tunnel_protocol"`
	InterfaceName          string     `json:"interface_name"`
	ConfigVersion          int        `json:"config_version"`
	ConfigSHA256           string     `json:"config_sha256"` // SHA-256 of ConfigText in hex
	ConfigText             string     `json:"config_text"`
	AWGVersion             AWGVersion `json:"awg_version"`
}

// Control is the payload of control. Other backends may leave InterfaceName empty, here and in Info
// and Detect: it then means the profile's own interface.
type Control struct {
	Action                 Action     `json:"action"`
	TunnelProtocol         string     `json:"tunnel_protocol"`
	PreviousTunnelProtocol string     `json:"previous_tunnel_protocol"`
	InterfaceName          string     `json:"interface_name"`
	AWGVersion             AWGVersion `json:"awg_version"`
	// Extension, for agents with CapabilityWantedState. If it is missing, the action implies it.
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

// Ack is the payload of every ACK: the union of the four kinds' fields. A field that the kind does
// not have is omitted.
type Ack struct {
	Status  AckStatus `json:"status"`
	Action  Action    `json:"action,omitempty"`
	Message string    `json:"message"`

	// Extension: the config stored on the node, in config/push/ack, detect/ack, and info/ack for
	// describe.
	ConfigVersion int    `json:"config_version,omitempty"` // also 0 if the text was changed on the node
	ConfigSHA256  string `json:"config_sha256,omitempty"`
	// Extension: the command failed and the node is as it was before. In config/push/ack, and in
	// control/ack for start.
	RolledBack bool `json:"rolled_back,omitempty"`

	// In detect/ack.
	ClientOnline *bool `json:"client_online,omitempty"`
	// WGOnline is about this node's interface only. In detect/ack; extension: also in control/ack
	// of a start that failed, where the tunnel may still run as before.
	WGOnline *bool `json:"wg_online,omitempty"`
	// Extension: the wanted state that the agent holds, in detect/ack.
	WantedState WantedState `json:"wanted_state,omitempty"`

	// In detect/ack, and in info/ack for describe.
	Platform      string            `json:"platform,omitempty"`
	ClientVersion string            `json:"client_version,omitempty"`
	Arch          string            `json:"arch,omitempty"`
	Toolchain     map[string]string `json:"toolchain,omitempty"` // version by tool, for the installed tools
	Capabilities  []string          `json:"capabilities,omitempty"`

	// Extension, in info/ack for describe and rotate_key: the agent's newest public key for the tunnel.
	PublicKey string `json:"public_key,omitempty"`
}

// Names of events that the appliance acts on, or that both sides write. Any other event is only
// recorded.
const (
	EventOffline       = "offline"
	EventCommandOutput = "command_output"
	// EventTunnelDown reports that a tunnel whose wanted state is running was found stopped.
	EventTunnelDown = "tunnel_down"
	// EventTunnelRestored reports that the tunnel runs again, or that a change was taken back long
	// after it was answered as failed.
	EventTunnelRestored = "tunnel_restored"
	// EventTunnelNotRestored reports that several attempts to start the tunnel have failed. Further
	// attempts follow at long intervals.
	EventTunnelNotRestored = "tunnel_not_restored"
)

// Event is the payload of event.
type Event struct {
	Level   string `json:"level"`
	Event   string `json:"event"`
	Message string `json:"message"`

	// Fields for the output of a command, with Event == EventCommandOutput.
	RequestID string `json:"request_id,omitempty"`
	Action    Action `json:"action,omitempty"`
	Stream    string `json:"stream,omitempty"` // stdout or stderr
	Output    string `json:"output,omitempty"`
}

// Heartbeat is the payload of heartbeat.
type Heartbeat struct {
	ClientOnline *bool `json:"client_online,omitempty"`
	WGOnline     *bool `json:"wg_online,omitempty"`

	// Extension: the agent's version and capabilities, so that the server notices an agent that was
	// replaced without a new bind.
	ClientVersion string   `json:"client_version,omitempty"`
	Capabilities  []string `json:"capabilities,omitempty"`
	// Extension: the wanted state that the agent holds.
	WantedState WantedState `json:"wanted_state,omitempty"`
	// Extension: the agent's newest public key for the tunnel, as in [Ack].
	PublicKey string `json:"public_key,omitempty"`
}
