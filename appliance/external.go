package appliance

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"wfm/appliance/emqx"
	"wfm/appliance/mqttcheck"
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

// external reports whether the broker is an external one.
func (o Options) external() bool { return o.MQTTEnabled && o.EMQX != nil }

// TLSConfig trusts the certificate authority in the file, or the system's when there is no file.
func TLSConfig(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	ca, err := readCA(caFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AppendCertsFromPEM([]byte(ca))
	return c, nil
}

// readCA is the certificates in the file, PEM, and nothing else of it.
func readCA(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the certificate authority of EMQX: %w", err)
	}
	var ca strings.Builder
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			ca.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
		}
	}
	if ca.Len() == 0 {
		return "", fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return ca.String(), nil
}

// errAgentsTrustNobody is returned by New when bind would have to hand out TLS without what to trust.
var errAgentsTrustNobody = errors.New("WFM_MQTT_TLS_ENABLED is true, and agents trust only the certificate authority they are told: " +
	"set WFM_EMQX_CA_FILE to that of EMQX's certificate (with a public one, its issuer's root), or leave TLS off")

// external is an EMQX in the place of the embedded broker.
type external struct {
	*emqx.Broker
	o         EMQXOptions
	caCert    string // PEM, for agents; empty: they are not told to use TLS
	key       emqxkey.Key
	clientID  string // our own at EMQX; a secret
	newKey    string // the shared key if it was made just now
	callbacks net.Listener
}

// secretEMQXKey is the name under which the store keeps the hash of the shared key.
const secretEMQXKey = "emqx_shared_key" //nolint:gosec // its name

func newExternal(ctx context.Context, db *store.DB, all Options, in emqx.Ingress, ask func(context.Context, string) error, log *slog.Logger) (*external, error) {
	o := *all.EMQX
	o.Username = cmp.Or(o.Username, emqx.DefaultUsername)
	o.Password = cmp.Or(o.Password, protocol.NewSecret())
	x := &external{o: o}
	tlsConfig, err := TLSConfig(o.CAFile)
	if err != nil {
		return nil, err
	}
	if all.MQTTTLSEnabled {
		if o.CAFile == "" {
			return nil, errAgentsTrustNobody
		}
		if x.caCert, err = readCA(o.CAFile); err != nil {
			return nil, err
		}
	}
	api, err := emqx.NewAPI(o.APIBaseURL, o.APIKey, o.APISecret, tlsConfig)
	if err != nil {
		return nil, fmt.Errorf("address of EMQX's management API: %w", err)
	}
	if err := x.loadKey(db); err != nil {
		return nil, err
	}
	if x.clientID, err = loadClientID(db); err != nil {
		return nil, err
	}
	if o.URL.Scheme != "mqtts" {
		tlsConfig = nil
	}
	x.Broker, err = emqx.New(emqx.Options{
		URL: o.URL, TLS: tlsConfig, Username: o.Username, Password: o.Password, ClientID: x.clientID,
		API: api, Key: x.key, Store: db, Ingress: in, Ask: ask, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	x.callbacks, err = listenForQuestions(ctx, o.CallbackAddr)
	return x, err
}

// EMQXQuestions is how an EMQX beside the embedded broker asks what nodes may do.
type EMQXQuestions struct {
	SharedKey string // what it shows. Required
	// Addr is where it asks; empty: where the API is.
	Addr string
}

// listenForQuestions listens where EMQX asks apart from the API, and returns nil if it asks there.
func listenForQuestions(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // no listener is wanted
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for EMQX's questions on %s: %w", addr, err)
	}
	return connlimit.New(l, connlimit.Share(8, 1024), connlimit.Share(8, 1024)), nil
}

// loadKey takes the shared key from the options, or the one whose hash is kept, or makes one.
func (x *external) loadKey(db *store.DB) error {
	if x.o.SharedKey != "" {
		x.key = emqxkey.New(x.o.SharedKey)
		return nil
	}
	hash, err := store.Read(db, func(tx *store.Tx) (string, error) { return tx.SecretHash(secretEMQXKey), nil })
	if err != nil {
		return fmt.Errorf("read the shared key: %w", err)
	}
	if hash != "" {
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

// loadClientID takes our client id from the store, or makes one that nobody can guess.
func loadClientID(db *store.DB) (string, error) {
	id, err := store.Read(db, (*store.Tx).BrokerClientID)
	if err != nil || id != "" {
		return id, err
	}
	id = emqx.ClientIDPrefix + protocol.NewSecret()
	return id, db.Update(func(tx *store.Tx) error { return tx.SetBrokerClientID(id) })
}

// Stop closes what EMQX asks at, too.
func (x *external) Stop(ctx context.Context) error {
	if x.callbacks != nil {
		_ = x.callbacks.Close()
	}
	return x.Broker.Stop(ctx)
}

// port is the port of EMQX that agents are told. It is ours, if we connect in the same way and not to
// the listener that is ours alone, and the standard's otherwise.
func (x *external) port(tls bool) int {
	if p, err := strconv.Atoi(x.o.URL.Port()); err == nil && x.o.URL.Port() != emqx.OwnPort && tls == (x.o.URL.Scheme == "mqtts") {
		return p
	}
	if tls {
		return 8883
	}
	return 1883
}

// Test checks where agents are sent, as an agent with an account that is there for this only.
func (x *external) Test(ctx context.Context, t web.MQTTTarget) error {
	id, password, leave, err := x.Admit(ctx)
	if err != nil {
		return &mqttcheck.Failure{Message: "EMQX does not take an account for the test: " + err.Error() + ". `wfm emqx doctor` says what to change."}
	}
	defer leave()
	return mqttcheck.Run(ctx, mqttcheck.Target(t), mqttcheck.Account{ConfigID: emqxkey.CheckConfigID, NodeID: id, Password: password})
}

// Status is the connection to EMQX as the API shows it.
func (x *external) Status() web.BrokerStatus {
	s := x.Broker.Status()
	status := web.BrokerStatus{
		Enabled: true, Connected: s.Connected, Status: web.BrokerConnected, LastError: cmp.Or(s.LastError, s.AccountError), LastConnectedAt: s.LastUp,
		Mode:     "external",
		Sessions: s.Sessions, MessagesIn: s.Stored, MessagesOut: s.Published, MessagesRefused: s.Refused,
		Upstream: &web.UpstreamStatus{
			Sessions: s.Shares, SessionsMost: s.SharesMost, Plain: s.Plain, SessionsLost: s.SessionsLost, LastLostAt: moment(s.LastSessionLost),
		},
		Accounts: &web.AccountsStatus{Synced: s.Synced, Pending: s.Pending, LastError: s.AccountError, LastReconciledAt: moment(s.ReconciledAt)},
	}
	if !s.Connected {
		status.Status = web.BrokerConnecting
		if status.LastError != "" {
			status.Status = web.BrokerError
		}
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
		Key: x.key, Username: x.o.Username, Password: x.o.Password, ClientIDs: emqx.ClientIDs(x.clientID),
		Apart: x.callbacks != nil, CACert: x.caCert, Account: x.account, Settled: x.settled,
		Reconcile: func(ctx context.Context) error {
			if err := x.Reconcile(ctx); err != nil {
				return fmt.Errorf("%w: %w", store.ErrMQTTUnavailable, err)
			}
			return nil
		},
	}
}

func (x *external) settled(nodeID string) bool {
	settled, _, _ := x.Account(nodeID)
	return settled
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
	if a.callbacks == nil {
		return nil
	}
	return a.callbacks.Addr()
}
