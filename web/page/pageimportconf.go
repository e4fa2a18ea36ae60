package page

import (
	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/ui"
)

// tabImport is a page of a mesh that has no tab.
const tabImport meshTab = "/import-conf"

// importConfPage brings existing files of wg-quick into a mesh.
func (p *Pages) importConfPage(c echo.Context) (show, error) {
	h, err := store.Read(p.DB, func(tx *store.Tx) (meshHead, error) { return readMeshHead(tx, c.Param("config_id"), tabImport) })
	if err != nil {
		return show{}, err
	}
	// Not live: an update of the page would take the chosen files away.
	return show{template: "importconf", Page: ui.Page{Title: h.Config.Name + " · Existing files", Nav: "Overview", Body: h}}, nil
}
