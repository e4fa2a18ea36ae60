package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"wfm/internal/apptest"
)

func TestAgentsAndOtherClientsConnectWithTheLocalCAAndNoOther(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub")
	a := withTLS(t, "WFM_MQTT_ADDR=off")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	mqtt := n.Profile(t)["mqtt"].(map[string]any)
	if mqtt["tls"] != true || mqtt["ca_cert"] == "" || mqtt["port"] == 0 {
		t.Fatalf("bind handed out %v", mqtt["tls"])
	}
	if out := wfmCerts(t, a, "export-ca"); out != mqtt["ca_cert"] {
		t.Errorf("export-ca is not what bind hands out:\n%s", out)
	}
	agent := n.StartAgent(t)
	if got := n.Control(t, "describe"); got["status"] != "acked" {
		t.Errorf("a command over TLS: %v", got)
	}
	agent.Kill()

	if out, code := publishTLS(t, n, "127.0.0.1", n.CAFile); code != 0 || out != "" {
		t.Errorf("mosquitto_pub with the CA: exit code %d: %s", code, out)
	}
	if out, code := publishTLS(t, n, "localhost", n.CAFile); code != 0 {
		t.Errorf("mosquitto_pub with the CA to localhost: exit code %d: %s", code, out)
	}
	other := newTestCA(t, "other")
	if out, code := publishTLS(t, n, "127.0.0.1", apptest.WriteFile(t, "other.pem", other.pem)); code == 0 || !strings.Contains(out, "TLS") {
		t.Errorf("mosquitto_pub with another CA: exit code %d: %s", code, out)
	}
	if out, code := publishTLS(t, n, "127.0.0.2", n.CAFile); code == 0 || !strings.Contains(out, "TLS") {
		t.Errorf("mosquitto_pub to another address: exit code %d: %s", code, out)
	}
	agentRefuses(t, n, "unknown authority", func(m map[string]any) { m["ca_cert"] = other.pem })
	agentRefuses(t, n, "not 127.0.0.2", func(m map[string]any) { m["host"] = "127.0.0.2" })
	agentRefuses(t, n, "unknown authority", func(m map[string]any) { delete(m, "ca_cert") })

	// Without a CA from bind, our agent relies on the system's roots.
	profile := n.Profile(t)
	delete(profile["mqtt"].(map[string]any), "ca_cert")
	raw, _ := json.Marshal(profile)
	if err := os.WriteFile(n.ProfileFile(), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	n.StartAgent(t, "SSL_CERT_FILE="+n.CAFile)
}

// It does not run beside others: the address of an interface that another test makes would ask for another
// certificate.
func TestRenewalNewCAAndRestartCutNobodyOff(t *testing.T) {
	apptest.Need(t, "mosquitto_sub")
	a := withTLS(t)
	cfg := a.AddConfig(t, "home")
	early, held := a.AddNode(t, cfg, "a", "wg0"), a.AddNode(t, cfg, "b", "wg1")
	agent, sub := early.StartAgent(t), hold(t, held, "127.0.0.1")
	addr := "127.0.0.1:" + a.TLSPort
	before := served(t, addr, "localhost")[0]

	if out := wfmCerts(t, a, "renew"); !strings.Contains(out, "next renewal: ") {
		t.Errorf("renew: %s", out)
	}
	renewed := served(t, addr, "localhost")[0]
	if renewed.Equal(before) {
		t.Error("the certificate was not renewed")
	}
	if out := wfmCerts(t, a, "renew", "--new-ca"); strings.Count(out, "root ") != 2 {
		t.Errorf("with a new CA, list shows: %s", out)
	}
	stillHeld(t, held, sub)
	if got := early.Control(t, "describe"); got["status"] != "acked" || strings.Count(agent.Output(), "msg=connected") != 1 {
		t.Errorf("the agent's connection did not last (%v):\n%s", got, agent.Output())
	}

	late := a.AddNode(t, cfg, "c", "wg2")
	roots := late.Profile(t)["mqtt"].(map[string]any)["ca_cert"].(string)
	if strings.Count(roots, "BEGIN CERTIFICATE") != 2 || !strings.Contains(roots, early.Profile(t)["mqtt"].(map[string]any)["ca_cert"].(string)) {
		t.Error("bind does not hand out the old and the new root together")
	}
	late.StartAgent(t)
	agent.Kill()
	agent = early.StartAgent(t) // it knows the old root only
	sum := fingerprint(served(t, addr, "localhost")[0])
	a.Stop(t)

	out, code := apptest.Run(t, apptest.Binary("wfm"), "certs", "list", "--data-dir", a.Dir)
	if code != 0 || !strings.Contains(out, sum[:16]) {
		t.Errorf("list of a stopped appliance: exit code %d: %s", code, out)
	}
	if out, code := apptest.Run(t, apptest.Binary("wfm"), "certs", "export-ca", "--data-dir", a.Dir); code != 0 || out != roots {
		t.Errorf("export-ca of a stopped appliance: exit code %d: %s", code, out)
	}
	a.Restart(t)
	if fingerprint(served(t, addr, "localhost")[0]) != sum {
		t.Error("the restart did not use the certificate that was there")
	}
	apptest.Eventually(t, func() bool { return strings.Count(agent.Output(), "msg=connected") == 2 },
		func() string { return "the agent did not come back:\n" + agent.Output() })
}

func TestCertificateIsForWhateverHostAgentsAreTold(t *testing.T) {
	t.Parallel()
	apptest.Hosts(t, "wfm.test", "alias.test", "new.test")
	a := withTLS(t)
	cfg := a.AddConfig(t, "home")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(a.URL, "http://"))
	bindAt := func(name, host string) (*apptest.Node, map[string]any) {
		n := &apptest.Node{Appliance: a, ConfigID: cfg, Interface: "wg0", AgentDir: t.TempDir()}
		n.ID = a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": name})["node_id"].(string)
		bind := a.Must(t, "POST", n.Path("bind-command"), map[string]any{"server_url": "http://" + host + ":" + port})
		if out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", n.AgentDir, "--server", "http://"+host+":"+port, "--token",
			bind["token"].(string)); code != 0 {
			t.Fatal(out)
		}
		return n, n.Profile(t)["mqtt"].(map[string]any)
	}
	// No name is configured: the admin's bind command supplies it.
	n, mqtt := bindAt("one", "wfm.test")
	if mqtt["host"] != "wfm.test" {
		t.Fatalf("host %v", mqtt["host"])
	}
	n.StartAgent(t).Kill()

	// An agent bound at a name unknown to the appliance would be bound and cut off.
	token := a.Must(t, "POST", n.Path("bind-command"), nil)["token"].(string)
	out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", t.TempDir(), "--server", "http://alias.test:"+port, "--token", token)
	if code == 0 || !strings.Contains(out, "host name") {
		t.Errorf("bind at an unknown name: exit code %d: %s", code, out)
	}
	if out, code := apptest.Run(t, apptest.Binary("wfm-agent"), "bind", "--dir", n.AgentDir, "--server", "http://wfm.test:"+port, "--token", token); code != 0 {
		t.Errorf("the refusal has spent the token: %s", out)
	}

	a.Stop(t)
	a.Restart(t, "WFM_MQTT_PUBLIC_HOST=new.test")
	n.StartAgent(t).Kill() // by the name of that time
	second, mqtt := bindAt("two", "127.0.0.1")
	if mqtt["host"] != "new.test" {
		t.Fatalf("host %v", mqtt["host"])
	}
	second.StartAgent(t)
	names := tlsStatus(t, a)["names"].([]any)
	if !slices.Contains(names, any("new.test")) || !slices.Contains(names, any("wfm.test")) {
		t.Errorf("names: %v", names)
	}
}

func TestCAThatIsHeldToThePublicHostWorksForOtherClients(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub")
	apptest.Hosts(t, "wfm.test", "new.example")
	a := withTLS(t, "WFM_MQTT_PUBLIC_HOST=wfm.test")
	cfg := a.AddConfig(t, "home")
	n := a.AddNode(t, cfg, "a", "wg0")
	a.Stop(t)
	a.Restart(t, "WFM_MQTT_PUBLIC_HOST=new.example") // this name needs another root
	late := a.AddNode(t, cfg, "b", "wg1")
	for _, tc := range []struct {
		node         *apptest.Node
		host, caFile string
		works        bool
	}{
		{n, "wfm.test", n.CAFile, true},
		{n, "127.0.0.1", n.CAFile, true},
		{late, "new.example", late.CAFile, true},
		{late, "wfm.test", late.CAFile, true},
		{late, "new.example", n.CAFile, false},
	} {
		if out, code := publishTLS(t, tc.node, tc.host, tc.caFile); (code == 0) != tc.works {
			t.Errorf("%s: exit code %d: %s", tc.host, code, out)
		}
	}
	n.StartAgent(t)
	late.StartAgent(t)
}

func TestHTTPSIsServedWithTheSameCertificateAndHTTPLeadsThere(t *testing.T) {
	httpsPort := apptest.FreePort(t)
	a := withTLS(t, "WFM_HTTPS_ADDR=127.0.0.1:"+httpsPort) // its calls go over HTTPS, with the CA from ca.pem
	if a.URL != "https://127.0.0.1:"+httpsPort {
		t.Fatalf("URL %s", a.URL)
	}
	if !served(t, "127.0.0.1:"+httpsPort, "localhost")[0].Equal(served(t, "127.0.0.1:"+a.TLSPort, "localhost")[0]) {
		t.Error("HTTPS and MQTT have different certificates")
	}
	plain := *a
	plain.URL = a.PlainURL()
	noFollow := *a.Client
	noFollow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	plain.Client = &noFollow
	if ans := plain.Call(t, "GET", "/api/v1/configs?limit=1", nil); ans.Status != 308 {
		t.Errorf("HTTP: %d %s", ans.Status, ans.Body)
	}
	plain.Refused(t, "HTTPS_REQUIRED", "POST", "/api/v1/auth/login", map[string]any{"username": "admin", "password": apptest.Password})
	plain.Client = a.Client
	if ans := plain.Call(t, "GET", "/", nil); ans.Status != 200 || !strings.Contains(ans.Body, "WFM Appliance") {
		t.Errorf("the page, following: %d %s", ans.Status, ans.Body)
	}
	n := a.AddNodeOver(t, plain.URL, a.AddConfig(t, "home"), "a", "wg0") // the bind exchange is open over HTTP
	n.StartAgent(t)
}

func TestBindCommandOverHTTPSNamesTheCertificateToTrust(t *testing.T) {
	a := withTLS(t, "WFM_HTTPS_ADDR=127.0.0.1:"+apptest.FreePort(t))
	n := &apptest.Node{Appliance: a, ConfigID: a.AddConfig(t, "home"), AgentDir: t.TempDir()}
	n.ID = a.Must(t, "POST", "/api/v1/configs/"+n.ConfigID+"/nodes", map[string]any{"name": "a"})["node_id"].(string)
	bind := a.Must(t, "POST", n.Path("bind-command"), nil)
	command := bind["command"].(string)
	if w := fmt.Sprint(bind["warnings"]); !strings.Contains(w, "wfmctl takes no fingerprint") {
		t.Errorf("warnings: %s", w)
	}
	run := func(command string) (string, int) {
		return apptest.Run(t, apptest.Binary("wfm-agent"), append(strings.Fields(command)[1:], "--dir", n.AgentDir)...)
	}
	sum := fingerprint(served(t, strings.TrimPrefix(a.URL, "https://"), "localhost")[1])
	if !strings.Contains(command, " --cert-sha256 "+sum+" ") {
		t.Fatal("the bind command does not name the root")
	}
	// The fingerprint outlives the certificate.
	a.Must(t, "POST", "/api/v1/system/certificates/renew", map[string]any{"new_ca": true})
	a.Must(t, "POST", "/api/v1/system/certificates/renew", nil)
	if out, code := run(strings.Replace(command, sum, strings.Repeat("0", 64), 1)); code == 0 || !strings.Contains(out, "the connection may be intercepted") {
		t.Errorf("bind at a server with another certificate: exit code %d: %s", code, out)
	}
	if out, code := run(strings.Replace(command, " --cert-sha256 "+sum, "", 1)); code == 0 || !strings.Contains(out, "certificate") {
		t.Errorf("bind at a server the system does not trust: exit code %d: %s", code, out)
	}
	if out, code := run(command); code != 0 {
		t.Fatalf("bind: %s", out)
	}
	n.StartAgent(t)
}

func TestCertificateFilesAreSwappedUnderLoad(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_sub")
	ca, next := newTestCA(t, "site"), newTestCA(t, "next")
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := ca.sign(t, "localhost")
	write(certFile, cert)
	write(keyFile, key)
	a := withTLS(t, "WFM_TLS_ISSUER=files", "WFM_TLS_CERT_FILE="+certFile, "WFM_TLS_KEY_FILE="+keyFile)
	cfg := a.AddConfig(t, "home")
	id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "x"})["node_id"].(string)
	// Its root is unknown: an agent would be bound that trusts nothing.
	a.Refused(t, "MQTT_TLS_CA_NOT_READY", "POST", "/api/v1/configs/"+cfg+"/nodes/"+id+"/bind-command", nil)
	if said, _ := tlsStatus(t, a)["last_error"].(string); !strings.Contains(said, "append it to WFM_TLS_CERT_FILE") {
		t.Errorf("the status says %q", said)
	}
	write(certFile, cert+ca.pem)
	apptest.Eventually(t, func() bool { return tlsStatus(t, a)["status"] == "ok" }, func() string { return "the root was not seen" })
	n := a.AddNode(t, cfg, "a", "wg0")
	sub := hold(t, n, "localhost")

	// Half swapped, then whole, while clients come and go.
	addr := "127.0.0.1:" + a.TLSPort
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}
					c, err := d.DialContext(t.Context(), "tcp", addr)
					if err != nil {
						t.Errorf("handshake during the swap: %v", err)
						return
					}
					_ = c.Close()
				}
			}
		})
	}
	old := served(t, addr, "localhost")[0]
	cert2, key2 := next.sign(t, "localhost")
	write(certFile, cert2+next.pem)
	a.Expect(t, "cannot use the changed certificate files")
	if !served(t, addr, "localhost")[0].Equal(old) {
		t.Error("half a swap changed the certificate")
	}
	if s := tlsStatus(t, a); s["status"] != "warning" {
		t.Errorf("status after half a swap: %v", s)
	}
	write(keyFile, key2)
	apptest.Eventually(t, func() bool { return !served(t, addr, "localhost")[0].Equal(old) }, func() string { return "never swapped" })
	close(stop)
	load.Wait()
	stillHeld(t, n, sub)
	late := a.AddNode(t, cfg, "b", "wg1")
	late.StartAgent(t)
	if roots := late.Profile(t)["mqtt"].(map[string]any)["ca_cert"].(string); !strings.Contains(roots, next.pem) || !strings.Contains(roots, ca.pem) {
		t.Error("bind does not hand out the new root and the one from before")
	}
	a.Expect(t, "has another root than before")
}

func TestBadTLSSettingsAreSaidInOneSentence(t *testing.T) {
	ca, other := newTestCA(t, "a"), newTestCA(t, "b")
	cert, _ := ca.sign(t, "localhost")
	_, key := other.sign(t, "localhost")
	certFile, keyFile := apptest.WriteFile(t, "cert.pem", cert), apptest.WriteFile(t, "key.pem", key)
	free := []string{"serve", "--http-addr", "127.0.0.1:0", "--mqtt-addr", "127.0.0.1:0", "--mqtt-tls-addr", "127.0.0.1:0", "--mqtt-tls-enabled", "true"}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no listener at all":    {[]string{"--mqtt-addr", "off", "--mqtt-tls-enabled", "false"}, "no client could connect"},
		"issuer for nothing":    {[]string{"--mqtt-tls-enabled", "false", "--tls-issuer", "acme"}, "nothing is served with TLS"},
		"domains for nothing":   {[]string{"--acme-domains", "a.test"}, "--tls-issuer is not acme"},
		"files for nothing":     {[]string{"--tls-cert-file", certFile}, "--tls-issuer is not files"},
		"half an account":       {[]string{"--tls-issuer", "acme", "--acme-eab-key-id", "k"}, "set both or none"},
		"unknown issuer":        {[]string{"--tls-issuer", "magic"}, "want local, acme or files"},
		"ACME without a domain": {[]string{"--tls-issuer", "acme"}, "WFM_ACME_DOMAINS"},
		"ACME over HTTP":        {[]string{"--tls-issuer", "acme", "--acme-directory", "http://a.test"}, "want an https:// URL"},
		"no CA file":            {[]string{"--tls-issuer", "acme", "--acme-domains", "a.test", "--acme-ca-file", "/nope.pem"}, "/nope.pem"},
		"files without names":   {[]string{"--tls-issuer", "files"}, "WFM_TLS_CERT_FILE and WFM_TLS_KEY_FILE"},
		"no such file":          {[]string{"--tls-issuer", "files", "--tls-cert-file", "/nope.pem", "--tls-key-file", keyFile}, "/nope.pem"},
		"another's key":         {[]string{"--tls-issuer", "files", "--tls-cert-file", certFile, "--tls-key-file", keyFile}, "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := apptest.Run(t, apptest.Binary("wfm"), slices.Concat(free, []string{"--data-dir", t.TempDir()}, tc.args)...)
			if code == 0 || !strings.Contains(out, tc.want) || strings.Count(strings.TrimSpace(out), "\n") != 0 {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
}

func TestAdviceOfTheCertsCommandCanBeFollowed(t *testing.T) {
	a := withTLS(t, "WFM_HTTPS_ADDR=127.0.0.1:"+apptest.FreePort(t))
	token := []string{"WFM_TOKEN=" + a.Token}
	out, code := apptest.RunEnv(t, token, apptest.Binary("wfm"), "certs", "list", "--server", a.PlainURL())
	advice := regexp.MustCompile(`at (https://[^/ ]+) only: .*wfm (certs export-ca --server [^ ` + "`" + `]+)`).FindStringSubmatch(out)
	if code != 1 || advice == nil {
		t.Fatalf("exit code %d: %s", code, out)
	}
	ca, code := apptest.Run(t, apptest.Binary("wfm"), strings.Fields(advice[2])...)
	if code != 0 {
		t.Fatalf("export-ca: %s", ca)
	}
	out, code = apptest.RunEnv(t, token, apptest.Binary("wfm"), "certs", "list", "--server", advice[1], "--ca-file", apptest.WriteFile(t, "ca.pem", ca))
	if code != 0 || !strings.Contains(out, "root") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestCertsCommandSaysWhatToDo(t *testing.T) {
	a := withTLS(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no command":     {nil, 2, "Usage"},
		"unknown flag":   {[]string{"list", "--nope"}, 2, "nope"},
		"running":        {[]string{"list", "--data-dir", a.Dir}, 1, "--server"},
		"no data":        {[]string{"list", "--data-dir", t.TempDir()}, 1, "--data-dir"},
		"stopped":        {[]string{"renew"}, 2, "--server"},
		"no token":       {[]string{"renew", "--server", a.URL}, 1, "WFM_TOKEN"},
		"no address":     {[]string{"list", "--server", "localhost"}, 2, "http://localhost:8000"},
		"needs no token": {[]string{"export-ca", "--server", a.URL}, 0, "BEGIN CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, code := apptest.Run(t, apptest.Binary("wfm"), append([]string{"certs"}, tc.args...)...); code != tc.code || !strings.Contains(out, tc.want) {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
}
