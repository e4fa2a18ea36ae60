package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// statusAPI answers the calls that tell how nodes are and what happened with them.
type statusAPI struct {
	db     *store.DB
	reader *reader
}

func (a *statusAPI) statusRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/endpoint/runtime-snapshot", Access: wire.Session, Handle: a.runtimeSnapshot,
			Summary: "The state of each node of a mesh, a row each.",
			Data:    []snapshotRow{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/status", Access: wire.Session, Handle: a.endpointStatus,
			Summary: "All that is known of how a node is, and on what it rests.",
			Data:    endpointStatusView{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/events", Access: wire.Session, Handle: a.endpointEvents,
			Summary: "What happened with a node, newest first.",
			Data:    []store.JournalEntry{}, Paged: true,
		},
	}
}

// clientStateView is the agent's side of a node. It is empty while no agent is bound.
type clientStateView struct {
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
	// LastEvent is the name of the last event, and after a colon what it said.
	LastEvent string `json:"last_event"`
}

func (f facts) clientState() clientStateView {
	e := f.evidence
	v := clientStateView{
		ClientPresenceState: string(f.presence.State),
		BootID:              e.BootID, SessionID: e.SessionID,
		LastHeartbeatAt: wire.When(e.HeartbeatAt), LastDetectAckAt: wire.When(e.DetectAckAt), LastReachableAt: wire.When(e.ReachableAt),
		LastOfflineAt: wire.When(e.OfflineAt), LastWillAt: wire.When(e.WillAt), LastEventAt: wire.When(e.EventAt), LastEvent: e.LastEvent,
	}
	if v.LastEvent != "" && e.LastEventMessage != "" {
		v.LastEvent += ": " + e.LastEventMessage
	}
	if client := f.node.Client; client != nil {
		v.ClientInitialized = true
		v.ClientPlatform, v.ClientVersion, v.ClientHostname = client.Platform, client.Version, client.Hostname
		v.MQTTUsername, v.MQTTClientID = f.node.ID, protocol.ClientID(f.node.ID)
	}
	return v
}

// runtimeView is whether the node is reachable and its tunnel runs.
type runtimeView struct {
	Online            bool   `json:"online"`
	ConnectivityState string `json:"connectivity_state"`
	WGRunning         bool   `json:"wg_running"`
	WGRuntimeState    string `json:"wg_runtime_state"`
	// WantedState is what the operator wants of the tunnel, WGRuntimeState what was found.
	WantedState     protocol.WantedState `json:"wanted_state"`
	LastSeen        *time.Time           `json:"last_seen"`
	LastProbeSentAt *time.Time           `json:"last_probe_sent_at"`
	LastProbeAckAt  *time.Time           `json:"last_probe_ack_at"`
	// ConfigSyncState and LastControlChannelSeenAt say the same as sync_status and last_seen, under the
	// names that scripts of WG Free Mesh read.
	ConfigSyncState          store.SyncStatus `json:"config_sync_state"`
	LastControlChannelSeenAt *time.Time       `json:"last_control_channel_seen_at"`
	LastConnectivityReason   string           `json:"last_connectivity_reason"`
}

func (f facts) runtime(probing bool) runtimeView {
	e := f.evidence
	return runtimeView{
		Online: f.presence.State == presence.Online, ConnectivityState: f.connectivity(probing),
		WGRunning: f.presence.Tunnel == presence.TunnelRunning, WGRuntimeState: string(f.presence.Tunnel), WantedState: f.wanted,
		LastSeen: wire.When(e.ReachableAt), LastProbeSentAt: wire.When(e.ProbeSentAt), LastProbeAckAt: wire.When(e.DetectAckAt),
		LastConnectivityReason: f.presence.Reason, ConfigSyncState: f.sync(), LastControlChannelSeenAt: wire.When(e.ReachableAt),
	}
}

func (f facts) connectivity(probing bool) string {
	switch {
	case probing && f.presence.State != presence.Offline:
		return "probing"
	case f.presence.State == presence.Online:
		return "online"
	}
	return "offline"
}

// openProbes are the nodes that a detect was sent to and not answered yet; of one node, or of all
// when nodeID is empty.
func openProbes(tx *store.Tx, nodeID string) (map[string]bool, error) {
	open, err := tx.OpenCommands(nodeID)
	probing := make(map[string]bool)
	for _, c := range open {
		if c.Action == protocol.ActionDetect && c.State != store.CommandQueued {
			probing[c.NodeID] = true
		}
	}
	return probing, err
}

type mqttServiceView struct {
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

func (r *reader) mqttService() mqttServiceView {
	b := r.brokerStatus()
	return mqttServiceView{b.Enabled, b.Connected, b.Status, b.LastError, wire.When(b.LastConnectedAt), b.Mode, b.Unserved, b.Accounts, b.Upstream, r.questions()}
}

type configStateView struct {
	ConfigID       string  `json:"config_id"`
	Name           string  `json:"name"`
	Enabled        bool    `json:"enabled"`
	TunnelProtocol string  `json:"tunnel_protocol"`
	AWGVersion     *string `json:"awg_version"`
	syncRefs
	SyncStatus store.SyncStatus `json:"sync_status"`
	Status     store.SyncStatus `json:"status"` // the same, as sync-status names it
}

// evidenceView is what the presence state rests on.
type evidenceView struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
	// Why is one sentence: the reason, and the newest signal.
	Why            string `json:"why"`
	ConnectionOpen bool   `json:"connection_open"`
	store.Evidence
}

type endpointStatusView struct {
	Node        nodeView        `json:"node"`
	Runtime     runtimeView     `json:"runtime"`
	ClientState clientStateView `json:"client_state"`
	MQTTService mqttServiceView `json:"mqtt_service"`
	ConfigState configStateView `json:"config_state"`
	LastControl *logView        `json:"last_control"`
	Evidence    evidenceView    `json:"evidence"`
	// MQTTAccount is absent with the embedded broker.
	MQTTAccount *AccountState `json:"mqtt_account,omitempty"`
}

func (a *statusAPI) endpointStatus(c echo.Context) error {
	var v endpointStatusView
	if _, err := a.reader.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		v, err = a.reader.viewStatus(tx, f, a.reader.mqttService())
		return err
	}); err != nil {
		return err
	}
	return wire.Respond(c, v)
}

// viewStatus is all that is known of how the node is, for whom asks and for the event stream.
func (r *reader) viewStatus(tx *store.Tx, f facts, mqtt mqttServiceView) (endpointStatusView, error) {
	probing, err := openProbes(tx, f.node.ID)
	if err != nil {
		return endpointStatusView{}, err
	}
	v := endpointStatusView{
		Node: f.view(), Runtime: f.runtime(probing[f.node.ID]), ClientState: f.clientState(), MQTTService: mqtt,
		ConfigState: configStateView{f.config.ID, f.config.Name, f.config.Enabled, f.config.TunnelProtocol, orNull(f.config.AWGVersion), f.syncRefs(), f.sync(), f.sync()},
		Evidence:    evidenceView{string(f.presence.State), f.presence.Reason, f.why(tx.Now()), f.evidence.ConnectionOpen(), f.evidence},
		MQTTAccount: r.accountState(f.node.ID),
	}
	last, ok, err := tx.LastCommand(f.node.ID)
	if ok {
		log := viewLog(last)
		v.LastControl = &log
	}
	return v, err
}

type snapshotRow struct {
	NodeID              string `json:"node_id"`
	NodeName            string `json:"node_name"`
	NodeType            string `json:"node_type"`
	Enabled             bool   `json:"enabled"`
	ClientInitialized   bool   `json:"client_initialized"`
	ClientPresenceState string `json:"client_presence_state"`
	runtimeView
}

func (a *statusAPI) runtimeSnapshot(c echo.Context) error {
	rows := []snapshotRow{}
	if err := a.db.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, "", 0)
		if err != nil {
			return err
		}
		probing, err := openProbes(tx, "")
		if err != nil {
			return err
		}
		for _, n := range nodes {
			f, err := a.reader.facts(tx, cfg, n)
			if err != nil {
				return err
			}
			rows = append(rows, snapshotRow{
				n.ID, n.Name, string(n.Type), n.Enabled, n.Client != nil, string(f.presence.State), f.runtime(probing[n.ID]),
			})
		}
		return nil
	}); err != nil {
		return err
	}
	return wire.Respond(c, rows)
}

// endpointEvents is the node's journal, newest first.
func (a *statusAPI) endpointEvents(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var entries []store.JournalEntry
	if _, err := a.reader.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		entries, err = tx.Journal(f.node.ID, before, limit+1)
		return err
	}); err != nil {
		return err
	}
	entries, next := wire.Cut(entries, limit, func(e store.JournalEntry) string { return strconv.FormatUint(e.ID, 10) })
	return wire.RespondList(c, entries, next)
}
