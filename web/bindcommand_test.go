package web_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"wfm/web"
)

type bindCommandJSON struct {
	Command       string   `json:"command"`
	WfmctlCommand string   `json:"wfmctl_command"`
	Token         string   `json:"token"`
	Warnings      []string `json:"warnings"`
}

func TestABindCommandIsForBothAgentsAndSaysWhatMayKeepItFromWorking(t *testing.T) {
	const name = "wfm.example.test"
	behind := header("X-Forwarded-Proto", "https")
	for title, tc := range map[string]struct {
		options []func(*web.Options)
		given   string
		adjust  []func(*http.Request)
		address string
		warn    []string // a part of each warning
	}{
		"as it was reached": {adjust: []func(*http.Request){host(name + ":8000")}, address: "http://" + name + ":8000"},
		"IPv6":              {adjust: []func(*http.Request){host("[2001:db8::1]:8000")}, address: "http://[2001:db8::1]:8000"},
		"loopback address": {
			adjust: []func(*http.Request){host("127.0.0.9:8000")}, address: "http://127.0.0.9:8000",
			warn: []string{"127.0.0.9, is the node itself"},
		},
		"localhost":          {adjust: []func(*http.Request){host("localhost:8000")}, address: "http://localhost:8000", warn: []string{"is the node itself"}},
		"a name below it":    {given: "http://wfm.LOCALHOST", address: "http://wfm.LOCALHOST", warn: []string{"is the node itself"}},
		"loopback of IPv6":   {given: "http://[::1]:8000", address: "http://[::1]:8000", warn: []string{"is the node itself"}},
		"mapped into IPv6":   {given: "http://[::ffff:127.0.0.1]", address: "http://[::ffff:127.0.0.1]", warn: []string{"is the node itself"}},
		"unspecified":        {given: "http://0.0.0.0:8000", address: "http://0.0.0.0:8000", warn: []string{"is the node itself"}},
		"not quite loopback": {given: "http://localhost.example.org", address: "http://localhost.example.org"},
		"a proxy nobody trusts": {
			adjust: []func(*http.Request){host(name), behind}, address: "https://" + name,
			warn: []string{"--trusted-proxies 127.0.0.1, or with --public-origin https://" + name},
		},
		"one that appends": {
			adjust: []func(*http.Request){host(name + ":8443"), header("X-Forwarded-Proto", "http, https")}, address: "https://" + name + ":8443",
			warn: []string{"a proxy is in front"},
		},
		"the standard's header": {
			adjust:  []func(*http.Request){host(name), header("Forwarded", `for=10.0.0.1;proto=http, for=10.0.0.2; Proto="https"`)},
			address: "https://" + name, warn: []string{"a proxy is in front"},
		},
		"one without TLS": {adjust: []func(*http.Request){host(name), header("X-Forwarded-Proto", "http")}, address: "http://" + name},
		"a proxy that is trusted": {
			options: []func(*web.Options){func(o *web.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }},
			adjust:  []func(*http.Request){host(name), behind}, address: "https://" + name,
		},
		"another scheme than it was reached by": {
			given: "http://" + name, adjust: []func(*http.Request){host(name), behind}, address: "http://" + name,
			warn: []string{"a proxy is in front", "but you reached the same host by https://"},
		},
		"another host": {given: "http://10.0.0.1:8000", adjust: []func(*http.Request){host(name)}, address: "http://10.0.0.1:8000"},
		"a public origin": {
			options: []func(*web.Options){func(o *web.Options) { o.PublicOrigin = "https://" + name }},
			adjust:  []func(*http.Request){host(name), behind}, address: "https://" + name,
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, tc.options...)
			at := host(a.url[len("http://"):])
			if len(tc.options) > 0 {
				at = host(name)
			}
			var cfg configJSON
			a.call("POST", "/api/v1/configs", object{"name": "office"}, at).ok(&cfg)
			var node nodeJSON
			a.call("POST", "/api/v1/configs/"+cfg.ID+"/nodes", object{"name": "gate"}, at).ok(&node)
			body := object{}
			if tc.given != "" {
				body["server_url"] = tc.given
			}
			var v bindCommandJSON
			a.call("POST", nodePath(cfg.ID, node.ID)+"/bind-command", body, tc.adjust...).ok(&v)
			quoted := tc.address
			if strings.Contains(quoted, "[") {
				quoted = "'" + quoted + "'"
			}
			if v.Command != "wfm-agent bind --server "+quoted+" --token "+v.Token {
				t.Errorf("command: %s", v.Command)
			}
			if v.WfmctlCommand != `wfmctl bind --server "`+tc.address+`" --token "`+v.Token+`"` {
				t.Errorf("wfmctl_command: %s", v.WfmctlCommand)
			}
			ok := len(v.Warnings) == len(tc.warn) && v.Warnings != nil
			for i, word := range tc.warn {
				ok = ok && strings.Contains(v.Warnings[i], word) && strings.HasSuffix(v.Warnings[i], ".")
			}
			if !ok {
				t.Errorf("warnings: %q, want %q", v.Warnings, tc.warn)
			}
		})
	}
}
