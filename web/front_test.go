package web_test

import (
	"net/http"
	"strings"
	"testing"

	"wfm/web"
	"wfm/web/access"
)

// TestAProxyThatIsHalfSetUpIsNamedAtTheLogin checks that a person who could change nothing because
// of a proxy learns at the login the reason and the remedy.
func TestAProxyThatIsHalfSetUpIsNamedAtTheLogin(t *testing.T) {
	const page = "https://wfm.example.org"
	for name, tc := range map[string]struct {
		trusted, public, host, origin string
		headers                       map[string]string
		want                          []string // parts of the message; none if the login works
	}{
		"nothing is trusted": {
			"", "", "wfm.example.org", page, nil,
			[]string{"by https://, the request by http://", "--trusted-proxies 127.0.0.1", "--public-origin " + page},
		},
		"another proxy is":    {"10.0.0.1", "", "wfm.example.org", page, map[string]string{"X-Forwarded-Proto": "https"}, []string{"--trusted-proxies 127.0.0.1"}},
		"on another port":     {"", "", "wfm.example.org:8443", page + ":8443", nil, []string{"--trusted-proxies 127.0.0.1", "--public-origin " + page + ":8443"}},
		"port dropped":        {"127.0.0.1", "", "wfm.example.org", page + ":8443", map[string]string{"X-Forwarded-Proto": "https"}, []string{"$http_host"}},
		"Host not kept":       {"", "", "127.0.0.1:8000", page, nil, []string{page, "127.0.0.1:8000", "$http_host", "--trusted-proxies 127.0.0.1"}},
		"and a public origin": {"", page, "127.0.0.1:8000", page, nil, []string{"127.0.0.1:8000", page, "$http_host"}},
		"no X-Forwarded-Proto": {
			"127.0.0.1", "", "wfm.example.org", page,
			map[string]string{"X-Forwarded-For": "192.0.2.1"},
			[]string{"127.0.0.1 is trusted", "X-Forwarded-Proto $scheme"},
		},
		"a proxy in front of it": {
			"127.0.0.1", "", "wfm.example.org", page,
			map[string]string{"X-Forwarded-Proto": "http"},
			[]string{"says X-Forwarded-Proto: http", "in front of it"},
		},
		"another site's page": {
			"", "", "wfm.example.org", "https://evil.example",
			map[string]string{"Sec-Fetch-Site": "cross-site"},
			[]string{"does not come from a page of this appliance"},
		},
		"all is right":    {"127.0.0.1", "", "wfm.example.org", page, map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}, nil},
		"a public origin": {"", page, "wfm.example.org", page, nil, nil},
		"without a proxy": {"", "", "wfm.example.org:8000", "http://wfm.example.org:8000", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, func(o *web.Options) {
				o.TrustedProxies, _ = access.ParseProxies(tc.trusted)
				o.PublicOrigin = tc.public
			})
			over := func(r *http.Request) {
				r.Host = tc.host
				r.Header.Set("Origin", tc.origin)
				for name, value := range tc.headers {
					r.Header.Set(name, value)
				}
			}
			cookie := header("Cookie", "wfm_session="+a.token)
			calls := []*reply{
				a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": "x"}, as(""), over),
				a.call("POST", "/api/v1/auth/setup", object{"setup_token": "x", "password": "long enough"}, as(""), over),
				a.call("POST", "/api/v1/configs", object{"name": "x"}, as(""), cookie, over),
			}
			for i, r := range calls {
				if tc.want == nil {
					if r.status == 403 {
						t.Errorf("%s", r.body)
					}
					continue
				}
				if r.status != 403 || (r.Error.Code != "PUBLIC_ORIGIN_REJECTED" && r.Error.Code != "PUBLIC_HOST_REJECTED") {
					t.Errorf("call %d: %d %s", i, r.status, r.body)
				}
				for _, want := range tc.want {
					if !strings.Contains(r.Error.Message, want) {
						t.Errorf("call %d: %s\nwant %s", i, r.Error.Message, want)
					}
				}
			}
			told := strings.Count(a.log.String(), "requests are refused")
			if want := min(1, len(tc.want)); told != want && name != "another site's page" {
				t.Errorf("the log says so %d times:\n%s", told, a.log)
			}
		})
	}
}

func TestHeadersOfAProxyWithoutEffectAreLoggedOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		trusted string
		header  string
		want    string
	}{
		"X-Forwarded-For of a stranger": {"", "X-Forwarded-For", "start with --trusted-proxies 127.0.0.1"},
		"Forwarded of a stranger":       {"10.0.0.1", "Forwarded", "start with --trusted-proxies 127.0.0.1"},
		"Forwarded of our proxy":        {"127.0.0.1", "Forwarded", "the header Forwarded is not read"},
		"no X-Forwarded-For":            {"127.0.0.1", "X-Forwarded-Proto", "sends no X-Forwarded-For"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, func(o *web.Options) { o.TrustedProxies, _ = access.ParseProxies(tc.trusted) })
			for range 3 {
				a.call("GET", "/healthz", nil, header(tc.header, "https"))
			}
			if n := strings.Count(a.log.String(), tc.want); n != 1 || strings.Count(a.log.String(), "level=WARN") != 1 {
				t.Errorf("%d times:\n%s", n, a.log)
			}
		})
	}
}

func TestABindCommandNamesTheSchemeThatTheAPIWasReachedBy(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	var v struct{ Command string }
	a.call("POST", nodePath(cfg, a.addNode(cfg, "gate"))+"/bind-command", nil, host("wfm.example.org"), header("X-Forwarded-Proto", "https")).ok(&v)
	if !strings.Contains(v.Command, "--server https://wfm.example.org ") {
		t.Error(v.Command)
	}
}

func TestUnderAPathOfAnotherSiteItSaysThatItNeedsAHostName(t *testing.T) {
	a := newAPI(t)
	for path, want := range map[string]bool{
		"/wfm/": true, "/wfm/login": true, "/wfm/api/v1/configs": true, "/tools/configs/c1/nodes/n1": true, "/wfm": false, "/nope/nope": false, "/api/v1/nope": false,
	} {
		r := a.get(path).fails(404, "NOT_FOUND")
		if strings.Contains(r.Error.Message, "host name of its own") != want {
			t.Errorf("%s: %s", path, r.Error.Message)
		}
	}
	if r := a.call("GET", "/login", nil); !strings.Contains(r.body, `<p class="unstyled">`) || !strings.Contains(r.body, "host name of its own") {
		t.Error("the login page does not say so where its style sheet is missing")
	}
}
