package emqx

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"wfm/internal/emqxcall"
	"wfm/internal/emqxtest"
	"wfm/store"
	"wfm/web"
)

// diagnose runs the check against a stand-in whose questions a real web server answers.
func diagnose(t *testing.T, breakIt func(*emqxtest.Settings), adjust ...func(*DoctorOptions)) (*emqxtest.Server, []Finding) {
	t.Helper()
	return diagnoseAt(t, (*emqxtest.Server).OwnAddr, breakIt, adjust...)
}

// diagnoseAt is diagnose at the listener with the address.
func diagnoseAt(t *testing.T, addr func(*emqxtest.Server) string, breakIt func(*emqxtest.Settings),
	adjust ...func(*DoctorOptions),
) (*emqxtest.Server, []Finding) {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	server := httptest.NewServer(web.New(web.Options{
		Store:    db,
		External: &web.ExternalBroker{Key: emqxcall.NewKey(sharedKey), Username: DefaultUsername, Password: "x", ClientIDs: ClientIDs(ownClientID)},
	}).Handler())
	t.Cleanup(server.Close)
	settings := emqxtest.Recommended(server.URL, sharedKey)
	if breakIt != nil {
		breakIt(&settings)
	}
	emqx := emqxtest.Start(t, settings)
	api, err := NewAPI(emqx.APIURL(), emqxtest.APIKey, emqxtest.APISecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := DoctorOptions{URL: &url.URL{Scheme: "mqtt", Host: addr(emqx)}, API: api, SharedKey: sharedKey}
	for _, f := range adjust {
		f(&o)
	}
	return emqx, Diagnose(t.Context(), o)
}

func text(findings []Finding, level Level) string {
	var b strings.Builder
	for _, f := range findings {
		if f.Level == level {
			b.WriteString(f.Text + " → " + f.Advice + "\n")
		}
	}
	return b.String()
}

func TestDoctorFindsNothingWrongWithWhatConfigPrints(t *testing.T) {
	for name, logins := range map[string]func(*emqxtest.Settings){
		"as printed":                        nil,
		"without a cache":                   func(s *emqxtest.Settings) { s.CacheTTL = 0 },
		"5.8, without a cache of logins":    func(s *emqxtest.Settings) { s.Version, s.Told.LoginCache = "5.8.9", true },
		"5.9, whose cache of logins is off": func(s *emqxtest.Settings) { s.Version = "5.9.1" },
	} {
		emqx, found := diagnose(t, logins)
		if bad := text(found, Problem) + text(found, Warning); bad != "" {
			t.Errorf("%s: %s", name, bad)
		}
		if !strings.Contains(text(found, OK), "its own topics, and no others") {
			t.Errorf("%s: no login was tried: %s", name, text(found, OK))
		}
		if len(emqx.Users()) != 0 {
			t.Errorf("%s: a user is left over", name)
		}
	}
}

func TestDoctorNamesWhatIsWrongAndWhatToChange(t *testing.T) {
	for want, breakIt := range map[string]func(*emqxtest.Settings){
		"set authorization.no_match = deny":   func(s *emqxtest.Settings) { s.NoMatch = "allow" },
		"remove the rule, or the file source": func(s *emqxtest.Settings) { s.AllowAll = true },
		"set password_hash_algorithm":         func(s *emqxtest.Settings) { s.Database, s.HashName = true, "bcrypt" },
		"without one anybody may log in":      func(s *emqxtest.Settings) { s.HTTPAuth = false },
		"a node can log in with a wrong":      func(s *emqxtest.Settings) { s.HTTPAuth = false },
		"does not ask the appliance":          func(s *emqxtest.Settings) { s.AuthzURL = "" },
		"shows another key":                   func(s *emqxtest.Settings) { s.SharedKey = "another" },
		"may not publish to its own topic":    func(s *emqxtest.Settings) { s.Database, s.HTTPAuth, s.AskTimeout = true, false, time.Nanosecond },
		"a node may publish for another node": func(s *emqxtest.Settings) { s.AuthzURL, s.AllowAll = "", true },
		"a node may subscribe to wfm/#":       func(s *emqxtest.Settings) { s.AuthzURL, s.NoMatch = "", "allow" },
		"a temporary node cannot log in":      func(s *emqxtest.Settings) { s.SharedKey = "another" },
		"log in with another's client id":     func(s *emqxtest.Settings) { s.Database, s.HTTPAuth = true, false },
		"which ignores the client":            func(s *emqxtest.Settings) { s.Database, s.HTTPAuth = true, false },
		"remove the authenticator of the":     func(s *emqxtest.Settings) { s.Database = true },
		"which is not the appliance":          func(s *emqxtest.Settings) { s.AuthURL = "http://127.0.0.1:1/other?secret" },
		"does not hold the clientid":          func(s *emqxtest.Settings) { s.AuthClientID = "${username}" },
		"EMQX is 5.4.1, which does not":       func(s *emqxtest.Settings) { s.Version = "5.4.1" },
		"EMQX is 7.0.0, which is untested":    func(s *emqxtest.Settings) { s.Version = "7.0.0" },
		"in the zone wfm, where force_shut":   func(s *emqxtest.Settings) { s.Told.Zones, s.OwnZone.MaxMailbox = true, 1000 },
		"zone wfm, where max_inflight is 32":  func(s *emqxtest.Settings) { s.OwnZone.MaxInflight = 32 },
		"where max_mqueue_len is 1000":        func(s *emqxtest.Settings) { s.OwnZone.MaxMQueue = 1000 },
		"set delayed.enable = false":          func(s *emqxtest.Settings) { s.Delayed = true },
		"holds a temporary node's message":    func(s *emqxtest.Settings) { s.Delayed = true },
		"node_cache is on":                    func(s *emqxtest.Settings) { s.Told.NodeCache = true },
		"authentication_settings.node_cache":  func(s *emqxtest.Settings) { s.Version, s.Told.LoginCache = "5.9.0", true },
		"set mqtt.retain_available = false":   func(s *emqxtest.Settings) { s.Told.Retained = true },
		"packets of at most 16384 bytes":      func(s *emqxtest.Settings) { s.Told.PacketSize = "16KB" },
		"publishes no events":                 func(s *emqxtest.Settings) { s.Told.NoEvents = true },
		"share messages by round_robin":       func(s *emqxtest.Settings) { s.ShareStrategy = "round_robin" },
		"does not reach the appliance at":     func(s *emqxtest.Settings) { s.Told.Unreached = true },
		"may only read":                       func(s *emqxtest.Settings) { s.Told.ReadOnly = true },
		"before the appliance is asked":       func(s *emqxtest.Settings) { s.Database, s.Told.DatabaseFirst = true, true },
		"permissions for 24h":                 func(s *emqxtest.Settings) { s.CacheTTL = 24 * time.Hour },
		"set listeners.tcp.default.enable_au": func(s *emqxtest.Settings) { s.Told.Open = true },
		"remove listeners.tcp.default.mountp": func(s *emqxtest.Settings) { s.Told.Mountpoint = "site/" },
		"deny_action is disconnect":           func(s *emqxtest.Settings) { s.DenyAction = "disconnect" },
	} {
		_, found := diagnose(t, breakIt)
		if all := text(found, Problem) + text(found, Warning); !strings.Contains(all, want) {
			t.Errorf("%s is missing:\n%s", want, all)
		}
	}
}

// EMQX hides zones: it answers a question about them with an error, not with their content.
func TestDoctorSaysThatItCannotSeeAHiddenZone(t *testing.T) {
	server, found := diagnose(t, func(s *emqxtest.Settings) { s.OwnZone.MaxMailbox = 1000 })
	if got := text(found, OK); !strings.Contains(got, "in the zone wfm; EMQX does not show whether force_shutdown is off there") {
		t.Errorf("it is not said:\n%s", got)
	}
	if calls := strings.Join(server.Calls(), "\n"); !strings.Contains(calls, "GET /api/v5/configs") {
		t.Errorf("it did not look:\n%s", calls)
	}
}

func TestDoctorSaysThatTheApplianceHasANodesLimits(t *testing.T) {
	for want, breakIt := range map[string]func(*emqxtest.Settings){
		"problem the appliance connects to EMQX's listener tcp:default in the zone default, which has a node's limits: force_shutdown ends": nil,
		"warning the appliance connects to EMQX's listener tcp:default in the zone default, so its limits apply to every node too": func(s *emqxtest.Settings) {
			s.Zone = s.OwnZone
		},
	} {
		_, found := diagnoseAt(t, (*emqxtest.Server).MQTTAddr, breakIt)
		level, line, _ := strings.Cut(want, " ")
		if got := text(found, Level(level)); !strings.Contains(got, line) || strings.Count(got, "\n") != 1 || !strings.Contains(got, "`wfm emqx config` prints") {
			t.Errorf("want %s:\n%s", want, got)
		}
	}
}

func TestDoctorSaysOneThingOnce(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt            func(*emqxtest.Settings)
		problems, warnings int
	}{
		"accounts as printed": {func(s *emqxtest.Settings) { s.Database, s.HTTPAuth = true, false }, 0, 1},
		"nobody checks":       {func(s *emqxtest.Settings) { s.HTTPAuth = false }, 1, 0},
		"wrong key":           {func(s *emqxtest.Settings) { s.SharedKey = "another" }, 1, 0},
		"not asked":           {func(s *emqxtest.Settings) { s.AuthzURL, s.AllowAll = "", true }, 2, 0},
		"delayed":             {func(s *emqxtest.Settings) { s.Delayed = true }, 1, 0},
		"appliance away": {func(s *emqxtest.Settings) {
			s.AuthURL, s.AuthzURL = "http://127.0.0.1:1/api/internal/emqx/auth", "http://127.0.0.1:1/api/internal/emqx/authz"
			s.Told.Unreached = true
		}, 1, 0},
	} {
		_, found := diagnose(t, c.breakIt)
		problems, warnings := text(found, Problem), text(found, Warning)
		if strings.Count(problems, "\n") != c.problems || strings.Count(warnings, "\n") != c.warnings {
			t.Errorf("%s: want %d problems and %d warnings:\n%s\n%s", name, c.problems, c.warnings, problems, warnings)
		}
	}
}

func TestDoctorLeavesNoMessageHeldBack(t *testing.T) {
	server, _ := diagnose(t, func(s *emqxtest.Settings) { s.Delayed = true })
	if calls := strings.Join(server.Calls(), "\n"); !strings.Contains(calls, "DELETE /api/v5/mqtt/delayed/messages/emqx@127.0.0.1/id-0-of-") {
		t.Errorf("it was not deleted:\n%s", calls)
	}
}

func TestDoctorTriesHowADenialIsSaid(t *testing.T) {
	for want, status := range map[string]int{
		"answers 403 to a question that must be denied": http.StatusForbidden, "allows what the appliance denies": http.StatusNoContent,
		"does not accept WFM_EMQX_AUTHZ_SHARED_KEY": http.StatusUnauthorized, "answers 502 to a question": http.StatusBadGateway,
	} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(front.Close)
		_, found := diagnose(t, func(s *emqxtest.Settings) { s.AuthzURL = front.URL + "/api/internal/emqx/authz" })
		if got := text(found, Problem); !strings.Contains(got, want) {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
}

func TestDoctorSaysWhatKeepsItFromLooking(t *testing.T) {
	for want, adjust := range map[string]func(*DoctorOptions){
		"create an API key":       func(o *DoctorOptions) { o.API.secret = "wrong" },
		"set dashboard.listeners": func(o *DoctorOptions) { o.API.base = "http://127.0.0.1:1" },
		"check WFM_EMQX_API":      func(o *DoctorOptions) { o.API.base = "http://127.0.0.1:1" },
		"no management API of":    func(o *DoctorOptions) { o.API.base += "/other" },
		"check WFM_MQTT_URL":      func(o *DoctorOptions) { o.URL = &url.URL{Scheme: "mqtt", Host: "127.0.0.1:1"} },
		"no login was tried":      func(o *DoctorOptions) { o.SharedKey = "" },
		"shows another key than":  func(o *DoctorOptions) { o.SharedKey = "another-key-than-emqx-has" },
		"and EMQX's listeners": func(o *DoctorOptions) {
			o.URL = &url.URL{Scheme: "mqtts", Host: o.URL.Host}
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		},
	} {
		_, found := diagnose(t, nil, adjust)
		if all := text(found, Problem) + text(found, Warning); !strings.Contains(all, want) {
			t.Errorf("%s is missing:\n%s", want, all)
		}
	}
}

func TestDoctorChecksTheCertificate(t *testing.T) {
	cert, pool := certificate(t, "localhost")
	server := emqxtest.StartTLS(t, lenient(), &tls.Config{Certificates: []tls.Certificate{cert}})
	_, port, _ := strings.Cut(server.MQTTAddr(), ":")
	api, err := NewAPI(server.APIURL(), emqxtest.APIKey, emqxtest.APISecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host  string
		roots *x509.CertPool
		level Level
		want  string
	}{
		{"localhost", pool, OK, "the certificate of localhost is valid"},
		{"localhost", x509.NewCertPool(), Problem, "set WFM_EMQX_CA_FILE"},
		{"127.0.0.1", pool, Problem, "use a name in WFM_MQTT_URL"},
	} {
		found := Diagnose(t.Context(), DoctorOptions{
			URL: &url.URL{Scheme: "mqtts", Host: c.host + ":" + port}, TLS: &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12}, API: api,
		})
		if all := text(found, c.level); !strings.Contains(all, c.want) {
			t.Errorf("%s: %s is missing:\n%s", c.host, c.want, all)
		}
	}
}

func TestDoctorSurvivesAnEMQXThatAnswersNonsense(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`[1]`)) }))
	defer server.Close()
	_, found := diagnose(t, nil, func(o *DoctorOptions) { o.API.base = server.URL })
	if text(found, Problem) == "" {
		t.Error("nothing is wrong")
	}
}
