package emqx

import (
	"net/url"
	"strings"
	"testing"
)

func printed(t *testing.T, o ConfigOptions) string {
	t.Helper()
	var b strings.Builder
	if err := Config(&b, o); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "{") != strings.Count(got, "}") || strings.Contains(got, "<no value>") {
		t.Errorf("not whole:\n%s", got)
	}
	return b.String()
}

// holds checks which of the texts stand in the configuration; one that begins with ! must not.
func holds(t *testing.T, name, got string, texts ...string) {
	t.Helper()
	for _, want := range texts {
		text, no := strings.CutPrefix(want, "!")
		if strings.Contains(got, text) == no {
			t.Errorf("%s: %s\n%s", name, want, got)
		}
	}
}

func TestConfigHoldsWhatTheDoctorWants(t *testing.T) {
	t.Parallel()
	o := ConfigOptions{ApplianceURL: "http://wfm:8000/", SharedKey: `sh"ared\`, APIKey: "wfm", APISecret: "secret"}
	holds(t, "ask", printed(t, o),
		"no_match = deny", `url = "http://wfm:8000/api/internal/emqx/authz"`, `"x-wfm-internal-key" = "sh\"ared\\"`,
		`topic = "${topic}"`, `url = "http://wfm:8000/api/internal/emqx/auth"`, `clientid = "${clientid}"`, "wfm:secret:administrator",
		"delayed.enable = false", "retain_available = false", `listeners.tcp.wfm { bind = "127.0.0.1:11883", zone = wfm }`,
		"force_shutdown { enable = false }", "max_inflight = 512, max_mqueue_len = 100000, shared_subscription = true",
		"shared_subscription_group.wfm.strategy = hash_clientid", "WFM_MQTT_URL=mqtt://127.0.0.1:11883\n", "!backend = built_in_database",
	)
	o.DatabaseLogins = true
	holds(t, "accounts", printed(t, o), `!emqx/auth"`, "salt_position = prefix")
}

func TestConfigIsWhatTheVersionReads(t *testing.T) {
	t.Parallel()
	for version, texts := range map[string][]string{
		"5.5":        {"Append this text to etc/emqx.conf", "!dashboard.listeners", "!node_cache", "does not end a session by itself"},
		"5.6.1":      {"Append this text to etc/emqx.conf", "does not end a session by itself"},
		"5.7.2":      {"Append this text to etc/emqx.conf", "!does not end a session by itself"},
		"5.8.3":      {"Append this text to etc/emqx.conf", "!This file is etc/base.hocon"},
		"5.8.4":      {"This file is etc/base.hocon", "dashboard.listeners.http.bind = 18083", "!node_cache"},
		"v5.8.9":     {"EMQX 5.8.9 for", "This file is etc/base.hocon", "!Append"},
		"5.9":        {"This file is etc/base.hocon", "node_cache { enable = false }"},
		"5.10.1":     {"This file is etc/base.hocon", "node_cache { enable = false }", "dashboard.listeners.http.bind = 18083"},
		"6.0.3":      {"This file is etc/base.hocon", "node_cache { enable = false }", "dashboard.listeners.http.bind = 18083"},
		"6.3-beta.1": {"EMQX 6.3 for", "dashboard.listeners.http.bind = 18083"},
	} {
		v, err := ParseVersion(version)
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		for _, database := range []bool{false, true} {
			holds(t, version, printed(t, ConfigOptions{Version: v, ApplianceURL: "http://wfm:8000", DatabaseLogins: database}), texts...)
		}
	}
	for version, want := range map[string]string{
		"": "known are 5.5 to 5.10 and 6.0 to 6.3", "latest": "known are", "5": "known are", "5.4.1": "no configuration is known for EMQX 5.4.1; known are",
		"4.4": "known are", "5.11": "known are", "6.4.0": "known are", "7.0": "known are", "5.8": "from 5.8.4 on",
	} {
		if _, err := ParseVersion(version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", version, err, want)
		}
	}
}

func TestConfigListensForTheApplianceWhereAsked(t *testing.T) {
	t.Parallel()
	for listener, texts := range map[string][]string{
		"mqtt://0.0.0.0":        {`listeners.tcp.wfm { bind = "0.0.0.0:11883", zone = wfm }`, "WFM_MQTT_URL=mqtt://emqx:11883\n", "API_BASE_URL=http://emqx:18083\n"},
		"mqtts://10.0.0.7:2883": {"listeners.ssl.wfm {", `bind = "10.0.0.7:2883"`, "WFM_MQTT_URL=mqtts://10.0.0.7:2883\n", "certfile", "!listeners.tcp"},
		"mqtt://[::1]:11883":    {`bind = "[::1]:11883"`, "WFM_MQTT_URL=mqtt://[::1]:11883\n"},
	} {
		u, err := ParseListener(listener)
		if err != nil {
			t.Errorf("%s: %v", listener, err)
			continue
		}
		holds(t, listener, printed(t, ConfigOptions{Listener: u}), texts...)
	}
	for _, listener := range []string{"", "http://127.0.0.1", "mqtt://emqx:11883", "mqtt://me:secret@127.0.0.1", "mqtt://127.0.0.1/path"} {
		if u, err := ParseListener(listener); err == nil {
			t.Errorf("%q is taken as %s", listener, (*url.URL)(u))
		}
	}
}
