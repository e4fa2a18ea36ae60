package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wfm/web"
	"wfm/web/access"
)

func from(addr string) func(*http.Request) { return header("X-Forwarded-For", addr) }

// flood makes this number of strangers try wrong passwords without pause until the test ends. next
// returns the address of each attempt.
func (a *api) flood(strangers int, next func(n int64) string) {
	a.t.Helper()
	var tried atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range strangers {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					req, err := http.NewRequestWithContext(context.Background(), "POST", a.url+"/api/v1/auth/login",
						strings.NewReader(`{"username":"admin","password":"wrong"}`))
					if err != nil {
						a.t.Error(err)
						return
					}
					from(next(tried.Add(1)))(req)
					if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
						_ = resp.Body.Close()
					}
				}
			}
		})
	}
	a.t.Cleanup(func() { close(stop); all.Wait() })
}

func loginAPI(t *testing.T) (a *api, right object) {
	t.Helper()
	const password = "the right password"
	a = bareAPI(t, func(o *web.Options) { o.TrustedProxies, _ = access.ParseProxies("127.0.0.1") })
	if err := access.SetUpAdmin(a.db, password); err != nil {
		t.Fatal(err)
	}
	return a, object{"username": "admin", "password": password}
}

func TestStrangersWithManyAddressesShutNobodyOutWhoHasLoggedInBefore(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(n int64) string{
		"IPv4":         func(n int64) string { return fmt.Sprintf("11.%d.%d.7", n/250%250, n%250) },
		"one IPv6 /48": func(n int64) string { return fmt.Sprintf("2001:db8:1:%x::1", n%65536) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, right := loginAPI(t)
			a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")).ok(nil)
			a.flood(100, next)
			for range 5 {
				a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")).ok(nil)
			}
			a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": "wrong"}, from("203.0.113.7")).fails(401, "AUTH_FAILED")
		})
	}
}

// TestRightLoginsAtOnceFromOneAddressAllSucceed makes more right logins at once than may fail in a
// minute.
func TestRightLoginsAtOnceFromOneAddressAllSucceed(t *testing.T) {
	a, right := loginAPI(t)
	a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")).ok(nil)
	a.flood(40, func(n int64) string { return fmt.Sprintf("11.%d.%d.7", n/250%250, n%250) })
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			if r := a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
}

// TestWrongPasswordsAtOnceAreLimitedLikeOthers checks that waiting for the end of another attempt
// permits no more guesses.
func TestWrongPasswordsAtOnceAreLimitedLikeOthers(t *testing.T) {
	a, right := loginAPI(t)
	a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")).ok(nil)
	var all sync.WaitGroup
	var wrong atomic.Int64
	for range 40 {
		all.Go(func() {
			switch r := a.call("POST", "/api/v1/auth/login", object{"username": "admin", "password": "wrong"}, from("203.0.113.7")); r.status {
			case 401:
				wrong.Add(1)
			case 429:
			default:
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	if n := wrong.Load(); n < 1 || n > 12 {
		t.Errorf("%d passwords were tried in a minute's burst", n)
	}
}

func TestAddressesOfSessionsAreKnownAfterARestart(t *testing.T) {
	a, right := loginAPI(t)
	a.call("POST", "/api/v1/auth/login", right, from("2001:db8:7::7")).ok(nil)
	again := apiOver(t, a.db, func(o *web.Options) { o.TrustedProxies, _ = access.ParseProxies("127.0.0.1") })
	again.flood(100, func(n int64) string { return fmt.Sprintf("11.%d.%d.7", n/250%250, n%250) })
	for range 3 {
		again.call("POST", "/api/v1/auth/login", right, from("2001:db8:7::8")).ok(nil) // in the same /64
	}
}

func TestFirstLoginFromANewAddressHasAFairChanceDuringAnAttack(t *testing.T) {
	a, right := loginAPI(t)
	a.flood(40, func(n int64) string { return fmt.Sprintf("11.%d.%d.7", n/250%250, n%250) })
	for range 200 {
		if a.call("POST", "/api/v1/auth/login", right, from("203.0.113.7")).status == 200 {
			return
		}
	}
	t.Error("200 attempts with the right password, and none had its turn")
}
