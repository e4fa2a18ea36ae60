package view

import (
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// ClientState describes the node's agent. It is empty if no agent is bound.
type ClientState struct {
	ClientInitialized   bool       `json:"client_initialized"`
	ClientPlatform      string     `json:"client_platform"`
	ClientVersion       string     `json:"client_version"`
	ClientHostname      string     `json:"client_hostname"`
	MQTTUsername        string     `json:"mqtt_username"`
	MQTTClientID        string     `json:"mqtt_client_id"`
	ClientPresenceState string     `json:"client_presence_state"`
	BootID              string     `json:"boot_id"`
	SessionID           string     `json:"session_id"`
	LastHeartbeatAt     *time.Time `json:"last_heartbeat_at"`
	LastDetectAckAt     *time.Time `json:"last_detect_ack_at"`
	LastReachableAt     *time.Time `json:"last_reachable_at"`
	LastOfflineAt       *time.Time `json:"last_offline_at"`
	LastWillAt          *time.Time `json:"last_will_at"`
	LastEventAt         *time.Time `json:"last_event_at"`
	// LastEvent is the name of the last event, a colon, and its message.
	LastEvent string `json:"last_event"`
}

// ClientState is the agent's side of the node.
func (f Facts) ClientState() ClientState {
	e := f.Evidence
	v := ClientState{
		ClientPresenceState: string(f.Presence.State),
		BootID:              e.BootID, SessionID: e.SessionID,
		LastHeartbeatAt: wire.When(e.HeartbeatAt), LastDetectAckAt: wire.When(e.DetectAckAt), LastReachableAt: wire.When(e.ReachableAt),
		LastOfflineAt: wire.When(e.OfflineAt), LastWillAt: wire.When(e.WillAt), LastEventAt: wire.When(e.EventAt), LastEvent: e.LastEvent,
	}
	if v.LastEvent != "" && e.LastEventMessage != "" {
		v.LastEvent += ": " + e.LastEventMessage
	}
	if client := f.Node.Client; client != nil {
		v.ClientInitialized = true
		v.ClientPlatform, v.ClientVersion, v.ClientHostname = client.Platform, client.Version, client.Hostname
		v.MQTTUsername, v.MQTTClientID = f.Node.ID, protocol.ClientID(f.Node.ID)
	}
	return v
}

// Runtime describes whether the node is reachable and its tunnel runs.
type Runtime struct {
	Online            bool   `json:"online"`
	ConnectivityState string `json:"connectivity_state"`
	WGRunning         bool   `json:"wg_running"`
	WGRuntimeState    string `json:"wg_runtime_state"`
	// WantedState is the operator's order for the tunnel, WGRuntimeState the tunnel's reported
	// state.
	WantedState     protocol.WantedState `json:"wanted_state"`
	LastSeen        *time.Time           `json:"last_seen"`
	LastProbeSentAt *time.Time           `json:"last_probe_sent_at"`
	LastProbeAckAt  *time.Time           `json:"last_probe_ack_at"`
	// ConfigSyncState and LastControlChannelSeenAt equal sync_status and last_seen, under the names
	// that scripts of WG Free Mesh read.
	ConfigSyncState          store.SyncStatus `json:"config_sync_state"`
	LastControlChannelSeenAt *time.Time       `json:"last_control_channel_seen_at"`
	LastConnectivityReason   string           `json:"last_connectivity_reason"`
}

// Runtime says whether the node is reachable and its tunnel runs. probing: a detect is on its way.
func (f Facts) Runtime(probing bool) Runtime {
	e := f.Evidence
	return Runtime{
		Online: f.Presence.State == presence.Online, ConnectivityState: f.connectivity(probing),
		WGRunning: f.Presence.Tunnel == presence.TunnelRunning, WGRuntimeState: string(f.Presence.Tunnel), WantedState: f.Wanted,
		LastSeen: wire.When(e.ReachableAt), LastProbeSentAt: wire.When(e.ProbeSentAt), LastProbeAckAt: wire.When(e.DetectAckAt),
		LastConnectivityReason: f.Presence.Reason, ConfigSyncState: f.Sync(), LastControlChannelSeenAt: wire.When(e.ReachableAt),
	}
}

func (f Facts) connectivity(probing bool) string {
	switch {
	case probing && f.Presence.State != presence.Offline:
		return "probing"
	case f.Presence.State == presence.Online:
		return "online"
	}
	return "offline"
}

// OpenProbes returns the nodes with an unanswered detect; only the given node, or all if nodeID is
// empty.
func OpenProbes(tx *store.Tx, nodeID string) (map[string]bool, error) {
	open, err := tx.OpenCommands(nodeID)
	probing := make(map[string]bool)
	for _, c := range open {
		if c.Action == protocol.ActionDetect && c.State != store.CommandQueued {
			probing[c.NodeID] = true
		}
	}
	return probing, err
}

// ConfigState is how far the node has the tunnel config that is desired.
type ConfigState struct {
	ConfigID       string  `json:"config_id"`
	Name           string  `json:"name"`
	Enabled        bool    `json:"enabled"`
	TunnelProtocol string  `json:"tunnel_protocol"`
	AWGVersion     *string `json:"awg_version"`
	SyncRefs
	SyncStatus store.SyncStatus `json:"sync_status"`
	Status     store.SyncStatus `json:"status"` // the same under the name in sync-status
}

// Evidence has the evidence for the presence state.
type Evidence struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
	// Why is a sentence with the reason and the newest signal.
	Why            string `json:"why"`
	ConnectionOpen bool   `json:"connection_open"`
	store.Evidence
}

// EndpointStatus is all that is known of how a node is.
type EndpointStatus struct {
	Node        Node        `json:"node"`
	Runtime     Runtime     `json:"runtime"`
	ClientState ClientState `json:"client_state"`
	MQTTService MQTTService `json:"mqtt_service"`
	ConfigState ConfigState `json:"config_state"`
	LastControl *Log        `json:"last_control"`
	Evidence    Evidence    `json:"evidence"`
	// MQTTAccount is absent with the embedded broker.
	MQTTAccount *AccountState `json:"mqtt_account,omitempty"`
}

// Status is all that is known of how the node is, for whom asks and for the event stream.
func (r *Reader) Status(tx *store.Tx, f Facts, mqtt MQTTService) (EndpointStatus, error) {
	probing, err := OpenProbes(tx, f.Node.ID)
	if err != nil {
		return EndpointStatus{}, err
	}
	v := EndpointStatus{
		Node: f.View(), Runtime: f.Runtime(probing[f.Node.ID]), ClientState: f.ClientState(), MQTTService: mqtt,
		ConfigState: ConfigState{
			f.Config.ID, f.Config.Name, f.Config.Enabled, f.Config.TunnelProtocol, orNull(f.Config.AWGVersion), f.SyncRefs(), f.Sync(),
			f.Sync(),
		},
		Evidence:    Evidence{string(f.Presence.State), f.Presence.Reason, f.why(tx.Now()), f.Evidence.ConnectionOpen(), f.Evidence},
		MQTTAccount: r.accountState(f.Node.ID),
	}
	last, ok, err := tx.LastCommand(f.Node.ID)
	if ok {
		log := LogOf(last)
		v.LastControl = &log
	}
	return v, err
}
