package view

import (
	"time"

	"wfm/internal/refusal"
	"wfm/store"
	"wfm/web/wire"
)

// AccountState is the state of a node's account in an external broker.
type AccountState struct {
	State    string     `json:"state"` // synced, pending, or none if the node may not log in
	Detail   string     `json:"detail"`
	SyncedAt *time.Time `json:"synced_at"`
}

// AccountsStatus is the state of all nodes' accounts in an external broker.
type AccountsStatus struct {
	Synced  int `json:"synced"`
	Pending int `json:"pending"`
	// LastError is the error of the last attempt, or "" if it succeeded.
	LastError        string     `json:"last_error"`
	LastReconciledAt *time.Time `json:"last_reconciled_at"`
}

// UpstreamStatus describes how the appliance receives the nodes' messages from an external broker.
type UpstreamStatus struct {
	// Sessions counts the sessions that receive messages now, of the SessionsMost that share them.
	Sessions     int `json:"sessions"`
	SessionsMost int `json:"sessions_most"`
	// Plain is true if the broker refuses shared subscriptions, so that one session receives all
	// messages.
	Plain bool `json:"plain"`
	// SessionsLost counts the sessions that the broker has dropped since the start, with messages
	// that nodes believe delivered. LastLostAt is the time of the last one noticed.
	SessionsLost uint64     `json:"sessions_lost"`
	LastLostAt   *time.Time `json:"last_lost_at"`
}

func (r *Reader) accountState(nodeID string) *AccountState {
	if r.Account == nil {
		return nil
	}
	state := r.Account(nodeID)
	return &state
}

// Obstacle says why the node can be neither bound nor commanded; empty when it can.
func (r *Reader) Obstacle(f Facts) string {
	err := r.MQTT()
	if !f.Node.Enabled || !f.Config.Enabled {
		err = store.ErrNodeDisabled
	}
	if err == nil {
		return ""
	}
	return wire.Translate(err).Message
}

// QuestionsStatus tells of the questions about MQTT access that an EMQX has asked since the start.
type QuestionsStatus struct {
	// Allowed, Denied and Ignored count answers; ignored are logins of users that are not ours.
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	Ignored uint64 `json:"ignored"`
	// WrongKey counts questions with another key than WFM_EMQX_AUTHZ_SHARED_KEY, which get no answer.
	WrongKey uint64 `json:"wrong_key"`
	// LastAskedAt and LastAskedFrom are of the last question with the right key; the address is that of the
	// connection. LastDeniedAt is of the last one that was denied.
	LastAskedAt   *time.Time `json:"last_asked_at"`
	LastAskedFrom string     `json:"last_asked_from"`
	LastDeniedAt  *time.Time `json:"last_denied_at"`
}

// Broker is what the server needs of the MQTT broker.
type Broker interface {
	// Status says how the broker is; it does not wait for anything.
	Status() BrokerStatus
}

// The states of a broker. An external one is away while it is neither connected nor disabled: without
// an error yet it is connecting.
const (
	BrokerConnected  = "connected"
	BrokerConnecting = "connecting"
	BrokerError      = "error"
	BrokerDisabled   = "disabled"
)

// BrokerStatus is how the broker is.
type BrokerStatus struct {
	Enabled         bool
	Connected       bool
	Status          string // one of the states below
	LastError       string
	LastConnectedAt time.Time
	Mode            string // embedded, external or disabled
	Sessions        int    // live MQTT sessions
	// Messages since the start: of nodes, and stored; to nodes; of nodes, and not stored.
	MessagesIn, MessagesOut, MessagesRefused uint64
	// Unserved is the newest client that could not connect, and why; nil when there was none.
	Unserved *UnservedClient
	// Accounts is how far an external broker knows the nodes' accounts; nil with the embedded one.
	Accounts *AccountsStatus
	// Upstream is how messages are taken from an external broker; nil with the embedded one.
	Upstream *UpstreamStatus
}

// Away reports whether the broker cannot be reached, so that nobody can tell which nodes are there.
func (b BrokerStatus) Away() bool { return b.Status == BrokerError || b.Status == BrokerConnecting }

// UnservedClient is a client that got no further than its first packet, as for a certificate that it
// does not trust.
type UnservedClient struct {
	At      time.Time `json:"at"`
	Address string    `json:"address"` // IPv6: its /64
	Reason  string    `json:"reason"`  // in words
}

// MQTT returns [refusal.ErrMQTTDisabled] while there is nothing to reach an agent with.
func (r *Reader) MQTT() error {
	if !r.MQTTEnabled || !r.Commanded {
		return refusal.ErrMQTTDisabled
	}
	return nil
}

// BrokerStatus says how the broker is.
func (r *Reader) BrokerStatus() BrokerStatus {
	if !r.MQTTEnabled || r.Broker == nil {
		return BrokerStatus{Status: BrokerDisabled, Mode: "disabled"}
	}
	return r.Broker.Status()
}

// MQTTService is how the MQTT broker is.
type MQTTService struct {
	Enabled         bool       `json:"enabled"`
	Connected       bool       `json:"connected"`
	Status          string     `json:"status"`
	LastError       string     `json:"last_error"`
	LastConnectedAt *time.Time `json:"last_connected_at"`
	Mode            string     `json:"mode"`
	// LastUnserved is absent while every client got beyond its first packet.
	LastUnserved *UnservedClient `json:"last_unserved,omitempty"`
	// Accounts is absent with the embedded broker.
	Accounts *AccountsStatus `json:"accounts,omitempty"`
	// Upstream is absent with the embedded broker.
	Upstream *UpstreamStatus `json:"upstream,omitempty"`
	// Questions is absent while no EMQX may ask what nodes may do.
	Questions *QuestionsStatus `json:"questions,omitempty"`
}

// MQTTService says how the MQTT broker is.
func (r *Reader) MQTTService() MQTTService {
	b := r.BrokerStatus()
	return MQTTService{b.Enabled, b.Connected, b.Status, b.LastError, wire.When(b.LastConnectedAt), b.Mode, b.Unserved, b.Accounts, b.Upstream, r.Questions()}
}
