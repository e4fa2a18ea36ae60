package system

import (
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/wire"
)

// Parts that several calls' bodies share.
const (
	mqttMembers = "host, port 1..65535, tls bool"
)

func (a *API) settingsRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/settings/mqtt", Access: wire.Session, Handle: a.getMQTTSettings,
			Summary: "The broker's address for agents, with the source of each part.",
			Data:    reach.MQTTSettings{},
		},
		{
			Method: http.MethodPut, Path: "/api/v1/settings/mqtt", Access: wire.Session, Handle: a.putMQTTSettings, OneWrite: true,
			Summary: "Sets the broker's address for agents. Absent members follow the flags of the start.",
			Body:    mqttMembers, Data: reach.MQTTSettings{}, Codes: "MQTT_TLS_CA_NOT_READY",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/settings/mqtt/reset", Access: wire.Session, Handle: a.resetMQTTSettings, OneWrite: true,
			Summary: "Removes these settings, so that the flags of the start apply.",
			Data:    reach.MQTTSettings{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/settings/mqtt/test", Access: wire.Session, Handle: a.testMQTTSettings,
			Summary: "Connects to the broker as an agent does. Members of the request replace the settings.",
			Body:    "? " + mqttMembers, Data: mqttTestView{}, Codes: "MQTT_DISABLED MQTT_TLS_CA_NOT_READY RATE_LIMITED",
		},
	}
}

// readMQTTSettings reads overrides. Absent, null or empty members override nothing.
func readMQTTSettings(f *wire.Fields) store.MQTTSettings {
	m := store.MQTTSettings{Host: f.Text("host", mqttHost), Port: f.Number("port", 1, 65535), TLS: f.Flag("tls")}
	if m.Host != nil && *m.Host == "" {
		m.Host = nil
	}
	return m
}

func (a *API) getMQTTSettings(c echo.Context) error {
	stored, err := a.Directory.Stored()
	if err != nil {
		return err
	}
	return wire.Respond(c, a.Directory.InForce(stored, wire.RequestHost(c.Request().Host)))
}

func (a *API) putMQTTSettings(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	m := readMQTTSettings(f)
	switch {
	case m.TLS == nil || *m.TLS == a.Directory.TLS:
	case *m.TLS:
		f.Reject("tls", "cannot be true: the broker is not served with TLS; start the appliance with WFM_MQTT_TLS_ENABLED=true")
	case m.Port == nil:
		f.Reject("port", "is required with this tls: the port that was set at the start is for the other")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if m.Host != nil {
		if err := a.Directory.CoverBroker(c, *m.Host); err != nil {
			return err
		}
	}
	if err := a.Audit.Update(c, func(tx *store.Tx) error { return tx.SetMQTTSettings(m) }); err != nil {
		return err
	}
	v := a.Directory.InForce(m, wire.RequestHost(c.Request().Host))
	a.Log.Info("MQTT settings changed", "host", v.Host, "port", v.Port, "tls", v.TLS, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// resetMQTTSettings removes the overrides.
func (a *API) resetMQTTSettings(c echo.Context) error {
	if err := a.Audit.Update(c, func(tx *store.Tx) error { return tx.SetMQTTSettings(store.MQTTSettings{}) }); err != nil {
		return err
	}
	v := a.Directory.InForce(store.MQTTSettings{}, wire.RequestHost(c.Request().Host))
	a.Log.Info("MQTT settings reset", "host", v.Host, "port", v.Port, "tls", v.TLS, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// maxTests bounds the tests at a time: each holds a connection to an arbitrary address, which may
// not answer for a long time.
const maxTests = 4

type mqttTestView struct {
	Success   bool   `json:"success"`
	Message   string `json:"message"`
	LatencyMS int64  `json:"latency_ms"` // of the whole test
}

// testMQTTSettings connects as an agent does, with the settings in force or with those in the
// request, to try them before they are saved.
func (a *API) testMQTTSettings(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	tried := readMQTTSettings(f)
	if err := f.Err(); err != nil {
		return err
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	stored, err := a.Directory.Stored()
	if err != nil {
		return err
	}
	if tried.Host == nil {
		tried.Host = stored.Host
	}
	if tried.Port == nil {
		tried.Port = stored.Port
	}
	if tried.TLS == nil {
		tried.TLS = stored.TLS
	}
	defer a.tests.Add(-1)
	if a.tests.Add(1) > maxTests {
		return wire.ErrTestsRunning
	}
	t, err := a.Directory.Target(a.Directory.InForce(tried, wire.RequestHost(c.Request().Host)))
	if err != nil {
		return err
	}
	start := time.Now()
	v := mqttTestView{Success: true, Message: "A node can log in there and gets its own commands only."}
	if a.TestMQTT == nil {
		v.Success, v.Message = false, "This broker cannot be tested from here; bind an agent and look whether it comes online."
	} else if err := a.TestMQTT(c.Request().Context(), t); err != nil {
		v.Success, v.Message = false, err.Error()
	}
	v.LatencyMS = time.Since(start).Milliseconds()
	return wire.Respond(c, v)
}

// hostName matches the names of hosts.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// mqttHost accepts "", a host name or an IP address.
func mqttHost(v string) (clean, problem string) {
	v = strings.TrimSpace(v)
	if _, err := netip.ParseAddr(v); v != "" && err != nil && (len(v) > 253 || !hostName.MatchString(v)) {
		return "", "must be a host name or an IP address, without scheme and port"
	}
	return v, ""
}
