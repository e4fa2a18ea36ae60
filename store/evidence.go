package store

import (
	"fmt"
	"log/slog"
	"time"

	"wfm/protocol"
)

var bucketEvidence = []byte("evidence") // node id → Evidence

// Evidence is all that is known about whether a node is online: signals and when they came. It is
// only ever added to; whether the node is online is computed from it, never stored.
type Evidence struct {
	NodeID string `json:"node_id"`
	// BootID and SessionID are of the last message. Deployed agents change both on every
	// connection.
	BootID    string `json:"boot_id,omitempty"`
	SessionID string `json:"session_id,omitempty"`
	// RetiredSessionID is the session that was heard last before the last bind or reset. What an
	// external broker still delivers of it says nothing about the agent that is bound now.
	RetiredSessionID string `json:"retired_session_id,omitempty"`

	// The newest signal of each sort, by the appliance's clock.
	HeartbeatAt time.Time `json:"heartbeat_at,omitzero"`
	DetectAckAt time.Time `json:"detect_ack_at,omitzero"`
	EventAt     time.Time `json:"event_at,omitzero"`
	WillAt      time.Time `json:"will_at,omitzero"`
	// WillUndecided is set while an external broker has delivered a will that is either of the open
	// connection, which has sent nothing yet, or of an older one.
	WillUndecided bool      `json:"will_undecided,omitempty"`
	ReachableAt   time.Time `json:"reachable_at,omitzero"` // heartbeat, any ACK, any event but offline

	// LastEvent is the name of the last event, and LastEventMessage what it said.
	LastEvent        string `json:"last_event,omitempty"`
	LastEventMessage string `json:"last_event_message,omitempty"`

	// The newest explicit offline signal: will, offline event, reset, disabled, turned static.
	OfflineAt     time.Time `json:"offline_at,omitzero"`
	OfflineReason string    `json:"offline_reason,omitempty"`

	// ConnectionID names the MQTT connection the broker has open now, 0 when there is none. It
	// fences: the end of an older connection says nothing about this one.
	ConnectionID uint64 `json:"connection_id,omitempty"`
	// LostConnectionID is the connection that was open when the broker went out of sight, 0 when
	// what became of it is known.
	LostConnectionID uint64 `json:"lost_connection_id,omitempty"`

	ConnectedAt    time.Time `json:"connected_at,omitzero"`
	DisconnectedAt time.Time `json:"disconnected_at,omitzero"`
	// DisconnectReason is, in words, why the last connection ended.
	DisconnectReason string `json:"disconnect_reason,omitempty"`

	// The newest detect, and the newest that failed or was not answered in time.
	ProbeSentAt   time.Time `json:"probe_sent_at,omitzero"`
	ProbeFailedAt time.Time `json:"probe_failed_at,omitzero"`

	// TunnelRunning is the tunnel's state as last reported at TunnelAt; nil when never.
	TunnelRunning *bool     `json:"tunnel_running,omitempty"`
	TunnelAt      time.Time `json:"tunnel_at,omitzero"`
	// AgentWanted is the wanted state that the agent said it holds; empty when it never did.
	AgentWanted protocol.WantedState `json:"agent_wanted,omitempty"`

	// IdentityConflict is the last time that two machines used the node's identity; nil when never.
	IdentityConflict *IdentityConflict `json:"identity_conflict,omitempty"`
}

// IdentityConflict is that two machines log in as one node and throw each other out.
type IdentityConflict struct {
	Since       time.Time `json:"since"`         // when it was noticed
	TakenOverAt time.Time `json:"taken_over_at"` // the last takeover
	Addresses   []string  `json:"addresses"`     // that the sessions came from, the newest last
}

// stamps are all its moments.
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

// settleClock is for a clock that was set back while the appliance did not run: evidence of the
// future would outweigh everything new until that future comes. All evidence is moved back together,
// so that its order and its distances stay, and its newest moment is now.
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
	log.Warn("the clock was set back since the appliance last ran; what is known of the nodes is moved back with it", "by", ahead)
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

// Evidence returns what is known of the node; the zero value with its id when nothing is.
func (tx *Tx) Evidence(nodeID string) (Evidence, error) {
	if tx.recent == nil {
		return tx.readEvidence(nodeID)
	}
	e, _, err := recall(tx, recentEvidence, bucketEvidence, nodeID)
	e = e.clone()
	e.NodeID = nodeID
	return e, err
}

// readEvidence is Evidence, but keeps nothing of what it read: for walks through a whole fleet.
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

// retiredSession is the session id that the node's next agent must not be taken for.
func (tx *Tx) retiredSession(nodeID string) (string, error) {
	e, err := tx.Evidence(nodeID)
	if e.SessionID != "" {
		return e.SessionID, err
	}
	return e.RetiredSessionID, err
}

// ForgetConnections records that nobody can tell any more which connections are open, which is not
// to say that they ended: an external broker is out of sight.
func (tx *Tx) ForgetConnections() error {
	return tx.eachEvidence(Evidence.ConnectionOpen, func(e *Evidence) {
		e.LostConnectionID, e.ConnectionID = e.ConnectionID, 0
	})
}

// EndLostConnections records that only the nodes given may have a connection: of those that were
// open when the broker went out of sight, and of any of which that, or the end, could not be stored.
func (tx *Tx) EndLostConnections(except map[string]bool) error {
	lost := func(e Evidence) bool { return e.mayBeConnected() && !except[e.NodeID] }
	return tx.eachEvidence(lost, func(e *Evidence) { e.end(tx.now, "ended while EMQX was out of sight") })
}

// CloseAllConnections records that no connection of the former run is open any more since the
// appliance was started. See [Options.OwnBroker].
func (tx *Tx) CloseAllConnections(start time.Time) error {
	return tx.eachEvidence(Evidence.mayBeConnected, func(e *Evidence) { e.endWith(start) })
}

// endWith ends the connection of the former run with the start, but not before what was heard over it.
func (e *Evidence) endWith(start time.Time) {
	for _, heard := range []time.Time{e.ReachableAt, e.ConnectedAt} {
		if heard.After(start) { // the clock was set back
			start = heard
		}
	}
	e.end(start, "the appliance was started anew")
}

func (e Evidence) mayBeConnected() bool { return e.ConnectionOpen() || e.LostConnectionID != 0 }

func (e *Evidence) end(now time.Time, reason string) {
	e.ConnectionID, e.LostConnectionID = 0, 0
	e.DisconnectedAt, e.DisconnectReason = now.UTC(), reason
}

// eachEvidence changes the evidence of the nodes that match.
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
