package store

var bucketSettings = []byte("settings") // name → JSON

const keyMQTTSettings = "mqtt"

// MQTTSettings are what an operator wants agents to be told at bind instead of what the appliance
// was started with. What is nil is not overridden.
type MQTTSettings struct {
	Host *string `json:"host,omitempty"`
	Port *int    `json:"port,omitempty"`
	TLS  *bool   `json:"tls,omitempty"`
}

// MQTTSettings returns the overrides; none when nothing was ever set.
func (tx *Tx) MQTTSettings() (MQTTSettings, error) {
	s, _, err := get[MQTTSettings](tx, bucketSettings, keyMQTTSettings)
	return s, err
}

// SetMQTTSettings replaces the overrides.
func (tx *Tx) SetMQTTSettings(s MQTTSettings) error {
	tx.Emit(Change{Kind: ChangeSettings})
	return put(tx, bucketSettings, keyMQTTSettings, s)
}
