package web

import (
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

// What the bodies of the calls have in common.
const (
	mqttMembers = "host, port 1..65535, tls bool"
)

func (a *systemAPI) settingsRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/settings/mqtt", Access: wire.Session, Handle: a.getMQTTSettings,
			Summary: "Where agents are sent, and which part was set where.",
			Data:    mqttSettingsView{},
		},
		{
			Method: http.MethodPut, Path: "/api/v1/settings/mqtt", Access: wire.Session, Handle: a.putMQTTSettings, OneWrite: true,
			Summary: "Sets where agents are sent from now on. What is absent follows the flags of the start.",
			Body:    mqttMembers, Data: mqttSettingsView{}, Codes: "MQTT_TLS_CA_NOT_READY",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/settings/mqtt/reset", Access: wire.Session, Handle: a.resetMQTTSettings, OneWrite: true,
			Summary: "Sends agents where the flags of the start say.",
			Data:    mqttSettingsView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/settings/mqtt/test", Access: wire.Session, Handle: a.testMQTTSettings,
			Summary: "Does there what an agent does; with what is sent along in place of what is set.",
			Body:    "? " + mqttMembers, Data: mqttTestView{}, Codes: "MQTT_DISABLED MQTT_TLS_CA_NOT_READY RATE_LIMITED",
		},
	}
}

// MQTTTarget is where agents are sent to reach the broker.
type MQTTTarget struct {
	Host   string
	Port   int
	TLS    bool
	CACert string // PEM; the only trust anchors of an agent
}

// Where a value in force comes from.
const (
	sourceStored  = "stored"  // it was set over the API
	sourceStart   = "start"   // a flag, a variable or its default
	sourceRequest = "request" // the host that the request was sent to
)

type mqttSources struct {
	Host string `json:"host"`
	Port string `json:"port"`
	TLS  string `json:"tls"`
}

// mqttSettingsView is what bind hands to agents, and where each part comes from.
type mqttSettingsView struct {
	Host   string      `json:"host"`
	Port   int         `json:"port"`
	TLS    bool        `json:"tls"`
	Source mqttSources `json:"source"`
	// TLSAvailable is whether the broker is served with TLS.
	TLSAvailable bool `json:"tls_available"`
}

// directory tells where agents find the appliance and its broker.
type directory struct {
	db       *store.DB
	audit    *auditor
	host     string
	port     int
	tls      bool
	external *ExternalBroker
	certs    Certificates
	origins  origins
}

func newDirectory(o Options, g *guard, audit *auditor) *directory {
	return &directory{
		db: o.Store, audit: audit, host: o.MQTTHost, port: o.MQTTPort, tls: o.MQTTTLS, external: o.External, certs: o.Certificates, origins: g.origins,
	}
}

// mqttInForce is what an agent is told whose request, or whose administrator's, was sent to host.
func (d *directory) mqttInForce(stored store.MQTTSettings, host string) mqttSettingsView {
	if len(host) > 255 { // no name is longer
		host = ""
	}
	v := mqttSettingsView{
		Host: host, Port: d.port, TLS: d.tls,
		Source:       mqttSources{sourceRequest, sourceStart, sourceStart},
		TLSAvailable: d.brokerTLS(),
	}
	switch {
	case stored.Host != nil:
		v.Host, v.Source.Host = *stored.Host, sourceStored
	case d.host != "":
		v.Host, v.Source.Host = d.host, sourceStart
	case host == "":
		if u, err := url.Parse(d.origins.public); err == nil && d.origins.public != "" {
			v.Host, v.Source.Host = u.Hostname(), sourceStart
		}
	}
	if stored.Port != nil {
		v.Port, v.Source.Port = *stored.Port, sourceStored
	}
	if stored.TLS != nil {
		v.TLS, v.Source.TLS = *stored.TLS, sourceStored
	}
	return v
}

// brokerTLS reports whether the broker is served with TLS.
func (d *directory) brokerTLS() bool {
	return d.tls && (d.external != nil || d.certs != nil)
}

// ownTLS reports whether that is with our own certificates.
func (d *directory) ownTLS() bool { return d.brokerTLS() && d.external == nil }

// target adds what an agent needs to trust. Errors: wire.ErrNoCA, while the broker is not served with TLS;
// those of [Certificates].
func (d *directory) target(v mqttSettingsView) (MQTTTarget, error) {
	t := MQTTTarget{Host: v.Host, Port: v.Port, TLS: v.TLS}
	if !t.TLS {
		return t, nil
	}
	if !d.brokerTLS() {
		return t, wire.ErrNoCA
	}
	if d.external != nil {
		t.CACert = d.external.CACert
		return t, nil
	}
	var err error
	t.CACert, err = d.certs.CACert(t.Host)
	return t, err
}

// mqttTarget is where an agent is sent whose request came to host.
func (d *directory) mqttTarget(host string) (MQTTTarget, error) {
	stored, err := d.storedMQTT()
	if err != nil {
		return MQTTTarget{}, err
	}
	in := d.mqttInForce(stored, host)
	if in.Host == "" {
		return MQTTTarget{}, wire.ErrNoHost
	}
	return d.target(in)
}

// wire.MQTTHost is the broker's name or address for an agent that found the appliance under host, as far as
// that can be known.
func (d *directory) mqttHost(host string) string {
	stored, err := d.storedMQTT()
	if err != nil {
		stored = store.MQTTSettings{}
	}
	return d.mqttInForce(stored, host).Host
}

func (d *directory) storedMQTT() (store.MQTTSettings, error) {
	return store.Read(d.db, (*store.Tx).MQTTSettings)
}

// readMQTTSettings reads overrides; what is absent, null or empty overrides nothing.
func readMQTTSettings(f *wire.Fields) store.MQTTSettings {
	m := store.MQTTSettings{Host: f.Text("host", wire.MQTTHost), Port: f.Number("port", 1, 65535), TLS: f.Flag("tls")}
	if m.Host != nil && *m.Host == "" {
		m.Host = nil
	}
	return m
}

func (a *systemAPI) getMQTTSettings(c echo.Context) error {
	stored, err := a.directory.storedMQTT()
	if err != nil {
		return err
	}
	return wire.Respond(c, a.directory.mqttInForce(stored, wire.RequestHost(c.Request().Host)))
}

func (a *systemAPI) putMQTTSettings(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	m := readMQTTSettings(f)
	switch {
	case m.TLS == nil || *m.TLS == a.directory.tls:
	case *m.TLS:
		f.Reject("tls", "cannot be true: the broker is not served with TLS; start the appliance with WFM_MQTT_TLS_ENABLED=true")
	case m.Port == nil:
		f.Reject("port", "is required with this tls: the port that was set at the start is for the other")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if m.Host != nil {
		if err := a.directory.coverBroker(c, *m.Host); err != nil {
			return err
		}
	}
	if err := a.audit.update(c, func(tx *store.Tx) error { return tx.SetMQTTSettings(m) }); err != nil {
		return err
	}
	v := a.directory.mqttInForce(m, wire.RequestHost(c.Request().Host))
	a.log.Info("MQTT settings changed", "host", v.Host, "port", v.Port, "tls", v.TLS, "by", loginOf(c).Username)
	return wire.Respond(c, v)
}

// resetMQTTSettings takes back what was set over the API.
func (a *systemAPI) resetMQTTSettings(c echo.Context) error {
	if err := a.audit.update(c, func(tx *store.Tx) error { return tx.SetMQTTSettings(store.MQTTSettings{}) }); err != nil {
		return err
	}
	v := a.directory.mqttInForce(store.MQTTSettings{}, wire.RequestHost(c.Request().Host))
	a.log.Info("MQTT settings reset", "host", v.Host, "port", v.Port, "tls", v.TLS, "by", loginOf(c).Username)
	return wire.Respond(c, v)
}

// maxTests bounds the tests at a time: each holds connections to wherever it was told, for as long as
// nobody answers there.
const maxTests = 4

type mqttTestView struct {
	Success   bool   `json:"success"`
	Message   string `json:"message"`
	LatencyMS int64  `json:"latency_ms"` // of the whole test
}

// testMQTTSettings does what an agent does with the settings in force, or with those that are sent
// along to be tried before they are saved.
func (a *systemAPI) testMQTTSettings(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	tried := readMQTTSettings(f)
	if err := f.Err(); err != nil {
		return err
	}
	if err := a.reader.mqtt(); err != nil {
		return err
	}
	stored, err := a.directory.storedMQTT()
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
	select {
	case a.tests <- struct{}{}:
		defer func() { <-a.tests }()
	default:
		return wire.ErrTestsRunning
	}
	t, err := a.directory.target(a.directory.mqttInForce(tried, wire.RequestHost(c.Request().Host)))
	if err != nil {
		return err
	}
	start := time.Now()
	v := mqttTestView{Success: true, Message: "A node can log in there, gets its own commands and nobody else's."}
	if a.testMQTT == nil {
		v.Success, v.Message = false, "This broker cannot be tested from here; bind an agent and look whether it comes online."
	} else if err := a.testMQTT(c.Request().Context(), t); err != nil {
		v.Success, v.Message = false, err.Error()
	}
	v.LatencyMS = time.Since(start).Milliseconds()
	return wire.Respond(c, v)
}
