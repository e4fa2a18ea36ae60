package wire

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"wfm/apply"
	"wfm/internal/refusal"
	"wfm/internal/tlsproblem"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// Answer is the answer to a request that failed. Message says what to do about it.
type Answer struct {
	Status  int
	Code    string
	Message string
	Detail  any
}

// CodeInternal is the code for errors that answers does not list.
const CodeInternal = "INTERNAL_ERROR"

// answers lists the answers to errors without fields of their own.
var answers = []struct {
	err     error
	status  int
	code    string
	message string
}{
	{
		ErrAuthRequired, http.StatusUnauthorized, "AUTH_REQUIRED",
		"Log in first, and send the token as Authorization: Bearer.",
	},
	{
		ErrInvalidToken, http.StatusUnauthorized, "INVALID_TOKEN",
		"The session or API token is not known, or has been ended; log in again, or use another token.",
	},
	{
		ErrTokenExpired, http.StatusUnauthorized, "TOKEN_EXPIRED",
		"The session or API token has expired; log in again, or use another token.",
	},
	{
		ErrAuthFailed, http.StatusUnauthorized, "AUTH_FAILED",
		"The user name or the password is wrong.",
	},
	{
		ErrWrongPassword, http.StatusUnauthorized, "ADMIN_PASSWORD_INVALID",
		"The current password is wrong.",
	},
	{
		ErrSamePassword, http.StatusConflict, "PASSWORD_UNCHANGED",
		"The new password is the current one; choose another.",
	},
	{
		ErrSetupToken, http.StatusUnauthorized, "INVALID_TOKEN",
		"The setup_token is wrong; the appliance prints it when it starts without an admin account.",
	},
	{
		store.ErrNoAdmin, http.StatusPreconditionRequired, "AUTH_SETUP_REQUIRED",
		"The admin account is not set up yet; do that first with POST /api/v1/auth/setup.",
	},
	{
		store.ErrAdminExists, http.StatusConflict, "AUTH_ALREADY_INITIALIZED",
		"The admin account exists already; log in.",
	},
	{
		ErrHostRejected, http.StatusForbidden, "PUBLIC_HOST_REJECTED",
		"The appliance does not answer at this address; use its public origin, or allow this one in WFM_EXTRA_ALLOWED_ORIGINS.",
	},
	{
		ErrOriginRejected, http.StatusForbidden, "PUBLIC_ORIGIN_REJECTED",
		"The request does not come from a page of this appliance; open its own page, or set WFM_PUBLIC_ORIGIN or WFM_EXTRA_ALLOWED_ORIGINS.",
	},

	{
		ErrSessionOnly, http.StatusForbidden, "FORBIDDEN",
		"An API token cannot do this; log in as the admin.",
	},
	{
		ErrReadOnlyToken, http.StatusForbidden, "FORBIDDEN",
		"This API token may only read, except for private keys; use one of scope write.",
	},
	{
		store.ErrSessionNotFound, http.StatusNotFound, "SESSION_NOT_FOUND",
		"There is no session with this id; it may have ended.",
	},
	{
		store.ErrTokenNotFound, http.StatusNotFound, "TOKEN_NOT_FOUND",
		"There is no API token with this id; it may have been deleted.",
	},
	{
		store.ErrTokenNameExists, http.StatusConflict, "TOKEN_NAME_EXISTS",
		"Another API token has this name; choose another.",
	},
	{
		store.ErrTooManyTokens, http.StatusConflict, "TOO_MANY_TOKENS",
		"The appliance has the maximum number of API tokens; delete unused ones.",
	},

	{
		store.ErrConfigNotFound, http.StatusNotFound, "CONFIG_NOT_FOUND",
		"There is no mesh with this id; it may have been deleted.",
	},
	{
		store.ErrNodeNotFound, http.StatusNotFound, "NODE_NOT_FOUND",
		"There is no node with this id; it may have been deleted.",
	},
	{
		store.ErrConfigNameExists, http.StatusConflict, "CONFIG_NAME_EXISTS",
		"Another mesh has this name; choose another.",
	},
	{
		store.ErrTunnelRuns, http.StatusConflict, "TUNNEL_RUNNING",
		"According to the node's last message, its tunnel runs, and under another interface name it could no longer be stopped. Stop it first, then change " +
			"the name.",
	},
	{
		store.ErrNodeNameExists, http.StatusConflict, "NODE_NAME_EXISTS",
		"Another node of this mesh has this name; choose another.",
	},
	{
		ErrConfigMismatch, http.StatusBadRequest, "NODE_CONFIG_MISMATCH",
		"The node belongs to another mesh; use that mesh's id in the path.",
	},

	{
		store.ErrNodeDisabled, http.StatusConflict, "NODE_DISABLED",
		"The node or its mesh is disabled; enable it first.",
	},
	{
		store.ErrNodeStatic, http.StatusBadRequest, "CLIENT_BIND_STATIC_NODE",
		"The node is static and has no agent; make it dynamic to control it.",
	},
	{
		refusal.ErrNotInitialized, http.StatusConflict, "CLIENT_NOT_INITIALIZED",
		"No agent is bound to this node yet; ask for a bind command and run it on the node.",
	},
	{
		refusal.ErrNodeOffline, http.StatusConflict, "NODE_OFFLINE",
		"The node is not connected; try again when it is, or send queue: true to have the command wait for it.",
	},
	{
		protocol.ErrInvalidAction, http.StatusBadRequest, "INVALID_ACTION",
		"The action is unknown; use " + actionNames(protocol.Listed()) + ".",
	},
	{
		protocol.ErrCannotDescribe, http.StatusConflict, "AGENT_CANNOT_DESCRIBE",
		"The agent on this node cannot report its details, like the WG Free Mesh client. Use wg_show to look at its tunnel; its version and platform are in " +
			"endpoint/status.",
	},
	{
		protocol.ErrNoNodeKey, http.StatusConflict, "AGENT_HAS_NO_KEY",
		"The agent on this node keeps no key of its own. Update the agent, or set key_holder to appliance.",
	},
	{
		tunnel.ErrNothingToStart, http.StatusConflict, "NO_CONFIRMED_CONFIG",
		"Nothing was started: the node never confirmed a tunnel config, and its agent would start an empty tunnel. Push one first.",
	},
	{
		ErrRolloutAction, http.StatusBadRequest, "INVALID_ACTION",
		"A rollout can " + actionNames(protocol.Actions(inRollouts)) + "; give other actions to each node.",
	},
	{
		store.ErrTagNotFound, http.StatusNotFound, "TAG_NOT_FOUND",
		"Neither the mesh nor any of its nodes has this tag; it may have been deleted.",
	},
	{
		store.ErrTooManyTags, http.StatusConflict, "TOO_MANY_TAGS",
		"The mesh has the maximum number of tags; delete tags that no node uses.",
	},
	{
		store.ErrNodeTags, http.StatusConflict, "TOO_MANY_TAGS",
		fmt.Sprintf("A node may have at most %d tags; take another from it first.", store.MaxNodeTags),
	},
	{
		store.ErrLinkNotFound, http.StatusNotFound, "PEER_LINK_NOT_FOUND",
		"There is no link with this id; it may have been deleted.",
	},
	{
		store.ErrForwardNotFound, http.StatusNotFound, "PORT_FORWARD_NOT_FOUND",
		"There is no port forward with this id; it may have been deleted.",
	},
	{
		store.ErrForwardExists, http.StatusConflict, "PORT_FORWARD_EXISTS",
		"The entry forwards this to_port already; choose another to_port, or disable the other port forward first.",
	},
	{
		store.ErrRolloutNotFound, http.StatusNotFound, "ROLLOUT_NOT_FOUND",
		"There is no rollout with this id; it may have been removed to make room for newer ones.",
	},
	{
		refusal.ErrRolloutEnded, http.StatusConflict, "ROLLOUT_ENDED",
		"The rollout is over; begin a new one.",
	},
	{
		apply.ErrPlanChanged, http.StatusConflict, "PLAN_CHANGED",
		"Nothing was applied: the mesh, or a node's tunnel config, was changed after this plan was made. Look at the new plan, then apply that.",
	},
	{
		tunnel.ErrNoStagedConfig, http.StatusConflict, "NO_STAGED_CONFIG",
		"There is no tunnel config to push to this node; save one first (PUT applied-conf).",
	},
	{
		tunnel.ErrStagedOutdated, http.StatusConflict, "STAGED_CONFIG_OUTDATED",
		"The tunnel protocol was changed after the tunnel config was staged. Push the latest version, or stage it again: both check it for the new protocol.",
	},
	{
		tunnel.ErrVersionBehind, http.StatusConflict, "CONFIG_CONFLICT",
		"Nothing was pushed: a newer version is staged. To go back to an older one, restore it, which makes it the newest.",
	},
	{
		tunnel.ErrUnsettled, http.StatusConflict, "CONFIG_CONFLICT",
		"Nothing was done: the tunnel config, or the mesh's settings, changed each time it was checked. Try again.",
	},
	{
		tunnel.ErrStagedChanged, http.StatusConflict, "CONFIG_CONFLICT",
		"Nothing was pushed: another version was staged in the meantime. Look at it, then push it.",
	},
	{
		tunnel.ErrNoDesiredConfig, http.StatusConflict, "NO_DESIRED_CONFIG",
		"This node has no tunnel config; save one first (PUT applied-conf).",
	},
	{
		store.ErrConfVersionNotFound, http.StatusNotFound, "CONFIG_VERSION_NOT_FOUND",
		"The node's tunnel config has no such version; it may have been removed to make room for newer ones.",
	},
	{
		refusal.ErrTooManyCommands, http.StatusConflict, "TOO_MANY_COMMANDS",
		"Too many commands of this node are open; wait for them to end, or cancel some.",
	},
	{
		store.ErrCommandNotFound, http.StatusNotFound, "CONTROL_LOG_NOT_FOUND",
		"There is no command with this request_id; it may have been removed to make room for newer ones.",
	},
	{
		store.ErrCommandEnded, http.StatusConflict, "COMMAND_ENDED",
		"The command has ended already.",
	},
	{
		refusal.ErrMQTTDisabled, http.StatusConflict, "MQTT_DISABLED",
		"MQTT services are switched off on this appliance; start it with WFM_ENABLE_MQTT_SERVICES=true.",
	},
	{
		refusal.ErrMQTTUnavailable, http.StatusServiceUnavailable, "MQTT_CONTROL_UNAVAILABLE",
		"The MQTT broker cannot be reached at the moment; try again, and look at the appliance's log if this persists.",
	},
	{
		ErrNoHost, http.StatusUnprocessableEntity, "VALIDATION_ERROR",
		"The request names no host under which an agent could find the broker: use the appliance's address, or have WFM_MQTT_PUBLIC_HOST set.",
	},
	{
		ErrNoCA, http.StatusConflict, "MQTT_TLS_CA_NOT_READY",
		"The settings require TLS for agents, but the broker does not serve it; start the appliance with WFM_MQTT_TLS_ENABLED=true, or take tls out of " +
			"settings/mqtt.",
	},

	{
		tlsproblem.ErrNotReady, http.StatusConflict, "MQTT_TLS_CA_NOT_READY",
		"The appliance has no TLS certificate yet that agents could trust; try again soon, and check its system status if this persists.",
	},
	{
		tlsproblem.ErrHost, http.StatusConflict, "MQTT_TLS_CA_NOT_READY",
		"The appliance's TLS certificate does not cover the host name of this request. Use a name that it covers: ask for the bind command at the address agents " +
			"use, or have WFM_MQTT_PUBLIC_HOST set.",
	},
	{
		tlsproblem.ErrTooManyHosts, http.StatusConflict, "MQTT_TLS_CA_NOT_READY",
		"The appliance's TLS certificate covers 64 learnt hosts already, which is the limit. Ask for the bind command at one of them, or have " +
			"WFM_MQTT_PUBLIC_HOST set, which is always covered.",
	},
	{
		ErrTLSOff, http.StatusConflict, "TLS_DISABLED",
		"Nothing is served with TLS; start the appliance with WFM_MQTT_TLS_ENABLED=true or WFM_HTTPS_ADDR.",
	},
	{
		ErrHTTPSRequired, http.StatusForbidden, "HTTPS_REQUIRED",
		"This appliance takes no changes without TLS; send the request to its https:// address. If it held a password or token, change that: it was sent in " +
			"the clear.",
	},

	{
		ErrDownloadTokenRequired, http.StatusUnauthorized, "DOWNLOAD_TOKEN_REQUIRED",
		"Log in first, and send the token as Authorization: Bearer, or ask for a download token (POST download-token) and send it as download_token.",
	},
	{
		ErrDownloadToken, http.StatusUnauthorized, "INVALID_DOWNLOAD_TOKEN",
		"The download token is not valid: it works once, for five minutes, and while the login that asked for it lasts. Ask for a new one (POST download-token).",
	},
	{
		ErrDownloadTokenScope, http.StatusForbidden, "DOWNLOAD_TOKEN_SCOPE_MISMATCH",
		"The download token is for another node; use it at the download_path that came with it.",
	},
	{
		ErrPackageNotFound, http.StatusNotFound, "PACKAGE_NOT_FOUND",
		"There is no archive with this id; it is kept for five minutes. Prepare a new one (POST config-bulk/package).",
	},
	{
		ErrTooLongForQR, http.StatusConflict, "CONFIG_TOO_LONG_FOR_QR",
		"A QR code holds 2953 bytes, and this tunnel config is longer; hand out the file instead (GET download-conf).",
	},
	{
		ErrEmbeddedBroker, http.StatusConflict, "MQTT_EMBEDDED",
		"The broker is the embedded one, which asks the store itself: there is nothing to reconcile.",
	},

	{
		store.ErrTokenInvalid, http.StatusUnauthorized, "CLIENT_BIND_TOKEN_INVALID",
		"The bind token is not valid. Copy the whole bind command, or ask for a new one: a newer command, a reset or a disabled node makes the old one invalid.",
	},
	{
		store.ErrTokenExpired, http.StatusUnauthorized, "CLIENT_BIND_TOKEN_EXPIRED",
		"The bind token has expired. Ask for a new bind command and run it within five minutes.",
	},
	{
		store.ErrTokenUsed, http.StatusConflict, "CLIENT_BIND_TOKEN_USED",
		"The bind token was used already, and it works only once. Ask for a new bind command.",
	},
	{
		ErrBindStatic, http.StatusBadRequest, "CLIENT_BIND_STATIC_NODE",
		"This node is static, so no agent can be bound to it. Make it dynamic on the server, then ask for a new bind command.",
	},
	{
		ErrBindNotAllowed, http.StatusForbidden, "CLIENT_BIND_NOT_ALLOWED",
		"This node or its mesh is disabled on the server. Enable it there, then ask for a new bind command.",
	},
	{
		ErrBindTooLarge, http.StatusConflict, "BIND_ANSWER_TOO_LARGE",
		"The answer to this bind is larger than an agent reads: the node's tunnel config, or the CA certificates, are too long. Nothing was bound; shorten " +
			"them on the server, then run the same command again.",
	},
	{
		ErrNoServerAddress, http.StatusUnprocessableEntity, "VALIDATION_ERROR",
		"The address of this request cannot be used in a bind command; send server_url, or set WFM_PUBLIC_ORIGIN.",
	},

	{
		store.ErrFull, http.StatusInsufficientStorage, "STORE_FULL",
		"Nothing was changed: " + store.ErrFull.Error() + ".",
	},
	{
		store.ErrReadOnly, http.StatusServiceUnavailable, "STORE_READ_ONLY",
		"Nothing was changed: " + store.ErrReadOnly.Error() + ".",
	},
	{
		store.ErrDisk, http.StatusServiceUnavailable, "STORE_DISK_ERROR",
		"This was not done: " + store.ErrDisk.Error() + ".",
	},
	{
		store.ErrDamaged, http.StatusServiceUnavailable, "STORE_DAMAGED",
		"This was not done: " + store.ErrDamaged.Error() + ".",
	},
	{
		store.ErrMoved, http.StatusServiceUnavailable, "STORE_MOVED",
		"This was not done: " + store.ErrMoved.Error() + ".",
	},
	{
		store.ErrClosed, http.StatusServiceUnavailable, "SHUTTING_DOWN",
		"The appliance is stopping; try again when it runs.",
	},
	{
		errBodyBroken, http.StatusBadRequest, "BAD_REQUEST",
		"The request body broke off; send it again.",
	},
	{
		ErrUnknownPath, http.StatusNotFound, "NOT_FOUND",
		"There is nothing at this path; look for a misspelling.",
	},
	{
		ErrUnknownMethod, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED",
		"This path does not take this method; the Allow header names those it takes.",
	},
	{
		ErrBusy, http.StatusTooManyRequests, "RATE_LIMITED",
		"Too many people log in at this moment; try again in a few seconds.",
	},
	{
		ErrTestsRunning, http.StatusTooManyRequests, "RATE_LIMITED",
		"Other tests of MQTT settings are under way; try again when they have ended.",
	},
	{
		ErrBackupRunning, http.StatusTooManyRequests, "RATE_LIMITED",
		"A backup is being downloaded already; wait for its end.",
	},
	{
		context.Canceled, http.StatusServiceUnavailable, "REQUEST_CANCELLED",
		"The request was given up before it was done.",
	},
	{
		context.DeadlineExceeded, http.StatusServiceUnavailable, "REQUEST_CANCELLED",
		"The request took too long; try again.",
	},
}

// Codes returns the codes in answers. Errors with fields of their own have other codes.
func Codes() []string {
	all := make([]string, len(answers))
	for i, known := range answers {
		all[i] = known.code
	}
	return all
}

// StatusOf returns the status of a code, or 0 if the code is unknown.
func StatusOf(code string) int {
	if _, status, ok := strings.Cut(code, "/"); ok {
		n, _ := strconv.Atoi(status)
		return n
	}
	for _, known := range answers {
		if known.code == code {
			return known.status
		}
	}
	return meshStatuses[code]
}
