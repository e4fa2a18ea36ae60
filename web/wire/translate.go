package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"wfm/internal/tlsproblem"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

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
	if refused, ok := errors.AsType[*mesh.Error](err); ok {
		a := Answer{Status: meshStatuses[refused.Code], Code: refused.Code, Message: refused.Message}
		if field := refused.Field(); field != "" {
			a.Detail = map[string]any{"field": field}
		}
		return a
	}
	if unusable, ok := errors.AsType[*tlsproblem.Error](err); ok {
		return Answer{http.StatusConflict, "MQTT_TLS_CA_NOT_READY", "No agent could connect with the appliance's TLS certificate: " + sentence(unusable.Problem), nil}
	}
	for _, known := range answers {
		if errors.Is(err, known.err) {
			a := Answer{Status: known.status, Code: known.code, Message: known.message}
			if told, ok := errors.AsType[*OriginError](err); ok {
				a.Message = told.Message
			}
			switch {
			case errors.Is(err, ErrNoServerAddress):
				a.Detail = map[string]any{"fields": map[string]string{"server_url": "is required"}}
			case errors.Is(err, store.ErrConfigNameExists), errors.Is(err, store.ErrNodeNameExists), errors.Is(err, store.ErrTokenNameExists):
				a.Detail = map[string]any{"field": "name"}
			}
			return a
		}
	}
	if renewal, ok := errors.AsType[*RenewalError](err); ok {
		return Answer{http.StatusBadGateway, "CERTIFICATE_RENEWAL_FAILED", renewal.Error(), nil}
	}
	return Answer{http.StatusInternalServerError, CodeInternal, "Something went wrong inside the appliance; its log has the details under this request_id.", nil}
}

// meshStatuses has the status of each code of a [mesh.Error].
var meshStatuses = map[string]int{
	mesh.CodeInvalidSubnet:      http.StatusUnprocessableEntity,
	mesh.CodeInvalidVirtualIP:   http.StatusUnprocessableEntity,
	mesh.CodeIPPoolExhausted:    http.StatusConflict,
	mesh.CodeInvalidKey:         http.StatusUnprocessableEntity,
	mesh.CodeNoNewKey:           http.StatusConflict,
	mesh.CodeKeyElsewhere:       http.StatusConflict,
	mesh.CodeInvalidPeerLink:    http.StatusUnprocessableEntity,
	mesh.CodeInvalidQuickMesh:   http.StatusUnprocessableEntity,
	mesh.CodeInvalidAWG:         http.StatusUnprocessableEntity,
	mesh.CodeInvalidImport:      http.StatusUnprocessableEntity,
	mesh.CodeInvalidPortForward: http.StatusUnprocessableEntity,
	mesh.CodeInvalidValue:       http.StatusUnprocessableEntity,
	mesh.CodeInvalidText:        http.StatusUnprocessableEntity,
	mesh.CodeTopologyInvalid:    http.StatusConflict,
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
