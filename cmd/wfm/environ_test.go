package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"wfm/internal/apptest"
)

func TestTheEnvironmentFileOfWGFreeMeshStartsTheApplianceAndIsExplained(t *testing.T) {
	dir := t.TempDir()
	env := []string{
		"WFM_EXTRA_ALLOWED_ORIGINS=[]", "WFM_EMQX_API_BASE_URL=http://emqx:18083", "WFM_EMQX_USERNAME=admin", "WFM_EMQX_PASSWORD=top-secret-1",
		"WFM_DATABASE=sqlite:///top-secret-2", "WFM_TIMEZONE=Asia/Shanghai", "WFM_DEBUG=false", "WFM_CORS_ORIGINS=", "WFM_HTP_ADDR=top-secret-3",
		"WFM_ADMIN_PASSWORD=correct horse battery", "WFM_HTTP_ADDR=127.0.0.1:0", "WFM_MQTT_ADDR=127.0.0.1:0", "WFM_AGENT_DIRR=/x", "WFM_ODDITY=1",
	}
	for _, first := range []bool{true, false} {
		p := apptest.Spawn(t, env, apptest.Binary("wfm"), "serve", "--data-dir", dir)
		p.Expect(t, "page and API")
		p.Kill()
		out := p.Output()
		for _, want := range []string{
			"WFM_EMQX_API_BASE_URL is set without WFM_MQTT_URL, so the embedded broker runs",
			`variables="WFM_DATABASE, WFM_DEBUG, WFM_TIMEZONE"`,
			`variable=WFM_HTP_ADDR advice="did you mean WFM_HTTP_ADDR?"`,
			`variable=WFM_ODDITY advice="see wfm serve --help"`,
		} {
			if strings.Count(out, want) != 1 {
				t.Errorf("not once %q in:\n%s", want, out)
			}
		}
		for _, no := range []string{"top-secret", "WFM_AGENT_DIRR", "WFM_CORS_ORIGINS", "correct horse"} {
			if strings.Contains(out, no) {
				t.Errorf("it says %q:\n%s", no, out)
			}
		}
		if strings.Contains(out, "counts at the first start only") == first {
			t.Errorf("first start %v:\n%s", first, out)
		}
	}
}

func TestEveryVariableOfTheProgramIsKnown(t *testing.T) {
	for _, name := range []string{"WFM_DATA_DIR", "WFM_MQTT_URL", "WFM_TLS_ISSUER", "WFM_LOG_LEVEL", "WFM_TOKEN"} {
		if !slices.Contains(knownVariables(), name) {
			t.Errorf("%s is unknown", name)
		}
	}
	for _, name := range foreign {
		if slices.Contains(knownVariables(), name) {
			t.Errorf("%s has a meaning and is called foreign", name)
		}
	}
}

func TestFurtherOriginsAreAListOrAJSONArray(t *testing.T) {
	want := []string{"https://a.example", "http://b.example:8080"}
	for value, ok := range map[string]bool{
		`https://a.example,http://b.example:8080`:          true,
		` https://a.example , http://b.example:8080, `:     true,
		`["https://a.example", "http://b.example:8080"]`:   true,
		` [ "https://a.example","http://b.example:8080"] `: true,
		`["https://a.example"`:                             false,
		`["https://a.example", 7]`:                         false,
		`{"a":1}`:                                          false,
		`["a.example"]`:                                    false,
	} {
		s, err := parse(nil, func(name string) string {
			return map[string]string{"WFM_EXTRA_ALLOWED_ORIGINS": value}[name]
		}, &bytes.Buffer{})
		if (err == nil) != ok || (ok && !slices.Equal(s.ExtraAllowedOrigins, want)) {
			t.Errorf("%s: %q, %v", value, s.ExtraAllowedOrigins, err)
		}
	}
	for _, none := range []string{"", "[]", " , "} {
		s, err := parse(nil, func(name string) string { return map[string]string{"WFM_EXTRA_ALLOWED_ORIGINS": none}[name] }, &bytes.Buffer{})
		if err != nil || s.ExtraAllowedOrigins != nil {
			t.Errorf("%q: %q, %v", none, s.ExtraAllowedOrigins, err)
		}
	}
}

func TestTheAccountAtEMQXServesForItsAPI(t *testing.T) {
	env := map[string]string{
		"WFM_MQTT_URL": "mqtt://emqx:1883", "WFM_EMQX_API_BASE_URL": "http://emqx:18083",
		"WFM_EMQX_USERNAME": "admin", "WFM_EMQX_PASSWORD": "public-password",
	}
	get := func(name string) string { return env[name] }
	s, err := parse(nil, get, &bytes.Buffer{})
	if err != nil || s.EMQX.APIKey != "admin" || s.EMQX.APISecret != "public-password" {
		t.Fatalf("%+v, %v", s.EMQX, err)
	}
	env["WFM_EMQX_API_KEY"] = "key"
	if _, err := parse(nil, get, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "WFM_EMQX_API_SECRET") {
		t.Errorf("half a key: %v", err)
	}
	env["WFM_EMQX_API_SECRET"] = "secret"
	if s, err := parse(nil, get, &bytes.Buffer{}); err != nil || s.EMQX.APIKey != "key" || s.EMQX.APISecret != "secret" {
		t.Errorf("a key of its own: %+v, %v", s.EMQX, err)
	}
	delete(env, "WFM_MQTT_URL")
	if s, err := parse(nil, get, &bytes.Buffer{}); err != nil || s.EMQX != nil || len(s.warnings) != 1 {
		t.Errorf("without a URL: %+v, %v", s, err)
	}
}

func TestAuditVerifyExplainsItself(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"verify", "--help"}, {"verify", "-h"}, {"verify", "export.jsonl", "--help"}} {
		var out, errs bytes.Buffer
		if code := audit(args, strings.NewReader(""), &out, &errs); code != exitOK || errs.Len() > 0 || !strings.Contains(out.String(), "wfm audit verify [FILE]") {
			t.Errorf("%v: %d %q %q", args, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := audit([]string{"verify", "--nope"}, strings.NewReader(""), &out, &errs); code != exitUsage || out.Len() > 0 {
		t.Errorf("an unknown flag: %d %q", code, out.String())
	}
}

func TestMissingRightsAreToldOfTheDirectoryOrThePort(t *testing.T) {
	dir := fmt.Errorf("open /data/wfm.db: %w", &fs.PathError{Op: "open", Path: "/data/wfm.db", Err: syscall.EACCES})
	if text := advise(dir); !strings.Contains(text, "another directory with --data-dir") || strings.Contains(text, "port") {
		t.Error(text)
	}
	port := fmt.Errorf("listen: %w", &net.OpError{Op: "listen", Err: syscall.EACCES})
	if text := advise(port); !strings.Contains(text, "another port") || strings.Contains(text, "directory") {
		t.Error(text)
	}
}
