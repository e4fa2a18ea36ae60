package draft

import (
	"crypto/rand"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/web/wire"
)

func (a *API) keyRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: "/api/v1/nodes/keys/generate", Access: wire.Session, Handle: a.newKeys, Harmless: true,
			Summary: "A new key pair for a node, which is not kept.",
			Data:    keyPair{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/nodes/keys/derive-public", Access: wire.Session, Handle: a.derivePublic, Harmless: true,
			Summary: "The key pair of a private key.",
			Body:    "private_key!", Data: keyPair{}, Codes: mesh.CodeInvalidKey,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/peer-links/psk/generate", Access: wire.Session, Handle: a.newPresharedKey, Harmless: true,
			Summary: "A new preshared key for a link, which is not kept.",
			Data:    presharedKey{},
		},
	}
}

type keyPair struct {
	PrivateKey string `json:"private_key"`
	PublicKey  string `json:"public_key"`
}

func (a *API) newKeys(c echo.Context) error {
	keys, err := mesh.NewKeys(rand.Reader)
	if err != nil {
		return err
	}
	return wire.Respond(c, keyPair{keys.Private, keys.Public})
}

func (a *API) derivePublic(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	private := f.Need("private_key", wire.Line(1, 200))
	if err := f.Err(); err != nil {
		return err
	}
	public, err := mesh.PublicKey(private)
	if err != nil {
		return err
	}
	return wire.Respond(c, keyPair{private, public})
}

type presharedKey struct {
	PresharedKey string `json:"preshared_key"`
}

func (a *API) newPresharedKey(c echo.Context) error {
	key, err := mesh.NewPresharedKey(rand.Reader)
	if err != nil {
		return err
	}
	return wire.Respond(c, presharedKey{key})
}
