package wgconf

import "net/netip"

// Reach is how the node reaches the appliance's MQTT listener.
type Reach struct {
	Host      string       // as handed out at bind: a name, or an address
	Addresses []netip.Addr // what the name resolves to; may be empty
}

// Warning is what an operator should know before a config is pushed.
type Warning struct {
	Code    string
	Line    int // from 1; 0 when it is about the whole text
	Message string
	CutsOff bool // the node may lose the appliance: ask before pushing
}

// Warnings says what an operator should know before the config is pushed.
func (c Config) Warnings(_ Reach) []Warning { return nil }
