package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

// systemAPI answers the calls about the appliance itself.
type systemAPI struct {
	db           *store.DB
	log          *slog.Logger
	audit        *auditor
	reader       *reader
	directory    *directory
	certificates Certificates
	external     *ExternalBroker
	hub          *hub
	version      string
	mqttEnabled  bool
	testMQTT     func(ctx context.Context, t MQTTTarget) error
	document     func() ([]byte, error) // the API's description
	counts       *requestCounts
	recent       *activity
	backups      chan struct{} // has room for one
	tests        chan struct{} // has room for maxTests
	stopping     context.Context
}

func (a *systemAPI) systemRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/healthz", Access: wire.Open, Handle: a.healthz,
			Summary: "Whether the process answers.",
			Bare:    "text/plain",
		},
		{
			Method: http.MethodGet, Path: "/readyz", Access: wire.Open, Handle: a.readyz,
			Summary: "Whether the appliance can write its data and serve its agents; says why not.",
			Bare:    "text/plain",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/health", Access: wire.Open, Handle: a.health,
			Summary: "The process and its version.",
			Data:    healthView{},
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/status", Access: wire.Session, Handle: a.systemStatus,
			Summary: "Counts of meshes and nodes, and the state of the services.",
			Data:    systemStatusView{},
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/timezone", Access: wire.Session, Handle: a.systemTimezone,
			Summary: "The zone of every time that is answered.",
			Data:    timezoneView{},
		},
	}
}

type healthView struct {
	Status    string     `json:"status"`
	Service   string     `json:"service"`
	Version   string     `json:"version"`
	Timestamp *time.Time `json:"timestamp"`
	Timezone  string     `json:"timezone"`
	// MQTTServicesEnabled is whether agents can be bound and commanded at all.
	MQTTServicesEnabled bool `json:"mqtt_services_enabled"`
}

// timezone is the zone of every time that the API answers.
const timezone = "UTC"

func (a *systemAPI) health(c echo.Context) error {
	return wire.Respond(c, healthView{"ok", "wfm", a.version, wire.When(time.Now()), timezone, a.mqttEnabled})
}

type timezoneView struct {
	Timezone string `json:"timezone"`
}

func (a *systemAPI) systemTimezone(c echo.Context) error {
	return wire.Respond(c, timezoneView{timezone})
}

// healthz says that the process answers, and nothing about what it depends on.
func (a *systemAPI) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz says whether the appliance can do its work: write its data and reach its agents.
func (a *systemAPI) readyz(c echo.Context) error {
	if err := a.db.WriteError(); err != nil {
		a.log.Warn("not ready", "err", err)
		return c.String(http.StatusServiceUnavailable, "not ready: "+storeProblem(err)+"\n")
	}
	if a.mqttEnabled && !a.reader.brokerStatus().Connected {
		return c.String(http.StatusServiceUnavailable, "not ready: the MQTT broker does not serve; look at the appliance's log\n")
	}
	if tls := a.reader.tlsService(); tls.Status != "off" && tls.NotAfter == nil {
		return c.String(http.StatusOK, "ready, but without a TLS certificate yet: nobody can connect with TLS; look at the system status\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// storeProblem is the advice of the store's sentinels, without what they wrap: that names paths.
func storeProblem(err error) string {
	for _, known := range []error{
		store.ErrDamaged, store.ErrMoved, store.ErrHangs, store.ErrFull, store.ErrReadOnly, store.ErrDisk, store.ErrClosed,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the data file cannot be written; look at the appliance's log"
}

type systemSummary struct {
	Configs int `json:"configs"`
	Nodes   int `json:"nodes"`
	// DynamicNodes and OnlineNodes count the dynamic nodes that are not disabled.
	DynamicNodes int `json:"dynamic_nodes"`
	OnlineNodes  int `json:"online_nodes"`
	// Presence counts the nodes of all configs by state.
	Presence map[string]int `json:"presence"`
	// TunnelsUnwanted counts the nodes whose tunnel was found stopped although it is to run, or running
	// although it is to be stopped.
	TunnelsUnwanted int `json:"tunnels_unwanted"`
	// tunnels counts the nodes by what is wanted and found, for the metrics.
	tunnels map[[2]string]int
	// IdentityConflicts counts the nodes whose identity two machines use.
	IdentityConflicts int `json:"identity_conflicts"`
}

type storeServiceView struct {
	Status    string `json:"status"` // ok or error
	Error     string `json:"error"`
	SizeBytes int64  `json:"size_bytes"`
}

type httpServiceView struct {
	Status  string `json:"status"`
	Streams int    `json:"streams"` // event streams that are open
}

type systemServices struct {
	Store storeServiceView `json:"store"`
	MQTT  mqttServiceView  `json:"mqtt"`
	HTTP  httpServiceView  `json:"http"`
	TLS   tlsServiceView   `json:"tls"`
}

type systemStatusView struct {
	Summary   systemSummary            `json:"summary"`
	Services  systemServices           `json:"services"`
	Sync      map[store.SyncStatus]int `json:"sync"` // counts the nodes of all configs by state
	Timestamp *time.Time               `json:"timestamp"`
	Timezone  string                   `json:"timezone"`
}

func (a *systemAPI) systemStatus(c echo.Context) error {
	v, err := a.reader.readStatus()
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

// statusReader shares one reading of the system's status among all who ask while the last one goes
// on: after a restart every page asks at once. Nobody gets what was read before they asked.
type statusReader struct {
	running sync.Mutex // held while one reads

	mu   sync.Mutex
	next *statusReading // has not begun yet; nil when nobody waits
}

type statusReading struct {
	once  sync.Once
	value systemStatusView
	err   error
}

func (r *reader) readStatus() (systemStatusView, error) {
	q := &r.statuses
	q.mu.Lock()
	if q.next == nil {
		q.next = &statusReading{err: wire.ErrPanic} // unless it comes to its end
	}
	mine := q.next
	q.mu.Unlock()

	q.running.Lock()
	defer q.running.Unlock()
	mine.once.Do(func() {
		q.mu.Lock()
		q.next = nil // who asks from now on waits for the one after this
		q.mu.Unlock()
		mine.value, mine.err = r.computeStatus()
	})
	return mine.value, mine.err
}

// statusEvent tells of the system's status if nodes have changed or a service has since it was asked
// last. It is for the hub's goroutine alone.
func (s *streams) statusEvent(nodesChanged bool) (e event, changed bool, err error) {
	mqtt := s.reader.mqttService()
	tls := s.reader.tlsService()
	services := fmt.Sprint(s.reader.storeService().Status, mqtt.Status, mqtt.Connected, mqtt.LastError, tls.Status, tls.LastError, tls.Warning)
	if tls.NotAfter != nil { // a renewal is news
		services += tls.NotAfter.String()
	}
	first := s.lastServices == ""
	changed = nodesChanged || (services != s.lastServices && !first)
	s.lastServices = services
	if !changed {
		return event{}, false, nil
	}
	status, err := s.reader.readStatus()
	return event{eventSystemStatus, status}, err == nil, err
}

func (r *reader) storeService() storeServiceView {
	v := storeServiceView{Status: "ok", SizeBytes: r.db.Size()}
	if err := r.db.WriteError(); err != nil {
		v.Status, v.Error = "error", storeProblem(err)
	}
	return v
}

func (r *reader) computeStatus() (systemStatusView, error) {
	v := systemStatusView{
		Summary: systemSummary{
			Presence: noPresence(), tunnels: map[[2]string]int{},
		},
		Sync: noSyncYet(),
	}
	err := r.db.View(func(tx *store.Tx) error {
		v.Timestamp = wire.When(tx.Now())
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		v.Summary.Configs = len(configs)
		v.Timezone = timezone
		var counts nodeCounts
		for _, cfg := range configs {
			nodes, err := tx.Nodes(cfg.ID, "", 0)
			if err != nil {
				return err
			}
			v.Summary.Nodes += len(nodes)
			for _, n := range nodes {
				f, err := r.facts(tx, cfg, n)
				if err != nil {
					return err
				}
				counts.add(f)
				v.Summary.Presence[string(f.presence.State)]++
				if f.conflict != nil {
					v.Summary.IdentityConflicts++
				}
				v.Sync[f.sync()]++
				v.Summary.tunnels[[2]string{string(f.wanted), string(f.presence.Tunnel)}]++
				if f.unwanted() != "" {
					v.Summary.TunnelsUnwanted++
				}
			}
		}
		v.Summary.DynamicNodes, v.Summary.OnlineNodes = counts.DynamicNodeCount, counts.OnlineNodeCount
		return nil
	})
	if err != nil {
		return systemStatusView{}, err
	}
	v.Services = r.services()
	return v, nil
}

func (r *reader) services() systemServices {
	return systemServices{
		Store: r.storeService(),
		MQTT:  r.mqttService(),
		HTTP:  httpServiceView{Status: "running", Streams: r.streams()},
		TLS:   r.tlsService(),
	}
}
