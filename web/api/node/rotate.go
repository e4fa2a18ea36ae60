package node

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

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
			Summary: "Gives a node a new key pair. Its tunnel config and those of its peers get a new version; no config is sent. If the node holds its " +
				"key, its agent makes the pair, and uses it once the node has its new config; the answer waits for the agent, up to wait seconds.",
			Body: "? wait 0..60", Data: rotatedKey{},
			Codes: wire.Commanding + " NODE_OFFLINE AGENT_HAS_NO_KEY CONTROL_LOG_NOT_FOUND " + mesh.CodeKeyElsewhere + " " + mesh.CodeInvalidKey + " " +
				mesh.CodeInvalidText,
		},
	}
}

// rotationWait is how long the answer waits for the node's agent, in seconds, if the request does not
// say.
const rotationWait = 30

// rotatedKey is the answer to a request for a new key pair.
type rotatedKey struct {
	NodeID            string  `json:"node_id"`
	KeyHolder         string  `json:"key_holder"` // appliance or node
	PublicKey         *string `json:"public_key"` // the present one
	PreviousPublicKey *string `json:"previous_public_key"`
	// Status is done, pending while the node's agent has not answered, or failed.
	Status    string `json:"status"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"` // of the command to the agent; "" if it needed none
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
	if err := body.Err(); err != nil {
		return err
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
	if err != nil {
		return err
	}
	a.Log.Info("new key pair", "node_id", v.NodeID, "status", v.Status, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
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
	v = rotatedKey{Status: "done", Message: "The node has a new key pair. Apply the new tunnel configs.", Effect: view.EffectOf(changed)}
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
		v.Status, v.Message = "done", "The node has made a new key pair, and uses it once it has its new tunnel config. Apply the new tunnel configs."
		// The key is taken anyway, soon after the agent's answer; this answer must not be earlier.
		if err := a.Audit.Update(c, func(tx *store.Tx) error { _, err := mesh.TakeKey(tx, n.ID, rand.Reader); return err }); err != nil {
			return v, err
		}
	case cmd.State.Ended():
		v.Status, v.Message = "failed", "The node has no new key pair: "+view.CommandMessage(cmd)
	default:
		v.Status, v.Message = "pending", "The node has not answered yet. Its new public key is taken as soon as it does."
	}
	after := n
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		if after, err = tx.Node(n.ID); err != nil || v.Status != "done" {
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
