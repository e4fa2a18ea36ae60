package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// memoryGroup makes a cgroup with the memory limit bytes and returns the file to which a joining
// process writes its pid. It skips the test if the system does not allow that.
func memoryGroup(t *testing.T, bytes int) (procs string) {
	t.Helper()
	for _, tc := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(tc.root, fmt.Sprintf("wfm-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, tc.limit), fmt.Append(nil, bytes), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("no cgroup can be made here")
	return ""
}

func TestManyLoginsFitIntoACgroupOf64MB(t *testing.T) {
	procs := memoryGroup(t, 64<<20)
	a := apptest.Appliance{Client: http.DefaultClient}
	addr := net.JoinHostPort("127.0.0.1", apptest.FreePort(t))
	a.URL = "http://" + addr
	a.Process = apptest.Spawn(t, []string{
		"WFM_DATA_DIR=" + t.TempDir(), "WFM_HTTP_ADDR=" + addr, "WFM_MQTT_ADDR=127.0.0.1:0", "WFM_ADMIN_PASSWORD=" + apptest.Password,
	}, "bash", "-c", `echo $$ > "$0" && exec "$1" serve`, procs, apptest.Binary("wfm"))
	if line := a.Expect(t, "memory limit"); !strings.Contains(line, "cgroup_bytes=67108864") || !strings.Contains(line, "runtime_bytes=46976204") {
		t.Errorf("the log: %s", line)
	}
	a.Expect(t, "data ")
	login := map[string]any{"username": "admin", "password": apptest.Password}
	a.Token = a.Must(t, "POST", "/api/v1/auth/login", login)["access_token"].(string)
	cfg := a.AddConfig(t, "home")
	a.AddNode(t, cfg, "a", "wg0")
	for range 25 {
		a.Must(t, "POST", "/api/v1/auth/login", login)
	}
	a.Stop(t)
}

func TestMemoryLimitOfTheEnvironmentWins(t *testing.T) {
	procs := memoryGroup(t, 256<<20)
	p := apptest.Spawn(t, []string{"GOMEMLIMIT=100MiB", "WFM_DATA_DIR=" + t.TempDir(), "WFM_HTTP_ADDR=127.0.0.1:0", "WFM_MQTT_ADDR=127.0.0.1:0"},
		"bash", "-c", `echo $$ > "$0" && exec "$1" serve`, procs, apptest.Binary("wfm"))
	p.Expect(t, "setup link")
	if strings.Contains(p.Output(), "memory limit") {
		t.Errorf("another limit was set:\n%s", p.Output())
	}
	p.Kill()
}
