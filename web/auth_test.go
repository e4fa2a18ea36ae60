package web_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wfm/web"
	"wfm/web/access"
)

type session struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresAt   time.Time `json:"expires_at"`
	Username    string    `json:"username"`
}

type authState struct {
	SetupRequired bool       `json:"setup_required"`
	Authenticated bool       `json:"authenticated"`
	Username      string     `json:"username"`
	DisplayName   string     `json:"display_name"`
	ExpiresAt     *time.Time `json:"expires_at"`
}

func (a *api) state(token string) (s authState) {
	a.t.Helper()
	a.call("GET", "/api/v1/auth/state", nil, as(token)).ok(&s)
	return s
}

func TestTheAdminSetsUpLogsInChangesThePasswordAndLogsOut(t *testing.T) {
	a := bareAPI(t)
	const first, second = "first password", "second password"

	if s := a.state(""); !s.SetupRequired || s.Authenticated {
		t.Errorf("before set-up: %+v", s)
	}
	a.get("/api/v1/configs").fails(428, "AUTH_SETUP_REQUIRED")
	a.post("/api/v1/auth/login", object{"username": "admin", "password": first}).fails(428, "AUTH_SETUP_REQUIRED")
	a.post("/api/v1/auth/setup", object{"setup_token": setupToken, "password": "short"}).invalid("password")
	a.post("/api/v1/auth/setup", object{"setup_token": "guessed", "password": first}).fails(401, "INVALID_TOKEN")
	a.post("/api/v1/auth/setup", object{"password": first}).invalid("setup_token")

	var s1, s2, s3 session
	a.post("/api/v1/auth/setup", object{"setup_token": setupToken, "password": first}).ok(&s1)
	if s1.TokenType != "bearer" || s1.Username != "admin" || time.Until(s1.ExpiresAt) < 23*time.Hour {
		t.Errorf("set-up answered %+v", s1)
	}
	a.post("/api/v1/auth/setup", object{"setup_token": setupToken, "password": first}).fails(409, "AUTH_ALREADY_INITIALIZED")
	if s := a.state(s1.AccessToken); s.SetupRequired || !s.Authenticated || s.Username != "admin" || s.DisplayName == "" || s.ExpiresAt == nil {
		t.Errorf("after set-up: %+v", s)
	}

	a.post("/api/v1/auth/login", object{"username": "admin", "password": first}).ok(&s2)
	if s2.AccessToken == s1.AccessToken {
		t.Error("two sessions have one token")
	}
	a.post("/api/v1/auth/login", object{"username": "admin", "password": second}).fails(401, "AUTH_FAILED")
	a.post("/api/v1/auth/login", object{"username": "root", "password": first}).fails(401, "AUTH_FAILED")

	a.token = s2.AccessToken
	change := func(current, wanted string) *reply {
		t.Helper()
		return a.post("/api/v1/auth/password", object{"current_password": current, "new_password": wanted})
	}
	change(second, "third password").fails(401, "ADMIN_PASSWORD_INVALID")
	change(first, first).fails(409, "PASSWORD_UNCHANGED")
	change(first, "short").invalid("new_password")
	change(first, "€€€€€€€€€").invalid("new_password")
	change(first, strings.Repeat("x", 1025)).invalid("new_password")
	change(first, second).ok(&s3)
	for _, old := range []string{s1.AccessToken, s2.AccessToken} {
		a.call("GET", "/api/v1/auth/session", nil, as(old)).fails(401, "INVALID_TOKEN")
	}
	a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": second}).ok(nil)
	a.token = s3.AccessToken
	a.post("/api/v1/settings/password", object{"current_password": second, "new_password": first}).ok(&s3)

	a.token = s3.AccessToken
	a.get("/api/v1/auth/session").ok(nil)
	a.post("/api/v1/auth/logout", nil).ok(nil)
	a.get("/api/v1/auth/session").fails(401, "INVALID_TOKEN")
	if s := a.state(s3.AccessToken); s.Authenticated || s.SetupRequired {
		t.Errorf("after logout: %+v", s)
	}
}

func TestEveryCallButTheOpenOnesWantsASession(t *testing.T) {
	a := newAPI(t)
	expired := adminSession(t, a.db, -time.Second)
	for _, call := range []string{
		"GET /api/v1/auth/session", "POST /api/v1/auth/logout", "POST /api/v1/auth/password",
		"GET /api/v1/configs", "POST /api/v1/configs", "GET /api/v1/configs/c", "PUT /api/v1/configs/c",
		"DELETE /api/v1/configs/c", "GET /api/v1/configs/c/overview", "GET /api/v1/configs/c/nodes",
		"POST /api/v1/configs/c/nodes", "GET /api/v1/configs/c/endpoint/runtime-snapshot",
		"POST /api/v1/configs/c/endpoint/probe-batch", "GET /api/v1/nodes/n", "PUT /api/v1/nodes/n", "DELETE /api/v1/nodes/n",
		"GET /api/v1/configs/c/nodes/n", "PUT /api/v1/configs/c/nodes/n", "DELETE /api/v1/configs/c/nodes/n",
		"POST /api/v1/configs/c/nodes/n/bind-command", "POST /api/v1/configs/c/nodes/n/reset-client",
		"POST /api/v1/configs/c/nodes/n/endpoint/control", "GET /api/v1/configs/c/nodes/n/endpoint/status",
		"GET /api/v1/configs/c/nodes/n/endpoint/logs", "GET /api/v1/configs/c/nodes/n/endpoint/events",
		"POST /api/v1/configs/c/endpoint/control-batch", "GET /api/v1/configs/c/rollouts", "GET /api/v1/rollouts/r",
		"POST /api/v1/rollouts/r/pause", "POST /api/v1/rollouts/r/resume", "POST /api/v1/rollouts/r/cancel",
		"GET /api/v1/commands/r", "POST /api/v1/commands/r/cancel",
	} {
		method, path, _ := strings.Cut(call, " ")
		a.call(method, path, nil, as("")).fails(401, "AUTH_REQUIRED")
		a.call(method, path, nil, as("made-up")).fails(401, "INVALID_TOKEN")
		a.call(method, path, nil, as(expired)).fails(401, "TOKEN_EXPIRED")
	}
	for _, path := range []string{"/login", "/healthz", "/api/v1/system/health", "/api/v1/auth/state"} {
		if r := a.call("GET", path, nil, as("")); r.status != 200 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestFailedLoginsAreSlowedDownAndSuccessfulOnesAreNot(t *testing.T) {
	a := bareAPI(t)
	const password = "the right password"
	if err := access.SetUpAdmin(a.db, password); err != nil {
		t.Fatal(err)
	}
	login := func(password string) *reply {
		t.Helper()
		return a.post("/api/v1/auth/login", object{"username": "admin", "password": password})
	}
	for range 6 { // more than the burst
		login(password).ok(nil)
	}
	var wg sync.WaitGroup
	replies := make([]*reply, 12)
	for i := range replies {
		wg.Go(func() { replies[i] = login("a wrong password") })
	}
	wg.Wait()
	count := map[int]int{}
	for _, r := range replies {
		count[r.status]++
		if r.status != http.StatusTooManyRequests {
			continue
		}
		r.fails(429, "RATE_LIMITED")
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || after < 1 || after > 60 {
			t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
		}
	}
	// The bucket may have gained a token while the hashes were computed.
	if count[401] < 5 || count[401] > 7 || count[401]+count[429] != len(replies) {
		t.Errorf("wrong passwords at once were answered %v, want five 401 and then 429", count)
	}
	// Neither another header nor another call evades the limit.
	a.call("POST", "/api/v1/auth/setup", object{"setup_token": "x", "password": password},
		header("X-Forwarded-For", "203.0.113.9")).fails(409, "AUTH_ALREADY_INITIALIZED")
	for range 3 {
		if r := a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": "wrong again"},
			header("X-Forwarded-For", "203.0.113.9")); r.status == 429 {
			return
		}
	}
	t.Error("X-Forwarded-For led around the limit")
}

func TestTheCookieIsEnoughToReadAndWantsAnOriginToWrite(t *testing.T) {
	a := newAPI(t)
	cookie := header("Cookie", "wfm_session="+a.token)
	a.token = ""
	a.call("GET", "/api/v1/configs", nil, cookie).ok(nil)
	write := func(origin string) *reply {
		t.Helper()
		adjust := []func(*http.Request){cookie}
		if origin != "" {
			adjust = append(adjust, header("Origin", origin))
		}
		return a.call("POST", "/api/v1/configs", object{"name": "n" + strconv.Itoa(len(origin))}, adjust...)
	}
	for _, origin := range []string{"", "null", "https://evil.example", strings.Replace(a.url, "http:", "https:", 1), a.url + ".evil.example"} {
		write(origin).fails(403, "PUBLIC_ORIGIN_REJECTED")
	}
	write(a.url).ok(nil)
}

func TestALoginSetsACookieThatScriptsCannotRead(t *testing.T) {
	const password = "the right password"
	for name, tc := range map[string]struct {
		origin string
		secure bool
	}{"http": {"", false}, "behind https": {"https://wfm.example.org", true}} {
		t.Run(name, func(t *testing.T) {
			a := bareAPI(t, func(o *web.Options) { o.PublicOrigin = tc.origin })
			if err := access.SetUpAdmin(a.db, password); err != nil {
				t.Fatal(err)
			}
			at := host("wfm.example.org")
			r := a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": password}, at).ok(nil)
			cookies := (&http.Response{Header: r.header}).Cookies()
			if len(cookies) != 1 {
				t.Fatalf("cookies: %v", cookies)
			}
			c := cookies[0]
			if c.Name != "wfm_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure != tc.secure || c.MaxAge <= 0 {
				t.Errorf("cookie: %v", c)
			}
			out := a.call("POST", "/api/v1/auth/logout", nil, at, as(c.Value)).ok(nil)
			if set := out.header.Get("Set-Cookie"); !strings.Contains(set, "Max-Age=0") {
				t.Errorf("logout leaves the cookie: %q", set)
			}
		})
	}
}

// A login works at each of the configured origins. Over HTTP, the browser would not send a Secure
// cookie back.
func TestTheCookieIsSecureWhereTheOriginOfTheLoginIs(t *testing.T) {
	const password = "the right password"
	a := bareAPI(t, func(o *web.Options) {
		o.PublicOrigin, o.ExtraAllowedOrigins = "https://wfm.example.org", []string{"http://10.0.0.5:8000", "http://both.test", "https://both.test"}
	})
	if err := access.SetUpAdmin(a.db, password); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		host, origin string
		secure       bool
	}{
		{"wfm.example.org", "https://wfm.example.org", true},
		{"wfm.example.org", "", true},
		{"10.0.0.5:8000", "http://10.0.0.5:8000", false},
		{"10.0.0.5:8000", "", false},
		{"both.test", "https://both.test", true},
		{"both.test", "http://both.test", false},
		{"both.test", "", false},
	} {
		from := func(r *http.Request) {
			if r.Host = tc.host; tc.origin != "" {
				r.Header.Set("Origin", tc.origin)
			}
		}
		r := a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": password}, from).ok(nil)
		cookie := r.header.Get("Set-Cookie")
		if strings.Contains(cookie, "Secure") != tc.secure {
			t.Errorf("%+v: %s", tc, cookie)
		}
		if tc.origin != "" {
			a.call("PUT", "/api/v1/configs/none", "{}", from, header("Cookie", cookie)).fails(404, "CONFIG_NOT_FOUND")
		}
	}
}

func TestAPageOfAnotherSiteLogsNobodyInAlsoWithoutAPublicOrigin(t *testing.T) {
	const password = "the right password"
	a := bareAPI(t)
	if err := access.SetUpAdmin(a.db, password); err != nil {
		t.Fatal(err)
	}
	login := func(origin string) *reply {
		t.Helper()
		return a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": password}, header("Origin", origin))
	}
	for _, origin := range []string{"null", "https://evil.example", a.url + ".evil.example", "garbage"} {
		login(origin).fails(403, "PUBLIC_ORIGIN_REJECTED")
	}
	login(a.url).ok(nil)
	login(strings.Replace(a.url, "http:", "https:", 1)).fails(403, "PUBLIC_ORIGIN_REJECTED") // an untrusted proxy ends TLS
}

func TestWithAPublicOriginOtherHostsAndSitesAreRejected(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.PublicOrigin, o.ExtraAllowedOrigins = "https://wfm.example.org", []string{"http://10.0.0.5:8000/"}
	})
	for _, name := range []string{"wfm.example.org", "WFM.example.org:443", "10.0.0.5:8000"} {
		a.call("GET", "/api/v1/configs", nil, host(name)).ok(nil)
	}
	for _, name := range []string{"evil.example", "wfm.example.org:8443", "10.0.0.5", "wfm.example.org.evil.example"} {
		a.call("GET", "/api/v1/configs", nil, host(name)).fails(403, "PUBLIC_HOST_REJECTED")
		a.call("GET", "/api/v1/auth/state", nil, host(name)).fails(403, "PUBLIC_HOST_REJECTED")
		a.call("GET", "/", nil, host(name)).fails(403, "PUBLIC_HOST_REJECTED")
		for _, open := range []string{"/healthz", "/api/v1/system/health"} {
			if r := a.call("GET", open, nil, host(name)); r.status != 200 {
				t.Errorf("%s as %s: %d", open, name, r.status)
			}
		}
		a.call("POST", "/api/client/bind", object{"token": "x"}, host(name)).fails(401, "CLIENT_BIND_TOKEN_INVALID")
	}
	at := host("wfm.example.org")
	a.call("GET", "/api/v1/configs", nil, at, header("Origin", "https://evil.example")).fails(403, "PUBLIC_ORIGIN_REJECTED")
	cookie := header("Cookie", "wfm_session="+a.token)
	for _, origin := range []string{"https://wfm.example.org", "http://10.0.0.5:8000"} {
		a.call("POST", "/api/v1/auth/logout", nil, at, header("Origin", origin), as("made-up")).fails(401, "INVALID_TOKEN")
		a.call("PUT", "/api/v1/configs/none", "{}", at, as(""), cookie, header("Origin", origin)).fails(404, "CONFIG_NOT_FOUND")
	}
}

func TestAMisspeltPublicOriginLetsNobodyIn(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.PublicOrigin = "wfm.example.org" })
	a.get("/api/v1/configs").fails(403, "PUBLIC_HOST_REJECTED")
}

func TestWithoutASetupTokenNobodySetsUpOverHTTP(t *testing.T) {
	a := bareAPI(t, func(o *web.Options) { o.SetupToken = "" })
	a.post("/api/v1/auth/setup", object{"setup_token": "", "password": "long enough"}).invalid("setup_token")
	a.post("/api/v1/auth/setup", object{"setup_token": "x", "password": "long enough"}).fails(401, "INVALID_TOKEN")
}
