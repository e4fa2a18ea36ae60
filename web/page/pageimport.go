package page

import (
	"github.com/labstack/echo/v4"

	"wfm/store"
)

// importPage shows the form that adds several nodes to a mesh.
func (p *Pages) importPage(c echo.Context) (show, error) {
	h, err := store.Read(p.DB, func(tx *store.Tx) (meshHead, error) { return readMeshHead(tx, c.Param("config_id"), "/import") })
	if err != nil {
		return show{}, err
	}
	return h.show("addnodes", "Add several nodes", h), nil
}
