package store

import (
	"fmt"
	"log/slog"
	"time"

	"wfm/protocol"
)

var bucketEvidence = []byte("evidence") // node id → Evidence

// Evidence holds everything known about whether a node is online: signals and when they came.
// Signals are only added; whether the node is online is computed from them, never stored.
type Evidence struct {
	NodeID string `json:"node_id"`
	// BootID and SessionID are those of the last message. Deployed agents change both with every
	// connection.
	BootID    string `json:"boot_id,omitempty"`
	SessionID string `json:"session_id,omitempty"`
	// SentAt is the newest time, by the node's own clock, at which the session said it sent a message.
	SentAt time.Time `json:"sent_at,omitzero"`
	// RetiredSessionID is the last session before the last bind or reset. Its messages that an
	// external broker delivers late say nothing about the agent bound now.
	RetiredSessionID string `json:"retired_session_id,omitempty"`

	// The newest signal of each sort, by the appliance's clock.
	HeartbeatAt time.Time `json:"heartbeat_at,omitzero"`
	DetectAckAt time.Time `json:"detect_ack_at,omitzero"`
	EventAt     time.Time `json:"event_at,omitzero"`
	WillAt      time.Time `json:"will_at,omitzero"`
	// WillUndecided is set if an external broker delivered a will that belongs either to the open
	// connection, which has sent nothing yet, or to an older one.
	WillUndecided bool      `json:"will_undecided,omitempty"`
	ReachableAt   time.Time `json:"reachable_at,omitzero"` // heartbeat, any ACK, any event but offline

	// LastEvent is the name of the last event, and LastEventMessage its message.
	LastEvent        string `json:"last_event,omitempty"`
	LastEventMessage string `json:"last_event_message,omitempty"`

	// The newest explicit offline signal: a will, an offline event, a reset, or that the node was
	// disabled or turned static.
	OfflineAt     time.Time `json:"offline_at,omitzero"`
	OfflineReason string    `json:"offline_reason,omitempty"`

	// ConnectionID names the node's open MQTT connection; 0 if there is none. It is a fence: the
	// end of an older connection says nothing about this one.
	ConnectionID uint64 `json:"connection_id,omitempty"`
	// LostConnectionID is the connection that was open when the appliance lost sight of an external
	// broker; 0 once its fate is known.
	LostConnectionID uint64 `json:"lost_connection_id,omitempty"`

	ConnectedAt    time.Time `json:"connected_at,omitzero"`
	DisconnectedAt time.Time `json:"disconnected_at,omitzero"`
	// DisconnectReason says, for people, why the last connection ended.
	DisconnectReason string `json:"disconnect_reason,omitempty"`

	// The newest detect, and the newest one that failed or was not answered in time.
	ProbeSentAt   time.Time `json:"probe_sent_at,omitzero"`
	ProbeFailedAt time.Time `json:"probe_failed_at,omitzero"`

	// TunnelRunning is the tunnel's state last reported, at TunnelAt; nil if it never was.
	TunnelRunning *bool     `json:"tunnel_running,omitempty"`
	TunnelAt      time.Time `json:"tunnel_at,omitzero"`
	// AgentWanted is the wanted state that the agent reported to hold; empty if it never did.
	AgentWanted protocol.WantedState `json:"agent_wanted,omitempty"`

	// IdentityConflict describes the last conflict of two machines over the node's identity; nil if
	// there was none.
	IdentityConflict *IdentityConflict `json:"identity_conflict,omitempty"`
}

// IdentityConflict says that two machines log in as one node and end each other's sessions.
type IdentityConflict struct {
	Since       time.Time `json:"since"`         // when it was detected
	TakenOverAt time.Time `json:"taken_over_at"` // the last takeover
	Addresses   []string  `json:"addresses"`     // of the sessions, the newest last
}

// stamps returns pointers to all times of the evidence.
func (e *Evidence) stamps() []*time.Time {
	all := []*time.Time{
		&e.HeartbeatAt, &e.DetectAckAt, &e.EventAt, &e.WillAt, &e.ReachableAt, &e.OfflineAt,
		&e.ConnectedAt, &e.DisconnectedAt, &e.ProbeSentAt, &e.ProbeFailedAt, &e.TunnelAt,
	}
	if c := e.IdentityConflict; c != nil {
		all = append(all, &c.Since, &c.TakenOverAt)
	}
	return all
}

// settleClock handles a clock that was set back while the appliance did not run: evidence from the
// future would outweigh all new evidence until that future comes. All evidence is moved back
// together, so that its order and distances stay, and its newest time is now.
func (tx *Tx) settleClock(log *slog.Logger) error {
	var newest time.Time
	var all []Evidence
	c := tx.cursor(bucketEvidence)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		e, err := tx.readEvidence(string(k))
		if err != nil {
			return err
		}
		all = append(all, e)
		for _, at := range e.stamps() {
			if at.After(newest) {
				newest = *at
			}
		}
	}
	ahead := newest.Sub(tx.now)
	if newest.IsZero() || ahead <= 0 {
		return nil
	}
	log.Warn("the clock was set back since the appliance last ran; the times of the nodes' signals are moved back with it", "by", ahead)
	for _, e := range all {
		for _, at := range e.stamps() {
			if !at.IsZero() {
				*at = at.Add(-ahead)
			}
		}
		if err := put(tx, bucketEvidence, e.NodeID, e); err != nil {
			return err
		}
	}
	return nil
}

// ConnectionOpen reports whether the broker has an open connection of the node.
func (e Evidence) ConnectionOpen() bool { return e.ConnectionID != 0 }

// Evidence returns the node's evidence; if there is none, the zero value with the node's id.
func (tx *Tx) Evidence(nodeID string) (Evidence, error) {
	if tx.recent == nil {
		return tx.readEvidence(nodeID)
	}
	e, _, err := recall(tx, recentEvidence, bucketEvidence, nodeID)
	e = e.clone()
	e.NodeID = nodeID
	return e, err
}

// readEvidence is like Evidence but does not keep the record in memory: for walks over all nodes.
func (tx *Tx) readEvidence(nodeID string) (Evidence, error) {
	e, _, err := get[Evidence](tx, bucketEvidence, nodeID)
	e.NodeID = nodeID
	if !tx.endedAt.IsZero() && e.mayBeConnected() {
		e.endWith(tx.endedAt)
	}
	return e, err
}

// UpdateEvidence changes the node's evidence. Error: [ErrNodeNotFound].
func (tx *Tx) UpdateEvidence(nodeID string, change func(*Evidence)) error {
	n, err := tx.node(nodeID)
	if err != nil {
		return err
	}
	e, err := tx.Evidence(nodeID)
	if err != nil {
		return err
	}
	change(&e)
	return tx.putEvidence(n, e)
}

func (tx *Tx) putEvidence(n Node, e Evidence) error {
	e.NodeID = n.ID
	tx.Emit(Change{Kind: ChangeEvidence, ConfigID: n.ConfigID, NodeID: n.ID})
	known := false
	if tx.recent != nil {
		_, known = tx.recent.evidence[n.ID]
	}
	if err := put(tx, bucketEvidence, n.ID, e); err != nil {
		return err
	}
	if known {
		tx.recent.evidence.add(n.ID, e.clone(), true)
	}
	return nil
}

// retiredSession returns the session id that must not be taken for that of the node's next agent.
func (tx *Tx) retiredSession(nodeID string) (string, error) {
	e, err := tx.Evidence(nodeID)
	if e.SessionID != "" {
		return e.SessionID, err
	}
	return e.RetiredSessionID, err
}

// ForgetConnections records that an external broker is out of sight: it is unknown which
// connections are open. That does not mean that they ended.
func (tx *Tx) ForgetConnections() error {
	return tx.eachEvidence(Evidence.ConnectionOpen, func(e *Evidence) {
		e.LostConnectionID, e.ConnectionID = e.ConnectionID, 0
	})
}

// EndLostConnections records that only the given nodes may still have a connection. It ends the
// connections that were open when the broker went out of sight, and those whose loss or end could
// not be stored.
func (tx *Tx) EndLostConnections(except map[string]bool) error {
	lost := func(e Evidence) bool { return e.mayBeConnected() && !except[e.NodeID] }
	return tx.eachEvidence(lost, func(e *Evidence) { e.end(tx.now, "ended while EMQX was out of sight") })
}

// CloseAllConnections records that all connections of the former run ended, now that the appliance
// has started. See [Options.OwnBroker].
func (tx *Tx) CloseAllConnections(start time.Time) error {
	return tx.eachEvidence(Evidence.mayBeConnected, func(e *Evidence) { e.endWith(start) })
}

// endWith ends the connection of the former run at the start, but not before its last signal.
func (e *Evidence) endWith(start time.Time) {
	for _, heard := range []time.Time{e.ReachableAt, e.ConnectedAt} {
		if heard.After(start) { // the clock was set back
			start = heard
		}
	}
	e.end(start, "the appliance was restarted")
}

func (e Evidence) mayBeConnected() bool { return e.ConnectionOpen() || e.LostConnectionID != 0 }

func (e *Evidence) end(now time.Time, reason string) {
	e.ConnectionID, e.LostConnectionID = 0, 0
	e.DisconnectedAt, e.DisconnectReason = now.UTC(), reason
}

// eachEvidence changes the evidence of all nodes that match.
func (tx *Tx) eachEvidence(matches func(Evidence) bool, change func(*Evidence)) error {
	var all []Evidence
	c := tx.cursor(bucketEvidence)
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		e, err := tx.readEvidence(string(k))
		if err != nil {
			return err
		}
		if matches(e) {
			all = append(all, e)
		}
	}
	for _, e := range all {
		n, err := tx.readNode(e.NodeID)
		if err != nil {
			return fmt.Errorf("evidence of %q: %w", e.NodeID, err)
		}
		change(&e)
		if err := tx.putEvidence(n, e); err != nil {
			return err
		}
	}
	return nil
}
