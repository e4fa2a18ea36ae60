package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"wfm/appliance/broker"
	"wfm/appliance/control"
	"wfm/appliance/presence"
	"wfm/internal/buildinfo"
	"wfm/internal/connlimit"
	"wfm/internal/floodlog"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// Options are what an appliance needs. See cmd/wfm for the defaults.
type Options struct {
	DataDir  string
	HTTPAddr string
	// MQTTEnabled false runs without a broker: everything that needs one answers MQTT_DISABLED.
	MQTTEnabled bool
	MQTTAddr    string
	// MQTTPublicHost and MQTTPublicPort are handed to agents at bind. Empty and 0: the host the
	// agent used for the bind itself, and the port the broker listens on.
	MQTTPublicHost string
	MQTTPublicPort int
	// MQTTKeepAlive is the longest keep-alive an MQTT 5 agent may have, and so how soon a lost link
	// is noticed; 0 leaves it to the agents.
	MQTTKeepAlive time.Duration
	// EMQX has an external broker in the place of the embedded one; nil: the embedded one.
	EMQX *EMQXOptions
	// PublicOrigin and ExtraAllowedOrigins guard Host and Origin; empty: no guard.
	PublicOrigin        string
	ExtraAllowedOrigins []string
	// AdminPassword sets up the account "admin" if there is none yet.
	AdminPassword string
	SessionTTL    time.Duration
	// Presence are the durations of the rules of presence; zero ones mean presence.DefaultTimes.
	Presence presence.Times
	// DetectInterval is how often each node is asked how it is while somebody watches; 0 means 120 s.
	DetectInterval time.Duration
	Logger         *slog.Logger
}

// Appliance is a running appliance.
type Appliance struct {
	log        *slog.Logger
	db         *store.DB
	broker     mqttBroker // nil without MQTT
	control    *control.Control
	tracker    *presence.Tracker
	prober     *presence.Prober // nil without MQTT
	web        *web.Server
	httpSocket net.Listener
	setupToken string
	external   *external // nil with the embedded broker

	serving chan error
	stops   []namedStop // in order of start
	stop    sync.Once
	stopped chan struct{}
}

type namedStop struct {
	name string
	fn   func(context.Context) error
}

// New opens the store and binds every port. Its errors are one sentence that names what is taken,
// missing or wrong; everything opened so far is released then. ctx is for opening only.
func New(ctx context.Context, o Options) (_ *Appliance, err error) {
	defaults := presence.DefaultTimes()
	o.Presence.TTL = cmp.Or(o.Presence.TTL, defaults.TTL)
	o.Presence.Grace = cmp.Or(o.Presence.Grace, defaults.Grace)
	o.DetectInterval = cmp.Or(o.DetectInterval, 120*time.Second)
	a := &Appliance{log: o.Logger, serving: make(chan error, 1), stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = a.Stop(context.WithoutCancel(ctx))
		}
	}()
	a.db, err = store.Open(o.DataDir, store.Options{Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	a.onStop("store", func(context.Context) error { return a.db.Close() })
	if a.setupToken, err = setUp(a.db, o.AdminPassword); err != nil {
		return nil, err
	}
	if o.EMQX == nil { // an external broker has them still
		if err := a.db.Update((*store.Tx).CloseAllConnections); err != nil {
			return nil, fmt.Errorf("close the connections of the last run: %w", err)
		}
	}
	a.tracker = presence.NewTracker(a.db, o.Presence, o.Logger)
	a.onStop("presence", func(context.Context) error { a.tracker.Stop(); return nil })
	if o.MQTTEnabled {
		if err := a.newBroker(ctx, o); err != nil {
			return nil, err
		}
	}
	a.httpSocket, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", o.HTTPAddr, err)
	}
	a.httpSocket = connlimit.New(a.httpSocket, connlimit.Share(4, 4096), connlimit.Share(8, 2048))
	a.onStop("HTTP socket", func(context.Context) error { _ = a.httpSocket.Close(); return nil })
	a.web = web.New(a.webOptions(o))
	return a, nil
}

// newBroker joins control, ingress and broker, which need each other.
func (a *Appliance) newBroker(ctx context.Context, o Options) error {
	late := &latePublisher{}
	a.control = control.New(a.db, late, o.Logger)
	log := slog.New(floodlog.New(o.Logger.Handler())) // strangers decide how much it is told
	in := &ingress{db: a.db, control: a.control, log: log, live: func(id string) uint64 { return late.SessionID(id) }}
	if o.EMQX != nil {
		var err error
		if a.external, err = newExternal(ctx, a.db, *o.EMQX, in, log); err != nil {
			return err
		}
		a.broker = a.external
	} else {
		embedded, err := broker.New(ctx, broker.Options{Addr: o.MQTTAddr, Grants: a.db, Logger: log, Ingress: in, KeepAlive: o.MQTTKeepAlive})
		if err != nil {
			return err
		}
		a.broker = brokerView{embedded}
	}
	late.mqttBroker = a.broker
	// The broker is stopped before the control, so that nothing comes in for it any more.
	a.onStop("commands", func(context.Context) error { a.control.Stop(); return nil })
	a.prober = presence.NewProber(a.db, a.control, o.DetectInterval, o.Logger)
	a.onStop("prober", func(context.Context) error { a.prober.Stop(); return nil })
	a.onStop("ingress", func(context.Context) error { in.stop(); return nil })
	a.onStop("broker", a.broker.Stop)
	return nil
}

// latePublisher is the broker once it exists; nothing is published before Start.
type latePublisher struct{ mqttBroker }

// mqttBroker is what the appliance needs of a broker, whichever it is.
type mqttBroker interface {
	control.Publisher
	web.Broker
	// SessionID names the node's open connection, 0 when there is none.
	SessionID(nodeID string) uint64
	Start() error
	Stop(ctx context.Context) error
}

func (a *Appliance) webOptions(o Options) web.Options {
	w := web.Options{
		Store: a.db, Logger: o.Logger, Presence: projection(o.Presence), History: history, Version: buildinfo.Version(),
		MQTTEnabled: o.MQTTEnabled, SessionTTL: o.SessionTTL,
		PublicOrigin: o.PublicOrigin, ExtraAllowedOrigins: o.ExtraAllowedOrigins,
		MQTTHost: o.MQTTPublicHost, MQTTPort: o.MQTTPublicPort, SetupToken: a.setupToken,
	}
	if a.broker != nil {
		w.Commands, w.Broker, w.Watch = a.control, a.broker, a.prober.Watch
		if a.external != nil {
			w.External = a.external.web()
			w.MQTTPort = cmp.Or(w.MQTTPort, a.external.port())
		} else if tcp, ok := a.MQTTAddr().(*net.TCPAddr); ok && w.MQTTPort == 0 {
			w.MQTTPort = tcp.Port
		}
	}
	return w
}

// setUp makes the admin account from password, or a token with which it can be set up.
func setUp(db *store.DB, password string) (token string, err error) {
	err = db.View(func(tx *store.Tx) error { _, err := tx.Admin(); return err })
	switch {
	case err == nil: // set up already; a password given now changes nothing
		return "", nil
	case !errors.Is(err, store.ErrNoAdmin):
		return "", fmt.Errorf("read the admin account: %w", err)
	case password == "":
		return protocol.NewSecret(), nil
	}
	if err := web.SetUpAdmin(db, password); err != nil {
		return "", fmt.Errorf("set up the admin account: %w", err)
	}
	return "", nil
}

// projection is presence's, for the API.
func projection(times presence.Times) func(store.Node, bool, store.Evidence, time.Time) web.Presence {
	return func(n store.Node, configEnabled bool, e store.Evidence, now time.Time) web.Presence {
		s := presence.Project(n, configEnabled, e, now, times)
		return web.Presence{State: string(s.State), Reason: s.Reason, Tunnel: string(s.Tunnel)}
	}
}

// history puts a node's transitions in figures.
func history(transitions []store.Transition, now time.Time) web.HistorySummary {
	const day = 24 * time.Hour
	s := web.HistorySummary{Flaps24h: presence.Flaps(transitions, day, now)}
	if f, ok := presence.Uptime(transitions, day, now); ok {
		s.Uptime24h = &f
	}
	if f, ok := presence.Uptime(transitions, 7*day, now); ok {
		s.Uptime7d = &f
	}
	return s
}

// brokerView is the embedded broker as the API sees it.
type brokerView struct{ *broker.Broker }

// Status is always running: the process ends when the embedded broker cannot start.
func (b brokerView) Status() web.BrokerStatus {
	return web.BrokerStatus{Enabled: true, Connected: true, Status: "running", LastConnectedAt: b.StartedAt(), Mode: "embedded"}
}

func (a *Appliance) onStop(name string, fn func(context.Context) error) {
	a.stops = append(a.stops, namedStop{name, fn})
}

// Start takes up open commands and begins to serve.
func (a *Appliance) Start() error {
	if err := a.tracker.Start(); err != nil {
		return fmt.Errorf("read the nodes: %w", err)
	}
	if a.broker != nil {
		if err := a.control.Start(); err != nil {
			return fmt.Errorf("take up open commands: %w", err)
		}
		if err := a.broker.Start(); err != nil {
			return err
		}
	}
	go func() {
		err := a.web.Serve(a.httpSocket)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		a.serving <- err
	}()
	if a.external != nil && a.external.callbacks != nil {
		go func() { _ = a.web.ServeCallbacks(a.external.callbacks) }()
	}
	a.onStop("web", a.web.Shutdown)
	return nil
}

// Failed delivers the error with which serving ended by itself.
func (a *Appliance) Failed() <-chan error { return a.serving }

// stopShare is what each part may take of the time to stop, so that one cannot take it all.
const stopShare = 1500 * time.Millisecond

// Stop ends everything in reverse order and returns when that is done, or when ctx ends. It may be
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

// HTTPAddr is the address the API is served on.
func (a *Appliance) HTTPAddr() net.Addr { return a.httpSocket.Addr() }

// MQTTAddr is the address of the embedded broker, nil without one.
func (a *Appliance) MQTTAddr() net.Addr {
	if embedded, ok := a.broker.(brokerView); ok {
		return embedded.Addr()
	}
	return nil
}

// SetupToken is what setting up the admin account needs; empty when there is one.
func (a *Appliance) SetupToken() string { return a.setupToken }
