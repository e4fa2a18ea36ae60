package mesh

import (
	"log/slog"
	"net/netip"
	"slices"

	"wfm/apply"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls about configs, nodes and tags.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB      *store.DB
	Log     *slog.Logger
	Audit   *access.Auditor
	Reader  *view.Reader
	Applier *apply.Applier
	// Networks returns the addresses of the appliance's own interfaces, each with its network.
	Networks func() []netip.Prefix
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.configRoutes(), a.nodeRoutes(), a.bulkRoutes(), a.importRoutes(), a.tagRoutes())
}
