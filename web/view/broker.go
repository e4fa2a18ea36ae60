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

// Obstacle returns the reason why the node can be neither bound nor commanded; empty if it can.
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

// QuestionsStatus counts an EMQX's questions about MQTT access since the start.
type QuestionsStatus struct {
	// Allowed, Denied and Ignored count answers. Ignored ones are logins of users that are not
	// ours.
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	Ignored uint64 `json:"ignored"`
	// WrongKey counts questions with a key other than WFM_EMQX_AUTHZ_SHARED_KEY, which get no
	// answer.
	WrongKey uint64 `json:"wrong_key"`
	// LastAskedAt and LastAskedFrom are the time of the last question with the right key and the
	// address of its connection. LastDeniedAt is the time of the last denied question.
	LastAskedAt   *time.Time `json:"last_asked_at"`
	LastAskedFrom string     `json:"last_asked_from"`
	LastDeniedAt  *time.Time `json:"last_denied_at"`
}

// Broker is the interface of the MQTT broker for the server.
type Broker interface {
	// Status returns the broker's status without waiting.
	Status() BrokerStatus
}

// The states of a broker. An external one is away while it is neither connected nor disabled: as
// long as it has no error, it is connecting.
const (
	BrokerConnected  = "connected"
	BrokerConnecting = "connecting"
	BrokerError      = "error"
	BrokerDisabled   = "disabled"
)

// BrokerStatus describes the broker.
type BrokerStatus struct {
	Enabled         bool
	Connected       bool
	Status          string // one of the states below
	LastError       string
	LastConnectedAt time.Time
	Mode            string // embedded, external or disabled
	Sessions        int    // live MQTT sessions
	// Messages since the start: stored ones of nodes, published ones to nodes, refused ones of
	// nodes.
	MessagesIn, MessagesOut, MessagesRefused uint64
	// Unserved is the last client that could not connect, and the reason; nil if there was none.
	Unserved *UnservedClient
	// Accounts is the state of the nodes' accounts at an external broker; nil with the embedded
	// one.
	Accounts *AccountsStatus
	// Upstream describes the sessions for nodes' messages at an external broker; nil with the
	// embedded one.
	Upstream *UpstreamStatus
}

// Away reports whether the broker cannot be reached, so that the nodes' connections are unknown.
func (b BrokerStatus) Away() bool { return b.Status == BrokerError || b.Status == BrokerConnecting }

// UnservedClient is a client that was refused at its first packet, for instance because it does not
// trust the certificate.
type UnservedClient struct {
	At      time.Time `json:"at"`
	Address string    `json:"address"` // IPv6: its /64
	Reason  string    `json:"reason"`  // for people
}

// MQTT returns [refusal.ErrMQTTDisabled] if agents cannot be reached at all.
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
	// LastUnserved is absent if every client got beyond its first packet.
	LastUnserved *UnservedClient `json:"last_unserved,omitempty"`
	// Accounts is absent with the embedded broker.
	Accounts *AccountsStatus `json:"accounts,omitempty"`
	// Upstream is absent with the embedded broker.
	Upstream *UpstreamStatus `json:"upstream,omitempty"`
	// Questions is absent if no EMQX may ask for permissions.
	Questions *QuestionsStatus `json:"questions,omitempty"`
}

// MQTTService says how the MQTT broker is.
func (r *Reader) MQTTService() MQTTService {
	b := r.BrokerStatus()
	return MQTTService{b.Enabled, b.Connected, b.Status, b.LastError, wire.When(b.LastConnectedAt), b.Mode, b.Unserved, b.Accounts, b.Upstream, r.Questions()}
}
