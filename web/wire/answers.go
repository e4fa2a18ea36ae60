package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"wfm/internal/refusal"
	"wfm/internal/tlsproblem"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
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

var answers = []struct {
	err error
	Answer
}{
	{ErrAuthRequired, Answer{401, "AUTH_REQUIRED", "Log in first, and send the token as Authorization: Bearer.", nil}},
	{ErrInvalidToken, Answer{401, "INVALID_TOKEN", "The session or API token is not known, or has been ended; log in again, or use another token.", nil}},
	{ErrTokenExpired, Answer{401, "TOKEN_EXPIRED", "The session or API token has expired; log in again, or use another token.", nil}},
	{ErrAuthFailed, Answer{401, "AUTH_FAILED", "The user name or the password is wrong.", nil}},
	{ErrWrongPassword, Answer{401, "ADMIN_PASSWORD_INVALID", "The current password is wrong.", nil}},
	{ErrSamePassword, Answer{409, "PASSWORD_UNCHANGED", "The new password is the current one; choose another.", nil}},
	{ErrSetupToken, Answer{401, "INVALID_TOKEN", "The setup_token is wrong; the appliance prints it when it starts without an admin account.", nil}},
	{store.ErrNoAdmin, Answer{428, "AUTH_SETUP_REQUIRED", "The admin account is not set up yet; do that first with POST /api/v1/auth/setup.", nil}},
	{store.ErrAdminExists, Answer{409, "AUTH_ALREADY_INITIALIZED", "The admin account exists already; log in.", nil}},
	{ErrHostRejected, Answer{403, "PUBLIC_HOST_REJECTED",
		"This address is not one the appliance answers to; use its public origin, or allow this one in WFM_EXTRA_ALLOWED_ORIGINS.", nil}},
	{ErrOriginRejected, Answer{403, "PUBLIC_ORIGIN_REJECTED",
		"The request does not come from a page of this appliance; open its own page, or set WFM_PUBLIC_ORIGIN or WFM_EXTRA_ALLOWED_ORIGINS.", nil}},

	{ErrSessionOnly, Answer{403, "FORBIDDEN", "An API token cannot do this; log in as the admin.", nil}},
	{ErrReadOnlyToken, Answer{403, "FORBIDDEN", "This API token may only read, and no private keys; use one of scope write.", nil}},
	{store.ErrSessionNotFound, Answer{404, "SESSION_NOT_FOUND", "There is no session with this id; it may have ended.", nil}},
	{store.ErrTokenNotFound, Answer{404, "TOKEN_NOT_FOUND", "There is no API token with this id; it may have been deleted.", nil}},
	{store.ErrTokenNameExists, Answer{409, "TOKEN_NAME_EXISTS", "Another API token has this name; choose another.", nil}},
	{store.ErrTooManyTokens, Answer{409, "TOO_MANY_TOKENS", "The appliance has the maximum number of API tokens; delete unused ones.", nil}},

	{store.ErrConfigNotFound, Answer{404, "CONFIG_NOT_FOUND", "There is no mesh with this id; it may have been deleted.", nil}},
	{store.ErrNodeNotFound, Answer{404, "NODE_NOT_FOUND", "There is no node with this id; it may have been deleted.", nil}},
	{store.ErrConfigNameExists, Answer{409, "CONFIG_NAME_EXISTS", "Another mesh has this name; choose another.", nil}},
	{store.ErrTunnelRuns, Answer{409, "TUNNEL_RUNNING",
		"The node's tunnel runs, by what the node said last, and under another interface name it could no longer be stopped. Stop it first, then change the name.",
		nil}},
	{store.ErrNodeNameExists, Answer{409, "NODE_NAME_EXISTS", "Another node of this mesh has this name; choose another.", nil}},
	{ErrConfigMismatch, Answer{400, "NODE_CONFIG_MISMATCH", "The node belongs to another mesh; use that mesh's id in the path.", nil}},

	{store.ErrNodeDisabled, Answer{409, "NODE_DISABLED", "The node or its mesh is disabled; enable it first.", nil}},
	{store.ErrNodeStatic, Answer{400, "CLIENT_BIND_STATIC_NODE", "The node is static and has no agent; make it dynamic to control it.", nil}},
	{refusal.ErrNotInitialized, Answer{409, "CLIENT_NOT_INITIALIZED", "No agent is bound to this node yet; ask for a bind command and run it on the node.", nil}},
	{refusal.ErrNodeOffline, Answer{409, "NODE_OFFLINE", "The node is not connected; try again when it is, or send queue: true to have the command wait for it.",
		nil}},
	{protocol.ErrInvalidAction, Answer{400, "INVALID_ACTION", "The action is unknown; use " + actionNames(protocol.Actions(nil)) + ".", nil}},
	{protocol.ErrCannotDescribe, Answer{409, "AGENT_CANNOT_DESCRIBE",
		"The agent on this node cannot report its details, like the WG Free Mesh client. Use wg_show to look at its tunnel; its version and platform are in " +
			"endpoint/status.", nil}},
	{tunnel.ErrNothingToStart, Answer{409, "NO_CONFIRMED_CONFIG",
		"Nothing was started: the node never confirmed a tunnel config, and its agent would start an empty tunnel. Push one first.", nil}},
	{ErrRolloutAction, Answer{400, "INVALID_ACTION", "A rollout can " + actionNames(protocol.Actions(inRollouts)) + "; give other actions to each node.", nil}},
	{store.ErrTagNotFound, Answer{404, "TAG_NOT_FOUND", "Neither the mesh nor any of its nodes has this tag; it may have been deleted.", nil}},
	{store.ErrTooManyTags, Answer{409, "TOO_MANY_TAGS", "The mesh has the most tags it may have; delete tags that no node uses.", nil}},
	{store.ErrNodeTags, Answer{409, "TOO_MANY_TAGS", fmt.Sprintf("A node may have at most %d tags; take another from it first.", store.MaxNodeTags), nil}},
	{store.ErrRolloutNotFound, Answer{404, "ROLLOUT_NOT_FOUND", "There is no rollout with this id; it may have made room for newer ones.", nil}},
	{refusal.ErrRolloutEnded, Answer{409, "ROLLOUT_ENDED", "The rollout is over; begin a new one.", nil}},
	{tunnel.ErrNoStagedConfig, Answer{409, "NO_STAGED_CONFIG", "There is no tunnel config to push to this node; save one first (PUT applied-conf).", nil}},
	{tunnel.ErrStagedOutdated, Answer{409, "STAGED_CONFIG_OUTDATED",
		"The tunnel protocol was changed after the tunnel config was staged. Push the latest version, or stage it again: both check it for the new protocol.", nil}},
	{tunnel.ErrVersionBehind, Answer{409, "CONFIG_CONFLICT",
		"Nothing was pushed: a newer version is staged. To go back to an older one, restore it, which makes it the newest.", nil}},
	{tunnel.ErrUnsettled, Answer{409, "CONFIG_CONFLICT",
		"Nothing was done: the tunnel config, or the mesh's settings, changed each time it was checked. Try again.", nil}},
	{tunnel.ErrStagedChanged, Answer{409, "CONFIG_CONFLICT", "Nothing was pushed: another version was staged meanwhile. Look at it, then push it.", nil}},
	{tunnel.ErrNoDesiredConfig, Answer{409, "NO_DESIRED_CONFIG", "This node has no tunnel config; save one first (PUT applied-conf).", nil}},
	{store.ErrConfVersionNotFound, Answer{404, "CONFIG_VERSION_NOT_FOUND",
		"The node's tunnel config has no such version; it may have been removed to make room for newer ones.", nil}},
	{refusal.ErrTooManyCommands, Answer{409, "TOO_MANY_COMMANDS", "Too many commands of this node are open; wait for them to end, or cancel some.", nil}},
	{store.ErrCommandNotFound, Answer{404, "CONTROL_LOG_NOT_FOUND", "There is no command with this request_id; it may have made room for newer ones.", nil}},
	{store.ErrCommandEnded, Answer{409, "COMMAND_ENDED", "The command has ended already.", nil}},
	{refusal.ErrMQTTDisabled, Answer{409, "MQTT_DISABLED", "MQTT services are switched off on this appliance; start it with WFM_ENABLE_MQTT_SERVICES=true.", nil}},
	{refusal.ErrMQTTUnavailable, Answer{503, "MQTT_CONTROL_UNAVAILABLE",
		"The MQTT broker cannot be reached at the moment; try again, and look at the appliance's log if it lasts.", nil}},
	{ErrNoHost, Answer{422, "VALIDATION_ERROR",
		"The request names no host under which an agent could find the broker: use the appliance's address, or have WFM_MQTT_PUBLIC_HOST set.", nil}},
	{ErrNoCA, Answer{409, "MQTT_TLS_CA_NOT_READY",
		"Agents are to use TLS, but the broker is not served with it; start the appliance with WFM_MQTT_TLS_ENABLED=true, or take tls out of settings/mqtt.", nil}},

	{tlsproblem.ErrNotReady, Answer{409, "MQTT_TLS_CA_NOT_READY",
		"The appliance has no TLS certificate yet that agents could trust; try again soon, and have its system status looked at if it lasts.", nil}},
	{tlsproblem.ErrHost, Answer{409, "MQTT_TLS_CA_NOT_READY",
		"The appliance's TLS certificate is not for the host name this was sent to. Use a name it is for: ask for the bind command at the address agents " +
			"use, or have WFM_MQTT_PUBLIC_HOST set.", nil}},
	{tlsproblem.ErrTooManyHosts, Answer{409, "MQTT_TLS_CA_NOT_READY",
		"The appliance's TLS certificate is for 64 learnt hosts already, and for no more: ask for the bind command at one of those, or have " +
			"WFM_MQTT_PUBLIC_HOST set, which is always among them.", nil}},
	{ErrTLSOff, Answer{409, "TLS_DISABLED", "Nothing is served with TLS; start the appliance with WFM_MQTT_TLS_ENABLED=true or WFM_HTTPS_ADDR.", nil}},
	{ErrHTTPSRequired, Answer{403, "HTTPS_REQUIRED",
		"This appliance takes no changes without TLS; send the request to its https:// address. If it held a password or token, that was seen by all on the " +
			"way: change it.", nil}},

	{ErrEmbeddedBroker, Answer{409, "MQTT_EMBEDDED", "The broker is the embedded one, which asks the store itself: there is nothing to reconcile.", nil}},

	{store.ErrTokenInvalid, Answer{401, "CLIENT_BIND_TOKEN_INVALID",
		"The bind token is not valid. Copy the whole bind command, or ask for a new one: a newer command, a reset or a disabled node makes the old one invalid.",
		nil}},
	{store.ErrTokenExpired, Answer{401, "CLIENT_BIND_TOKEN_EXPIRED", "The bind token has expired. Ask for a new bind command and run it within five minutes.",
		nil}},
	{store.ErrTokenUsed, Answer{409, "CLIENT_BIND_TOKEN_USED", "The bind token was used already, and it works only once. Ask for a new bind command.", nil}},
	{ErrBindStatic, Answer{400, "CLIENT_BIND_STATIC_NODE",
		"This node is static, so no agent can be bound to it. Make it dynamic on the server, then ask for a new bind command.", nil}},
	{ErrBindNotAllowed, Answer{403, "CLIENT_BIND_NOT_ALLOWED",
		"This node or its mesh is disabled on the server. Enable it there, then ask for a new bind command.", nil}},
	{ErrBindTooLarge, Answer{409, "BIND_ANSWER_TOO_LARGE",
		"The answer to this bind is larger than an agent reads: the node's tunnel config, or the CA certificates, are too long. Nothing was bound; shorten " +
			"them on the server, then run the same command again.", nil}},
	{ErrNoServerAddress, Answer{422, "VALIDATION_ERROR", "The address of this request cannot stand in a bind command; send server_url, or set WFM_PUBLIC_ORIGIN.",
		map[string]any{"fields": map[string]string{"server_url": "is required"}}}},

	{store.ErrFull, Answer{507, "STORE_FULL", "Nothing was changed: " + store.ErrFull.Error() + ".", nil}},
	{store.ErrReadOnly, Answer{503, "STORE_READ_ONLY", "Nothing was changed: " + store.ErrReadOnly.Error() + ".", nil}},
	{store.ErrDisk, Answer{503, "STORE_DISK_ERROR", "This was not done: " + store.ErrDisk.Error() + ".", nil}},
	{store.ErrDamaged, Answer{503, "STORE_DAMAGED", "This was not done: " + store.ErrDamaged.Error() + ".", nil}},
	{store.ErrMoved, Answer{503, "STORE_MOVED", "This was not done: " + store.ErrMoved.Error() + ".", nil}},
	{store.ErrClosed, Answer{503, "SHUTTING_DOWN", "The appliance is stopping; try again when it runs.", nil}},
	{errBodyBroken, Answer{400, "BAD_REQUEST", "The request body broke off; send it again.", nil}},
	{ErrUnknownPath, Answer{404, "NOT_FOUND", "There is nothing at this path; look for a misspelling.", nil}},
	{ErrUnknownMethod, Answer{405, "METHOD_NOT_ALLOWED", "This path does not take this method; the Allow header names those it takes.", nil}},
	{ErrBusy, Answer{429, "RATE_LIMITED", "Too many people log in at this moment; try again in a few seconds.", nil}},
	{ErrTestsRunning, Answer{429, "RATE_LIMITED", "Other tests of MQTT settings are under way; try again when they have ended.", nil}},
	{ErrBackupRunning, Answer{429, "RATE_LIMITED", "A backup is being downloaded already; wait for its end.", nil}},
	{context.Canceled, Answer{503, "REQUEST_CANCELLED", "The request was given up before it was done.", nil}},
	{context.DeadlineExceeded, Answer{503, "REQUEST_CANCELLED", "The request took too long; try again.", nil}},
}

// Translate returns the answer to err. It is the only place that turns errors into answers. An
// error that answers does not list becomes [CodeInternal], and its text is not sent.
func Translate(err error) Answer {
	var invalid *InvalidError
	var rate *RateError
	var tooLarge *http.MaxBytesError
	var active *store.RolloutActiveError
	var iface *InterfaceNameError
	switch {
	case errors.As(err, &iface):
		return Answer{http.StatusConflict, "INTERFACE_NAME_UNUSABLE", iface.Error(), map[string]any{"interface_name": iface.Name}}
	case errors.As(err, &active):
		return Answer{
			http.StatusConflict, "ROLLOUT_ACTIVE",
			fmt.Sprintf("Rollout %s of this mesh has not ended; wait until it has, or cancel it.", active.ID),
			map[string]any{"rollout_id": active.ID},
		}
	case errors.As(err, &invalid):
		a := Answer{Status: http.StatusUnprocessableEntity, Code: "VALIDATION_ERROR", Message: invalid.Error()}
		if len(invalid.Fields) > 0 {
			a.Detail = map[string]any{"fields": invalid.Fields}
		}
		return a
	case errors.As(err, &rate):
		message := rate.Message
		if message == "" {
			message = fmt.Sprintf("Too many attempts from this address; try again in %d seconds.", rate.Seconds())
		}
		return Answer{
			http.StatusTooManyRequests, "RATE_LIMITED", message,
			map[string]any{"retry_after": rate.Seconds()},
		}
	case errors.As(err, &tooLarge):
		return Answer{
			http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE",
			fmt.Sprintf("The request body is too large; at most %d bytes are taken.", tooLarge.Limit), nil,
		}
	}
	if a, ok := asDesiredAnswer(err); ok {
		return a
	}
	if unusable, ok := errors.AsType[*tlsproblem.Error](err); ok {
		return Answer{http.StatusConflict, "MQTT_TLS_CA_NOT_READY", "No agent could connect with the appliance's TLS certificate: " + sentence(unusable.Problem), nil}
	}
	for _, known := range answers {
		if errors.Is(err, known.err) {
			if told, ok := errors.AsType[*OriginError](err); ok {
				known.Message = told.Message
			}
			return known.Answer
		}
	}
	if renewal, ok := errors.AsType[*RenewalError](err); ok {
		return Answer{http.StatusBadGateway, "CERTIFICATE_RENEWAL_FAILED", renewal.Error(), nil}
	}
	return Answer{http.StatusInternalServerError, CodeInternal, "Something went wrong inside the appliance; its log has the details under this request_id.", nil}
}

// asDesiredAnswer returns the answer to an error about a node's tunnel config, if err is one.
func asDesiredAnswer(err error) (Answer, bool) {
	var invalid *wgconf.Error
	var cutOff *tunnel.CutOffError
	var conflict *tunnel.ConflictError
	switch {
	case errors.As(err, &invalid):
		return Answer{
			http.StatusUnprocessableEntity, "INVALID_TUNNEL_CONFIG", "The tunnel config is not valid: " + sentence(invalid.Error()),
			// Scripts from when an error had only one fault read line and problem.
			map[string]any{"line": invalid.Faults[0].Line, "problem": invalid.Faults[0].Problem, "faults": invalid.Faults},
		}, true
	case errors.As(err, &cutOff):
		return Answer{http.StatusConflict, "CONFIG_WOULD_CUT_OFF", cutOff.Error(), map[string]any{"warnings": ViewWarnings(cutOff.Warnings)}}, true
	case errors.As(err, &conflict):
		return Answer{http.StatusConflict, "CONFIG_CONFLICT", conflict.Error(), map[string]any{"desired_version": conflict.Desired}}, true
	}
	return Answer{}, false
}

// actionNames lists the actions as alternatives: "start, stop or detect".
func actionNames(specs []protocol.ActionSpec) string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = string(s.Action)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func inRollouts(s protocol.ActionSpec) bool { return s.InRollouts }

// sentence ends text with a full stop, unless it already ends a sentence.
func sentence(text string) string {
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// WarningView is a warning about a tunnel config.
type WarningView struct {
	Code    string `json:"code"`
	Line    int    `json:"line"` // 0 for the whole text
	Message string `json:"message"`
	CutsOff bool   `json:"cuts_off"`
}

// ViewWarnings returns the warnings as the API shows them.
func ViewWarnings(all []wgconf.Warning) []WarningView {
	out := make([]WarningView, len(all))
	for i, w := range all {
		out[i] = WarningView{w.Code, w.Line, w.Message, w.CutsOff}
	}
	return out
}
