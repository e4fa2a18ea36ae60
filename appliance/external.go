package appliance

import (
	"cmp"
	"context"
	"fmt"
	"net"

	"wfm/appliance/emqx"
	"wfm/appliance/mqttcheck"
	"wfm/internal/refusal"
	"wfm/web"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// EMQXQuestions configures how an EMQX beside the embedded broker asks for permissions.
type EMQXQuestions struct {
	SharedKey string // identifies it. Required
	// Addr is the address where it asks; if empty, it asks at the API's address.
	Addr string
}

// external reports whether the broker is an external one.
func (o Options) external() bool { return o.MQTTEnabled && o.EMQX != nil }

// external adapts an EMQX to the API.
type external struct{ *emqx.External }

// Test checks the target as an agent would.
func (x *external) Test(ctx context.Context, t reach.MQTTTarget) error {
	return x.External.Test(ctx, mqttcheck.Target(t))
}

// Status converts the status of the connection to EMQX.
func (x *external) Status() view.BrokerStatus {
	s := x.External.Status()
	status := view.BrokerStatus{
		Enabled: true, Connected: s.Connected, Status: view.BrokerConnected, LastError: cmp.Or(s.LastError, s.AccountError), LastConnectedAt: s.LastUp,
		Mode:     "external",
		Sessions: s.Sessions, MessagesIn: s.Stored, MessagesOut: s.Published, MessagesRefused: s.Refused,
		Upstream: &view.UpstreamStatus{
			Sessions: s.Shares, SessionsMost: s.SharesMost, Plain: s.Plain, SessionsLost: s.SessionsLost, LastLostAt: wire.When(s.LastSessionLost),
		},
		Accounts: &view.AccountsStatus{Synced: s.Synced, Pending: s.Pending, LastError: s.AccountError, LastReconciledAt: wire.When(s.ReconciledAt)},
	}
	if !s.Connected {
		status.Status = view.BrokerConnecting
		if status.LastError != "" {
			status.Status = view.BrokerError
		}
		status.LastError = cmp.Or(status.LastError, "the connection to EMQX is not up yet")
	}
	return status
}

// web returns the external broker for the API.
func (x *external) web() *web.ExternalBroker {
	return &web.ExternalBroker{
		Key: x.Key, Username: x.Settings.Username, Password: x.Settings.Password, ClientIDs: emqx.ClientIDs(x.ClientID),
		Apart: x.Callbacks != nil, CACert: x.CACert, Settled: x.Settled, Ready: x.Takes,
		Account: func(nodeID string) view.AccountState { return view.AccountState(x.AccountState(nodeID)) },
		Reconcile: func(ctx context.Context) error {
			if err := x.Reconcile(ctx); err != nil {
				return fmt.Errorf("%w: %w", refusal.ErrMQTTUnavailable, err)
			}
			return nil
		},
	}
}

// NewEMQXKey returns the shared key for EMQX if it was made at this start: it is shown once, and
// stored only as a hash.
func (a *Appliance) NewEMQXKey() string {
	if a.external == nil {
		return ""
	}
	return a.external.NewKey
}

// EMQXCallbackAddr returns the address where EMQX asks, apart from the API; nil if it asks there.
func (a *Appliance) EMQXCallbackAddr() net.Addr {
	if a.callbacks == nil {
		return nil
	}
	return a.callbacks.Addr()
}
