package web

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
)

// maxWait bounds, in seconds, how long a request waits for its command; writeTimeout is longer.
const maxWait = 60

type controlView struct {
	RequestID string             `json:"request_id"`
	Message   string             `json:"message"`
	Status    string             `json:"status"`
	State     store.CommandState `json:"state"`
	// Output is what the command printed, for a command of that kind that was waited for.
	Output []store.Output `json:"output,omitzero"`
}

func (s *Server) control(c echo.Context) error {
	body, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	action := protocol.Action(body.need("action", line(1, 64)))
	queue := or(body.flag("queue"), false)
	force := or(body.flag("force"), false)                     // of a push
	version := body.number("staged_version", 1, math.MaxInt32) // to push; nil: whichever is staged
	wait := or(body.number("wait", 0, maxWait), 0)
	if err := body.err(); err != nil {
		return err
	}
	if action.Kind() == "" {
		return store.ErrInvalidAction
	}
	if err := s.mqtt(); err != nil {
		return err
	}
	f, err := s.pathFacts(c)
	if err != nil {
		return err
	}
	if staged := f.conf.Staged; action == protocol.ActionPush && staged.Version != 0 && f.conf.StagedFor == protocol.ToolFamily(f.config.TunnelProtocol) {
		// Where the node finds the appliance may be known only since it was bound.
		if err := s.checkAgain(c, f, staged, "pushed", force); err != nil {
			return err
		}
	}
	var cmd store.Command
	if ctx, by := c.Request().Context(), loginOf(c).Username; action == protocol.ActionPush && version != nil {
		cmd, err = s.opts.Commands.Push(ctx, f.node.ID, *version, by)
	} else {
		cmd, err = s.opts.Commands.Issue(ctx, f.node.ID, action, by, queue)
	}
	if errors.Is(err, store.ErrNodeOffline) && s.brokerStatus().away() {
		return store.ErrMQTTUnavailable // whether the node is there cannot be seen
	}
	if err != nil {
		return err
	}
	noteID(c, "request_id", cmd.RequestID)
	s.log.Info("command given", "node_id", f.node.ID, "action", action, "command_id", cmd.RequestID, "by", loginOf(c).Username)
	if wait > 0 {
		if cmd, err = s.await(c, cmd.RequestID, time.Duration(wait)*time.Second); err != nil {
			return err
		}
	}
	v := controlView{RequestID: cmd.RequestID, Message: cmdMessage(cmd), Status: cmdStatus(cmd.State), State: cmd.State}
	if wait > 0 && action.Kind() == protocol.KindInfo {
		if v.Output, err = s.output(cmd.RequestID); err != nil {
			return err
		}
	}
	return respond(c, v)
}

// await waits for the end of the command, the time, the client or the server's shutdown.
func (s *Server) await(c echo.Context, requestID string, wait time.Duration) (store.Command, error) {
	// The time to read a request has nothing to do with how long it waits; once over, it would end
	// the request's context.
	if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return store.Command{}, err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), wait)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	return s.opts.Commands.Wait(ctx, requestID)
}

func (s *Server) output(requestID string) (out []store.Output, err error) {
	err = s.opts.Store.View(func(tx *store.Tx) error { out, err = tx.Output(requestID); return err })
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

// probeBatch gives every node named a detect; without names, every node of the config that has an
// agent. One node's refusal is no reason to spare the others.
func (s *Server) probeBatch(c echo.Context) error {
	body, err := readOptionalBody(c, bodyLimit)
	if err != nil {
		return err
	}
	ids := body.texts("node_ids", maxPage, line(1, protocol.MaxIDLength))
	if err := body.err(); err != nil {
		return err
	}
	if err := s.mqtt(); err != nil {
		return err
	}
	configID := c.Param("config_id")
	nodes, err := s.initializedNodes(configID)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		ids = nodes
	}
	slices.Sort(ids)
	dispatched, left := []probed{}, []skipped{}
	for _, id := range slices.Compact(ids) {
		requestID, err := s.probe(c, configID, id)
		switch {
		case err == nil:
			dispatched = append(dispatched, probed{id, requestID})
		case errors.Is(err, store.ErrMQTTUnavailable) && len(dispatched) == 0:
			return err // as good as certain for all the others
		default:
			a := translate(err)
			if a.code == codeInternal {
				s.log.Error("probe failed", "node_id", id, "request_id", requestIDOf(c), "err", err)
			}
			left = append(left, skipped{id, a.code, a.message})
		}
	}
	return respond(c, probeBatchView{dispatched, left})
}

func (s *Server) probe(c echo.Context, configID, nodeID string) (requestID string, err error) {
	if err := s.opts.Store.View(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err == nil && n.ConfigID != configID {
			err = errConfigMismatch
		}
		return err
	}); err != nil {
		return "", err
	}
	cmd, err := s.opts.Commands.Issue(c.Request().Context(), nodeID, protocol.ActionDetect, loginOf(c).Username, false)
	return cmd.RequestID, err
}

func (s *Server) initializedNodes(configID string) (ids []string, err error) {
	err = s.opts.Store.View(func(tx *store.Tx) error {
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
