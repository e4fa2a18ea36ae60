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

	"wfm/apply"
	"wfm/internal/floodlog"
	"wfm/presence"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/api/callback"
	"wfm/web/api/node"
	"wfm/web/api/rollout"
	"wfm/web/api/system"
	"wfm/web/events"
	"wfm/web/page"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire/openapi"
)

func (s *Server) readGauges() view.Gauges {
	b := s.reader.BrokerStatus()
	return view.Gauges{
		In: b.MessagesIn, Out: b.MessagesOut, Refused: b.MessagesRefused, Commands: s.opts.Store.CommandCounts().Added,
		Requests: s.counts.Total(), Connections: b.Sessions, Streams: s.streams.Count(),
	}
}

// Limits of a connection. The longest answer is a command that is waited for, see node.maxWait.
const (
	readHeaderTimeout = 9 * time.Second // includes a TLS handshake before the header
	readTimeout       = 30 * time.Second
	writeTimeout      = 90 * time.Second
	idleTimeout       = 30 * time.Second // connections are limited in number
	maxHeaderBytes    = 16 << 10
)

// DefaultSessionTTL is the lifetime of a login unless [Options] set another.
const DefaultSessionTTL = 24 * time.Hour

// Options configures New.
type Options struct {
	Store *store.DB // required
	// Sockets are the sockets that Start serves on. Callbacks is the socket for an external
	// broker's questions, apart from the API. Either may be nil.
	Sockets   *Sockets
	Callbacks net.Listener
	// Logger gets the problems that no client learns of. Default: discard.
	Logger *slog.Logger
	// Commands and Broker may be nil while MQTTEnabled is false.
	Commands node.Commands
	Broker   view.Broker
	// Rollouts is nil if rollouts are impossible, which is answered with MQTT_DISABLED.
	Rollouts rollout.Rollouts
	// Presence has the durations of the rules of presence. Zero ones mean the defaults.
	Presence presence.Times
	// Evidence completes a node's stored evidence by facts that could not be stored. Default: the
	// stored one.
	Evidence func(store.Evidence) store.Evidence
	// Watch is called whenever an event stream opens, and its result once at the stream's end. In
	// between, a person may be watching. May be nil.
	Watch func() (release func())
	// Version is the version of the program, as the API reports it.
	Version string
	// MQTTEnabled false answers MQTT_DISABLED to every call that needs an agent.
	MQTTEnabled bool
	// SessionTTL is the lifetime of a login. Default: [DefaultSessionTTL].
	SessionTTL time.Duration
	// PublicOrigin, as in https://wfm.example.org, enables the check of Host and Origin and appears
	// in bind commands. ExtraAllowedOrigins pass the check, too. See [access.ParseOrigin].
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// TrustedProxies are believed about their client in X-Forwarded-For and X-Forwarded-Proto. See
	// [access.ParseProxies].
	TrustedProxies []netip.Prefix
	// MQTTHost and MQTTPort are handed to agents at bind. An empty host means the host of the bind
	// request.
	MQTTHost string
	MQTTPort int
	// Resolver resolves MQTTHost, to warn of configs that would cut a node off. Default:
	// net.DefaultResolver.
	Resolver *net.Resolver
	// Networks returns the addresses of the appliance's own interfaces, each with its network, so that
	// no mesh collides with them. Default: reach.OwnNetworks.
	Networks func() []netip.Prefix
	// MQTTTLS makes bind hand out TLS, unless settings/mqtt say otherwise. Then MQTTPort is its
	// port, and Certificates has the roots to trust.
	MQTTTLS bool
	// Certificates may be nil if nothing is served with TLS.
	Certificates Certificates
	// HTTPSPort is the port that HTTP redirects to. 0: no redirect.
	HTTPSPort int
	// TestMQTT connects to the target once as an agent does. Its error says what to do. May be nil
	// while MQTTEnabled is false.
	TestMQTT func(ctx context.Context, t reach.MQTTTarget) error
	// External is the external broker; nil with the embedded one.
	External *ExternalBroker
	// Asked is an EMQX beside the embedded broker whose questions are answered, for a site that
	// bridges or moves to it. Only Key and Apart are used. If nil, only those of External are
	// answered.
	Asked *ExternalBroker
	// SetupToken is the token for auth/setup while there is no admin. If empty, set-up over HTTP is
	// refused.
	SetupToken string
}

// Certificates manages the TLS certificates.
type Certificates interface {
	reach.Certificates
	system.Certificates
}

// Server answers HTTP requests. Its methods may be called concurrently.
type Server struct {
	opts    Options
	log     *slog.Logger
	guard   *access.Guard
	audit   *access.Auditor
	reader  *view.Reader
	applier *apply.Applier
	streams *events.Streams
	pages   *page.Pages
	apis    apis
	// callbacks answers the questions of an EMQX.
	callbacks *callback.API

	paths     []string // of all routes
	counts    *view.RequestCounts
	recent    *view.Activity
	listening sync.WaitGroup // goroutines of Start
	failed    chan error

	document func() ([]byte, error) // the API's description
	handler  http.Handler
	http     *http.Server
	// callbackHTTP serves an external broker's questions, if they have a listener of their own.
	callbackHTTP *http.Server

	stopping context.Context // ends when Stop begins, and with it the waiting for commands
	stop     context.CancelFunc

	mu       sync.Mutex
	sampling bool
	sampler  sync.WaitGroup
}

// New returns a server that does not run yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SessionTTL <= 0 {
		o.SessionTTL = DefaultSessionTTL
	}
	if o.Networks == nil {
		o.Networks = reach.OwnNetworks
	}
	o.Presence = o.Presence.OrDefault()
	s := &Server{opts: o, log: o.Logger, counts: new(view.RequestCounts), recent: new(view.Activity), failed: make(chan error, 1)}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.audit = access.NewAuditor(o.Store, o.Logger)
	s.guard = s.newGuard()
	s.callbacks = &callback.API{DB: o.Store, Log: o.Logger, Own: o.asker()}
	s.reader = s.newReader()
	s.streams = events.New(events.Options{Store: o.Store, Logger: o.Logger, Guard: s.guard, Reader: s.reader, Watch: o.Watch}, s.stopping.Done())
	d := s.newDirectory()
	s.applier = s.newApplier(d)
	s.pages = &page.Pages{
		DB: o.Store, Log: o.Logger, Version: o.Version, Guard: s.guard, Audit: s.audit, Reader: s.reader, Directory: d, Newest: s.streams.Newest, Recent: s.recent,
		Applier: s.applier, Networks: o.Networks,
	}
	s.document = sync.OnceValues(func() ([]byte, error) { return openapi.Describe(s.table(), o.Version) })
	s.apis = s.newAPIs(d)
	for _, r := range slices.Concat(s.table(), s.pages.Routes()) {
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

// connectionLog logs net/http's reports about connections. Strangers decide their number, and each
// has another address, so the report is an attribute, not the message.
type connectionLog struct{ log *slog.Logger }

// Write logs one report.
func (l connectionLog) Write(p []byte) (int, error) {
	l.log.Warn("trouble with an HTTP connection", "report", strings.TrimSpace(string(p)))
	return len(p), nil
}

// Applier returns what plans and applies meshes for the server.
func (s *Server) Applier() *apply.Applier { return s.applier }

// Handler returns the whole server as one handler.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests on l until Stop, and closes l. It may be called for several listeners. It
// returns nil after Stop.
func (s *Server) Serve(l net.Listener) error {
	s.sample()
	return serve(s.http, l)
}

// sample begins to sample activity, unless that has begun or Stop has: Serve may only get its turn
// after Stop, when the store is closed.
func (s *Server) sample() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sampling || s.stopping.Err() != nil {
		return
	}
	s.sampling = true
	s.sampler.Go(func() { s.recent.Run(s.stopping.Done(), s.readGauges) })
}

// endSampling ends what sample has begun, and makes later calls of it do nothing.
func (s *Server) endSampling() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.sampler.Wait()
}

func serve(server *http.Server, l net.Listener) error {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop stops listening and waits for running requests. Those that wait for a command are answered,
// and event streams ended, at once. If ctx ends first, Stop closes their connections and returns
// ctx's error.
func (s *Server) Stop(ctx context.Context) error {
	s.endSampling()
	s.streams.Wait()
	var errs []error
	for _, server := range []*http.Server{s.http, s.callbackHTTP} {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("shut down HTTP: %w", err), server.Close())
		}
	}
	if s.opts.Sockets != nil { // already closed if they were served on
		errs = append(errs, s.opts.Sockets.Close())
	}
	s.listening.Wait()
	if err := s.audit.Flush(); err != nil {
		s.log.Error("the counted requests are not in the audit log", "err", err)
	}
	return errors.Join(errs...)
}
