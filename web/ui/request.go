package ui

// requests describes the requests in the audit log, by method and path.
//
//nolint:gosec // paths about tokens, no tokens
var requests = map[string]string{
	"set up at the start":               "Set up the admin account with the password given at the start",
	"POST /api/v1/auth/setup":           "Set up the admin account",
	"POST /api/v1/auth/login":           "Log in",
	"POST /api/v1/auth/logout":          "Log out",
	"POST /api/v1/auth/password":        "Change the password",
	"POST /api/v1/settings/password":    "Change the password",
	"DELETE /api/v1/auth/sessions":      "End all other sessions",
	"DELETE /api/v1/auth/sessions/{id}": "End a session",
	"POST /api/v1/auth/tokens":          "Create an API token",
	"DELETE /api/v1/auth/tokens/{id}":   "Delete an API token",

	"GET /api/v1/system/backup":              "Download a backup",
	"POST /api/v1/system/certificates/renew": "Renew the certificates",
	"POST /api/v1/system/mqtt/reconcile":     "Compare the accounts with EMQX",
	"PUT /api/v1/settings/mqtt":              "Change the MQTT settings",
	"POST /api/v1/settings/mqtt/reset":       "Reset the MQTT settings",
	"POST /api/v1/settings/mqtt/test":        "Test the MQTT settings",

	"POST /api/v1/configs":                                       "Create a mesh",
	"PUT /api/v1/configs/{config_id}":                            "Change the mesh",
	"DELETE /api/v1/configs/{config_id}":                         "Delete the mesh",
	"POST /api/v1/configs/{config_id}/tags":                      "Add a tag",
	"POST /api/v1/configs/{config_id}/tags/apply":                "Tag nodes",
	"DELETE /api/v1/configs/{config_id}/tags/{tag}":              "Delete a tag",
	"POST /api/v1/configs/{config_id}/apply":                     "Apply the mesh",
	"POST /api/v1/configs/{config_id}/peer-links":                "Add a link",
	"PUT /api/v1/peer-links/{link_group_id}":                     "Change a link",
	"DELETE /api/v1/peer-links/{link_group_id}":                  "Delete a link",
	"POST /api/v1/configs/{config_id}/mesh/quick-generate":       "Quick mesh",
	"POST /api/v1/tools/port-forwards/configs/{config_id}":       "Add a port forward",
	"PUT /api/v1/tools/port-forwards/{rule_id}/enabled":          "Switch a port forward",
	"DELETE /api/v1/tools/port-forwards/{rule_id}":               "Delete a port forward",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}/wg-preview": "Read the tunnel config with its key",
	"GET /api/v1/nodes/{node_id}":                                "Read the node with its key",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}":            "Read the node with its key",
	"POST /api/v1/configs/{config_id}/nodes":                     "Add a node",
	"POST /api/v1/configs/{config_id}/nodes/bulk":                "Add nodes",
	"POST /api/v1/configs/{config_id}/nodes/bulk-update":         "Change nodes",
	"POST /api/v1/configs/{config_id}/nodes/import":              "Import nodes",
	"POST /api/v1/configs/{config_id}/import-conf":               "Import wg-quick files",
	"POST /api/v1/configs/{config_id}/bind-commands":             "Create bind commands",

	"PUT /api/v1/nodes/{node_id}":                                                     "Change the node",
	"DELETE /api/v1/nodes/{node_id}":                                                  "Delete the node",
	"PUT /api/v1/configs/{config_id}/nodes/{node_id}":                                 "Change the node",
	"DELETE /api/v1/configs/{config_id}/nodes/{node_id}":                              "Delete the node",
	"PUT /api/v1/nodes/{node_id}/tags":                                                "Change the node’s tags",
	"DELETE /api/v1/nodes/{node_id}/tags/{tag}":                                       "Remove a tag from the node",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/bind-command":                   "Create a bind command",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/reset-client":                   "Reset the agent",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/rotate-key":                     "Make new keys for the node",
	"POST /api/client/bind":                                                           "Bind an agent",
	"POST /api/client/v1/bind":                                                        "Bind an agent",
	"PUT /api/v1/configs/{config_id}/nodes/{node_id}/applied-conf":                    "Save the tunnel config",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}/applied-conf":                    "Read the tunnel config with its key",
	"GET /configs/{config_id}/nodes/{node_id}/conf":                                   "Read the tunnel config with its key",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}/conf-history/{version}":          "Read a version with its key",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}/download-conf":                   "Download the tunnel config",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/download-token":                 "Create a download token",
	"GET /api/v1/configs/{config_id}/nodes/{node_id}/config-qr":                       "Show the tunnel config as a QR code",
	"POST /api/v1/tools/download/config-bulk/package":                                 "Prepare an archive of tunnel configs",
	"GET /api/v1/tools/download/config-bulk/package/{package_id}":                     "Download an archive of tunnel configs",
	"GET /api/v1/tools/download/config-bulk/{package_id}":                             "Download an archive of tunnel configs",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/sync":                           "Stage the tunnel config",
	"POST /api/v1/configs/{config_id}/sync-all":                                       "Stage all tunnel configs",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/endpoint/control":               "Give a command",
	"POST /api/v1/configs/{config_id}/endpoint/probe-batch":                           "Check nodes",
	"POST /api/v1/commands/{request_id}/cancel":                                       "Cancel a command",
	"POST /api/v1/configs/{config_id}/endpoint/control-batch":                         "Start a rollout",
	"POST /api/v1/rollouts/{rollout_id}/pause":                                        "Pause a rollout",
	"POST /api/v1/rollouts/{rollout_id}/resume":                                       "Resume a rollout",
	"POST /api/v1/rollouts/{rollout_id}/cancel":                                       "Cancel a rollout",
	"POST /api/v1/configs/{config_id}/nodes/{node_id}/conf-history/{version}/restore": "Restore a version",
}

// Request describes a request in the audit log. It is empty for an unknown one, such as one of an
// older version.
func Request(action string) string { return requests[action] }

// idName names the kind of object that an id in the audit log belongs to.
func idName(name string) string {
	switch name {
	case "config_id":
		return "mesh"
	case "node_id":
		return "node"
	case "request_id":
		return "command"
	case "link_group_id":
		return "link"
	case "rule_id":
		return "port forward"
	case "rollout_id":
		return "rollout"
	case "against":
		return "compared with version"
	}
	return name
}
