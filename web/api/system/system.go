package system

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) systemRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/healthz", Access: wire.Open, Handle: a.healthz,
			Summary: "Whether the process answers.",
			Bare:    "text/plain",
		},
		{
			Method: http.MethodGet, Path: "/readyz", Access: wire.Open, Handle: a.readyz,
			Summary: "Whether the appliance can write its data and serve its agents, and if not, why.",
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
			Data:    statusView{},
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/timezone", Access: wire.Session, Handle: a.systemTimezone,
			Summary: "The time zone of all times in answers.",
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
	// MQTTServicesEnabled says whether agents can be bound and commanded at all.
	MQTTServicesEnabled bool `json:"mqtt_services_enabled"`
}

func (a *API) health(c echo.Context) error {
	return wire.Respond(c, healthView{"ok", "wfm", a.Version, wire.When(time.Now()), view.Timezone, a.MQTTEnabled})
}

type timezoneView struct {
	Timezone string `json:"timezone"`
}

func (a *API) systemTimezone(c echo.Context) error {
	return wire.Respond(c, timezoneView{view.Timezone})
}

// healthz says that the process answers. It checks no other part.
func (a *API) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz says whether the appliance can work: write its data and reach its agents.
func (a *API) readyz(c echo.Context) error {
	if err := a.DB.WriteError(); err != nil {
		a.Log.Warn("not ready", "err", err)
		return c.String(http.StatusServiceUnavailable, "not ready: "+view.StoreProblem(err)+"\n")
	}
	if a.MQTTEnabled && !a.Reader.BrokerStatus().Connected {
		return c.String(http.StatusServiceUnavailable, "not ready: the MQTT broker does not serve; look at the appliance's log\n")
	}
	if tls := a.Reader.TLSService(); tls.Status != "off" && tls.NotAfter == nil {
		return c.String(http.StatusOK, "ready, but without a TLS certificate yet: no client can connect with TLS; look at the system status\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// statusView is how the whole appliance is.
type statusView struct {
	view.SystemStatus
	Topology topologyView `json:"topology"`
}

// topologyView says which meshes are not valid, so that nothing made from them can be applied.
type topologyView struct {
	Valid              bool          `json:"valid"`
	InvalidConfigCount int           `json:"invalid_config_count"`
	InvalidNodeCount   int           `json:"invalid_node_count"` // nodes that errors are about
	InvalidConfigs     []invalidMesh `json:"invalid_configs"`
}

type invalidMesh struct {
	ConfigID   string `json:"config_id"`
	Name       string `json:"name"`
	ErrorCount int    `json:"error_count"`
	Message    string `json:"message"` // of the first error
}

func (a *API) topology(ctx context.Context) (topologyView, error) {
	v := topologyView{Valid: true, InvalidConfigs: []invalidMesh{}}
	configs, err := store.Read(a.DB, func(tx *store.Tx) ([]store.Config, error) { return tx.Configs("", 0) })
	if err != nil {
		return v, err
	}
	for _, cfg := range configs {
		report, err := a.Applier.Topology(ctx, cfg.ID)
		if errors.Is(err, store.ErrConfigNotFound) { // deleted since
			continue
		}
		if err != nil {
			return v, err
		}
		wrong := report.Topology()
		if len(wrong) == 0 {
			continue
		}
		v.Valid = false
		v.InvalidConfigs = append(v.InvalidConfigs, invalidMesh{cfg.ID, cfg.Name, len(wrong), wrong[0].Message})
		nodes := make(map[string]bool)
		for _, f := range wrong {
			if f.NodeID != "" {
				nodes[f.NodeID] = true
			}
		}
		v.InvalidNodeCount += len(nodes)
	}
	v.InvalidConfigCount = len(v.InvalidConfigs)
	return v, nil
}

func (a *API) systemStatus(c echo.Context) error {
	status, err := a.Reader.ReadStatus()
	if err != nil {
		return err
	}
	v := statusView{SystemStatus: status}
	if v.Topology, err = a.topology(c.Request().Context()); err != nil {
		return err
	}
	return wire.Respond(c, v)
}
