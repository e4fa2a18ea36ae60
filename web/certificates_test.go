package web_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wfm/internal/floodlog"
	"wfm/internal/tlsproblem"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
	"wfm/web/view"
)

// certificates returns the set answers, for the set hosts.
type certificates struct {
	hosts   map[string]bool
	err     error // returned by every method
	covered []string
	newCA   bool
	trusted bool // machines trust the root by themselves
	status  view.CertificateStatus
}

func (c *certificates) CACert(host string) (string, error) {
	if c.err == nil && host != "" && !c.hosts[host] {
		return "", tlsproblem.ErrHost
	}
	return "the CA", c.err
}

func (c *certificates) Cover(host string) error {
	if c.err == nil {
		c.covered = append(c.covered, host)
		c.hosts[host] = true
	}
	return c.err
}

func (c *certificates) Fingerprint(host string) string {
	if c.trusted {
		return ""
	}
	return "fingerprint-for-" + host
}

func (c *certificates) Renew(_ context.Context, newCA bool) error {
	c.newCA = newCA
	return c.err
}

func (c *certificates) HTTPChallenge(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/known") {
		return false
	}
	_, _ = w.Write([]byte("proof for " + r.Host))
	return true
}

func (c *certificates) Status() view.CertificateStatus { return c.status }

func withTLS(c *certificates, more ...func(*web.Options)) []func(*web.Options) {
	return append([]func(*web.Options){func(o *web.Options) { o.Certificates, o.MQTTTLS, o.MQTTPort = c, true, 8883 }}, more...)
}

func TestBindHandsOutTLSAndWhatToTrust(t *testing.T) {
	c := &certificates{hosts: map[string]bool{}}
	a := newAPI(t, withTLS(c)...)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	token := a.bindToken(cfg, node) // at 127.0.0.1
	a.call("POST", "/api/client/bind", bindBody(token), host("elsewhere:8000")).fails(409, "MQTT_TLS_CA_NOT_READY")
	var b protocol.BindResponse
	a.post("/api/client/bind", bindBody(token)).ok(&b) // the refusal did not spend the token
	if m := b.MQTT; !m.TLS || m.CACert != "the CA" || m.Port != 8883 || m.Host != "127.0.0.1" {
		t.Errorf("mqtt: %+v", m)
	}
	a.post(nodePath(cfg, node)+"/bind-command", object{"server_url": "https://[2001:db8::1]:8443"}).ok(nil)
	if want := "127.0.0.1 2001:db8::1"; strings.Join(c.covered, " ") != want {
		t.Errorf("covered %v, want %s", c.covered, want)
	}
	c.err = tlsproblem.ErrNotReady
	a.post(nodePath(cfg, node)+"/bind-command", nil).fails(409, "MQTT_TLS_CA_NOT_READY")
	a.post("/api/client/bind", bindBody("x")).fails(409, "MQTT_TLS_CA_NOT_READY")
}

func TestBindChecksTheConfiguredHostAndNotTheRequests(t *testing.T) {
	c := &certificates{hosts: map[string]bool{"mqtt.example.org": true}}
	a := newAPI(t, withTLS(c, func(o *web.Options) { o.MQTTHost = "mqtt.example.org" })...)
	cfg := a.addConfig("office")
	var b protocol.BindResponse
	a.call("POST", "/api/client/bind", bindBody(a.bindToken(cfg, a.addNode(cfg, "gate"))), host("elsewhere")).ok(&b)
	if b.MQTT.Host != "mqtt.example.org" || b.MQTT.CACert == "" {
		t.Errorf("mqtt: %+v", b.MQTT)
	}
}

func TestCertificatesAreShownAndRenewed(t *testing.T) {
	end := time.Now().Add(30 * 24 * time.Hour)
	c := &certificates{status: view.CertificateStatus{
		Issuer: "local", NotAfter: end, NextRenewal: end.Add(-time.Hour),
		Certificates: []view.Certificate{{Kind: "server", Names: []string{"a.test"}}, {Kind: "root", Names: []string{"CA"}}},
	}}
	a := newAPI(t, withTLS(c)...)
	var v struct {
		Status, Issuer, Warning string
		Names                   []string
		NotAfter                time.Time `json:"not_after"`
		LastError               string    `json:"last_error"`
		Certificates            []view.Certificate
	}
	a.get("/api/v1/system/certificates").ok(&v)
	if v.Status != "ok" || v.Issuer != "local" || len(v.Names) != 1 || !v.NotAfter.Equal(end) || len(v.Certificates) != 2 {
		t.Errorf("%+v", v)
	}
	if want := fmt.Sprintf("wfm_tls_certificate_expiry_seconds %d\n", end.Unix()); !strings.Contains(a.get("/metrics").body, want) {
		t.Errorf("the metrics lack %s", want)
	}
	for want, change := range map[string]func(*view.CertificateStatus){
		"warning": func(s *view.CertificateStatus) { s.Warning = "it ends" },
		"pending": func(s *view.CertificateStatus) { *s = view.CertificateStatus{} },
		"error":   func(s *view.CertificateStatus) { s.NotAfter, s.LastError = time.Time{}, "refused" },
	} {
		before := c.status
		change(&c.status)
		var st struct {
			Services struct{ TLS struct{ Status string } }
		}
		a.get("/api/v1/system/status").ok(&st)
		if st.Services.TLS.Status != want {
			t.Errorf("%+v is %s, want %s", c.status, st.Services.TLS.Status, want)
		}
		c.status = before
	}

	a.post("/api/v1/system/certificates/renew", object{"new_ca": true}).ok(nil)
	if !c.newCA {
		t.Error("new_ca was not passed on")
	}
	a.post("/api/v1/system/certificates/renew", object{"new_ca": "yes"}).invalid("new_ca")
	c.err = errors.New("the issuer\nrefuses")
	c.status.NotAfter = time.Time{}
	if r := a.post("/api/v1/system/certificates/renew", nil).fails(502, "CERTIFICATE_RENEWAL_FAILED"); !strings.Contains(r.Error.Message, "still no certificate") {
		t.Errorf("message without a certificate: %q", r.Error.Message)
	}
	c.status.NotAfter = end
	if r := a.post("/api/v1/system/certificates/renew", nil).fails(502, "CERTIFICATE_RENEWAL_FAILED"); !strings.Contains(r.Error.Message, "the issuer refuses.") {
		t.Errorf("message: %q", r.Error.Message)
	}
	c.err = store.ErrFull
	a.post("/api/v1/system/certificates/renew", nil).fails(507, "STORE_FULL")
	c.err = nil

	for _, path := range []string{"/api/v1/system/certificates", "/api/v1/system/certificates/renew"} {
		method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "renew")]
		a.call(method, path, nil, as("")).fails(401, "AUTH_REQUIRED")
	}
	if r := a.call("GET", "/api/v1/system/ca.pem", nil, as("")); r.status != 200 || r.body != "the CA" {
		t.Errorf("ca.pem: %d %s", r.status, r.body)
	}
}

func TestFailedHandshakesDoNotFloodTheLog(t *testing.T) {
	var out lockedBuffer
	s := web.New(web.Options{Store: openStore(t, 0), Logger: slog.New(slog.NewTextHandler(&out, nil))})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12})) }()
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	for range 3 * floodlog.PerMinute {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("this is no ClientHello"))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	if n := strings.Count(out.String(), "TLS handshake error"); n == 0 || n > 2*floodlog.PerMinute { // twice as many if the minute has just ended
		t.Errorf("%d lines of %d handshakes", n, 3*floodlog.PerMinute)
	}
}

func TestWithoutTLSThereIsNothingToShow(t *testing.T) {
	a := newAPI(t)
	a.post("/api/v1/system/certificates/renew", nil).fails(409, "TLS_DISABLED")
	a.get("/api/v1/system/ca.pem").fails(409, "TLS_DISABLED")
	a.get("/.well-known/acme-challenge/known").fails(404, "NOT_FOUND")
	a.get("/api/v1/system/certificates").ok(nil)
}

func TestIssuersChallengeIsAnsweredWhateverHostItNames(t *testing.T) {
	a := newAPI(t, withTLS(&certificates{}, func(o *web.Options) { o.PublicOrigin, o.HTTPSPort = "https://wfm.example.org", 443 })...)
	if r := a.call("GET", "/.well-known/acme-challenge/known", nil, as(""), host("mqtt.example.org")); r.status != 200 || r.body != "proof for mqtt.example.org" {
		t.Errorf("%d %s", r.status, r.body)
	}
	a.call("GET", "/.well-known/acme-challenge/unknown", nil, as("")).fails(404, "NOT_FOUND")
}

func TestHTTPServesUntilThereIsACertificateForHTTPS(t *testing.T) {
	c := &certificates{status: view.CertificateStatus{Issuer: "acme", LastError: "nobody is there"}}
	a := newAPI(t, withTLS(c, func(o *web.Options) { o.HTTPSPort = 8443 })...)
	var st struct {
		Services struct {
			TLS struct{ Status, Warning string }
		}
	}
	a.get("/api/v1/system/status").ok(&st)
	if s := st.Services.TLS; s.Status != "error" || !strings.Contains(s.Warning, "without TLS") {
		t.Errorf("%+v", s)
	}
	a.post("/api/v1/configs", object{"name": "office", "tunnel_protocol": "wireguard"}).ok(nil)
	c.status.NotAfter = time.Now().Add(time.Hour)
	if r := a.call("GET", "/api/v1/system/status", nil); r.status != 308 {
		t.Errorf("with a certificate: %d", r.status)
	}
	a.post("/api/v1/configs", object{"name": "home"}).fails(403, "HTTPS_REQUIRED")
}

func TestHTTPLeadsToHTTPS(t *testing.T) {
	for _, tc := range []struct {
		origin, host string
		port         int
		want         string
	}{
		{"", "10.0.0.1:8000", 8443, "https://10.0.0.1:8443"},
		{"", "[2001:db8::1]:8000", 443, "https://[2001:db8::1]"},
		{"https://wfm.example.org", "wfm.example.org:80", 8443, "https://wfm.example.org"},
		{"http://wfm.example.org", "wfm.example.org", 8443, "https://wfm.example.org:8443"},
	} {
		a := newAPI(t, func(o *web.Options) { o.PublicOrigin, o.HTTPSPort = tc.origin, tc.port })
		r := a.call("GET", "/api/v1/configs?limit=2", nil, host(tc.host))
		if got := r.header.Get("Location"); r.status != 308 || got != tc.want+"/api/v1/configs?limit=2" {
			t.Errorf("%s: %d %s", tc.host, r.status, got)
		}
		a.call("POST", "/api/v1/auth/login", object{}, host(tc.host)).fails(403, "HTTPS_REQUIRED")
		if r := a.call("GET", "/healthz", nil); r.status != 200 {
			t.Errorf("healthz: %d", r.status)
		}
	}
	// With TLS, the CA is served.
	db := openStore(t, 0)
	token := adminSession(t, db, time.Hour)
	s := httptest.NewTLSServer(web.New(web.Options{Store: db, HTTPSPort: 443}).Handler())
	defer s.Close()
	s.Client().Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/configs", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("over TLS: %d", resp.StatusCode)
	}
}

func TestBrowsersKeepToHTTPSWhereTheyTrustTheCertificateOnTheStandardPort(t *testing.T) {
	for _, tc := range []struct {
		trusted bool
		host    string
		want    string
	}{
		{true, "wfm.example.org", "max-age=2592000"},
		{true, "wfm.example.org:8443", ""},
		{false, "wfm.example.org", ""},
	} {
		db := openStore(t, 0)
		s := httptest.NewTLSServer(web.New(web.Options{
			Store: db, HTTPSPort: 443, Certificates: &certificates{trusted: tc.trusted},
		}).Handler())
		s.Client().Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/login", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		resp, err := s.Client().Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Strict-Transport-Security"); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
		s.Close()
	}
}
