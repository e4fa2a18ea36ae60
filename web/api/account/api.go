package account

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/wire"
)

// API answers the calls about the admin, sessions, API tokens and the audit log.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB         *store.DB
	Log        *slog.Logger
	Guard      *access.Guard
	Audit      *access.Auditor
	Recheck    func() // has every event stream look at once whether its session still exists
	SessionTTL time.Duration
	SetupToken string
	Stopping   context.Context
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.authRoutes(), a.sessionsRoutes(), a.tokensRoutes(), a.auditRoutes())
}
