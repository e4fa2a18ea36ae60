package emqx

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

	"wfm/appliance/mqttcheck"
	"wfm/internal/connlimit"
	"wfm/internal/emqxcall"
	"wfm/protocol"
	"wfm/store"
)

// Settings are an operator's settings of EMQX.
type Settings struct {
	URL *url.URL // mqtt:// or mqtts://
	// CAFile has the certificate authority of EMQX's certificates, for MQTT and the API. If empty,
	// the system's authorities are used.
	CAFile string
	// Username and Password are the appliance's own account. If empty, DefaultUsername and a new
	// password at every start are used.
	Username, Password string
	// APIBaseURL, APIKey and APISecret belong to the management API. Required.
	APIBaseURL, APIKey, APISecret string
	// SharedKey identifies EMQX when it asks. If empty, the one made at the first start is used.
	SharedKey string
	// CallbackAddr is the address where EMQX asks; if empty, it asks at the API's address.
	CallbackAddr string
}

// TLSConfig trusts the certificate authority in the file, or the system's if there is no file.
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

// readCA returns the certificates in the PEM file, and nothing else in it.
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

// ErrAgentsTrustNobody is returned by [Open] if bind would tell agents to use TLS without a
// certificate authority to trust.
var ErrAgentsTrustNobody = errors.New("WFM_MQTT_TLS_ENABLED is true, and agents trust only the certificate authority they are given: " +
	"set WFM_EMQX_CA_FILE to that of EMQX's certificate (with a public one, its issuer's root), or leave TLS off")

// External is an EMQX with the keys and sockets that the appliance keeps for it.
type External struct {
	*Broker
	Settings  Settings
	CACert    string // PEM, for agents; if empty, they are not told to use TLS
	Key       emqxcall.Key
	ClientID  string       // our own at EMQX; a secret
	NewKey    string       // the shared key if it is new: shown once, and stored only as a hash
	Callbacks net.Listener // where EMQX asks, apart from the API; nil if it asks there
}

// secretSharedKey is the name of the shared key's hash in the store.
const secretSharedKey = "emqx_shared_key" //nolint:gosec // its name

// OpenOptions configures Open.
type OpenOptions struct {
	Settings     Settings
	AgentsUseTLS bool // bind tells agents to use TLS
	Store        *store.DB
	Ingress      Ingress
	Ask          func(ctx context.Context, nodeID string) error // see Options
	Logger       *slog.Logger                                   // default: discard
}

// Open creates the broker from the operator's settings. It reads or makes the shared key and our
// client id, and listens for EMQX's questions if they have an address of their own. ctx is for
// opening only.
func Open(ctx context.Context, o OpenOptions) (*External, error) {
	s := o.Settings
	s.Username = cmp.Or(s.Username, DefaultUsername)
	s.Password = cmp.Or(s.Password, protocol.NewSecret())
	x := &External{Settings: s}
	tlsConfig, err := TLSConfig(s.CAFile)
	if err != nil {
		return nil, err
	}
	if o.AgentsUseTLS {
		if s.CAFile == "" {
			return nil, ErrAgentsTrustNobody
		}
		if x.CACert, err = readCA(s.CAFile); err != nil {
			return nil, err
		}
	}
	api, err := NewAPI(s.APIBaseURL, s.APIKey, s.APISecret, tlsConfig)
	if err != nil {
		return nil, fmt.Errorf("address of EMQX's management API: %w", err)
	}
	if err := x.loadKey(o.Store); err != nil {
		return nil, err
	}
	if x.ClientID, err = loadClientID(o.Store); err != nil {
		return nil, err
	}
	if s.URL.Scheme != "mqtts" {
		tlsConfig = nil
	}
	if x.Broker, err = New(Options{
		URL: s.URL, TLS: tlsConfig, Username: s.Username, Password: s.Password, ClientID: x.ClientID, API: api, Key: x.Key,
		Store: o.Store, Ingress: o.Ingress, Ask: o.Ask, Logger: o.Logger,
	}); err != nil {
		return nil, err
	}
	x.Callbacks, err = ListenForQuestions(ctx, s.CallbackAddr)
	return x, err
}

// loadKey takes the shared key from the options, or uses the one whose hash is stored, or makes
// one.
func (x *External) loadKey(db *store.DB) error {
	if x.Settings.SharedKey != "" {
		x.Key = emqxcall.NewKey(x.Settings.SharedKey)
		return nil
	}
	hash, err := store.Read(db, func(tx *store.Tx) (string, error) { return tx.SecretHash(secretSharedKey), nil })
	if err != nil {
		return fmt.Errorf("read the shared key: %w", err)
	}
	if hash != "" {
		x.Key, err = emqxcall.ParseKey(hash)
		return err
	}
	x.NewKey = protocol.NewSecret()
	x.Key = emqxcall.NewKey(x.NewKey)
	if err := db.Update(func(tx *store.Tx) error { return tx.KeepSecret(secretSharedKey, x.NewKey) }); err != nil {
		return fmt.Errorf("keep the shared key: %w", err)
	}
	return nil
}

// loadClientID reads our client id from the store, or makes a random one.
func loadClientID(db *store.DB) (string, error) {
	id, err := store.Read(db, (*store.Tx).BrokerClientID)
	if err != nil || id != "" {
		return id, err
	}
	id = ClientIDPrefix + protocol.NewSecret()
	return id, db.Update(func(tx *store.Tx) error { return tx.SetBrokerClientID(id) })
}

// Stop also closes the socket for EMQX's questions.
func (x *External) Stop(ctx context.Context) error {
	if x.Callbacks != nil {
		_ = x.Callbacks.Close()
	}
	return x.Broker.Stop(ctx)
}

// Port returns EMQX's port for agents. It is the port we use, if we connect in the same way and not
// to the listener for us alone; otherwise the standard port.
func (x *External) Port(overTLS bool) int {
	if p, err := strconv.Atoi(x.Settings.URL.Port()); err == nil && x.Settings.URL.Port() != OwnPort && overTLS == (x.Settings.URL.Scheme == "mqtts") {
		return p
	}
	if overTLS {
		return 8883
	}
	return 1883
}

// Test checks the broker at the agents' address, as an agent with a temporary account.
func (x *External) Test(ctx context.Context, t mqttcheck.Target) error {
	id, password, leave, err := x.Admit(ctx)
	if err != nil {
		return &mqttcheck.Failure{Message: "EMQX does not accept an account for the test: " + err.Error() + ". `wfm emqx doctor` says what to change."}
	}
	defer leave()
	return mqttcheck.Run(ctx, t, mqttcheck.Account{ConfigID: emqxcall.CheckConfigID, NodeID: id, Password: password})
}

// AccountState describes how far EMQX knows a node's account.
type AccountState struct {
	State    string // synced, pending, or none: the node may not log in
	Detail   string
	SyncedAt *time.Time // nil: never
}

// AccountState returns the state of the node's account.
func (x *External) AccountState(nodeID string) AccountState {
	settled, granted, at := x.Account(nodeID)
	state := AccountState{State: "pending"}
	if !at.IsZero() {
		state.SyncedAt = new(at.UTC())
	}
	switch s := x.Status(); {
	case settled && granted:
		state.State, state.Detail = "synced", "EMQX knows the account"
	case settled:
		state.State, state.Detail = "none", "the node may not log in, and EMQX has no account of it"
	case s.AccountError != "":
		state.Detail = "EMQX does not have the account's present state yet: " + s.AccountError
	default:
		state.Detail = "EMQX is getting the account's present state"
	}
	return state
}

// Settled reports whether EMQX knows the node's present right.
func (x *External) Settled(nodeID string) bool {
	settled, _, _ := x.Account(nodeID)
	return settled
}

// ListenForQuestions listens for EMQX's questions apart from the API. It returns nil if EMQX asks
// at the API's address.
func ListenForQuestions(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // no listener is wanted
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for EMQX's questions on %s: %w", addr, err)
	}
	return connlimit.New(l, connlimit.Share(8, 1024), connlimit.Share(8, 1024)), nil
}
