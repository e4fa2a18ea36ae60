package node

import (
	"crypto/rand"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) rotateRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathNode + "/rotate-key", Access: wire.Session, Handle: a.rotateKey,
			Summary: "Gives a node a new key pair. Its tunnel config and those of its peers get a new version; nothing is sent.",
			Data:    rotatedKey{}, Codes: mesh.CodeKeyElsewhere + " " + mesh.CodeInvalidText,
		},
	}
}

// rotatedKey is the answer to a request for a new key pair.
type rotatedKey struct {
	NodeID            string  `json:"node_id"`
	KeyHolder         string  `json:"key_holder"` // appliance or node
	PublicKey         *string `json:"public_key"` // the new one
	PreviousPublicKey *string `json:"previous_public_key"`
	view.Effect
}

func (a *API) rotateKey(c echo.Context) error {
	var v rotatedKey
	var changed mesh.Changed
	err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, before, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		changed, err = mesh.Change(tx, cfg.ID, access.LoginOf(c).Username, rand.Reader, func(e *mesh.Edit) error {
			after, err := e.RotateKey(before.ID)
			s, was := view.NodeSettingsOf(after.NodeSettings), view.NodeSettingsOf(before.NodeSettings)
			v = rotatedKey{NodeID: before.ID, KeyHolder: s.KeyHolder, PublicKey: s.PublicKey, PreviousPublicKey: was.PublicKey}
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	a.Log.Info("key pair replaced", "node_id", v.NodeID, "by", access.LoginOf(c).Username)
	v.Effect = view.EffectOf(changed)
	return wire.Respond(c, v)
}
