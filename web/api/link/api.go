package link

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls about links. Its fields are set before the first request and not changed after
// that.
type API struct {
	DB        *store.DB
	Log       *slog.Logger
	Audit     *access.Auditor
	Reader    *view.Reader
	Directory *reach.Directory
	Resolver  *net.Resolver
	// Networks returns the addresses of the appliance's own interfaces, each with its network.
	Networks func() []netip.Prefix
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.linkRoutes(), a.workspaceRoutes(), a.meshRoutes(), a.forwardRoutes())
}

// textCodes has the codes of the errors of every change that tunnel configs follow from.
const textCodes = mesh.CodeInvalidText

// change changes the mesh in the one transaction of the request, with the tunnel configs that follow
// from it.
func (a *API) change(c echo.Context, configID string, edit func(*mesh.Edit, *store.Tx) error) (changed mesh.Changed, err error) {
	err = a.Audit.Update(c, func(tx *store.Tx) error {
		changed, err = mesh.Change(tx, configID, access.LoginOf(c).Username, rand.Reader, func(e *mesh.Edit) error { return edit(e, tx) })
		return err
	})
	return changed, err
}
