package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// snippet returns the configuration of the proxy in docs/operating.md, for these addresses.
func snippet(t *testing.T, language, wfm, port string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/operating.md has no configuration of %s", language)
	}
	return strings.NewReplacer(append([]string{"127.0.0.1:8000", wfm, "443", "127.0.0.1:" + port}, replace...)...).Replace(string(found[1]))
}

// behind returns a client of the appliance at the address of a proxy. Like a page, it sends its
// Origin.
func behind(a *apptest.Appliance, port string) *apptest.Appliance {
	b := *a
	b.URL = "https://wfm.example.org:" + port
	b.Token = "" // a page without a login yet
	dialer := &net.Dialer{}
	b.Client = &http.Client{Transport: originated{b.URL, &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, "127.0.0.1:"+port)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}}}
	return &b
}

// originated sends the Origin of a page.
type originated struct {
	origin string
	next   http.RoundTripper
}

func (o originated) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Origin", o.origin)
	return o.next.RoundTrip(r)
}

func TestProxiesOfTheManualWorkAndHalfOfThemIsToldAtTheLogin(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "nginx", "caddy")
	for name, start := range map[string]func(t *testing.T, wfm, port string, bare bool) *apptest.Process{"caddy": startCaddy, "nginx": startNginx} {
		t.Run(name, func(t *testing.T) {
			login := map[string]any{"username": "admin", "password": apptest.Password}
			a := apptest.Start(t, "")
			wfm, port := strings.TrimPrefix(a.URL, "http://"), apptest.FreePort(t)
			proxy := start(t, wfm, port, false)
			page := behind(a, port)
			listening(t, port, proxy)
			if ans := page.Call(t, "POST", "/api/v1/auth/login", login); ans.Status != 403 || !strings.Contains(ans.Body, "PUBLIC_ORIGIN_REJECTED") ||
				!strings.Contains(ans.Body, "--trusted-proxies 127.0.0.1") {
				t.Errorf("without trusted proxies: %d %s", ans.Status, ans.Body)
			}
			a.Expect(t, "start with --trusted-proxies 127.0.0.1")
			a.Expect(t, "requests are refused")

			a.Stop(t)
			a.Restart(t, "WFM_TRUSTED_PROXIES=127.0.0.1")
			page.Token = page.Must(t, "POST", "/api/v1/auth/login", login)["access_token"].(string)
			cfg := page.AddConfig(t, "home")
			id := page.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "a"})["node_id"].(string)
			command := page.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes/"+id+"/bind-command", nil)["command"].(string)
			if !strings.Contains(command, "--server "+page.URL+" ") {
				t.Errorf("the bind command is %s", command)
			}
			page.Must(t, "POST", "/api/v1/auth/logout", nil)
			if strings.Contains(a.Output(), "requests are refused") {
				t.Errorf("the log:\n%s", a.Output())
			}
			proxy.Kill()

			port = apptest.FreePort(t)
			listening(t, port, start(t, wfm, port, true))
			ans := behind(a, port).Call(t, "POST", "/api/v1/auth/login", login)
			if name == "nginx" && (ans.Status != 403 || !strings.Contains(ans.Body, "$http_host")) {
				t.Errorf("a bare proxy_pass: %d %s", ans.Status, ans.Body)
			}
		})
	}
}

// listening waits until the proxy serves TLS. Caddy first makes itself a certificate.
func listening(t *testing.T, port string, proxy *apptest.Process) {
	t.Helper()
	apptest.Eventually(t, func() bool {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "wfm.example.org"}}
		c, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, proxy.Output)
}

func startCaddy(t *testing.T, wfm, port string, _ bool) *apptest.Process {
	t.Helper()
	dir := t.TempDir()
	site := strings.Replace(snippet(t, "caddyfile", wfm, port), "wfm.example.org {", "https://wfm.example.org:"+port+" {\n\ttls internal", 1)
	file := apptest.WriteFile(t, "Caddyfile", "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"+site)
	return apptest.Spawn(t, []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, "caddy", "run", "--config", file, "--adapter", "caddyfile")
}

func startNginx(t *testing.T, wfm, port string, bare bool) *apptest.Process {
	t.Helper()
	dir := t.TempDir()
	cert, key := newTestCA(t, "proxy").sign(t, "wfm.example.org")
	site := snippet(t, "nginx", wfm, port, "/etc/ssl/wfm/fullchain.pem", apptest.WriteFile(t, "cert.pem", cert), "/etc/ssl/wfm/key.pem",
		apptest.WriteFile(t, "key.pem", key))
	if bare {
		site = regexp.MustCompile(`(?m)^\s*proxy_set_header .*\n`).ReplaceAllString(site, "")
	}
	temporary := ""
	for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += of + "_temp_path " + filepath.Join(dir, of) + ";\n"
	}
	file := apptest.WriteFile(t, "nginx.conf",
		"daemon off;\nmaster_process off;\npid "+dir+"/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+temporary+site+"}\n")
	return apptest.Spawn(t, nil, "nginx", "-e", "stderr", "-c", file)
}
