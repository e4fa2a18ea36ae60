package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/internal/emqxtest"
)

const emqxSharedKey = "a shared key for tests"

// emqxEnv returns the settings with which the appliance uses the stand-in, on the same HTTP address
// and data as before.
func emqxEnv(a *apptest.Appliance, e *emqxtest.Server) []string {
	return []string{
		"WFM_HTTP_ADDR=" + strings.TrimPrefix(a.URL, "http://"), "WFM_MQTT_URL=mqtt://" + e.MQTTAddr(), "WFM_EMQX_API_BASE_URL=" + e.APIURL(),
		"WFM_EMQX_API_KEY=" + emqxtest.APIKey, "WFM_EMQX_API_SECRET=" + emqxtest.APISecret, "WFM_EMQX_AUTHZ_SHARED_KEY=" + emqxSharedKey,
	}
}

func TestNodesMoveToEMQXAndBackWithoutBindingAgain(t *testing.T) {
	t.Parallel()
	embedded := apptest.Start(t, "")
	mqtt := net.JoinHostPort(embedded.MQTTHost, embedded.Port)
	cfg := embedded.AddConfig(t, "home")
	n := embedded.AddNode(t, cfg, "router", "wgmove")
	n.StartAgent(t)
	works := func(where string) {
		t.Helper()
		apptest.Eventually(t, func() bool {
			return strings.Contains(n.Call(t, "GET", n.Path("endpoint/status"), nil).Body, `"connection_open":true`)
		}, func() string { return "the node never connected: " + where })
		if got := n.Control(t, "describe")["status"]; got != "acked" {
			t.Errorf("%s: describe is %v", where, got)
		}
	}
	works("embedded")
	embedded.Stop(t)

	e := emqxtest.StartAt(t, emqxtest.Recommended(embedded.URL, emqxSharedKey), mqtt)
	external := apptest.Start(t, embedded.Dir, emqxEnv(embedded, e)...)
	n.Appliance = external
	works("EMQX")
	status := external.Must(t, "GET", n.Path("endpoint/status"), nil)
	if service := status["mqtt_service"].(map[string]any); service["mode"] != "external" || status["mqtt_account"].(map[string]any)["state"] != "synced" {
		t.Errorf("status: %v", service)
	}
	external.Must(t, "POST", "/api/v1/system/mqtt/reconcile", nil)
	if out := external.Output(); strings.Contains(out, n.Password) || strings.Contains(out, emqxSharedKey) || strings.Contains(out, emqxtest.APISecret) {
		t.Error("a secret is in the log")
	}
	external.Stop(t)
	e.StopMQTT()

	back := apptest.Start(t, embedded.Dir, "WFM_HTTP_ADDR="+strings.TrimPrefix(embedded.URL, "http://"), "WFM_MQTT_ADDR="+mqtt)
	n.Appliance = back
	works("embedded again")
}

func TestBindAndResetOfARealAgentThroughEMQX(t *testing.T) {
	t.Parallel()
	first := apptest.Start(t, "") // for the addresses
	first.Stop(t)
	e := emqxtest.Start(t, emqxtest.Accounts(first.URL, emqxSharedKey))
	a := apptest.Start(t, first.Dir, emqxEnv(first, e)...)
	n := a.AddNode(t, a.AddConfig(t, "home"), "router", "wgemqx")
	agent := n.StartAgent(t) // at once: the account exists when bind answers
	if got := n.Control(t, "describe")["status"]; got != "acked" {
		t.Errorf("describe is %v", got)
	}
	a.Must(t, "POST", n.Path("reset-client"), nil)
	agent.Expect(t, "credentials refused")
	if _, ok := e.Users()[n.ID]; ok {
		t.Error("the user is still there")
	}
	n.Await(t, "offline")
}

func TestDoctorAndConfigOnTheCommandLine(t *testing.T) {
	t.Parallel()
	first := apptest.Start(t, "")
	first.Stop(t)
	e := emqxtest.Start(t, emqxtest.Recommended(first.URL, emqxSharedKey))
	a := apptest.Start(t, first.Dir, emqxEnv(first, e)...)
	_ = a
	doctor := func() (string, int) {
		p := apptest.Spawn(t, append(emqxEnv(first, e), "WFM_MQTT_URL=mqtt://"+e.OwnAddr()), apptest.Binary("wfm"), "emqx", "doctor")
		code := p.Wait(t, apptest.Patience)
		return p.Output(), code
	}
	if out, code := doctor(); code != 0 || !strings.Contains(out, "its own topics, and no others") || !strings.Contains(out, " ok, 0 to look at, 0 wrong.\n") {
		t.Errorf("%d:\n%s", code, out)
	}
	e.Configure(func(s *emqxtest.Settings) { s.NoMatch, s.AllowAll = "allow", true })
	out, code := doctor()
	if code != exitFailure || !strings.Contains(out, "no_match = deny") || !strings.Contains(out, "2 of these must change") {
		t.Errorf("%d:\n%s", code, out)
	}
	if strings.Contains(out, emqxSharedKey) || strings.Contains(out, emqxtest.APISecret) {
		t.Error("a secret is shown")
	}
}

func TestAgentsReachEMQXWithTLSAndTheCAThatBindHandsOut(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t, "of EMQX")
	cert, err := tls.X509KeyPair(pair(ca.sign(t)))
	if err != nil {
		t.Fatal(err)
	}
	e := emqxtest.StartTLS(t, emqxtest.Recommended("", emqxSharedKey), &tls.Config{Certificates: []tls.Certificate{cert}})
	caFile := apptest.WriteFile(t, "ca.pem", ca.pem)
	env := []string{
		"WFM_MQTT_URL=mqtts://" + e.MQTTAddr(), "WFM_EMQX_API_BASE_URL=" + e.APIURL(), "WFM_EMQX_CA_FILE=" + caFile, "WFM_MQTT_TLS_ENABLED=true",
		"WFM_EMQX_API_KEY=" + emqxtest.APIKey, "WFM_EMQX_API_SECRET=" + emqxtest.APISecret, "WFM_EMQX_AUTHZ_SHARED_KEY=" + emqxSharedKey,
	}
	a := apptest.Start(t, "", env...)
	e.Configure(func(s *emqxtest.Settings) { *s = emqxtest.Recommended(a.URL, emqxSharedKey) })
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	mqtt := n.Profile(t)["mqtt"].(map[string]any)
	if want := net.JoinHostPort(mqtt["host"].(string), fmt.Sprint(mqtt["port"])); mqtt["tls"] != true || mqtt["ca_cert"] != ca.pem || want != e.MQTTAddr() {
		t.Errorf("bind handed out tls %v at %s", mqtt["tls"], want)
	}
	n.StartAgent(t)
	if got := n.Control(t, "describe"); got["status"] != "acked" {
		t.Errorf("a command over TLS: %v", got)
	}
	if got := a.Must(t, "POST", "/api/v1/settings/mqtt/test", nil); got["success"] != true {
		t.Errorf("the test of the settings: %v", got["message"])
	}
	a.Stop(t)
	out, code := apptest.RunEnv(t, append(env, "WFM_EMQX_CA_FILE=", "WFM_MQTT_URL=mqtt://"+e.MQTTAddr()), apptest.Binary("wfm"), "serve", "--data-dir", a.Dir,
		"--http-addr", "127.0.0.1:0")
	if code != exitFailure || !strings.Contains(out, "set WFM_EMQX_CA_FILE") {
		t.Errorf("without a CA: %d: %s", code, out)
	}
}

// pair returns a certificate and its key as bytes.
func pair(certPEM, keyPEM string) (cert, key []byte) { return []byte(certPEM), []byte(keyPEM) }

func TestEMQXSettingsAreCheckedInWords(t *testing.T) {
	complete := map[string]string{
		"WFM_MQTT_URL": "mqtts://emqx.example.org", "WFM_EMQX_API_BASE_URL": "http://emqx:18083", "WFM_EMQX_API_KEY": "k", "WFM_EMQX_API_SECRET": "s",
	}
	parseWith := func(change map[string]string) (settings, error) {
		return parse(nil, func(name string) string {
			if v, ok := change[name]; ok {
				return v
			}
			return complete[name]
		}, &bytes.Buffer{})
	}
	s, err := parseWith(nil)
	if err != nil || s.EMQX == nil || s.EMQX.URL.Host != "emqx.example.org" {
		t.Fatalf("%+v, %v", s.EMQX, err)
	}
	if _, err := parseWith(map[string]string{"WFM_MQTT_ADDR": "off", "WFM_MQTT_TLS_ENABLED": "true"}); err != nil {
		t.Errorf("what is about the embedded broker: %v", err)
	}
	for want, change := range map[string]map[string]string{
		"want mqtt:// or mqtts://":                      {"WFM_MQTT_URL": "http://emqx"},
		"the account has variables of its own":          {"WFM_MQTT_URL": "mqtt://me:topsecret@emqx"},
		"WFM_EMQX_API_BASE_URL, WFM_EMQX_API_KEY":       {"WFM_EMQX_API_SECRET": ""},
		"want an address as in http://emqx:18083":       {"WFM_EMQX_API_BASE_URL": "emqx:18083"},
		"want at least 16 characters":                   {"WFM_EMQX_AUTHZ_SHARED_KEY": "topsecret"},
		"read the certificate authority of EMQX":        {"WFM_EMQX_CA_FILE": "/nowhere/ca.pem"},
		"nothing is served with TLS; set --https-addr":  {"WFM_MQTT_TLS_ENABLED": "true", "WFM_TLS_ISSUER": "acme"},
		`WFM_EMQX_AUTHZ_ADDR is "8001": want host:port`: {"WFM_EMQX_AUTHZ_ADDR": "8001"},
	} {
		_, err := parseWith(change)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%v: %v", change, err)
		}
	}
}

func TestEMQXCommandHelpsAndRefusesInWords(t *testing.T) {
	for args, want := range map[string]int{
		"": exitUsage, "help": exitOK, "nonsense": exitUsage, "doctor": exitUsage, "doctor --help": exitOK, "config --help": exitOK,
		"config --logins never": exitUsage, "config --appliance-url wfm": exitUsage, "config extra": exitUsage,
		"config --version 4.4": exitUsage, "config --version 6.1.2": exitOK, "config --listener mqtts://0.0.0.0": exitOK, "config --listener emqx": exitUsage,
	} {
		var out, errs bytes.Buffer
		if code := emqxCommand(t.Context(), strings.Fields(args), func(string) string { return "" }, &out, &errs); code != want || out.Len()+errs.Len() == 0 {
			t.Errorf("%q: %d %s %s", args, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := emqxCommand(t.Context(), []string{"config"}, func(string) string { return "" }, &out, &errs); code != exitOK ||
		!strings.Contains(out.String(), "no_match = deny") {
		t.Errorf("%d %s", code, errs.String())
	}
}

func TestEMQXMayAskBesideTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string][]string{"where the API is": nil, "apart": {"WFM_EMQX_AUTHZ_ADDR=127.0.0.1:0"}} {
		a := apptest.Start(t, "", append(extra, "WFM_EMQX_AUTHZ_SHARED_KEY="+emqxSharedKey)...)
		at := a.URL
		if extra != nil {
			_, rest, _ := strings.Cut(a.Output(), "EMQX asks at  ")
			at, _, _ = strings.Cut(rest, "/\n")
		}
		e := emqxtest.Start(t, emqxtest.Recommended(at, emqxSharedKey))
		n := a.AddNode(t, a.AddConfig(t, "home"), "router", "wgask")
		if !e.MayLogIn(n.ID, n.Password) || e.MayLogIn(n.ID, "wrong") {
			t.Errorf("%s: EMQX at %s does not let the node in, or anybody", name, at)
		}
		service := a.Must(t, "GET", "/api/v1/system/status", nil)["services"].(map[string]any)["mqtt"].(map[string]any)
		if q, ok := service["questions"].(map[string]any); !ok || q["allowed"] != 1.0 || q["denied"] != 1.0 || service["mode"] != "embedded" {
			t.Errorf("%s: status %v", name, service)
		}
		check := apptest.Spawn(t, append(emqxEnv(a, e), "WFM_MQTT_URL=mqtt://"+e.OwnAddr()), apptest.Binary("wfm"), "emqx", "doctor") // before a move
		if code := check.Wait(t, apptest.Patience); code != exitOK {
			t.Errorf("%s: the doctor says %d:\n%s", name, code, check.Output())
		}
		n.StartAgent(t) // the embedded broker serves as well
		if got := n.Control(t, "describe")["status"]; got != "acked" {
			t.Errorf("%s: describe is %v", name, got)
		}
		a.Stop(t)
	}
}
