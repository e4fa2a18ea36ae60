package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// What the bodies and errors of the calls have in common.
const (
	bindMembers = "token!, hostname, platform, client_version, capabilities strings"
	binding     = "RATE_LIMITED CLIENT_BIND_TOKEN_INVALID CLIENT_BIND_TOKEN_EXPIRED CLIENT_BIND_TOKEN_USED " +
		"CLIENT_BIND_NOT_ALLOWED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY INTERFACE_NAME_UNUSABLE/409 BIND_ANSWER_TOO_LARGE"
)

func (s *Server) bindRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/api/client/bind", access: accessOpen, handle: s.clientBind,
			summary: "An agent spends its bind token for credentials, which are shown once.",
			body:    bindMembers, data: protocol.BindResponse{}, codes: binding,
		},
		{ // older agents
			method: http.MethodPost, path: "/api/client/v1/bind", access: accessOpen, handle: s.clientBind,
			summary: "The same, where older agents look for it.",
			body:    bindMembers, data: protocol.BindResponse{}, codes: binding,
		},
		{
			method: http.MethodPost, path: pathNode + "/reset-client", access: accessSession, handle: s.resetClient, oneWrite: true,
			summary: "Takes the node's access away and ends its session.",
			data:    resetView{}, codes: "CLIENT_BIND_STATIC_NODE",
		},
	}
}

type resetView struct {
	ClientState clientStateView `json:"client_state"`
}

// resetClient takes the node back to the state before binding and ends its session.
func (s *Server) resetClient(c echo.Context) error {
	var f facts
	if err := s.update(c, func(tx *store.Tx) error {
		cfg, n, err := nodeOf(tx, c)
		if err != nil {
			return err
		}
		if n.Type == store.NodeStatic {
			return store.ErrNodeStatic
		}
		if err := tx.ResetClient(n.ID); err != nil {
			return err
		}
		if n, err = tx.Node(n.ID); err != nil {
			return err
		}
		f, err = s.facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	s.kick(f.node.ID)
	s.log.Info("client reset", "node_id", f.node.ID, "by", loginOf(c).Username)
	return respond(c, resetView{f.clientState()})
}

// clientBind spends a bind token. An agent shows the person at the node nothing but the message of
// an error.
func (s *Server) clientBind(c echo.Context) error {
	body, token, err := s.readBindToken(c)
	if err != nil {
		return err
	}
	if err := s.mqtt(); err != nil {
		return err
	}
	target, err := s.mqttTarget(requestHost(c.Request().Host))
	if err != nil {
		s.log.Warn("bind refused: no address to hand out", "err", err)
		return err // before the token is spent
	}
	client := store.Client{
		Hostname:     or(body.text("hostname", line(0, 255)), ""),
		Platform:     or(body.text("platform", line(0, 64)), ""),
		Version:      or(body.text("client_version", line(0, 64)), ""),
		Capabilities: body.texts("capabilities", 32, line(1, 64)),
	}
	if err := body.err(); err != nil {
		return err
	}
	client.MQTTHost = target.Host
	var bound store.Bound
	var answer protocol.BindResponse
	reach := tunnel.Reach(c.Request().Context(), s.opts.Resolver, target.Host)
	if err := s.update(c, func(tx *store.Tx) (err error) {
		if bound, answer, err = bindNode(tx, token, client, target, reach); err == nil {
			noteID(c, "config_id", bound.Config.ID)
			noteID(c, "node_id", bound.Node.ID)
		}
		return err
	}); err != nil {
		return bindRefusal(err)
	}
	s.kick(bound.Node.ID) // the session of the agent that was bound before
	s.log.Info("agent bound", "node_id", bound.Node.ID, "remote_addr", c.Request().RemoteAddr)
	return respond(c, answer)
}

// readBindToken reads the body of a bind request and its token. Requests without a token that can be
// spent are bounded by address; with one they are not: a site, or a script, may bind many nodes from one
// address at once, and while somebody guesses from there.
func (s *Server) readBindToken(c echo.Context) (body *fields, token string, err error) {
	body, err = readBody(c, bindBodyLimit)
	if err == nil {
		token = body.need("token", line(1, 128))
	}
	spendable := s.opts.Store.View(func(tx *store.Tx) error { _, _, err := tx.BindTarget(token); return err }) == nil
	if !spendable {
		if wait, ok := s.binds.take(remoteKey(c.Request().RemoteAddr), time.Now()); !ok {
			return nil, "", &rateError{wait: wait}
		}
	}
	return body, token, err
}

// bindNode binds an agent and makes its answer. Whatever is in the way undoes the whole of it: the
// token stays good, and the session of the agent that was bound before goes on.
func bindNode(tx *store.Tx, token string, client store.Client, target MQTTTarget, reach wgconf.Reach) (store.Bound, protocol.BindResponse, error) {
	var none protocol.BindResponse
	cfg, n, err := tx.BindTarget(token)
	if err != nil {
		return store.Bound{}, none, err
	}
	if !protocol.ValidInterfaceName(n.InterfaceName) && !isWindows(client.Platform) {
		return store.Bound{}, none, &interfaceNameError{n.InterfaceName}
	}
	state, err := tx.ConfState(n.ID) // before the bind forgets what was confirmed
	if err != nil {
		return store.Bound{}, none, err
	}
	ref, text, err := tunnel.HandOut(tx, cfg, n, state, reach)
	if err != nil {
		return store.Bound{}, none, err
	}
	bound, err := tx.Bind(token, client)
	if err != nil {
		return bound, none, err
	}
	if err := tx.NoteHandedOut(bound.Node.ID, ref); err != nil {
		return bound, none, err
	}
	answer := bindResponse(bound, client, target, ref, text)
	raw, err := json.Marshal(answer)
	if err == nil && len(raw) > protocol.MaxBindAnswer-answerRoom {
		err = errBindTooLarge
	}
	return bound, answer, err
}

// answerRoom is for what stands around the data of an answer, in bytes.
const answerRoom = 1 << 10

// interfaceNameError is a node that no agent can be bound to for its interface's name.
type interfaceNameError struct{ name string }

func (e *interfaceNameError) Error() string {
	return fmt.Sprintf("This node's interface name %q cannot be used on this platform, which takes at most 15 characters. "+
		"Nothing was bound: give the node a shorter one on the server, then run the same command again.", e.name)
}

// bindRefusal words what others may say of a node for the person at the node.
func bindRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrNodeDisabled):
		return errBindNotAllowed
	case errors.Is(err, store.ErrNodeStatic):
		return errBindStatic
	case errors.Is(err, store.ErrNodeNotFound), errors.Is(err, store.ErrConfigNotFound):
		return store.ErrTokenInvalid
	}
	return err
}

func bindResponse(b store.Bound, client store.Client, t MQTTTarget, ref store.ConfRef, text string) protocol.BindResponse {
	n := b.Node
	return protocol.BindResponse{
		Profile: protocol.BindProfile{
			ProfileID: protocol.ProfileID(n.ConfigID, n.ID), ConfigID: n.ConfigID, ConfigName: b.Config.Name,
			NodeID: n.ID, NodeName: n.Name, InterfaceName: n.InterfaceName,
			Hostname: client.Hostname, Platform: client.Platform, ClientVersion: client.Version,
		},
		MQTT: protocol.BindMQTT{
			Host: t.Host, Port: t.Port, TLS: t.TLS, CACert: t.CACert, Username: n.ID, Password: b.Password, ClientID: protocol.ClientID(n.ID),
			Topics: protocol.BindTopics{
				Subscribe: protocol.SubscribeTopics(n.ConfigID, n.ID),
				Publish:   protocol.PublishTopics(n.ConfigID, n.ID),
			},
		},
		DesiredConf: text, DesiredConfVersion: ref.Version, DesiredConfSHA256: ref.SHA256,
	}
}

// requestHost is the Host header without its port and without the brackets of an IPv6 address.
func requestHost(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
