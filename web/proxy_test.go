package web_test

import (
	"net/http"
	"strings"
	"testing"

	"wfm/web"
	"wfm/web/access"
)

func TestOnlyTrustedProxiesSayWhoTheClientIs(t *testing.T) {
	for name, tc := range map[string]struct {
		trusted string
		headers []string // X-Forwarded-For
		want    string
	}{
		"nobody is trusted":              {"", []string{"198.51.100.7"}, "127.0.0.1"},
		"somebody else is":               {"10.0.0.0/8", []string{"198.51.100.7"}, "127.0.0.1"},
		"the proxy is":                   {"127.0.0.0/8", []string{"198.51.100.7"}, "198.51.100.7"},
		"the client lied to the proxy":   {"127.0.0.1", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		"it lied in a header of its own": {"127.0.0.1", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		"two proxies of ours":            {"127.0.0.1,10.0.0.0/8", []string{"203.0.113.9, 198.51.100.7, 10.1.2.3"}, "198.51.100.7"},
		"garbage ends it":                {"127.0.0.1,10.0.0.0/8", []string{"198.51.100.7, garbage, 10.1.2.3"}, "10.1.2.3"},
		"nothing but garbage":            {"127.0.0.1", []string{"garbage"}, "127.0.0.1"},
		"IPv6 with a port":               {"127.0.0.1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"no header":                      {"127.0.0.1", nil, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, func(o *web.Options) {
				var err error
				if o.TrustedProxies, err = access.ParseProxies(tc.trusted); err != nil {
					t.Fatal(err)
				}
			})
			a.call("POST", "/api/v1/configs", object{"name": "x"}, func(r *http.Request) { r.Header["X-Forwarded-For"] = tc.headers }).ok(nil)
			if got := a.audit("")[0].RemoteAddr; got != tc.want {
				t.Errorf("the client is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestBehindATrustedProxyWithTLSTheCookieIsSecureAndTheOriginIsHTTPS(t *testing.T) {
	const password = "the right password"
	for trusted, secure := range map[string]bool{"127.0.0.1": true, "10.0.0.0/8": false} {
		a := bareAPI(t, func(o *web.Options) { o.TrustedProxies, _ = access.ParseProxies(trusted) })
		if err := access.SetUpAdmin(a.db, password); err != nil {
			t.Fatal(err)
		}
		https := header("X-Forwarded-Proto", "https")
		r := a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": password}, https).ok(nil)
		cookie := r.header.Get("Set-Cookie")
		if got := strings.Contains(cookie, "Secure"); got != secure {
			t.Errorf("trusting %s: %s", trusted, cookie)
		}
		origin := header("Origin", strings.Replace(a.url, "http:", "https:", 1))
		r = a.call("POST", "/api/v1/configs", object{"name": "x"}, https, origin, header("Cookie", cookie))
		if ok := r.status == 200; ok != secure {
			t.Errorf("trusting %s: %d %s", trusted, r.status, r.body)
		}
	}
}
