package bind

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// Parts that several calls' bodies and errors share.
const (
	bindMembers = "token!, hostname, platform, client_version, capabilities strings, public_key"
	binding     = "RATE_LIMITED CLIENT_BIND_TOKEN_INVALID CLIENT_BIND_TOKEN_EXPIRED CLIENT_BIND_TOKEN_USED " +
		"CLIENT_BIND_NOT_ALLOWED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY INTERFACE_NAME_UNUSABLE/409 BIND_ANSWER_TOO_LARGE " +
		mesh.CodeKeyElsewhere + " " + mesh.CodeInvalidKey + " " + mesh.CodeInvalidText
)

func (a *API) bindRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: "/api/client/bind", Access: wire.Open, Handle: a.clientBind,
			Summary: "Exchanges an agent's bind token for credentials, which only this answer has.",
			Body:    bindMembers, Data: protocol.BindResponse{}, Codes: binding,
		},
		{ // older agents
			Method: http.MethodPost, Path: "/api/client/v1/bind", Access: wire.Open, Handle: a.clientBind,
			Summary: "The same, at the path that older agents use.",
			Body:    bindMembers, Data: protocol.BindResponse{}, Codes: binding,
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/reset-client", Access: wire.Session, Handle: a.resetClient, OneWrite: true,
			Summary: "Removes the node's access and ends its session.",
			Data:    resetView{}, Codes: "CLIENT_BIND_STATIC_NODE",
		},
	}
}

// bindBodyLimit is the limit of a bind request, in bytes.
const bindBodyLimit = 16 << 10

type resetView struct {
	ClientState view.ClientState `json:"client_state"`
}

// resetClient returns the node to the state before its bind and ends its session.
func (a *API) resetClient(c echo.Context) error {
	var f view.Facts
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, n, err := view.NodeOf(tx, c)
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
		f, err = a.Reader.Facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("client reset", "node_id", f.Node.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, resetView{f.ClientState()})
}

// clientBind spends a bind token. Of an error, the agent shows only the message to the person at
// the node.
func (a *API) clientBind(c echo.Context) error {
	body, token, err := a.readBindToken(c)
	if err != nil {
		return err
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	target, err := a.Directory.TargetFor(wire.RequestHost(c.Request().Host))
	if err != nil {
		a.Log.Warn("bind refused: no address to hand out", "err", err)
		return err // before the token is spent
	}
	client := store.Client{
		Hostname:     wire.Or(body.Text("hostname", wire.Line(0, 255)), ""),
		Platform:     wire.Or(body.Text("platform", wire.Line(0, 64)), ""),
		Version:      wire.Or(body.Text("client_version", wire.Line(0, 64)), ""),
		Capabilities: body.Texts("capabilities", 32, wire.Line(1, 64)),
	}
	if public := wire.Or(body.Text("public_key", wire.Line(0, 64)), ""); protocol.ValidPublicKey(public) {
		client.PublicKey = public
	}
	if err := body.Err(); err != nil {
		return err
	}
	client.MQTTHost = target.Host
	var bound store.Bound
	var answer protocol.BindResponse
	broker := tunnel.Reach(c.Request().Context(), a.Resolver, target.Host)
	if err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		if bound, answer, err = bindNode(tx, token, client, target, broker); err == nil {
			access.NoteID(c, "config_id", bound.Config.ID)
			access.NoteID(c, "node_id", bound.Node.ID)
		}
		return err
	}); err != nil {
		return bindRefusal(err)
	}
	a.Log.Info("agent bound", "node_id", bound.Node.ID, "remote_addr", c.Request().RemoteAddr)
	return wire.Respond(c, answer)
}

// readBindToken reads the body of a bind request and its token. Only requests without a valid token
// are limited by address: a site or a script may bind many nodes from one address, even while
// another client there guesses tokens.
func (a *API) readBindToken(c echo.Context) (body *wire.Fields, token string, err error) {
	body, err = wire.ReadBody(c, bindBodyLimit)
	if err == nil {
		token = body.Need("token", wire.Line(1, 128))
	}
	spendable := a.DB.View(func(tx *store.Tx) error { _, _, err := tx.BindTarget(token); return err }) == nil
	if !spendable {
		if wait, ok := a.Binds.Take(access.RemoteKey(c.Request().RemoteAddr), time.Now()); !ok {
			return nil, "", &wire.RateError{Wait: wait}
		}
	}
	return body, token, err
}

// bindNode binds an agent and returns its answer. Any error undoes the bind as a whole: the token
// stays valid, and the session of the agent that was bound before goes on.
func bindNode(tx *store.Tx, token string, client store.Client, target reach.MQTTTarget, broker wgconf.Reach) (store.Bound, protocol.BindResponse, error) {
	var none protocol.BindResponse
	cfg, n, err := tx.BindTarget(token)
	if err != nil {
		return store.Bound{}, none, err
	}
	if !protocol.ValidInterfaceName(n.InterfaceName) && !wire.IsWindows(client.Platform) {
		return store.Bound{}, none, &wire.InterfaceNameError{Name: n.InterfaceName}
	}
	state, err := tx.ConfState(n.ID) // read before the bind, which clears the confirmed version
	if err != nil {
		return store.Bound{}, none, err
	}
	bound, err := tx.Bind(token, client)
	if err != nil {
		return bound, none, err
	}
	if err := mesh.AgentChanged(tx, n, bound.Node, rand.Reader); err != nil {
		return bound, none, err
	}
	now, err := tx.ConfState(n.ID)
	if err != nil {
		return bound, none, err
	}
	state.Desired = now.Desired
	ref, text, err := tunnel.HandOut(tx, cfg, bound.Node, state, broker)
	if err != nil {
		return bound, none, err
	}
	if err := tx.NoteHandedOut(bound.Node.ID, ref); err != nil {
		return bound, none, err
	}
	answer := bindResponse(bound, client, target, ref, text)
	raw, err := json.Marshal(answer)
	if err == nil && len(raw) > protocol.MaxBindAnswer-answerRoom {
		err = wire.ErrBindTooLarge
	}
	return bound, answer, err
}

// answerRoom is the room, in bytes, for the envelope around the data of an answer.
const answerRoom = 1 << 10

// bindRefusal replaces an error by one that is worded for the person at the node.
func bindRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrNodeDisabled):
		return wire.ErrBindNotAllowed
	case errors.Is(err, store.ErrNodeStatic):
		return wire.ErrBindStatic
	case errors.Is(err, store.ErrNodeNotFound), errors.Is(err, store.ErrConfigNotFound):
		return store.ErrTokenInvalid
	}
	return err
}

func bindResponse(b store.Bound, client store.Client, t reach.MQTTTarget, ref store.ConfRef, text string) protocol.BindResponse {
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
