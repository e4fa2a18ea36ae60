package system

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"wfm/apply"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// Certificates is the interface of the certificates for their calls.
type Certificates interface {
	// CACert returns, as PEM, the certificates that a client at any host needs to trust. Errors:
	// tlsproblem.ErrNotReady.
	CACert(host string) (string, error)
	// Renew replaces the certificates now, with newCA under a new root. After an error the former
	// ones stay in use.
	Renew(ctx context.Context, newCA bool) error
	// HTTPChallenge answers a request by which an issuer checks a name. It reports whether r is
	// such a request.
	HTTPChallenge(w http.ResponseWriter, r *http.Request) bool
	// Status returns the state of the certificates. It does not block.
	Status() view.CertificateStatus
}

// API answers the calls about the appliance itself.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB           *store.DB
	Log          *slog.Logger
	Audit        *access.Auditor
	Reader       *view.Reader
	Applier      *apply.Applier
	Directory    *reach.Directory
	Certificates Certificates                    // nil while nothing is served with TLS
	Reconcile    func(ctx context.Context) error // compares the accounts of an external broker; nil with the embedded one
	Version      string
	MQTTEnabled  bool
	TestMQTT     func(ctx context.Context, t reach.MQTTTarget) error
	Document     func() ([]byte, error) // the API's description
	Counts       *view.RequestCounts
	Recent       *view.Activity
	backups      sync.Mutex   // held while one is downloaded
	tests        atomic.Int32 // that run
	Stopping     context.Context
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.systemRoutes(), a.certificatesRoutes(), a.openapiRoutes(), a.backupRoutes(), a.metricsRoutes(),
		a.activityRoutes(), a.settingsRoutes(), a.emqxRoutes())
}
