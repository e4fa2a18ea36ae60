package draft

import (
	"slices"

	"wfm/store"
	"wfm/web/wire"
)

// API answers the calls that propose values. Its fields are set before the first request and not
// changed after that.
type API struct {
	DB *store.DB
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.keyRoutes(), a.addressRoutes(), a.awgRoutes())
}
