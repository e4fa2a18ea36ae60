package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// pebble is an ACME issuer on loopback that really connects to check a name, at httpPort and
// tlsPort.
type pebble struct {
	*apptest.Process
	config, management string
	Directory, CAFile  string
	tls                testCA // of its own HTTPS
}

const (
	eabKeyID = "kid-1"
	eabHMAC  = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// newPebble prepares an issuer that does not run yet; its clients need its CA file.
func newPebble(t *testing.T, httpPort, tlsPort string, bound bool) *pebble {
	t.Helper()
	apptest.Need(t, "pebble")
	p := &pebble{management: "127.0.0.1:" + apptest.FreePort(t), tls: newTestCA(t, "pebble")}
	listen := "127.0.0.1:" + apptest.FreePort(t)
	p.Directory, p.CAFile = "https://"+listen+"/dir", apptest.WriteFile(t, "pebble-ca.pem", p.tls.pem)
	cert, key := p.tls.sign(t, "localhost")
	number := func(port string) int { n, _ := strconv.Atoi(port); return n }
	c := map[string]any{
		"listenAddress": listen, "managementListenAddress": p.management,
		"certificate": apptest.WriteFile(t, "cert.pem", cert), "privateKey": apptest.WriteFile(t, "key.pem", key),
		"httpPort": number(httpPort), "tlsPort": number(tlsPort), "ocspResponderURL": "", "externalAccountBindingRequired": bound,
	}
	if bound {
		c["externalAccountMACKeys"] = map[string]string{eabKeyID: eabHMAC}
	}
	raw, err := json.Marshal(map[string]any{"pebble": c})
	if err != nil {
		t.Fatal(err)
	}
	p.config = apptest.WriteFile(t, "pebble.json", string(raw))
	return p
}

// start runs the issuer and adds its new root to the CA file.
func (p *pebble) start(t *testing.T) {
	t.Helper()
	p.Process = apptest.Spawn(t, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0"}, "pebble", "-config", p.config)
	p.Expect(t, "ACME directory available at")
	client := http.Client{Transport: &http.Transport{TLSClientConfig: trust(t, p.tls.pem)}}
	var root []byte
	apptest.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+p.management+"/roots/0", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		root, err = io.ReadAll(res.Body)
		return err == nil && res.StatusCode == http.StatusOK
	}, func() string { return "pebble does not tell its root" })
	if err := os.WriteFile(p.CAFile, append(root, p.tls.pem...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// acmeEnv returns the settings with which an appliance requests a certificate for wfm.test.
func (p *pebble) acmeEnv(more ...string) []string {
	return append([]string{"WFM_TLS_ISSUER=acme", "WFM_ACME_DIRECTORY=" + p.Directory, "WFM_ACME_CA_FILE=" + p.CAFile, "WFM_MQTT_PUBLIC_HOST=wfm.test"}, more...)
}

// awaitCertificate waits until the appliance has a certificate.
func awaitCertificate(t *testing.T, a *apptest.Appliance) {
	t.Helper()
	apptest.Eventually(t, func() bool { return tlsStatus(t, a)["status"] == "ok" }, func() string {
		return "there is no certificate: " + a.Call(t, "GET", "/api/v1/system/status", nil).Body
	})
}

// renewalKeepsConnections binds an agent and checks that it and another client survive a renewal.
func renewalKeepsConnections(t *testing.T, a *apptest.Appliance) {
	t.Helper()
	cfg := a.AddConfig(t, "home")
	n, held := a.AddNode(t, cfg, "a", "wg0"), a.AddNode(t, cfg, "b", "wg1")
	mqtt := n.Profile(t)["mqtt"].(map[string]any)
	if ca := mqtt["ca_cert"].(string); mqtt["host"] != "wfm.test" || strings.Count(ca, "BEGIN CERTIFICATE") != 1 {
		t.Fatalf("bind handed out host %v and\n%s", mqtt["host"], ca)
	}
	agent, sub := n.StartAgent(t), hold(t, held, "wfm.test")
	addr := "127.0.0.1:" + a.TLSPort
	before := served(t, addr, "wfm.test")[0]
	if out := wfmCerts(t, a, "renew"); !strings.Contains(out, "wfm.test") {
		t.Errorf("renew: %s", out)
	}
	if served(t, addr, "wfm.test")[0].Equal(before) {
		t.Error("the certificate was not renewed")
	}
	stillHeld(t, held, sub)
	if got := n.Control(t, "describe"); got["status"] != "acked" || strings.Count(agent.Output(), "msg=connected") != 1 {
		t.Errorf("the agent's connection did not last (%v):\n%s", got, agent.Output())
	}
	agent.Kill()
	n.StartAgent(t)
}

func TestACMEByHTTP01(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "pebble", "mosquitto_sub")
	apptest.Hosts(t, "wfm.test")
	web := apptest.FreePort(t)
	p := newPebble(t, web, apptest.FreePort(t), false) // nothing listens at its TLS port
	p.start(t)
	a := withTLS(t, p.acmeEnv("WFM_HTTP_ADDR=127.0.0.1:"+web)...)
	awaitCertificate(t, a)
	renewalKeepsConnections(t, a)
}

func TestACMEByTLSALPN01WithABoundAccount(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "pebble", "mosquitto_sub")
	apptest.Hosts(t, "wfm.test")
	mqtts := apptest.FreePort(t)
	p := newPebble(t, apptest.FreePort(t), mqtts, true) // nothing listens at its HTTP port
	p.start(t)
	a := withTLS(t, p.acmeEnv("WFM_MQTT_TLS_ADDR=127.0.0.1:"+mqtts, "WFM_ACME_EAB_KEY_ID="+eabKeyID, "WFM_ACME_EAB_HMAC="+eabHMAC)...)
	awaitCertificate(t, a)
	renewalKeepsConnections(t, a)
	if out := a.Output(); strings.Contains(out, eabHMAC) {
		t.Error("the log tells the account's key")
	}
}

func TestACMEDirectoryThatIsDownAtStartIsTriedUntilItIsThere(t *testing.T) {
	t.Parallel()
	apptest.Hosts(t, "wfm.test")
	web := apptest.FreePort(t)
	p := newPebble(t, web, apptest.FreePort(t), false)
	a := withTLS(t, p.acmeEnv("WFM_HTTP_ADDR=127.0.0.1:"+web)...)
	apptest.Eventually(t, func() bool { return tlsStatus(t, a)["status"] == "error" }, func() string { return "nobody says that it is down" })
	s := tlsStatus(t, a)
	if said, _ := s["last_error"].(string); !strings.Contains(said, "connection refused") || s["next_renewal"] == nil {
		t.Errorf("the status: %v", s)
	}
	a.Expect(t, "will try again")
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 200 || !strings.Contains(ans.Body, "certificate") {
		t.Errorf("readyz: %d %s", ans.Status, ans.Body)
	}
	cfg := a.AddConfig(t, "home")
	id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "x"})["node_id"].(string)
	a.Refused(t, "MQTT_TLS_CA_NOT_READY", "POST", "/api/v1/configs/"+cfg+"/nodes/"+id+"/bind-command", nil)
	a.Refused(t, "MQTT_TLS_CA_NOT_READY", "POST", "/api/client/bind", map[string]any{"token": "x"})
	a.Refused(t, "CERTIFICATE_RENEWAL_FAILED", "POST", "/api/v1/system/certificates/renew", nil)

	p.start(t)
	awaitCertificate(t, a) // by itself, at the next attempt
	n := a.AddNode(t, cfg, "a", "wg0")
	n.StartAgent(t).Kill()
	before := served(t, "127.0.0.1:"+a.TLSPort, "wfm.test")[0]

	// A restart uses the stored certificate and needs no issuer.
	p.Kill()
	a.Stop(t)
	a.Restart(t)
	n.StartAgent(t)
	if !served(t, "127.0.0.1:"+a.TLSPort, "wfm.test")[0].Equal(before) {
		t.Error("the restart did not use the certificate that was there")
	}
	if files, _ := filepath.Glob(filepath.Join(a.Dir, "*")); len(files) != 1 {
		t.Errorf("files beside the store: %v", files)
	}
}
