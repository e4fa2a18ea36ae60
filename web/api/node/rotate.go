package node

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/apply"
	"wfm/internal/refusal"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) rotateRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathNode + "/rotate-key", Access: wire.Session, Handle: a.rotateKey,
			Summary: "Gives a node a new key pair. Its tunnel config and those of its peers get a new version, and are sent if apply is set. If the node " +
				"holds its key, its agent makes the pair, and uses it once the node has its new config; the answer waits for the agent, up to wait seconds.",
			Body: "? apply bool, wait 0..60", Data: rotatedKey{},
			Codes: wire.Commanding + " NODE_OFFLINE AGENT_HAS_NO_KEY CONTROL_LOG_NOT_FOUND " + mesh.CodeNoNewKey + " " + mesh.CodeKeyElsewhere + " " +
				mesh.CodeInvalidKey + " " + mesh.CodeInvalidText,
		},
	}
}

// rotationWait is how long the answer waits for the node's agent, in seconds, if the request does not
// say.
const rotationWait = 30

const (
	rotated    = "done" // the status of a rotation
	notApplied = "The node has a new key pair, which is not applied yet."
)

// rotatedKey is the answer to a request for a new key pair.
type rotatedKey struct {
	NodeID            string  `json:"node_id"`
	KeyHolder         string  `json:"key_holder"` // appliance or node
	PublicKey         *string `json:"public_key"` // the present one
	PreviousPublicKey *string `json:"previous_public_key"`
	Status            string  `json:"status"` // done, or pending while the node's agent has not answered
	Message           string  `json:"message"`
	RequestID         string  `json:"request_id"` // of the command to the agent; "" if it needed none
	RolloutID         string  `json:"rollout_id"` // "" if none was begun; message says why
	view.Effect
}

func (v *rotatedKey) setKeys(before, after store.Node) {
	s := view.NodeSettingsOf(after.NodeSettings)
	v.NodeID, v.KeyHolder, v.PublicKey = after.ID, s.KeyHolder, s.PublicKey
	v.PreviousPublicKey = view.NodeSettingsOf(before.NodeSettings).PublicKey
}

func (a *API) rotateKey(c echo.Context) error {
	body, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	wait := wire.Or(body.Number("wait", 0, maxWait), rotationWait)
	applies := wire.Or(body.Flag("apply"), false)
	if err := body.Err(); err != nil {
		return err
	}
	if applies && a.Applier.Rollouts == nil {
		return refusal.ErrMQTTDisabled
	}
	n, err := store.Read(a.DB, func(tx *store.Tx) (store.Node, error) {
		_, n, err := view.NodeOf(tx, c)
		return n, err
	})
	if err != nil {
		return err
	}
	var v rotatedKey
	if mesh.RotatedByAgent(n) {
		v, err = a.rotateOnNode(c, n, time.Duration(wait)*time.Second)
	} else {
		v, err = a.rotateHere(c, n)
	}
	if err == nil && applies && v.Status == rotated {
		err = a.applyKey(c, n.ConfigID, &v)
	}
	if err != nil {
		return err
	}
	a.Log.Info("new key pair", "node_id", v.NodeID, "status", v.Status, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// applyKey begins the rollout that brings the new key to the nodes that need it. If it cannot, the
// message says why: the key is a new one anyway.
func (a *API) applyKey(c echo.Context, configID string, v *rotatedKey) error {
	done, err := a.Applier.Apply(c.Request().Context(), apply.Order{
		ConfigID: configID, By: access.LoginOf(c).Username, NodeIDs: v.AffectedNodeIDs, Host: a.Directory.HostFor(wire.RequestHost(c.Request().Host)),
	})
	why := wire.Translate(err)
	switch {
	case err == nil:
		if v.RolloutID = done.Rollout.ID; v.RolloutID != "" {
			v.Message = "The node has a new key pair, and the rollout of the new tunnel configs has begun."
		}
		return nil
	case why.Code == wire.CodeInternal:
		return err
	}
	v.Message = notApplied + " " + why.Message
	return nil
}

// rotateHere makes a pair that the appliance has.
func (a *API) rotateHere(c echo.Context, n store.Node) (v rotatedKey, err error) {
	var before, after store.Node
	var changed mesh.Changed
	if err = a.Audit.Update(c, func(tx *store.Tx) (err error) {
		if before, err = tx.Node(n.ID); err != nil {
			return err
		}
		changed, err = mesh.Change(tx, n.ConfigID, access.LoginOf(c).Username, rand.Reader, func(e *mesh.Edit) (err error) {
			after, err = e.RotateKey(n.ID)
			return err
		})
		return err
	}); err != nil {
		return v, err
	}
	v = rotatedKey{Status: rotated, Message: notApplied, Effect: view.EffectOf(changed)}
	v.setKeys(before, after)
	return v, nil
}

// rotateOnNode has the node's agent make a pair.
func (a *API) rotateOnNode(c echo.Context, n store.Node, wait time.Duration) (v rotatedKey, err error) {
	if err := a.Reader.MQTT(); err != nil {
		return v, err
	}
	given, err := a.issue(c, n.ID, protocol.ActionRotateKey, false)
	if err != nil {
		return v, err
	}
	cmd, err := a.await(c, given.RequestID, wait)
	if err != nil {
		return v, err
	}
	v.RequestID = cmd.RequestID
	switch {
	case cmd.State == store.CommandApplied:
		v.Status, v.Message = rotated, notApplied
		// The key is taken anyway, soon after the agent's answer; this answer must not be earlier.
		if err := a.Audit.Update(c, func(tx *store.Tx) error { _, err := mesh.TakeKey(tx, n.ID, rand.Reader); return err }); err != nil {
			return v, err
		}
	case cmd.State.Ended():
		return v, &mesh.Error{Code: mesh.CodeNoNewKey, Message: "The node made no new key pair: " + view.CommandMessage(cmd)}
	default:
		v.Status, v.Message = "pending", "The node has not answered yet. Its new public key is taken as soon as it does."
	}
	after := n
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		if after, err = tx.Node(n.ID); err != nil || v.Status != rotated {
			return err
		}
		v.AffectedNodeIDs, err = mesh.KeyUsers(tx, after)
		return err
	}); err != nil {
		return v, err
	}
	v.setKeys(n, after)
	return v, nil
}
