package protocol

import (
	"encoding/json"
	"fmt"
)

// MaxBindAnswer is the size limit of a whole HTTP answer to a bind, in bytes. Agents read no more.
const MaxBindAnswer = 1 << 20

// BindRequest is the body of POST /api/client/bind.
type BindRequest struct {
	Token         string   `json:"token"`
	Hostname      string   `json:"hostname"`
	Platform      string   `json:"platform"`
	ClientVersion string   `json:"client_version"`
	Capabilities  []string `json:"capabilities,omitempty"` // extension
	// Extension, with CapabilityNodeKey: the public key of the pair that the agent has made for the node,
	// in base64.
	PublicKey string `json:"public_key,omitempty"`
}

// BindResponse is the data of a successful bind.
type BindResponse struct {
	Profile BindProfile `json:"profile"`
	MQTT    BindMQTT    `json:"mqtt"`
	// DesiredConf is the initial tunnel config, or "" if there is none. It is always a string:
	// deployed agents fail the whole bind on any other type, after the token is spent. They write
	// the string over the config they have.
	DesiredConf string `json:"desired_conf"`
	// DesiredConfVersion and DesiredConfSHA256 (hex) describe DesiredConf. Both are zero if there
	// is none.
	DesiredConfVersion int    `json:"desired_conf_version"` // extension
	DesiredConfSHA256  string `json:"desired_conf_sha256"`  // extension
}

// UnmarshalJSON also reads the form that former appliances send, where desired_conf is null or an
// object of version, sha256 and content. A desired_conf of any other type counts as none: the token
// is already spent when the agent reads the answer, and the rest of the answer is still good.
func (r *BindResponse) UnmarshalJSON(data []byte) error {
	type plain BindResponse
	var in struct {
		plain
		DesiredConf json.RawMessage `json:"desired_conf"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read bind answer: %w", err)
	}
	*r = BindResponse(in.plain)
	if json.Unmarshal(in.DesiredConf, &r.DesiredConf) == nil {
		return nil
	}
	var object struct {
		Version int    `json:"version"`
		SHA256  string `json:"sha256"`
		Content string `json:"content"`
	}
	if json.Unmarshal(in.DesiredConf, &object) == nil {
		r.DesiredConf, r.DesiredConfVersion, r.DesiredConfSHA256 = object.Content, object.Version, object.SHA256
	}
	return nil
}

// BindProfile names the node to its agent. It never holds the tunnel protocol: every command
// carries it.
type BindProfile struct {
	ProfileID     string `json:"profile_id"`
	ServerURL     string `json:"server_url"`
	ConfigID      string `json:"config_id"`
	ConfigName    string `json:"config_name"`
	NodeID        string `json:"node_id"`
	NodeName      string `json:"node_name"`
	InterfaceName string `json:"interface_name"`
	Hostname      string `json:"hostname"`
	Platform      string `json:"platform"`
	ClientVersion string `json:"client_version"`
}

// BindMQTT says how the agent reaches the broker. The password appears here and nowhere else.
type BindMQTT struct {
	Host     string     `json:"host"`
	Port     int        `json:"port"`
	TLS      bool       `json:"tls"`
	Username string     `json:"username"`
	Password string     `json:"password"`
	ClientID string     `json:"client_id"`
	CACert   string     `json:"ca_cert"` // PEM, with TLS
	Topics   BindTopics `json:"topics"`
}

// BindTopics lists the topics that the credentials allow.
type BindTopics struct {
	Subscribe []string `json:"subscribe"`
	Publish   []string `json:"publish"`
}
