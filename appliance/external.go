package appliance

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"wfm/appliance/emqx"
	"wfm/hooks"
	"wfm/internal/connlimit"
	"wfm/internal/emqxkey"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// EMQXOptions are what an external broker needs.
type EMQXOptions struct {
	URL *url.URL // mqtt:// or mqtts://
	// CAFile is the certificate authority of EMQX's certificates, MQTT and API; empty: the system's.
	CAFile string
	// Username and Password are the appliance's own account. Empty: emqx.DefaultUsername, and one
	// that is made at every start.
	Username, Password string
	// APIBaseURL, APIKey and APISecret are of the management API. Required.
	APIBaseURL, APIKey, APISecret string
	// SharedKey is what EMQX shows when it asks. Empty: the one that was made at the first start.
	SharedKey string
	// CallbackAddr is where EMQX asks; empty: where the API is.
	CallbackAddr string
}

// TLSConfig trusts the certificate authority in the file, or the system's when there is no file.
func TLSConfig(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of EMQX: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", caFile)
	}
	return c, nil
}

// external is an EMQX in the place of the embedded broker.
type external struct {
	*emqx.Broker
	o         EMQXOptions
	key       emqxkey.Key
	newKey    string // the shared key if it was made just now
	callbacks net.Listener
}

// secretEMQXKey is the name under which the store keeps the hash of the shared key.
const secretEMQXKey = "emqx_shared_key" //nolint:gosec // its name

func newExternal(ctx context.Context, db *store.DB, o EMQXOptions, in hooks.Ingress, log *slog.Logger) (*external, error) {
	o.Username = cmp.Or(o.Username, emqx.DefaultUsername)
	o.Password = cmp.Or(o.Password, protocol.NewSecret())
	x := &external{o: o}
	tlsConfig, err := TLSConfig(o.CAFile)
	if err != nil {
		return nil, err
	}
	api, err := emqx.NewAPI(o.APIBaseURL, o.APIKey, o.APISecret, tlsConfig)
	if err != nil {
		return nil, fmt.Errorf("address of EMQX's management API: %w", err)
	}
	if err := x.loadKey(db); err != nil {
		return nil, err
	}
	if o.URL.Scheme != "mqtts" {
		tlsConfig = nil
	}
	x.Broker, err = emqx.New(emqx.Options{
		URL: o.URL, TLS: tlsConfig, Username: o.Username, Password: o.Password,
		API: api, Key: x.key, Store: db, Ingress: in, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	if o.CallbackAddr != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.CallbackAddr)
		if err != nil {
			return nil, fmt.Errorf("listen for EMQX's questions on %s: %w", o.CallbackAddr, err)
		}
		x.callbacks = connlimit.New(l, connlimit.Share(8, 1024), connlimit.Share(8, 1024))
	}
	return x, nil
}

// loadKey takes the shared key from the options, or the one whose hash is kept, or makes one.
func (x *external) loadKey(db *store.DB) error {
	if x.o.SharedKey != "" {
		x.key = emqxkey.New(x.o.SharedKey)
		return nil
	}
	hash := ""
	if err := db.View(func(tx *store.Tx) error { hash = tx.SecretHash(secretEMQXKey); return nil }); err != nil {
		return fmt.Errorf("read the shared key: %w", err)
	}
	if hash != "" {
		var err error
		x.key, err = emqxkey.Parse(hash)
		return err
	}
	x.newKey = protocol.NewSecret()
	x.key = emqxkey.New(x.newKey)
	if err := db.Update(func(tx *store.Tx) error { return tx.KeepSecret(secretEMQXKey, x.newKey) }); err != nil {
		return fmt.Errorf("keep the shared key: %w", err)
	}
	return nil
}

// Stop closes what EMQX asks at, too.
func (x *external) Stop(ctx context.Context) error {
	if x.callbacks != nil {
		_ = x.callbacks.Close()
	}
	return x.Broker.Stop(ctx)
}

// port is where agents find EMQX unless told otherwise: where we do, unless that is with TLS.
func (x *external) port() int {
	if p, err := strconv.Atoi(x.o.URL.Port()); err == nil && x.o.URL.Scheme == "mqtt" {
		return p
	}
	return 1883
}

// Status is the connection to EMQX as the API shows it.
func (x *external) Status() web.BrokerStatus {
	s := x.Broker.Status()
	status := web.BrokerStatus{
		Enabled: true, Connected: s.Connected, Status: "running", LastError: cmp.Or(s.LastError, s.AccountError), LastConnectedAt: s.LastUp,
		Mode:     "external",
		Accounts: &web.AccountsStatus{Synced: s.Synced, Pending: s.Pending, LastError: s.AccountError, LastReconciledAt: moment(s.ReconciledAt)},
	}
	if !s.Connected {
		status.Status = "error"
		status.LastError = cmp.Or(status.LastError, "the connection to EMQX is not up yet")
	}
	return status
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// web is what the API needs to know.
func (x *external) web() *web.ExternalBroker {
	return &web.ExternalBroker{
		Key: x.key, Username: x.o.Username, Password: x.o.Password, ClientID: emqx.ClientID,
		Apart: x.callbacks != nil, Account: x.account,
		Reconcile: func(ctx context.Context) error {
			if err := x.Reconcile(ctx); err != nil {
				return fmt.Errorf("%w: %w", store.ErrMQTTUnavailable, err)
			}
			return nil
		},
	}
}

func (x *external) account(nodeID string) web.AccountState {
	settled, granted, at := x.Account(nodeID)
	state := web.AccountState{State: "pending", SyncedAt: moment(at)}
	switch s := x.Broker.Status(); {
	case settled && granted:
		state.State, state.Detail = "synced", "EMQX knows the account"
	case settled:
		state.State, state.Detail = "none", "the node may not log in, and EMQX has no account of it"
	case s.AccountError != "":
		state.Detail = "EMQX has not been told yet: " + s.AccountError
	default:
		state.Detail = "EMQX is being told"
	}
	return state
}

// NewEMQXKey is the shared key for EMQX if it was made at this start: shown once, and kept only as
// a hash.
func (a *Appliance) NewEMQXKey() string {
	if a.external == nil {
		return ""
	}
	return a.external.newKey
}

// EMQXCallbackAddr is where EMQX asks apart from the API, nil if it asks there.
func (a *Appliance) EMQXCallbackAddr() net.Addr {
	if a.external == nil || a.external.callbacks == nil {
		return nil
	}
	return a.external.callbacks.Addr()
}
