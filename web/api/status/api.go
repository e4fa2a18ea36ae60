package status

import (
	"slices"

	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls that tell how nodes are and what happened with them.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB     *store.DB
	Reader *view.Reader
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.statusRoutes(), a.historyRoutes(), a.logRoutes())
}
