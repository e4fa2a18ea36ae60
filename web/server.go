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
	"wfm/web/wire"
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
	Commands node.Commands
	Broker   view.Broker
	// Rollouts is nil where nothing can be carried out, which answers MQTT_DISABLED.
	Rollouts rollout.Rollouts
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
	// stands in bind commands. ExtraAllowedOrigins pass the check too. See [access.ParseOrigin].
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// TrustedProxies may say in X-Forwarded-For and X-Forwarded-Proto whom they speak for. See
	// [access.ParseProxies].
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
	TestMQTT func(ctx context.Context, t reach.MQTTTarget) error
	// External is how an external broker is dealt with; nil with the embedded one.
	External *ExternalBroker
	// Asked has questions of an EMQX answered beside the embedded broker, for a site that bridges or moves
	// to it. Only Key and Apart count. Nil: only those of External are.
	Asked *ExternalBroker
	// SetupToken is what auth/setup asks for while there is no admin. Empty: set-up over HTTP is
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
	streams *events.Streams
	pages   *page.Pages
	apis    apis
	// callbacks answers the questions of an EMQX.
	callbacks *callback.API

	paths     []string // of all routes
	counts    *view.RequestCounts
	recent    *view.Activity
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

// New makes a server; nothing runs yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SessionTTL <= 0 {
		o.SessionTTL = DefaultSessionTTL
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
	s.pages = &page.Pages{
		DB: o.Store, Log: o.Logger, Version: o.Version, Guard: s.guard, Audit: s.audit, Reader: s.reader, Directory: d, Newest: s.streams.Newest, Recent: s.recent,
	}
	s.document = sync.OnceValues(func() ([]byte, error) { return wire.Describe(s.table(), o.Version) })
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
		s.running.Go(func() { s.recent.Run(s.stopping.Done(), s.readGauges) })
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
	s.streams.Wait()
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
	if err := s.audit.Flush(); err != nil {
		s.log.Error("what was only counted is not in the audit log", "err", err)
	}
	return errors.Join(errs...)
}
