package web

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"wfm/internal/floodlog"
	"wfm/internal/refusal"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/wire"
)

// Limits of a connection. The longest answer is a command that is waited for, see maxWait.
const (
	readHeaderTimeout = 9 * time.Second // also for a TLS handshake before the header
	readTimeout       = 30 * time.Second
	writeTimeout      = 90 * time.Second
	idleTimeout       = 30 * time.Second // an open connection is one of a limited number
	maxHeaderBytes    = 16 << 10
)

// DefaultSessionTTL is how long a login lasts unless [Options] say otherwise.
const DefaultSessionTTL = 24 * time.Hour

// Options is what the server needs.
type Options struct {
	Store *store.DB // required
	// Sockets are what Start serves on, and Callbacks is where an external broker asks apart from the API.
	// Either may be nil.
	Sockets   *Sockets
	Callbacks net.Listener
	// Logger gets what no client is told. Default: discard.
	Logger *slog.Logger
	// Commands and Broker may be nil while MQTTEnabled is false.
	Commands Commands
	Broker   Broker
	// Rollouts is nil where nothing can be carried out, which answers MQTT_DISABLED.
	Rollouts Rollouts
	// Presence are the durations of the rules of presence; zero ones mean the defaults.
	Presence presence.Times
	// Evidence is what is known of a node where the store could not be told; default: what it has.
	Evidence func(store.Evidence) store.Evidence
	// Watch is called for every event stream that is opened, and what it returns once at its end:
	// somebody looks meanwhile. May be nil.
	Watch func() (release func())
	// Version is reported by the health call.
	Version string
	// MQTTEnabled false answers MQTT_DISABLED to whatever needs an agent.
	MQTTEnabled bool
	// SessionTTL is how long a login lasts. Default: [DefaultSessionTTL].
	SessionTTL time.Duration
	// PublicOrigin, as in https://wfm.example.org, switches the check of Host and Origin on and
	// stands in bind commands. ExtraAllowedOrigins pass the check too. See [ParseOrigin].
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// TrustedProxies may say in X-Forwarded-For and X-Forwarded-Proto whom they speak for. See
	// [ParseProxies].
	TrustedProxies []netip.Prefix
	// MQTTHost and MQTTPort are what bind hands to an agent. An empty host means the host the bind
	// request was sent to.
	MQTTHost string
	MQTTPort int
	// Resolver tells what MQTTHost resolves to, to warn of configs that would cut a node off.
	// Default: net.DefaultResolver.
	Resolver *net.Resolver
	// MQTTTLS has bind hand out TLS, unless settings/mqtt say otherwise: MQTTPort is the port for it
	// then, and what Certificates say is to be trusted.
	MQTTTLS bool
	// Certificates may be nil while nothing is served with TLS.
	Certificates Certificates
	// HTTPSPort is where people are redirected to from HTTP. 0: nowhere.
	HTTPSPort int
	// TestMQTT does once what an agent does to reach the target; its error says what to do. May be
	// nil while MQTTEnabled is false.
	TestMQTT func(ctx context.Context, t MQTTTarget) error
	// External is how an external broker is dealt with; nil with the embedded one.
	External *ExternalBroker
	// Asked has questions of an EMQX answered beside the embedded broker, for a site that bridges or moves
	// to it. Only Key and Apart count. Nil: only those of External are.
	Asked *ExternalBroker
	// SetupToken is what auth/setup asks for while there is no admin. Empty: set-up over HTTP is
	// refused.
	SetupToken string
}

// Commands gives commands to nodes and follows them.
type Commands interface {
	// Issue writes the command and sends it; with queue it may wait for a node that is away.
	// Errors: protocol.ErrInvalidAction; store.ErrNodeNotFound, ErrNodeDisabled, ErrNodeStatic;
	// those of package refusal about commands; tunnel.ErrNothingToStart.
	Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error)
	// Push takes a version of the node's config to it; see tunnel.Order for which. Errors: those of
	// tunnel.Door.Push, of which *tunnel.UpToDateError comes with what was taken, and those of Issue.
	Push(ctx context.Context, nodeID string, o tunnel.Order, requestedBy string) (store.Command, tunnel.Taken, error)
	// Wait returns the command as soon as it has ended, or as it is when ctx ends (no error then).
	Wait(ctx context.Context, requestID string) (store.Command, error)
	// Cancel ends an open command. Errors: store.ErrCommandNotFound, ErrCommandEnded.
	Cancel(ctx context.Context, requestID, by string) (store.Command, error)
}

// Broker is what the server needs of the MQTT broker.
type Broker interface {
	// Status says how the broker is; it does not wait for anything.
	Status() BrokerStatus
}

// The states of a broker. An external one is away while it is neither connected nor disabled: without
// an error yet it is connecting.
const (
	BrokerConnected  = "connected"
	BrokerConnecting = "connecting"
	BrokerError      = "error"
	BrokerDisabled   = "disabled"
)

// BrokerStatus is how the broker is.
type BrokerStatus struct {
	Enabled         bool
	Connected       bool
	Status          string // one of the states below
	LastError       string
	LastConnectedAt time.Time
	Mode            string // embedded, external or disabled
	Sessions        int    // live MQTT sessions
	// Messages since the start: of nodes, and stored; to nodes; of nodes, and not stored.
	MessagesIn, MessagesOut, MessagesRefused uint64
	// Unserved is the newest client that could not connect, and why; nil when there was none.
	Unserved *UnservedClient
	// Accounts is how far an external broker knows the nodes' accounts; nil with the embedded one.
	Accounts *AccountsStatus
	// Upstream is how messages are taken from an external broker; nil with the embedded one.
	Upstream *UpstreamStatus
}

// away reports whether the broker cannot be reached, so that nobody can tell which nodes are there.
func (b BrokerStatus) away() bool { return b.Status == BrokerError || b.Status == BrokerConnecting }

// UnservedClient is a client that got no further than its first packet, as for a certificate that it
// does not trust.
type UnservedClient struct {
	At      time.Time `json:"at"`
	Address string    `json:"address"` // IPv6: its /64
	Reason  string    `json:"reason"`  // in words
}

// Server answers HTTP requests. Its methods may be called concurrently.
type Server struct {
	opts    Options
	log     *slog.Logger
	guard   *guard
	audit   *auditor
	reader  *reader
	hub     *hub
	streams *streams
	pages   *pages
	apis    apis
	// callbacks answers what an EMQX asks.
	callbacks *callbacks

	paths     []string // of all routes
	counts    *requestCounts
	recent    *activity
	sampler   sync.Once
	running   sync.WaitGroup // what runs beside requests
	listening sync.WaitGroup // what Start has begun
	failed    chan error

	document func() ([]byte, error) // the API's description
	handler  http.Handler
	http     *http.Server
	// callbackHTTP serves what an external broker asks, where that has a listener of its own.
	callbackHTTP *http.Server

	stopping context.Context // ends when Stop begins, so that nobody waits for a command then
	stop     context.CancelFunc
}

// apis are the parts of the API.
type apis struct {
	system  *systemAPI
	account *accountAPI
	mesh    *meshAPI
	bind    *bindAPI
	node    *nodeAPI
	status  *statusAPI
	rollout *rolloutAPI
}

// New makes a server; nothing runs yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SessionTTL <= 0 {
		o.SessionTTL = DefaultSessionTTL
	}
	o.Presence = o.Presence.OrDefault()
	s := &Server{opts: o, log: o.Logger, counts: new(requestCounts), recent: new(activity), failed: make(chan error, 1)}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.audit = newAuditor(o.Store, o.Logger)
	s.guard = newGuard(o, s.audit)
	s.callbacks = &callbacks{db: o.Store, log: o.Logger, own: o.asker()}
	s.reader = s.newReader()
	s.streams = newStreams(o, s.guard, s.reader, s.stopping.Done())
	s.hub = s.streams.hub
	d := newDirectory(o, s.guard, s.audit)
	s.pages = &pages{
		db: o.Store, log: o.Logger, version: o.Version, guard: s.guard, audit: s.audit, reader: s.reader, directory: d, hub: s.hub, recent: s.recent,
	}
	s.document = sync.OnceValues(func() ([]byte, error) { return wire.Describe(s.table(), o.Version) })
	s.apis = s.newAPIs(d)
	for _, r := range slices.Concat(s.table(), s.pages.pages()) {
		s.paths = append(s.paths, r.Path)
	}
	s.handler = s.routes()
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(connectionLog{slog.New(floodlog.New(o.Logger.Handler()))}, "", 0),
	}
	s.callbackHTTP = s.newCallbacks()
	for _, server := range []*http.Server{s.http, s.callbackHTTP} {
		new(unused).watch(server)
	}
	return s
}

func (s *Server) newReader() *reader {
	o := s.opts
	r := &reader{
		db: o.Store, audit: s.audit, evidence: o.Evidence, times: o.Presence, mqttEnabled: o.MQTTEnabled, commanded: o.Commands != nil,
		broker: o.Broker, certs: o.Certificates, httpsPort: o.HTTPSPort, questions: s.callbacks.status,
		streams: func() int { return s.hub.count() },
	}
	if o.External != nil {
		r.account = o.External.Account
	}
	return r
}

func (s *Server) newAPIs(d *directory) apis {
	o := s.opts
	return apis{
		system: &systemAPI{
			db: o.Store, log: o.Logger, audit: s.audit, reader: s.reader, directory: d, certificates: o.Certificates, external: o.External, hub: s.hub,
			version: o.Version, mqttEnabled: o.MQTTEnabled, testMQTT: o.TestMQTT, document: s.document, counts: s.counts, recent: s.recent,
			backups: make(chan struct{}, 1), tests: make(chan struct{}, maxTests), stopping: s.stopping,
		},
		account: &accountAPI{
			db: o.Store, log: o.Logger, guard: s.guard, audit: s.audit, hub: s.hub, sessionTTL: o.SessionTTL, setupToken: o.SetupToken, stopping: s.stopping,
		},
		mesh: &meshAPI{db: o.Store, log: o.Logger, audit: s.audit, reader: s.reader},
		bind: &bindAPI{
			db: o.Store, log: o.Logger, audit: s.audit, reader: s.reader, directory: d, resolver: o.Resolver, binds: newLimiter[netip.Addr](20, 10),
		},
		node: &nodeAPI{
			db: o.Store, log: o.Logger, audit: s.audit, reader: s.reader, directory: d, resolver: o.Resolver,
			commands: o.Commands, stopping: s.stopping,
		},
		status:  &statusAPI{db: o.Store, reader: s.reader},
		rollout: &rolloutAPI{db: o.Store, reader: s.reader, directory: d, rollouts: o.Rollouts},
	}
}

// connectionLog takes what net/http says of connections. Strangers decide how often it does, and
// each time it names another address: so its words are no message of their own.
type connectionLog struct{ log *slog.Logger }

// Write logs one report.
func (l connectionLog) Write(p []byte) (int, error) {
	l.log.Warn("trouble with an HTTP connection", "report", strings.TrimSpace(string(p)))
	return len(p), nil
}

// Handler is the whole server as one handler.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests that come in on l until Stop, and closes l. It may be called for
// several listeners. It returns nil after Stop.
func (s *Server) Serve(l net.Listener) error {
	s.sampler.Do(func() {
		s.running.Go(func() { s.recent.run(s.stopping.Done(), s.readGauges) })
	})
	return serve(s.http, l)
}

func serve(server *http.Server, l net.Listener) error {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop stops listening and waits for running requests; those that wait for a command are
// answered, and event streams ended, at once. When ctx ends first, it closes their connections and returns ctx's error.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	s.hub.wait()
	s.running.Wait()
	var errs []error
	for _, server := range []*http.Server{s.http, s.callbackHTTP} {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("shut down HTTP: %w", err), server.Close())
		}
	}
	if s.opts.Sockets != nil { // which are closed already if they were served on
		errs = append(errs, s.opts.Sockets.Close())
	}
	s.listening.Wait()
	if err := s.audit.flush(); err != nil {
		s.log.Error("what was only counted is not in the audit log", "err", err)
	}
	return errors.Join(errs...)
}

// mqtt returns [refusal.ErrMQTTDisabled] while there is nothing to reach an agent with.
func (r *reader) mqtt() error {
	if !r.mqttEnabled || !r.commanded {
		return refusal.ErrMQTTDisabled
	}
	return nil
}

func (r *reader) brokerStatus() BrokerStatus {
	if !r.mqttEnabled || r.broker == nil {
		return BrokerStatus{Status: BrokerDisabled, Mode: "disabled"}
	}
	return r.broker.Status()
}
