package web_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"wfm/internal/tlsproblem"
	"wfm/web"
	"wfm/web/reach"
)

type mqttSettingsJSON struct {
	Host   string `json:"host"`
	Port   int    `json:"port"`
	TLS    bool   `json:"tls"`
	Source struct{ Host, Port, TLS string }
}

func (a *api) mqttSettings() (v mqttSettingsJSON) {
	a.t.Helper()
	a.get("/api/v1/settings/mqtt").ok(&v)
	return v
}

// boundTo returns the broker's address for an agent that binds now.
func (a *api) boundTo(cfg, node string) (v struct {
	MQTT struct {
		Host   string `json:"host"`
		Port   int    `json:"port"`
		TLS    bool   `json:"tls"`
		CACert string `json:"ca_cert"`
	} `json:"mqtt"`
},
) {
	a.t.Helper()
	a.post("/api/client/bind", bindBody(a.bindToken(cfg, node))).ok(&v)
	return v
}

func TestMQTTSettingsOverrideTheStartAndReachTheNextBind(t *testing.T) {
	known := &certificates{hosts: map[string]bool{"127.0.0.1": true}}
	a := newAPI(t, func(o *web.Options) { o.MQTTTLS, o.Certificates = true, known })
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	if v := a.mqttSettings(); v.Host != "127.0.0.1" || v.Source.Host != "request" || v.Port != 1883 || v.Source.Port != "start" || !v.TLS ||
		v.Source.TLS != "start" {
		t.Errorf("by default: %+v", v)
	}
	s := a.stream("").greeted()
	var put mqttSettingsJSON
	a.put("/api/v1/settings/mqtt", object{"host": " mqtt.example.org ", "port": 8883, "tls": true}).ok(&put)
	s.want("settings.mqtt.updated")
	if v := a.mqttSettings(); v != put || v.Host != "mqtt.example.org" || v.Port != 8883 || !v.TLS || v.Source.Host != "stored" || v.Source.TLS != "stored" {
		t.Errorf("stored: %+v", v)
	}
	if v := a.boundTo(cfg, node).MQTT; v.Host != "mqtt.example.org" || v.Port != 8883 || !v.TLS || v.CACert != "the CA" {
		t.Errorf("bind: %+v", v)
	}
	a.post("/api/v1/settings/mqtt/reset", nil).ok(&put)
	if v := a.mqttSettings(); v != put || v.Host != "127.0.0.1" || v.Port != 1883 || v.Source.Host != "request" || v.Source.TLS != "start" {
		t.Errorf("reset: %+v", v)
	}
	a.put("/api/v1/settings/mqtt", object{"host": "", "port": 1884, "tls": nil}).ok(&put)
	if put.Source.Host != "request" || put.Port != 1884 || !put.TLS || put.Source.TLS != "start" {
		t.Errorf("partly given up: %+v", put)
	}
	a.put("/api/v1/settings/mqtt", "{}").ok(&put)
	if put.Source.Port != "start" || put.Port != 1883 {
		t.Errorf("given up: %+v", put)
	}
	if v := a.boundTo(cfg, node).MQTT; v.Host != "127.0.0.1" || v.Port != 1883 || !v.TLS || v.CACert != "the CA" {
		t.Errorf("bind: %+v", v)
	}
	a.put("/api/v1/settings/mqtt", object{"tls": false, "port": 1885}).ok(&put)
	if v := a.boundTo(cfg, node).MQTT; v.Host != "127.0.0.1" || v.Port != 1885 || v.TLS || v.CACert != "" {
		t.Errorf("bind without TLS: %+v", v)
	}
}

func TestMQTTSettingsThatCannotWorkAreRefused(t *testing.T) {
	a := newAPI(t)
	for field, bodies := range map[string][]string{
		"host": {`{"host":"https://x"}`, `{"host":"x:1883"}`, `{"host":"a b"}`, `{"host":7}`, `{"host":"-x"}`, `{"host":"x/y"}`, `{"host":"[::1]"}`},
		"port": {`{"port":0}`, `{"port":65536}`, `{"port":"1883"}`},
		"tls":  {`{"tls":"yes"}`, `{"tls":true,"port":8883}`},
	} {
		for _, body := range bodies {
			a.put("/api/v1/settings/mqtt", body).invalid(field)
			a.call("POST", "/api/v1/settings/mqtt/test", strings.Replace(body, `{"tls":true,"port":8883}`, `{"tls":1}`, 1)).invalid(field)
		}
	}
	for _, host := range []string{"::1", "10.0.0.1", "mqtt_1.example.org", "x"} {
		a.put("/api/v1/settings/mqtt", object{"host": host}).ok(nil)
	}
	secured := newAPI(t, withTLS(&certificates{hosts: map[string]bool{}})...)
	secured.put("/api/v1/settings/mqtt", object{"tls": false}).invalid("port")
	secured.put("/api/v1/settings/mqtt", object{"tls": false, "port": 1883}).ok(nil)
	uncovered := newAPI(t, withTLS(&certificates{err: tlsproblem.ErrHost})...)
	uncovered.put("/api/v1/settings/mqtt", object{"host": "mqtt.example.org"}).fails(409, "MQTT_TLS_CA_NOT_READY")
}

// A stored setting may not fit a later start.
func TestBindWithTLSThatIsNotServedAnyMoreSaysSoAndSpendsNoToken(t *testing.T) {
	db := openStore(t, 0)
	before := apiOver(t, db, withTLS(&certificates{hosts: map[string]bool{}})...)
	before.token = adminSession(t, db, 1<<40)
	cfg := before.addConfig("office")
	node := before.addNode(cfg, "gate")
	before.put("/api/v1/settings/mqtt", object{"tls": true, "port": 8883}).ok(nil)

	a := apiOver(t, db)
	a.token = before.token
	token := a.bindToken(cfg, node)
	a.post("/api/client/bind", bindBody(token)).fails(409, "MQTT_TLS_CA_NOT_READY")
	a.post("/api/v1/settings/mqtt/test", nil).fails(409, "MQTT_TLS_CA_NOT_READY")
	a.put("/api/v1/settings/mqtt", "{}").ok(nil)
	a.post("/api/client/bind", bindBody(token)).ok(nil)
}

func TestTheTestTriesWhatIsInForceOrWhatIsSentAlong(t *testing.T) {
	var tried reach.MQTTTarget
	var problem error
	a := newAPI(t, func(o *web.Options) {
		o.MQTTHost = "start.example.org"
		o.TestMQTT = func(_ context.Context, target reach.MQTTTarget) error { tried = target; return problem }
	})
	var v struct {
		Success   bool   `json:"success"`
		Message   string `json:"message"`
		LatencyMS *int   `json:"latency_ms"`
	}
	a.post("/api/v1/settings/mqtt/test", nil).ok(&v)
	if !v.Success || v.Message == "" || v.LatencyMS == nil || tried != (reach.MQTTTarget{Host: "start.example.org", Port: 1883}) {
		t.Errorf("%+v of %+v", v, tried)
	}
	problem = errors.New("nothing listens there")
	a.post("/api/v1/settings/mqtt/test", object{"port": 1999}).ok(&v)
	if v.Success || v.Message != problem.Error() || tried.Port != 1999 || a.mqttSettings().Port != 1883 {
		t.Errorf("%+v of %+v", v, tried)
	}
	off := newAPI(t, func(o *web.Options) { o.MQTTEnabled = false })
	off.post("/api/v1/settings/mqtt/test", nil).fails(409, "MQTT_DISABLED")
}

func TestOnlyAFewTestsOfTheBrokerRunAtATime(t *testing.T) {
	began, end := make(chan struct{}, 9), make(chan struct{})
	a := newAPI(t, func(o *web.Options) {
		o.TestMQTT = func(context.Context, reach.MQTTTarget) error { began <- struct{}{}; <-end; return nil }
	})
	const room = 4
	var all sync.WaitGroup
	for range room {
		all.Go(func() { a.post("/api/v1/settings/mqtt/test", nil).ok(nil) })
		<-began
	}
	a.call("POST", "/api/v1/settings/mqtt/test", nil).fails(429, "RATE_LIMITED")
	close(end)
	all.Wait()
	a.post("/api/v1/settings/mqtt/test", nil).ok(nil)
}
