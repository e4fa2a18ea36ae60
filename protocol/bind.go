package protocol

// BindRequest is the body of POST /api/client/bind.
type BindRequest struct {
	Token         string   `json:"token"`
	Hostname      string   `json:"hostname"`
	Platform      string   `json:"platform"`
	ClientVersion string   `json:"client_version"`
	Capabilities  []string `json:"capabilities,omitempty"` // extension
}

// BindResponse is the data of a successful bind.
type BindResponse struct {
	Profile     BindProfile  `json:"profile"`
	MQTT        BindMQTT     `json:"mqtt"`
	DesiredConf *DesiredConf `json:"desired_conf"`
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

// BindMQTT is how the agent reaches the broker. Password is shown here and nowhere else.
type BindMQTT struct {
	Host     string     `json:"host"`
	Port     int        `json:"port"`
	TLS      bool       `json:"tls"`
	Username string     `json:"username"`
	Password string     `json:"password"`
	ClientID string     `json:"client_id"`
	CACert   string     `json:"ca_cert,omitempty"` // PEM, with TLS
	Topics   BindTopics `json:"topics"`
}

// BindTopics are the topics the credentials allow.
type BindTopics struct {
	Subscribe []string `json:"subscribe"`
	Publish   []string `json:"publish"`
}

// DesiredConf is the config a node should have, when there is one at bind.
type DesiredConf struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
	Content string `json:"content"`
}
