package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// pushing are the errors of a push.
const (
	pushing = "NO_STAGED_CONFIG STAGED_CONFIG_OUTDATED CONFIG_CONFLICT CONFIG_WOULD_CUT_OFF/409 INVALID_TUNNEL_CONFIG/422 CONFIG_VERSION_NOT_FOUND " +
		"TOO_MANY_COMMANDS"
)

func (a *API) controlRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/endpoint/probe-batch", Access: wire.Session, Handle: a.probeBatch,
			Summary: "Checks nodes; without node_ids, all that have an agent.",
			Body:    "? node_ids strings", Data: probeBatchView{}, Codes: "MQTT_DISABLED MQTT_CONTROL_UNAVAILABLE",
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/endpoint/control", Access: wire.Session, Handle: a.control, OneWrite: true,
			Summary: "Gives a command. With queue, it may wait for a node that is away. wait is the longest time, in seconds, that the " +
				"answer waits for its end. With staged_version, a push is of that version only.",
			Body: "action!, queue bool, wait 0..60, " + wire.Choosing, Data: controlView{},
			Codes: wire.Commanding + " INVALID_ACTION NODE_OFFLINE NO_CONFIRMED_CONFIG AGENT_CANNOT_DESCRIBE CONTROL_LOG_NOT_FOUND " + pushing,
		},
	}
}

// maxWait is the longest time, in seconds, that a request waits for its command. web.writeTimeout
// is longer.
const maxWait = 60

type controlView struct {
	RequestID string             `json:"request_id"`
	Message   string             `json:"message"`
	Status    string             `json:"status"`
	State     store.CommandState `json:"state"`
	// ConfigVersion is the version of a push; 0 for any other action.
	ConfigVersion int `json:"config_version"`
	// Skipped reports that nothing was sent, since the node has that version already. RequestID is
	// then that of the push that brought it, or "" if the log no longer has that push.
	Skipped bool `json:"skipped"`
	// Output is the output of a command that prints and that the request waited for.
	Output []store.Output `json:"output,omitzero"`
}

func (a *API) control(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	action := protocol.Action(body.Need("action", wire.Line(1, 64)))
	queue := wire.Or(body.Flag("queue"), false)
	order := wire.ReadOrder(body)
	wait := wire.Or(body.Number("wait", 0, maxWait), 0)
	if err := body.Err(); err != nil {
		return err
	}
	if action.Kind() == "" || action.Spec().Unlisted {
		return protocol.ErrInvalidAction
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	node, err := a.orderFor(c, &order)
	if err != nil {
		return err
	}
	var v controlView
	if action == protocol.ActionPush {
		v, _, err = a.push(c, node, order)
	} else {
		v, err = a.issue(c, node, action, queue)
	}
	if err != nil {
		return err
	}
	if wait > 0 && v.RequestID != "" {
		cmd, err := a.await(c, v.RequestID, time.Duration(wait)*time.Second)
		if err != nil {
			return err
		}
		skipped, message := v.Skipped, v.Message
		if v = viewControl(cmd); skipped {
			v.Skipped, v.Message = skipped, message
		}
	}
	if wait > 0 && action.Kind() == protocol.KindInfo {
		if v.Output, err = a.output(v.RequestID); err != nil {
			return err
		}
	}
	return wire.Respond(c, v)
}

func (a *API) issue(c echo.Context, nodeID string, action protocol.Action, queue bool) (controlView, error) {
	cmd, err := a.Commands.Issue(c.Request().Context(), nodeID, action, access.LoginOf(c).Username, queue)
	if errors.Is(err, refusal.ErrNodeOffline) && a.Reader.BrokerStatus().Away() {
		err = refusal.ErrMQTTUnavailable // whether the node is connected is not known
	}
	if err != nil {
		return controlView{}, err
	}
	a.noteCommand(c, cmd)
	return viewControl(cmd), nil
}

// push pushes the version of the order to the node. If the node has it already, that is not an
// error: the answer says so and names the push that brought it.
func (a *API) push(c echo.Context, nodeID string, o tunnel.Order) (controlView, tunnel.Taken, error) {
	cmd, t, err := a.Commands.Push(c.Request().Context(), nodeID, o, access.LoginOf(c).Username)
	if has, ok := errors.AsType[*tunnel.UpToDateError](err); ok {
		v, err := a.viewSkipped(nodeID, has)
		return v, t, err
	}
	if err != nil {
		return controlView{}, t, err
	}
	a.noteCommand(c, cmd)
	return viewControl(cmd), t, nil
}

func (a *API) noteCommand(c echo.Context, cmd store.Command) {
	a.Log.Info("command given", "node_id", cmd.NodeID, "action", cmd.Action, "command_id", cmd.RequestID, "by", access.LoginOf(c).Username)
}

func viewControl(cmd store.Command) controlView {
	return controlView{
		RequestID: cmd.RequestID, Message: view.CommandMessage(cmd), Status: view.CommandStatus(cmd.State), State: cmd.State,
		ConfigVersion: tunnel.PushedVersion(cmd),
	}
}

// viewSkipped returns the answer to a push of a version that the node has already.
func (a *API) viewSkipped(nodeID string, has *tunnel.UpToDateError) (controlView, error) {
	v := controlView{
		Message: fmt.Sprintf("The node already has version %d, so nothing was sent. To apply it again, push with force: true.", has.Version),
		Status:  view.CommandStatus(store.CommandApplied), State: store.CommandApplied, ConfigVersion: has.Version, Skipped: true,
	}
	err := a.DB.View(func(tx *store.Tx) error {
		at, err := tx.Commands(nodeID, has.ConfirmedSeq+1, 1)
		if len(at) == 1 && at[0].Seq == has.ConfirmedSeq { // otherwise the log no longer has it
			v.RequestID = at[0].RequestID
		}
		return err
	})
	return v, err
}

// await waits until the command ends, the time is over, the client leaves or the server stops.
func (a *API) await(c echo.Context, requestID string, wait time.Duration) (store.Command, error) {
	// The read deadline is for the request itself. If it passed while the request waits, it would
	// end the request's context.
	if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return store.Command{}, err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), wait)
	defer cancel()
	defer context.AfterFunc(a.Stopping, cancel)()
	return a.Commands.Wait(ctx, requestID)
}

func (a *API) output(requestID string) ([]store.Output, error) {
	out, err := store.Read(a.DB, func(tx *store.Tx) ([]store.Output, error) { return tx.Output(requestID) })
	if out == nil {
		out = []store.Output{}
	}
	return out, err
}

type probed struct {
	NodeID    string `json:"node_id"`
	RequestID string `json:"request_id"`
}

type skipped struct {
	NodeID string `json:"node_id"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

type probeBatchView struct {
	Dispatched []probed  `json:"dispatched"`
	Skipped    []skipped `json:"skipped"`
}

// probeBatch sends a detect to every named node, or without names to every node of the mesh that
// has an agent. If one node refuses, the others still get theirs.
func (a *API) probeBatch(c echo.Context) error {
	body, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	ids := body.Texts("node_ids", wire.MaxPage, wire.Line(1, protocol.MaxIDLength))
	if err := body.Err(); err != nil {
		return err
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	configID := c.Param("config_id")
	nodes, err := a.initializedNodes(configID)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		ids = nodes
	}
	slices.Sort(ids)
	dispatched, left := []probed{}, []skipped{}
	for _, id := range slices.Compact(ids) {
		requestID, err := a.probe(c, configID, id)
		switch {
		case err == nil:
			dispatched = append(dispatched, probed{id, requestID})
		case errors.Is(err, refusal.ErrMQTTUnavailable) && len(dispatched) == 0:
			return err // the others would almost certainly fail too
		default:
			told := wire.Translate(err)
			if told.Code == wire.CodeInternal {
				a.Log.Error("probe failed", "node_id", id, "request_id", wire.RequestIDOf(c), "err", err)
			}
			left = append(left, skipped{id, told.Code, told.Message})
		}
	}
	return wire.Respond(c, probeBatchView{dispatched, left})
}

func (a *API) probe(c echo.Context, configID, nodeID string) (requestID string, err error) {
	if err := a.DB.View(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err == nil && n.ConfigID != configID {
			err = wire.ErrConfigMismatch
		}
		return err
	}); err != nil {
		return "", err
	}
	cmd, err := a.Commands.Issue(c.Request().Context(), nodeID, protocol.ActionDetect, access.LoginOf(c).Username, false)
	return cmd.RequestID, err
}

func (a *API) initializedNodes(configID string) (ids []string, err error) {
	err = a.DB.View(func(tx *store.Tx) error {
		if _, err := tx.Config(configID); err != nil {
			return err
		}
		nodes, err := tx.Nodes(configID, "", 0)
		for _, n := range nodes {
			if n.Type == store.NodeDynamic && n.Client != nil {
				ids = append(ids, n.ID)
			}
		}
		return err
	})
	return ids, err
}
