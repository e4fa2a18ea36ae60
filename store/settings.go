package store

var bucketSettings = []byte("settings") // name → JSON

const keyMQTTSettings = "mqtt"

// MQTTSettings are an operator's overrides of the broker address that agents get at bind. A nil
// field overrides nothing.
type MQTTSettings struct {
	Host *string `json:"host,omitempty"`
	Port *int    `json:"port,omitempty"`
	TLS  *bool   `json:"tls,omitempty"`
}

// MQTTSettings returns the overrides; the zero value if there are none.
func (tx *Tx) MQTTSettings() (MQTTSettings, error) {
	s, _, err := get[MQTTSettings](tx, bucketSettings, keyMQTTSettings)
	return s, err
}

// SetMQTTSettings replaces the overrides.
func (tx *Tx) SetMQTTSettings(s MQTTSettings) error {
	tx.Emit(Change{Kind: ChangeSettings})
	return put(tx, bucketSettings, keyMQTTSettings, s)
}
