package web

import (
	"wfm/protocol"
	"wfm/store"
)

// What many bodies and errors have in common.
const (
	configMembers = "description, enabled bool, tunnel_protocol, awg_version"
	nodeMembers   = "enabled bool, node_type, interface_name, client_platform, tags strings"
	mqttMembers   = "host, port 1..65535, tls bool"
	controlling   = "NODE_DISABLED CLIENT_BIND_STATIC_NODE CLIENT_NOT_INITIALIZED MQTT_DISABLED MQTT_CONTROL_UNAVAILABLE"
	binding       = "RATE_LIMITED CLIENT_BIND_TOKEN_INVALID CLIENT_BIND_TOKEN_EXPIRED CLIENT_BIND_TOKEN_USED " +
		"CLIENT_BIND_NOT_ALLOWED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY INTERFACE_NAME_UNUSABLE/409 BIND_ANSWER_TOO_LARGE"
	wishMembers = "note, force bool, base_version 0..2147483647"
	choosing    = "staged bool, staged_version 1..2147483647, version 1..2147483647, force bool" // the version that a push takes
	pushing     = "NO_STAGED_CONFIG STAGED_CONFIG_OUTDATED CONFIG_CONFLICT CONFIG_WOULD_CUT_OFF/409 INVALID_TUNNEL_CONFIG/422 CONFIG_VERSION_NOT_FOUND TOO_MANY_COMMANDS"
	wishing     = "CLIENT_BIND_STATIC_NODE INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409 CONFIG_CONFLICT"
	rolling     = "MQTT_DISABLED ROLLOUT_NOT_FOUND ROLLOUT_ENDED ROLLOUT_ACTIVE/409"
	bindMembers = "token!, hostname, platform, client_version, capabilities strings"
)

// descriptions has each route of the API, by method and path. A test holds it to the table of
// routes, and every answer of every other test to it.
var descriptions = map[string]description{
	"GET /api/openapi.json":       {summary: "This description.", bare: "application/json"},
	"GET /healthz":                {summary: "Whether the process answers.", bare: "text/plain"},
	"GET /readyz":                 {summary: "Whether the appliance can write its data and serve its agents; says why not.", bare: "text/plain"},
	"GET /metrics":                {summary: "Metrics in the text format of Prometheus.", bare: "text/plain"},
	"GET /api/v1/system/health":   {summary: "The process and its version.", data: healthView{}},
	"GET /api/v1/system/status":   {summary: "Counts of configs and nodes, and how the services are.", data: systemStatusView{}},
	"GET /api/v1/system/timezone": {summary: "The zone of every time that is answered.", data: timezoneView{}},
	"GET /api/v1/system/activity": {
		summary: "The last hour in samples: messages, commands, requests, connections. It is forgotten at a restart.", data: activityView{},
	},
	"GET /api/v1/system/backup": {
		summary: "A copy of the data file as it is now, with every secret in it. To restore it, stop the appliance and put it in the place of wfm.db.",
		bare:    "application/octet-stream", codes: "RATE_LIMITED",
	},
	"POST /api/v1/system/mqtt/reconcile": {
		summary: "Compares all accounts with those that an external EMQX has now, and repairs what differs.", data: AccountsStatus{},
		codes: "MQTT_DISABLED MQTT_EMBEDDED MQTT_CONTROL_UNAVAILABLE",
	},
	"GET /api/v1/system/certificates": {summary: "The TLS certificates, and how their renewal goes.", data: certificatesView{}},
	"POST /api/v1/system/certificates/renew": {
		summary: "Renews them now; with new_ca under a new root of the appliance's own CA.", body: "? new_ca bool", data: certificatesView{},
		codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY CERTIFICATE_RENEWAL_FAILED/502",
	},
	"GET /api/v1/system/ca.pem": {
		summary: "What a client needs to trust to reach what the appliance serves with TLS.", bare: "application/x-pem-file", codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY",
	},
	"GET /api/v1/events/stream": {
		summary: "Server-sent events: hints to read something anew. Last-Event-ID, or last_event_id, resumes.",
		query:   "last_event_id", bare: "text/event-stream", codes: "RATE_LIMITED",
	},

	"POST /api/client/bind":    {summary: "An agent spends its bind token for credentials, which are shown once.", body: bindMembers, data: protocol.BindResponse{}, codes: binding},
	"POST /api/client/v1/bind": {summary: "The same, where older agents look for it.", body: bindMembers, data: protocol.BindResponse{}, codes: binding},

	"GET /api/v1/auth/state": {summary: "Whether set-up is needed, and who asks.", data: authStateView{}},
	"POST /api/v1/auth/setup": {
		summary: "Makes the admin account with the token printed at the start.", body: "password!, setup_token!", data: startedSession{},
		codes: "AUTH_ALREADY_INITIALIZED INVALID_TOKEN RATE_LIMITED",
	},
	"POST /api/v1/auth/login": {
		summary: "Starts a session.", body: "username!, password!", data: startedSession{}, codes: "AUTH_SETUP_REQUIRED AUTH_FAILED RATE_LIMITED",
	},
	"POST /api/v1/auth/logout": {summary: "Ends the session that asks.", data: message{}},
	"GET /api/v1/auth/session": {summary: "Who asks.", data: authStateView{}},
	"POST /api/v1/auth/password": {
		summary: "Sets another password and ends every session; the answer is a new one. API tokens stay: they were never opened by the password.",
		body:    "current_password!, new_password!", data: startedSession{}, codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
	},
	"POST /api/v1/settings/password": {
		summary: "The same as POST /api/v1/auth/password.",
		body:    "current_password!, new_password!", data: startedSession{}, codes: "ADMIN_PASSWORD_INVALID PASSWORD_UNCHANGED RATE_LIMITED",
	},
	"GET /api/v1/auth/sessions":        {summary: "The sessions that are valid, newest first.", data: []sessionView{}},
	"DELETE /api/v1/auth/sessions":     {summary: "Ends all sessions but the one that asks.", data: endedSessions{}},
	"DELETE /api/v1/auth/sessions/:id": {summary: "Ends a session.", data: message{}, codes: "SESSION_NOT_FOUND"},
	"GET /api/v1/auth/tokens":          {summary: "The API tokens, by name, without their secrets.", data: []tokenView{}},
	"POST /api/v1/auth/tokens": {
		summary: "Makes an API token of scope read or write; its secret is shown this once. Without expires_in_days it does not expire.",
		body:    "name!, scope!, expires_in_days 1..3650", data: newTokenView{}, codes: "TOKEN_NAME_EXISTS TOO_MANY_TOKENS",
	},
	"DELETE /api/v1/auth/tokens/:id": {summary: "Ends an API token and its event streams.", data: message{}, codes: "TOKEN_NOT_FOUND"},

	"GET /api/v1/audit": {
		summary: "Who did what, newest first. Each entry's hash covers it and the hash before.",
		query:   "actor node_id config_id", data: []store.AuditEntry{}, paged: true,
	},
	"GET /api/v1/audit/export": {summary: "The whole audit log, oldest first, an entry a line, and a closing line with their number and the last hash; wfm audit verify checks it.", bare: "application/x-ndjson"},

	"GET /api/v1/configs":             {summary: "The configs, by name.", data: []countedConfigView{}, paged: true},
	"POST /api/v1/configs":            {summary: "Makes a config.", body: "name!, " + configMembers, data: configView{}, codes: "CONFIG_NAME_EXISTS"},
	"GET " + pathConfig:               {summary: "A config.", data: countedConfigView{}},
	"PUT " + pathConfig:               {summary: "Changes a config; what is absent stays.", body: "name, " + configMembers, data: configView{}, codes: "CONFIG_NAME_EXISTS"},
	"DELETE " + pathConfig:            {summary: "Deletes a config and its nodes.", data: deletedConfig{}},
	"GET " + pathConfig + "/overview": {summary: "A config, its nodes, and their number by state.", data: overviewView{}},
	"GET " + pathConfig + "/nodes":    {summary: "The nodes of a config, by name.", data: []nodeView{}, paged: true},
	"POST " + pathConfig + "/nodes":   {summary: "Makes a node.", body: "name!, " + nodeMembers, data: nodeView{}, codes: "NODE_NAME_EXISTS"},
	"POST " + pathConfig + "/nodes/bulk": {
		summary: "Makes up to 1,000 nodes, all or none; what is wrong with any of them is in detail.fields by its index.",
		body:    "nodes! objects", data: createdNodes{},
	},
	"POST " + pathConfig + "/bind-commands": {
		summary: "Bind commands for up to 1,000 nodes, all or none; without node_ids page by page for those that have no agent yet.",
		body:    "? node_ids strings, server_url", data: []nodeBindCommand{}, paged: true, codes: "NODE_DISABLED MQTT_DISABLED MQTT_TLS_CA_NOT_READY",
	},
	"GET " + pathConfig + "/tags":  {summary: "The tags of a config, by name, and how many nodes have each.", data: []store.Tag{}},
	"POST " + pathConfig + "/tags": {summary: "Keeps a tag, also while no node has it.", body: "name!", data: store.Tag{}, codes: "TOO_MANY_TAGS"},
	"POST " + pathConfig + "/tags/apply": {
		summary: "Gives nodes the tag beside those they have; the answer is those nodes.", body: "tag!, node_ids! strings", data: []nodeView{}, codes: "TOO_MANY_TAGS",
	},
	"DELETE " + pathConfig + "/tags/:tag":              {summary: "Takes a tag from a config and all its nodes.", data: deletedTag{}, codes: "TAG_NOT_FOUND"},
	"PUT /api/v1/nodes/:node_id/tags":                  {summary: "Replaces the tags of a node.", body: "tags! strings", data: nodeView{}},
	"DELETE /api/v1/nodes/:node_id/tags/:tag":          {summary: "Takes a tag from a node.", data: nodeView{}, codes: "TAG_NOT_FOUND"},
	"GET " + pathConfig + "/endpoint/runtime-snapshot": {summary: "How each node of a config is, a row a node.", data: []snapshotRow{}},
	"POST " + pathConfig + "/endpoint/probe-batch": {
		summary: "Asks nodes how they are; without node_ids every one that has an agent.", body: "? node_ids strings", data: probeBatchView{},
		codes: "MQTT_DISABLED MQTT_CONTROL_UNAVAILABLE",
	},

	"GET " + pathConfig + "/sync-status": {summary: "Whether each node of a config has the config that is desired.", data: []syncView{}},
	"POST " + pathConfig + "/sync-all": {
		summary: "Stages what is desired on every node of the config that has something else staged.", data: syncAllView{},
	},
	"POST " + pathConfig + "/endpoint/control-batch": {
		summary: "Begins a rollout: a command to the nodes named, or those with the tag, wave after wave. A push takes the version that is " +
			"desired at each node's turn, unless staged or version names another, and skips a node that has it already unless forced.",
		body: "action!, node_ids strings, tag, wave_size 1..256, max_failures 1..10000, " + choosing, data: rolloutDetail{}, paged: true,
		codes: controlling + " INVALID_ACTION NODE_NOT_FOUND NODE_CONFIG_MISMATCH NO_STAGED_CONFIG ROLLOUT_ACTIVE/409",
	},
	"GET " + pathConfig + "/rollouts":          {summary: "The rollouts of a config, newest first.", data: []rolloutView{}, paged: true},
	"GET /api/v1/rollouts/:rollout_id":         {summary: "A rollout, and page by page its nodes.", data: rolloutDetail{}, paged: true, codes: "ROLLOUT_NOT_FOUND"},
	"POST /api/v1/rollouts/:rollout_id/pause":  {summary: "Holds a rollout before its next wave.", data: rolloutDetail{}, paged: true, codes: rolling},
	"POST /api/v1/rollouts/:rollout_id/resume": {summary: "Lets a rollout go on.", data: rolloutDetail{}, paged: true, codes: rolling},
	"POST /api/v1/rollouts/:rollout_id/cancel": {summary: "Ends a rollout.", data: rolloutDetail{}, paged: true, codes: rolling},

	"GET " + pathNode + "/applied-conf": {summary: "The config that is desired, whose text only those see who may write.", data: appliedConfView{}},
	"PUT " + pathNode + "/applied-conf": {
		summary: "Saves another config as desired, and stages it unless stage is false; with push, pushes it too, or does nothing at all. " +
			"base_version is the one it was made from; force saves and pushes one that may cut the node off.",
		body: "content!, stage bool, push bool, " + wishMembers, data: savedView{}, codes: wishing + " " + controlling + " TOO_MANY_COMMANDS",
	},
	"GET " + pathNode + "/conf-history": {summary: "The versions of a node's config, newest first.", data: []confVersionView{}, paged: true},
	"GET " + pathNode + "/conf-history/:version": {
		summary: "A version, and how it differs from the one before or from against.", query: "against", data: confTextView{}, codes: "CONFIG_VERSION_NOT_FOUND VALIDATION_ERROR",
	},
	"POST " + pathNode + "/conf-history/:version/restore": {
		summary: "Saves a former version as a new one.", body: "? " + wishMembers, data: savedView{}, codes: wishing + " CONFIG_VERSION_NOT_FOUND",
	},
	"GET " + pathNode + "/sync-status": {summary: "Whether a node has the config that is desired.", data: syncView{}},
	"POST " + pathNode + "/sync":       {summary: "Stages what is desired, to be pushed.", body: "? force bool", data: stagedView{}, codes: "NO_DESIRED_CONFIG INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409"},

	"GET /api/v1/nodes/:node_id":    {summary: "A node.", data: nodeView{}},
	"PUT /api/v1/nodes/:node_id":    {summary: "Changes a node; what is absent stays.", body: "name, " + nodeMembers, data: nodeView{}, codes: "NODE_NAME_EXISTS TUNNEL_RUNNING"},
	"DELETE /api/v1/nodes/:node_id": {summary: "Deletes a node.", data: deletedNode{}},
	"GET " + pathNode:               {summary: "A node.", data: nodeView{}},
	"PUT " + pathNode:               {summary: "Changes a node; what is absent stays.", body: "name, " + nodeMembers, data: nodeView{}, codes: "NODE_NAME_EXISTS TUNNEL_RUNNING"},
	"DELETE " + pathNode:            {summary: "Deletes a node.", data: deletedNode{}},
	"POST " + pathNode + "/bind-command": {
		summary: "A command that binds an agent to the node, once and within five minutes.", body: "? server_url", data: bindCommandView{},
		codes: "NODE_DISABLED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY",
	},
	"POST " + pathNode + "/reset-client": {
		summary: "Takes the node's access away and ends its session.", data: resetView{}, codes: "CLIENT_BIND_STATIC_NODE",
	},
	"POST " + pathNode + "/endpoint/control": {
		summary: "Gives a command. queue lets it wait for a node that is away, wait holds the answer until its end, in seconds. A push is of staged_version and no other, if that is given.",
		body:    "action!, queue bool, wait 0..60, " + choosing, data: controlView{},
		codes: controlling + " INVALID_ACTION NODE_OFFLINE NO_CONFIRMED_CONFIG AGENT_CANNOT_DESCRIBE CONTROL_LOG_NOT_FOUND " + pushing,
	},
	"GET " + pathNode + "/endpoint/status":  {summary: "All that is known of how a node is, and on what it rests.", data: endpointStatusView{}},
	"GET " + pathNode + "/endpoint/logs":    {summary: "What happened with a node, newest first: its commands, and as action event what they printed and its events.", data: []logView{}, paged: true},
	"GET " + pathNode + "/endpoint/events":  {summary: "What happened with a node, newest first.", data: []store.JournalEntry{}, paged: true},
	"GET " + pathNode + "/endpoint/history": {summary: "When and why a node's presence changed, newest first, and in figures.", data: historyView{}, paged: true},

	"GET /api/v1/commands/:request_id": {summary: "A command's whole life.", data: commandView{}, codes: "CONTROL_LOG_NOT_FOUND"},
	"POST /api/v1/commands/:request_id/cancel": {
		summary: "Cancels a command that has not ended.", data: commandView{}, codes: "CONTROL_LOG_NOT_FOUND COMMAND_ENDED MQTT_DISABLED",
	},

	"GET /api/v1/settings/mqtt": {summary: "Where agents are sent, and which part was set where.", data: mqttSettingsView{}},
	"PUT /api/v1/settings/mqtt": {
		summary: "Sets where agents are sent from now on. What is absent follows the flags of the start.", body: mqttMembers, data: mqttSettingsView{},
		codes: "MQTT_TLS_CA_NOT_READY",
	},
	"POST /api/v1/settings/mqtt/reset": {summary: "Sends agents where the flags of the start say.", data: mqttSettingsView{}},
	"POST /api/v1/settings/mqtt/test": {
		summary: "Does there what an agent does; with what is sent along in place of what is set.", body: "? " + mqttMembers, data: mqttTestView{},
		codes: "MQTT_DISABLED MQTT_TLS_CA_NOT_READY RATE_LIMITED",
	},
}
