package agentcmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"wfm/cmd/internal/agentcmd"
	"wfm/protocol"
)

const token = "one-time-token-nobody-may-see"

func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = agentcmd.Run(t.Context(), "wfm-agent", args, strings.NewReader(stdin), &out, &errs)
	if strings.Contains(out.String()+errs.String(), token) || strings.Contains(out.String()+errs.String(), "mqtt-pass") {
		t.Errorf("%v prints a secret", args)
	}
	return code, out.String(), errs.String()
}

// server returns the address of a server that binds with the right token and refuses all others.
func server(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in protocol.BindRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Token != token {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"success":false,"error":{"code":"CLIENT_BIND_TOKEN_INVALID","message":"This token is not valid: ask for a new one."}}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "data": protocol.BindResponse{
			Profile: protocol.BindProfile{
				ProfileID: "cfg_a-node_b", ConfigID: "cfg_a", ConfigName: "mesh", NodeID: "node_b", NodeName: "bee\x1b[2J", InterfaceName: "wg0",
			},
			MQTT: protocol.BindMQTT{Host: "127.0.0.1", Port: 1, Username: "node_b", Password: "mqtt-pass", ClientID: "wfm-node_b"},
		}})
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestLifeOfAProfile(t *testing.T) {
	t.Setenv("WFM_AGENT_DIR", t.TempDir())
	url := server(t)
	if code, out, errs := run(t, "", "list"); code != 0 || out != "" || !strings.Contains(errs, "wfm-agent bind") {
		t.Fatalf("%d %q %q", code, out, errs)
	}
	code, out, errs := run(t, "", "bind", "--server", url, "--token", "wrong")
	if code != 1 || out != "" || errs != "wfm-agent bind: This token is not valid: ask for a new one.\n" {
		t.Fatalf("%d %q %q", code, out, errs)
	}
	code, out, errs = run(t, token+"\n", "bind", "--server", url, "--token", "-")
	if code != 0 || errs != "" || !strings.Contains(out, "node_b") || strings.Contains(out, "\x1b") {
		t.Fatalf("%d %q %q", code, out, errs)
	}
	if code, out, _ := run(t, "", "list"); code != 0 || !strings.Contains(out, "cfg_a-node_b") || !strings.Contains(out, url) {
		t.Fatalf("%d %q", code, out)
	}
	if code, _, errs := run(t, "", "unbind", "node_z"); code != 1 || !strings.Contains(errs, "wfm-agent list") {
		t.Fatalf("%d %q", code, errs)
	}
	if code, out, _ := run(t, "", "unbind", "node_b"); code != 0 || !strings.Contains(out, "cfg_a-node_b") {
		t.Fatalf("%d %q", code, out)
	}
	if code, out, _ := run(t, "", "list"); code != 0 || out != "" {
		t.Fatalf("%d %q", code, out)
	}
}

func TestCallsThatAreNotUnderstood(t *testing.T) {
	t.Setenv("WFM_AGENT_DIR", t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "Usage:"},
		{[]string{"bnid"}, "`wfm-agent help`"},
		{[]string{"help", "bnid"}, "`wfm-agent help`"},
		{[]string{"bind"}, "--server and --token are needed"},
		{[]string{"bind", "--sever", "x"}, "see `wfm-agent bind --help`"},
		{[]string{"unbind"}, "a profile or node is needed"},
		{[]string{"restore", "node_b"}, "a profile or node is needed, and on or off"},
		{[]string{"restore", "node_b", "maybe"}, "a profile or node is needed, and on or off"},
		{[]string{"unbind", "a", "b"}, `unexpected argument "b"`},
		{[]string{"list", "x"}, `unexpected argument "x"`},
	} {
		code, out, errs := run(t, "", c.args...)
		if code != 2 || out != "" || !strings.Contains(errs, c.want) || (c.args != nil && strings.Count(errs, "\n") != 1) {
			t.Errorf("%v: %d %q %q", c.args, code, out, errs)
		}
	}
	t.Setenv("WFM_AGENT_LOG_LEVEL", "loud")
	if code, _, errs := run(t, "", "run"); code != 2 || !strings.Contains(errs, "WFM_AGENT_LOG_LEVEL") {
		t.Errorf("%d %q", code, errs)
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	_, overview, _ := run(t, "", "help")
	for _, name := range []string{"bind", "run", "list", "unbind", "restore", "version"} {
		if !strings.Contains(overview, "wfm-agent "+name) {
			t.Errorf("help does not name %s", name)
		}
		for _, args := range [][]string{{name, "--help"}, {name, "-h"}, {"help", name}} {
			code, out, errs := run(t, "", args...)
			if code != 0 || errs != "" || !strings.Contains(out, "Examples:\n  wfm-agent "+name) {
				t.Errorf("%v: %d %q %q", args, code, out, errs)
			}
		}
	}
	if !strings.Contains(overview, "WFM_AGENT_DIR") || !strings.Contains(overview, "WFM_AGENT_LOG_LEVEL") {
		t.Error("help does not name the environment")
	}
}

func TestOperandsAndFlagsComeInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	code, _, errs := run(t, "", "unbind", "node_x", "--dir", dir)
	if code != 1 || !strings.Contains(errs, `"node_x"`) {
		t.Fatalf("%d %q", code, errs)
	}
}

func TestRunWaitsForAProfileAndStopsCleanly(t *testing.T) {
	t.Setenv("WFM_AGENT_DIR", t.TempDir())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := make(chan int, 1)
	go func() {
		code <- agentcmd.Run(ctx, "wfm agent", []string{"run"}, strings.NewReader(""), os.Stdout, w)
		_ = w.Close()
	}()
	var log bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(log.String(), "no profile yet") {
		n, err := r.Read(buf)
		log.Write(buf[:n])
		if err != nil {
			t.Fatalf("ended early: %s", log.String())
		}
	}
	cancel()
	if got := <-code; got != 0 {
		t.Fatalf("exit code %d after a clean stop", got)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if code, out, _ := run(t, "", arg); code != 0 || !strings.HasPrefix(out, "wfm-agent ") {
			t.Errorf("%s: %d %q", arg, code, out)
		}
	}
}

func TestAMisspeltVariableIsNamedWithTheOneThatWasMeant(t *testing.T) {
	t.Setenv("WFM_AGENT_DIR", t.TempDir())
	t.Setenv("WFM_AGENT_TOOL", "tool_x")
	if code, _, errs := run(t, "", "version"); code != 0 || errs != "" {
		t.Fatalf("%d %q", code, errs)
	}
	t.Setenv("WFM_AGENT_LOGLEVEL", token)
	code, _, errs := run(t, "", "version")
	if want := "wfm-agent: warning: the variable WFM_AGENT_LOGLEVEL is unknown and ignored; did you mean WFM_AGENT_LOG_LEVEL?\n"; code != 0 || errs != want {
		t.Errorf("%d %q", code, errs)
	}
}
