package bind

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls that bind agents.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB        *store.DB
	Log       *slog.Logger
	Audit     *access.Auditor
	Reader    *view.Reader
	Directory *reach.Directory
	Resolver  *net.Resolver
	Binds     *access.Limiter[netip.Addr] // bind requests without a valid token
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.bindRoutes(), a.bindcommandRoutes(), a.bindbulkRoutes())
}
