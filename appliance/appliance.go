package appliance

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"wfm/appliance/command"
	"wfm/appliance/emqx"
	"wfm/appliance/ingress"
	"wfm/appliance/nodekey"
	"wfm/appliance/rollout"
	"wfm/appliance/tracker"
	"wfm/appliance/wanted"
	"wfm/apply"
	"wfm/certs"
	"wfm/internal/buildinfo"
	"wfm/internal/emqxcall"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
	"wfm/web/reach"
	"wfm/web/view"
)

// Options configures an appliance. See cmd/wfm for the defaults.
type Options struct {
	DataDir  string
	HTTPAddr string
	// HTTPSAddr serves the API and page with TLS; HTTP then redirects there. If empty, there is no
	// TLS.
	HTTPSAddr string
	// MQTTEnabled false runs without a broker. Everything that needs one answers MQTT_DISABLED.
	MQTTEnabled bool
	// MQTTAddr is the address without TLS. If empty, MQTT is served with TLS only, so
	// MQTTTLSEnabled is required.
	MQTTAddr string
	// MQTTTLSEnabled serves MQTT with TLS on MQTTTLSAddr, and bind tells agents to use it. An
	// external broker is expected to serve TLS.
	MQTTTLSEnabled bool
	MQTTTLSAddr    string
	// MQTTPublicHost and MQTTPublicPort are the broker's address for agents, given to them at bind.
	// If empty and 0: the host the agent used for the bind itself, and the port the broker listens
	// on.
	MQTTPublicHost    string
	MQTTPublicPort    int
	MQTTPublicTLSPort int
	// MQTTKeepAlive is the longest keep-alive that an MQTT 5 agent may have. It decides how soon a
	// lost link is noticed; 0 leaves it to the agents.
	MQTTKeepAlive time.Duration
	// TLSIssuer is the source of certificates: local (the default), acme or files. See package
	// certs.
	TLSIssuer               string
	ACME                    certs.ACME
	TLSCertFile, TLSKeyFile string
	// EMQX configures an external broker. If nil, the embedded broker runs.
	EMQX *emqx.Settings
	// EMQXQuestions configures the answers to an EMQX beside the embedded broker. If nil, it gets
	// none. It is ignored if EMQX is set, which has options of its own.
	EMQXQuestions *EMQXQuestions
	// PublicOrigin and ExtraAllowedOrigins are the allowed Host and Origin. If empty, any is
	// allowed.
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// TrustedProxies are the reverse proxies whose headers about the client's address are trusted.
	TrustedProxies []netip.Prefix
	// AdminPassword creates the account "admin" if there is none.
	AdminPassword string
	SessionTTL    time.Duration
	// Presence has the durations of the rules of presence. Zero ones default to
	// presence.DefaultTimes.
	Presence presence.Times
	// DetectInterval is the time between two probes of a node while somebody watches. Default:
	// tracker.DefaultInterval.
	DetectInterval time.Duration
	// DetectTimeout is how long a node may take to answer a probe. Default: 10 s.
	DetectTimeout time.Duration
	Logger        *slog.Logger // default: discard
}

// Appliance is a running appliance.
type Appliance struct {
	log      *slog.Logger
	db       *store.DB
	broker   mqttBroker // nil without MQTT
	external *external  // nil with the embedded broker
	ledger   *command.Ledger
	ingress  *ingress.Ingress // nil without MQTT
	tracker  *tracker.Tracker
	prober   *tracker.Prober // nil without MQTT
	rollouts *rollout.Runner // nil without MQTT
	wanted   *wanted.Keeper  // nil without MQTT
	auto     *apply.Auto     // nil without MQTT
	keys     *nodekey.Keeper // nil without MQTT
	web      *web.Server
	certs    *certs.Keeper // nil without TLS

	sockets    *web.Sockets
	callbacks  net.Listener // where an EMQX asks, apart from the API; nil if it asks there
	setupToken string

	stops   []namedStop // in order of start
	stop    sync.Once
	stopped chan struct{}
}

type namedStop struct {
	name string
	fn   func(context.Context) error
}

// New opens the store and binds every port. Its errors are one sentence that names the port, file
// or option at fault; New releases everything opened so far before it returns one. ctx is for
// opening only.
func New(ctx context.Context, o Options) (_ *Appliance, err error) {
	o.Presence = o.Presence.OrDefault()
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	a := &Appliance{log: o.Logger, stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = a.Stop(context.WithoutCancel(ctx))
		}
	}()
	a.db, err = store.Open(o.DataDir, store.Options{
		Logger: o.Logger, Witness: tracker.Witness(o.Presence), First: (*store.Tx).SettleLastRun, OwnBroker: !o.external(),
	})
	if err != nil {
		return nil, err
	}
	a.onStop("store", func(context.Context) error { return a.db.Close() })
	if a.setupToken, err = web.FirstAdmin(a.db, o.AdminPassword, o.Logger); err != nil {
		return nil, err
	}
	if err := a.newCerts(o); err != nil {
		return nil, err
	}
	a.tracker = tracker.New(tracker.Options{Store: a.db, Presence: o.Presence, Logger: o.Logger})
	a.onStop("presence", a.tracker.Stop)
	if o.MQTTEnabled {
		if err := a.newBroker(ctx, o); err != nil {
			return nil, err
		}
	}
	listen := web.SocketOptions{Addr: o.HTTPAddr, TLSAddr: o.HTTPSAddr, TrustedProxies: o.TrustedProxies}
	if a.certs != nil {
		listen.TLS = a.certs.TLSConfig()
	}
	if a.sockets, err = web.Listen(ctx, listen); err != nil {
		return nil, err
	}
	a.web = web.New(a.webOptions(o)) //nolint:contextcheck // each request brings a context of its own
	a.onStop("web", a.web.Stop)
	if a.broker != nil {
		a.auto = apply.NewAuto(a.web.Applier(), o.Logger)
		a.onStop("changes that apply themselves", a.auto.Stop)
	}
	return a, nil
}

// newBroker creates the ledger, ingress and broker, which need each other.
func (a *Appliance) newBroker(ctx context.Context, o Options) error {
	a.ledger = command.New(command.Options{Store: a.db, DetectLimit: o.DetectTimeout, Logger: o.Logger})
	in := ingress.New(ingress.Options{Store: a.db, Ledger: a.ledger, Logger: o.Logger})
	// Before the broker, whose stop is not registered until it exists.
	if q := o.EMQXQuestions; q != nil && !o.external() {
		l, err := emqx.ListenForQuestions(ctx, q.Addr)
		if err != nil {
			return err
		}
		if a.callbacks = l; l != nil {
			a.onStop("questions of EMQX", func(context.Context) error { _ = l.Close(); return nil })
		}
	}
	var err error
	if o.external() {
		ask := func(ctx context.Context, nodeID string) error {
			_, err := a.ledger.Issue(ctx, nodeID, protocol.ActionDetect, "system", false)
			return err
		}
		x, err := emqx.Open(ctx, emqx.OpenOptions{
			Settings: *o.EMQX, AgentsUseTLS: o.MQTTTLSEnabled, Store: a.db, Ingress: in, Ask: ask, Logger: o.Logger,
		})
		if err != nil {
			return err
		}
		a.external = &external{x}
		a.broker, a.callbacks = a.external, x.Callbacks
	} else if a.broker, err = a.newEmbedded(ctx, o, in); err != nil {
		return err
	}
	a.ingress = in
	// The broker stops before the ledger, so that the ledger gets no more messages.
	a.onStop("commands", a.ledger.Stop)
	a.prober = tracker.NewProber(tracker.ProberOptions{Store: a.db, Commands: a.ledger, Interval: o.DetectInterval, Logger: o.Logger})
	a.onStop("prober", a.prober.Stop)
	a.onStop("ingress", in.Stop)
	a.onStop("broker", a.broker.Stop)
	ro := rollout.Options{Store: a.db, Commands: a.ledger, Presence: o.Presence, Logger: o.Logger}
	if a.external != nil {
		ro.Reachable = a.external.Up
	}
	a.rollouts = rollout.New(ro)
	// Before the broker: nodes that it disconnects must not seem to be away at their turn.
	a.onStop("rollouts", a.rollouts.Stop)
	a.wanted = wanted.New(wanted.Options{Store: a.db, Commands: a.ledger, Presence: o.Presence, Logger: o.Logger})
	a.onStop("wanted tunnels", a.wanted.Stop)
	a.keys = nodekey.New(nodekey.Options{Store: a.db, Logger: o.Logger})
	a.onStop("keys of nodes", a.keys.Stop)
	return nil
}

// mqttBroker is the interface of either broker for the appliance.
type mqttBroker interface {
	command.Publisher
	view.Broker
	// Test connects to the target once as an agent does. Its error says what to do.
	Test(ctx context.Context, t reach.MQTTTarget) error
	// Port returns the broker's port for agents, with or without TLS, if no other is configured.
	Port(tls bool) int
	Start() error
	Stop(ctx context.Context) error
}

func (a *Appliance) webOptions(o Options) web.Options {
	w := web.Options{
		Store: a.db, Sockets: a.sockets, Callbacks: a.callbacks, Logger: o.Logger, Presence: o.Presence, Version: buildinfo.Version(),
		MQTTEnabled: o.MQTTEnabled, SessionTTL: o.SessionTTL,
		PublicOrigin: o.PublicOrigin, ExtraAllowedOrigins: o.ExtraAllowedOrigins, TrustedProxies: o.TrustedProxies,
		MQTTHost: o.MQTTPublicHost, MQTTPort: o.MQTTPublicPort, SetupToken: a.setupToken,
	}
	if a.broker != nil {
		w.Commands, w.Broker, w.Watch = a.ledger, a.broker, a.prober.Watch
		w.Evidence = a.ingress.Evidence
		w.Rollouts = a.rollouts
		w.TestMQTT = a.broker.Test
		if w.MQTTTLS = o.MQTTTLSEnabled; w.MQTTTLS {
			w.MQTTPort = o.MQTTPublicTLSPort
		}
		w.MQTTPort = cmp.Or(w.MQTTPort, a.broker.Port(w.MQTTTLS))
	}
	if a.external != nil {
		w.External = a.external.web()
	} else if q := o.EMQXQuestions; q != nil && o.MQTTEnabled {
		w.Asked = &web.ExternalBroker{Key: emqxcall.NewKey(q.SharedKey), Apart: a.callbacks != nil}
	}
	if a.certs != nil {
		w.Certificates = certsView{a.certs}
		if a.external == nil && w.MQTTHost == "" && len(o.ACME.Domains) > 0 && o.TLSIssuer == string(certs.IssuerACME) {
			w.MQTTHost = o.ACME.Domains[0] // the host that the certificate covers
		}
	}
	if addr, ok := a.sockets.HTTPSAddr().(*net.TCPAddr); ok {
		w.HTTPSPort = addr.Port
	}
	return w
}

func (a *Appliance) onStop(name string, fn func(context.Context) error) {
	a.stops = append(a.stops, namedStop{name, fn})
}

// Start continues open commands and begins to serve.
func (a *Appliance) Start() error {
	if a.certs != nil {
		if err := a.certs.Start(); err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
	}
	if err := a.tracker.Start(); err != nil {
		return fmt.Errorf("read the nodes: %w", err)
	}
	if a.broker != nil {
		if err := a.ledger.Start(a.broker); err != nil {
			return fmt.Errorf("continue open commands: %w", err)
		}
		if err := a.broker.Start(); err != nil {
			return err
		}
		if err := a.rollouts.Start(); err != nil {
			return fmt.Errorf("continue rollouts: %w", err)
		}
		if err := a.wanted.Start(); err != nil {
			return fmt.Errorf("watch the wanted tunnels: %w", err)
		}
		if err := a.auto.Start(); err != nil {
			return fmt.Errorf("apply changes: %w", err)
		}
		if err := a.keys.Start(); err != nil {
			return fmt.Errorf("compare the keys of nodes: %w", err)
		}
	}
	return a.web.Start()
}

// Failed delivers the error that ended serving.
func (a *Appliance) Failed() <-chan error { return a.web.Failed() }

// stopShare bounds the time for stopping each part, so that none uses up the time of the others.
const stopShare = 1500 * time.Millisecond

// Stop ends all parts in reverse order and returns when that is done, or when ctx ends. It may be
// called again.
func (a *Appliance) Stop(ctx context.Context) error {
	a.stop.Do(func() {
		go a.runStops(ctx)
	})
	select {
	case <-a.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop: %w", ctx.Err())
	}
}

func (a *Appliance) runStops(ctx context.Context) {
	defer close(a.stopped)
	for _, part := range slices.Backward(a.stops) {
		share, cancel := context.WithTimeout(ctx, stopShare)
		if err := part.fn(share); err != nil {
			a.log.Warn("a part did not stop cleanly", "part", part.name, "err", err)
		}
		cancel()
	}
}

// HTTPAddr returns the address of the API.
func (a *Appliance) HTTPAddr() net.Addr { return a.sockets.HTTPAddr() }

// HTTPSAddr returns the address of the API with TLS, nil if there is none.
func (a *Appliance) HTTPSAddr() net.Addr { return a.sockets.HTTPSAddr() }

// MQTTAddr returns the address of the embedded broker, nil if there is none.
func (a *Appliance) MQTTAddr() net.Addr {
	if b, ok := a.broker.(*embedded); ok {
		return b.Addr()
	}
	return nil
}

// MQTTTLSAddr returns the address of the embedded broker with TLS, nil if there is none.
func (a *Appliance) MQTTTLSAddr() net.Addr {
	if b, ok := a.broker.(*embedded); ok {
		return b.TLSAddr()
	}
	return nil
}

// SetupToken returns the token for setting up the admin account; empty if the account exists.
func (a *Appliance) SetupToken() string { return a.setupToken }
