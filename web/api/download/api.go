package download

import (
	"context"
	"log/slog"
	"slices"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls that hand out tunnel configs. Its exported fields are set before the first
// request and not changed after that.
type API struct {
	DB        *store.DB
	Log       *slog.Logger
	Guard     *access.Guard
	Audit     *access.Auditor
	Reader    *view.Reader
	Directory *reach.Directory
	Stopping  context.Context

	tokens   grants[tokenScope]
	packages grants[[]packed]
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.fileRoutes(), a.packageRoutes())
}
