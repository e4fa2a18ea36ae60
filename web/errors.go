package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/refusal"
	"wfm/internal/tlsproblem"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// What only this package can find wrong with a request. answers says what a client is told.
var (
	errBodyBroken      = errors.New("request body broke off")
	errAuthRequired    = errors.New("no session token")
	errInvalidToken    = errors.New("unknown session token")
	errTokenExpired    = errors.New("expired session token")
	errAuthFailed      = errors.New("wrong user name or password")
	errWrongPassword   = errors.New("wrong current password")
	errSamePassword    = errors.New("new password equals the current one")
	errSessionOnly     = errors.New("not for an API token")
	errReadOnlyToken   = errors.New("API token of scope read")
	errSetupToken      = errors.New("wrong set-up token")
	errHostRejected    = errors.New("host not allowed")
	errOriginRejected  = errors.New("origin not allowed")
	errConfigMismatch  = errors.New("node belongs to another config")
	errBindNotAllowed  = errors.New("bind not allowed")
	errBindStatic      = errors.New("bind to a static node")
	errBindTooLarge    = errors.New("bind answer too large")
	errPanic           = errors.New("panic in a request")
	errUnknownPath     = errors.New("unknown path")
	errUnknownMethod   = errors.New("method not allowed")
	errRolloutAction   = errors.New("no action for a rollout")
	errNoCA            = errors.New("TLS for agents, but no CA")
	errNoServerAddress = errors.New("no usable server address")
	errTLSOff          = errors.New("TLS is off")
	errHTTPSRequired   = errors.New("request without TLS")
	errEmbeddedBroker  = errors.New("the broker is the embedded one")
)

// fieldsInMessage bounds the faults that the message of an answer names; its detail has them all.
const fieldsInMessage = 10

// invalidError is a request that cannot be understood: its message, or its fields and what is wrong
// with each.
type invalidError struct {
	message string
	fields  map[string]string
}

func (e *invalidError) Error() string {
	if len(e.fields) == 0 {
		return e.message
	}
	words := make([]string, 0, len(e.fields))
	for i, name := range slices.Sorted(maps.Keys(e.fields)) {
		if i == fieldsInMessage {
			words = append(words, fmt.Sprintf("and %d more, all of them in detail.fields", len(e.fields)-i))
			break
		}
		words = append(words, name+" "+e.fields[name])
	}
	return "The request is not valid: " + strings.Join(words, "; ") + "."
}

// rateError is a request too many.
type rateError struct {
	wait    time.Duration
	message string // what to do; default: to wait
}

func (e *rateError) Error() string { return "too many attempts" }

// seconds is the wait rounded up to what Retry-After can say.
func (e *rateError) seconds() int { return max(1, int(math.Ceil(e.wait.Seconds()))) }

// answer is what a client is told about an error. The message says what to do.
type answer struct {
	status  int
	code    string
	message string
	detail  any
}

// codeInternal answers every error that nobody foresaw.
const codeInternal = "INTERNAL_ERROR"

var answers = []struct {
	err error
	answer
}{
	{errAuthRequired, answer{401, "AUTH_REQUIRED", "Log in first, and send the token as Authorization: Bearer.", nil}},
	{errInvalidToken, answer{401, "INVALID_TOKEN", "The session or API token is not known, or has been ended; log in again, or use another token.", nil}},
	{errTokenExpired, answer{401, "TOKEN_EXPIRED", "The session or API token has expired; log in again, or use another token.", nil}},
	{errAuthFailed, answer{401, "AUTH_FAILED", "The user name or the password is wrong.", nil}},
	{errWrongPassword, answer{401, "ADMIN_PASSWORD_INVALID", "The current password is wrong.", nil}},
	{errSamePassword, answer{409, "PASSWORD_UNCHANGED", "The new password is the current one; choose another.", nil}},
	{errSetupToken, answer{401, "INVALID_TOKEN", "The setup_token is wrong; the appliance prints it when it starts without an admin account.", nil}},
	{store.ErrNoAdmin, answer{428, "AUTH_SETUP_REQUIRED", "The admin account is not set up yet; do that first with POST /api/v1/auth/setup.", nil}},
	{store.ErrAdminExists, answer{409, "AUTH_ALREADY_INITIALIZED", "The admin account exists already; log in.", nil}},
	{errHostRejected, answer{403, "PUBLIC_HOST_REJECTED", "This address is not one the appliance answers to; use its public origin, or allow this one in WFM_EXTRA_ALLOWED_ORIGINS.", nil}},
	{errOriginRejected, answer{403, "PUBLIC_ORIGIN_REJECTED", "The request does not come from a page of this appliance; open its own page, or set WFM_PUBLIC_ORIGIN or WFM_EXTRA_ALLOWED_ORIGINS.", nil}},

	{errSessionOnly, answer{403, "FORBIDDEN", "An API token cannot do this; log in as the admin.", nil}},
	{errReadOnlyToken, answer{403, "FORBIDDEN", "This API token may only read, and no private keys; use one of scope write.", nil}},
	{store.ErrSessionNotFound, answer{404, "SESSION_NOT_FOUND", "There is no session with this id; it may have ended.", nil}},
	{store.ErrTokenNotFound, answer{404, "TOKEN_NOT_FOUND", "There is no API token with this id; it may have been deleted.", nil}},
	{store.ErrTokenNameExists, answer{409, "TOKEN_NAME_EXISTS", "Another API token has this name; choose another.", nil}},
	{store.ErrTooManyTokens, answer{409, "TOO_MANY_TOKENS", "There are as many API tokens as there may be; delete those nobody uses.", nil}},

	{store.ErrConfigNotFound, answer{404, "CONFIG_NOT_FOUND", "There is no mesh with this id; it may have been deleted.", nil}},
	{store.ErrNodeNotFound, answer{404, "NODE_NOT_FOUND", "There is no node with this id; it may have been deleted.", nil}},
	{store.ErrConfigNameExists, answer{409, "CONFIG_NAME_EXISTS", "Another mesh has this name; choose another.", nil}},
	{store.ErrTunnelRuns, answer{409, "TUNNEL_RUNNING", "The node's tunnel runs, by what the node said last, and under another interface name nobody could stop it any more. Stop it first, then change the name.", nil}},
	{store.ErrNodeNameExists, answer{409, "NODE_NAME_EXISTS", "Another node of this mesh has this name; choose another.", nil}},
	{errConfigMismatch, answer{400, "NODE_CONFIG_MISMATCH", "The node belongs to another mesh; use that mesh's id in the path.", nil}},

	{store.ErrNodeDisabled, answer{409, "NODE_DISABLED", "The node or its mesh is disabled; enable it first.", nil}},
	{store.ErrNodeStatic, answer{400, "CLIENT_BIND_STATIC_NODE", "The node is static and has no agent; make it dynamic to control it.", nil}},
	{refusal.ErrNotInitialized, answer{409, "CLIENT_NOT_INITIALIZED", "No agent is bound to this node yet; ask for a bind command and run it on the node.", nil}},
	{refusal.ErrNodeOffline, answer{409, "NODE_OFFLINE", "The node is not connected; try again when it is, or send queue: true to have the command wait for it.", nil}},
	{protocol.ErrInvalidAction, answer{400, "INVALID_ACTION", "The action is unknown; use " + actionNames(protocol.Actions(nil)) + ".", nil}},
	{protocol.ErrCannotDescribe, answer{409, "AGENT_CANNOT_DESCRIBE", "The agent on this node cannot describe itself, as the WG Free Mesh client cannot. Use wg_show to look at its tunnel; its version and platform are in endpoint/status.", nil}},
	{tunnel.ErrNothingToStart, answer{409, "NO_CONFIRMED_CONFIG", "Nothing was started: the node never confirmed a tunnel config, and its agent would start an empty tunnel. Push one first.", nil}},
	{errRolloutAction, answer{400, "INVALID_ACTION", "A rollout can " + actionNames(protocol.Actions(inRollouts)) + "; give other actions to each node.", nil}},
	{store.ErrTagNotFound, answer{404, "TAG_NOT_FOUND", "Neither the mesh nor any of its nodes has this tag; it may have been deleted.", nil}},
	{store.ErrTooManyTags, answer{409, "TOO_MANY_TAGS", "The mesh has the most tags it may have; delete tags that no node uses.", nil}},
	{store.ErrNodeTags, answer{409, "TOO_MANY_TAGS", fmt.Sprintf("A node may have at most %d tags; take another from it first.", store.MaxNodeTags), nil}},
	{store.ErrRolloutNotFound, answer{404, "ROLLOUT_NOT_FOUND", "There is no rollout with this id; it may have made room for newer ones.", nil}},
	{refusal.ErrRolloutEnded, answer{409, "ROLLOUT_ENDED", "The rollout is over; begin a new one.", nil}},
	{tunnel.ErrNoStagedConfig, answer{409, "NO_STAGED_CONFIG", "There is no tunnel config to push to this node; save one first (PUT applied-conf).", nil}},
	{tunnel.ErrStagedOutdated, answer{409, "STAGED_CONFIG_OUTDATED", "The tunnel protocol was changed after the tunnel config was staged. Push the latest version, or stage it again: both check it for the new protocol.", nil}},
	{tunnel.ErrVersionBehind, answer{409, "CONFIG_CONFLICT", "Nothing was pushed: a newer version is staged. To go back to an older one, restore it, which makes it the newest.", nil}},
	{tunnel.ErrUnsettled, answer{409, "CONFIG_CONFLICT", "Nothing was done: the tunnel config, or the mesh's settings, changed each time it was checked. Try again.", nil}},
	{tunnel.ErrStagedChanged, answer{409, "CONFIG_CONFLICT", "Nothing was pushed: another version was staged meanwhile. Look at it, then push it.", nil}},
	{tunnel.ErrNoDesiredConfig, answer{409, "NO_DESIRED_CONFIG", "This node has no tunnel config; save one first (PUT applied-conf).", nil}},
	{store.ErrConfVersionNotFound, answer{404, "CONFIG_VERSION_NOT_FOUND", "The node's tunnel config has no such version; it may have been removed to make room for newer ones.", nil}},
	{refusal.ErrTooManyCommands, answer{409, "TOO_MANY_COMMANDS", "Too many commands of this node are open; wait for them to end, or cancel some.", nil}},
	{store.ErrCommandNotFound, answer{404, "CONTROL_LOG_NOT_FOUND", "There is no command with this request_id; it may have made room for newer ones.", nil}},
	{store.ErrCommandEnded, answer{409, "COMMAND_ENDED", "The command has ended already.", nil}},
	{refusal.ErrMQTTDisabled, answer{409, "MQTT_DISABLED", "MQTT services are switched off on this appliance; start it with WFM_ENABLE_MQTT_SERVICES=true.", nil}},
	{refusal.ErrMQTTUnavailable, answer{503, "MQTT_CONTROL_UNAVAILABLE", "The MQTT broker cannot be reached at the moment; try again, and look at the appliance's log if it lasts.", nil}},
	{errNoHost, answer{422, "VALIDATION_ERROR", "The request names no host under which an agent could find the broker: use the appliance's address, or have WFM_MQTT_PUBLIC_HOST set.", nil}},
	{errNoCA, answer{409, "MQTT_TLS_CA_NOT_READY", "Agents are to use TLS, but the broker is not served with it; start the appliance with WFM_MQTT_TLS_ENABLED=true, or take tls out of settings/mqtt.", nil}},

	{tlsproblem.ErrNotReady, answer{409, "MQTT_TLS_CA_NOT_READY", "The appliance has no TLS certificate yet that agents could trust; try again soon, and have its system status looked at if it lasts.", nil}},
	{tlsproblem.ErrHost, answer{409, "MQTT_TLS_CA_NOT_READY", "The appliance's TLS certificate is not for the host name this was sent to. Use a name it is for: ask for the bind command at the address agents use, or have WFM_MQTT_PUBLIC_HOST set.", nil}},
	{tlsproblem.ErrTooManyHosts, answer{409, "MQTT_TLS_CA_NOT_READY", "The appliance's TLS certificate is for 64 learnt hosts already, and for no more: ask for the bind command at one of those, or have WFM_MQTT_PUBLIC_HOST set, which is always among them.", nil}},
	{errTLSOff, answer{409, "TLS_DISABLED", "Nothing is served with TLS; start the appliance with WFM_MQTT_TLS_ENABLED=true or WFM_HTTPS_ADDR.", nil}},
	{errHTTPSRequired, answer{403, "HTTPS_REQUIRED", "This appliance takes no changes without TLS; send the request to its https:// address. If it held a password or token, that was seen by all on the way: change it.", nil}},

	{errEmbeddedBroker, answer{409, "MQTT_EMBEDDED", "The broker is the embedded one, which asks the store itself: there is nothing to reconcile.", nil}},

	{store.ErrTokenInvalid, answer{401, "CLIENT_BIND_TOKEN_INVALID", "The bind token is not valid. Copy the whole bind command, or ask for a new one: a newer command, a reset or a disabled node makes the old one invalid.", nil}},
	{store.ErrTokenExpired, answer{401, "CLIENT_BIND_TOKEN_EXPIRED", "The bind token has expired. Ask for a new bind command and run it within five minutes.", nil}},
	{store.ErrTokenUsed, answer{409, "CLIENT_BIND_TOKEN_USED", "The bind token was used already, and it works only once. Ask for a new bind command.", nil}},
	{errBindStatic, answer{400, "CLIENT_BIND_STATIC_NODE", "This node is static, so no agent can be bound to it. Make it dynamic on the server, then ask for a new bind command.", nil}},
	{errBindNotAllowed, answer{403, "CLIENT_BIND_NOT_ALLOWED", "This node or its mesh is disabled on the server. Enable it there, then ask for a new bind command.", nil}},
	{errBindTooLarge, answer{409, "BIND_ANSWER_TOO_LARGE", "The answer to this bind is larger than an agent reads: the node's tunnel config, or the CA certificates, are too long. Nothing was bound; shorten them on the server, then run the same command again.", nil}},
	{errNoServerAddress, answer{422, "VALIDATION_ERROR", "The address of this request cannot stand in a bind command; send server_url, or set WFM_PUBLIC_ORIGIN.", map[string]any{"fields": map[string]string{"server_url": "is required"}}}},

	{store.ErrFull, answer{507, "STORE_FULL", "Nothing was changed: " + store.ErrFull.Error() + ".", nil}},
	{store.ErrReadOnly, answer{503, "STORE_READ_ONLY", "Nothing was changed: " + store.ErrReadOnly.Error() + ".", nil}},
	{store.ErrDisk, answer{503, "STORE_DISK_ERROR", "This was not done: " + store.ErrDisk.Error() + ".", nil}},
	{store.ErrDamaged, answer{503, "STORE_DAMAGED", "This was not done: " + store.ErrDamaged.Error() + ".", nil}},
	{store.ErrMoved, answer{503, "STORE_MOVED", "This was not done: " + store.ErrMoved.Error() + ".", nil}},
	{store.ErrClosed, answer{503, "SHUTTING_DOWN", "The appliance is stopping; try again when it runs.", nil}},
	{errBodyBroken, answer{400, "BAD_REQUEST", "The request body broke off; send it again.", nil}},
	{errUnknownPath, answer{404, "NOT_FOUND", "There is nothing at this path; look for a misspelling.", nil}},
	{errUnknownMethod, answer{405, "METHOD_NOT_ALLOWED", "This path does not take this method; the Allow header names those it takes.", nil}},
	{errBusy, answer{429, "RATE_LIMITED", "Too many people log in at this moment; try again in a few seconds.", nil}},
	{errTestsRunning, answer{429, "RATE_LIMITED", "Other tests of MQTT settings are under way; try again when they have ended.", nil}},
	{errBackupRunning, answer{429, "RATE_LIMITED", "A backup is being downloaded already; wait for its end.", nil}},
	{context.Canceled, answer{503, "REQUEST_CANCELLED", "The request was given up before it was done.", nil}},
	{context.DeadlineExceeded, answer{503, "REQUEST_CANCELLED", "The request took too long; try again.", nil}},
}

// translate is the one place where an error becomes an answer. Sentinels of the store stand in
// answers; an error nobody foresaw is [codeInternal] and gives nothing of its text away.
func translate(err error) answer {
	var invalid *invalidError
	var rate *rateError
	var tooLarge *http.MaxBytesError
	var active *store.RolloutActiveError
	var iface *interfaceNameError
	switch {
	case errors.As(err, &iface):
		return answer{http.StatusConflict, "INTERFACE_NAME_UNUSABLE", iface.Error(), map[string]any{"interface_name": iface.name}}
	case errors.As(err, &active):
		return answer{
			http.StatusConflict, "ROLLOUT_ACTIVE",
			fmt.Sprintf("Rollout %s of this mesh has not ended; wait until it has, or cancel it.", active.ID),
			map[string]any{"rollout_id": active.ID},
		}
	case errors.As(err, &invalid):
		a := answer{status: http.StatusUnprocessableEntity, code: "VALIDATION_ERROR", message: invalid.Error()}
		if len(invalid.fields) > 0 {
			a.detail = map[string]any{"fields": invalid.fields}
		}
		return a
	case errors.As(err, &rate):
		message := rate.message
		if message == "" {
			message = fmt.Sprintf("Too many attempts from this address; try again in %d seconds.", rate.seconds())
		}
		return answer{
			http.StatusTooManyRequests, "RATE_LIMITED", message,
			map[string]any{"retry_after": rate.seconds()},
		}
	case errors.As(err, &tooLarge):
		return answer{
			http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE",
			fmt.Sprintf("The request body is too large; at most %d bytes are taken.", tooLarge.Limit), nil,
		}
	}
	if a, ok := asDesiredAnswer(err); ok {
		return a
	}
	if unusable, ok := errors.AsType[*tlsproblem.Error](err); ok {
		return answer{http.StatusConflict, "MQTT_TLS_CA_NOT_READY", "No agent could connect with the appliance's TLS certificate: " + sentence(unusable.Problem), nil}
	}
	for _, known := range answers {
		if errors.Is(err, known.err) {
			if told, ok := errors.AsType[*originError](err); ok {
				known.message = told.message
			}
			return known.answer
		}
	}
	if renewal, ok := errors.AsType[*renewalError](err); ok {
		return answer{http.StatusBadGateway, "CERTIFICATE_RENEWAL_FAILED", renewal.Error(), nil}
	}
	return answer{http.StatusInternalServerError, codeInternal, "Something went wrong inside the appliance; its log has the details under this request_id.", nil}
}

// asDesiredAnswer answers what is wrong with a node's tunnel config.
func asDesiredAnswer(err error) (answer, bool) {
	var invalid *wgconf.Error
	var cutOff *tunnel.CutOffError
	var conflict *tunnel.ConflictError
	switch {
	case errors.As(err, &invalid):
		return answer{
			http.StatusUnprocessableEntity, "INVALID_TUNNEL_CONFIG", "The tunnel config is not valid: " + sentence(invalid.Error()),
			// The first fault by itself, for scripts from when there was one only.
			map[string]any{"line": invalid.Faults[0].Line, "problem": invalid.Faults[0].Problem, "faults": invalid.Faults},
		}, true
	case errors.As(err, &cutOff):
		return answer{http.StatusConflict, "CONFIG_WOULD_CUT_OFF", cutOff.Error(), map[string]any{"warnings": viewWarnings(cutOff.Warnings)}}, true
	case errors.As(err, &conflict):
		return answer{http.StatusConflict, "CONFIG_CONFLICT", conflict.Error(), map[string]any{"desired_version": conflict.Desired}}, true
	}
	return answer{}, false
}

// actionNames names the actions as alternatives: "start, stop or detect".
func actionNames(specs []protocol.ActionSpec) string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = string(s.Action)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func inRollouts(s protocol.ActionSpec) bool { return s.InRollouts }

// sentence ends text with a full stop, unless it ends like one.
func sentence(text string) string {
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// answerError is the end of every request that failed.
func (s *Server) answerError(err error, c echo.Context) {
	if c.Response().Committed {
		// Too late for another answer; a truncated one must not look whole.
		s.log.Warn("answer broke off", "route", c.Path(), "request_id", requestIDOf(c), "err", err)
		panic(http.ErrAbortHandler)
	}
	if routing, ok := errors.AsType[*echo.HTTPError](err); ok {
		err = underPath(c.Request(), fromRouter(routing), s.paths)
	}
	if errors.Is(err, errUnknownPath) && wantsPage(c.Request()) {
		if err := s.errorPage(c, err); err != nil {
			s.log.Error("page failed", "route", c.Path(), "request_id", requestIDOf(c), "err", err)
		}
		return
	}
	a := translate(err)
	if a.detail == nil {
		a.detail = map[string]any{} // scripts look into it without asking whether it is there
	}
	if a.code == codeInternal {
		s.log.Error("request failed", "route", c.Path(), "request_id", requestIDOf(c), "err", err)
		a.detail = map[string]any{"request_id": requestIDOf(c)}
	}
	if rate, ok := errors.AsType[*rateError](err); ok {
		c.Response().Header().Set("Retry-After", strconv.Itoa(rate.seconds()))
	}
	if a.status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", "Bearer")
	}
	body := failure{}
	body.Error.Code, body.Error.Message, body.Error.Detail = a.code, a.message, a.detail
	if err := writeJSON(c, a.status, body); err != nil {
		s.log.Debug("client left before the answer", "route", c.Path(), "request_id", requestIDOf(c), "err", err)
	}
}

// wantsPage reports whether a person's browser asks for a page, and no script for data.
func wantsPage(r *http.Request) bool {
	return readOnly(r) && strings.Contains(r.Header.Get("Accept"), "text/html") && !strings.HasPrefix(r.URL.Path, "/api/")
}

// fromRouter turns the router's own errors into ours.
func fromRouter(err *echo.HTTPError) error {
	switch err.Code {
	case http.StatusNotFound:
		return errUnknownPath
	case http.StatusMethodNotAllowed:
		return errUnknownMethod
	}
	return err
}
