package main

import (
	"fmt"
	"strings"
	"testing"

	"wfm/internal/agenttest"
	"wfm/internal/apptest"
)

// fieldNode is a node of an appliance whose agent stands in for a deployed one.
type fieldNode struct {
	*apptest.Node
	t      *testing.T
	client *agenttest.Client
}

func addDeployed(t *testing.T, a *apptest.Appliance, tunnel, version string) *fieldNode {
	t.Helper()
	configID := a.Must(t, "POST", "/api/v1/configs", map[string]any{
		"name": "office", "virtual_subnet": nil, "tunnel_protocol": tunnel, "awg_version": version,
	})["config_id"].(string)
	d := &fieldNode{t: t, Node: &apptest.Node{Appliance: a, ConfigID: configID}}
	d.ID = a.Must(t, "POST", "/api/v1/configs/"+configID+"/nodes", map[string]any{"name": "router"})["node_id"].(string)
	return d
}

// bind binds the client anew, and waits until it is online.
func (d *fieldNode) bind() (leave func()) {
	d.t.Helper()
	token := d.Must(d.t, "POST", d.Path("bind-command"), nil)["token"].(string)
	var err error
	if d.client, err = agenttest.Bind(d.t, d.URL, token); err != nil {
		d.t.Fatal(err)
	}
	leave = d.client.Run()
	d.Await(d.t, "online")
	return leave
}

func (d *fieldNode) save(text string) {
	d.t.Helper()
	d.Must(d.t, "PUT", d.Path("applied-conf"), map[string]any{"content": text, "stage": false})
}

// saveUnstaged saves a config and leaves the staged one unchanged.
func (d *fieldNode) saveUnstaged(text string) {
	d.t.Helper()
	d.Must(d.t, "PUT", d.Path("applied-conf"), map[string]any{"content": text, "stage": false})
}

// want gives a command and checks its final state, a word of its message, and the tunnel's state
// after it.
func (d *fieldNode) want(action, state, word, tunnel string) {
	d.t.Helper()
	got := d.Control(d.t, action)
	if got["state"] != state || !strings.Contains(fmt.Sprint(got["message"]), word) {
		d.t.Errorf("%s: %v, want %s with %q", action, got, state, word)
	}
	d.wantTunnel(action, tunnel)
}

// wantTunnel waits until the appliance knows the tunnel's state: after a failure it asks for it.
func (d *fieldNode) wantTunnel(after, tunnel string) {
	d.t.Helper()
	var last apptest.Answer
	apptest.Eventually(d.t, func() bool {
		last = d.Call(d.t, "GET", d.Path("endpoint/status"), nil)
		data, _ := last.Data.(map[string]any)
		runtime, _ := data["runtime"].(map[string]any)
		return runtime["wg_runtime_state"] == tunnel
	}, func() string { return fmt.Sprintf("after %s the tunnel is never %s: %s", after, tunnel, last.Body) })
}

const plainConf = `[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.9.0.2/32
`

// The life of a node with a deployed agent, for each spelling of the tunnel's protocol.
func TestADeployedAgentIsDrivenByTheAppliance(t *testing.T) {
	for _, tc := range []struct{ tunnel, version, tools, lines string }{
		{"wireguard", "", "wg", ""},
		{"amneziawg", "", "awg", "Jc = 4\nJmin = 40\nJmax = 70\n"},
		{"amneziawg_2", "2.0", "awg", "Jc = 4\nJmin = 40\nJmax = 70\n"},
	} {
		t.Run(tc.tunnel, func(t *testing.T) {
			t.Parallel()
			d := addDeployed(t, apptest.Start(t, ""), tc.tunnel, tc.version)
			text := plainConf + tc.lines
			d.bind()
			if stored := d.client.Stored(); stored != "" {
				t.Fatalf("bound with %q", stored)
			}
			d.Refused(t, "NO_CONFIRMED_CONFIG", "POST", d.Path("endpoint/control"), map[string]any{"action": "start"})
			d.Refused(t, "AGENT_CANNOT_DESCRIBE", "POST", d.Path("endpoint/control"), map[string]any{"action": "describe"})
			d.want("wg_show", "failed", "returned no interfaces", "stopped")

			d.save(text)
			d.Must(t, "POST", d.Path("sync"), nil)
			d.want("push_config", "applied", "Config applied.", "stopped")
			if d.client.Stored() != text || d.client.Running() != "" {
				t.Errorf("stored %q, running %q", d.client.Stored(), d.client.Running())
			}
			d.want("start", "applied", "Command applied.", "running")
			if d.client.Running() != tc.tools {
				t.Errorf("started with the tools of %q", d.client.Running())
			}
			d.want("start", "failed", "already exists", "running")
			d.want("wg_show", "applied", tc.tools+" completed.", "running")
			d.want("detect", "applied", "Detect completed.", "running")

			d.save(text + "PostUp = false\n")
			d.Must(t, "POST", d.Path("sync"), nil)
			d.want("push_config", "failed", "restart interface after config update failed", "stopped")
			d.want("stop", "failed", "is not a WireGuard interface", "stopped") // otherwise the appliance would start it again
			d.save(text)
			d.Must(t, "POST", d.Path("sync"), nil)
			d.want("push_config", "applied", "Config applied.", "stopped")
			d.want("start", "applied", "Command applied.", "running")
			d.want("stop", "applied", "Command applied.", "stopped")
			d.want("stop", "failed", "is not a WireGuard interface", "stopped")

			if v := d.client.Violations(); len(v) != 0 {
				t.Errorf("faults of the messages: %q", v)
			}
			d.Must(t, "POST", d.Path("reset-client"), nil)
			apptest.Eventually(t, func() bool { return d.client.Refused() > 2 }, func() string { return "the old credentials still work" })
			status := d.Must(t, "GET", d.Path("endpoint/status"), nil)
			if runtime := status["runtime"].(map[string]any); runtime["connectivity_state"] != "offline" {
				t.Errorf("after the reset: %v", runtime)
			}
			d.Refused(t, "CLIENT_NOT_INITIALIZED", "POST", d.Path("endpoint/control"), map[string]any{"action": "start"})
		})
	}
}

func TestABindAnewLeavesADeployedAgentWithAConfigItCanStart(t *testing.T) {
	t.Parallel()
	d := addDeployed(t, apptest.Start(t, ""), "wireguard", "")
	d.saveUnstaged(plainConf)
	leave := d.bind()
	if d.client.Stored() != plainConf {
		t.Fatalf("bound with %q", d.client.Stored())
	}
	d.want("start", "applied", "Command applied.", "running") // the node has a config now
	leave()
	d.bind()
	if d.client.Stored() != plainConf {
		t.Fatalf("bound again with %q", d.client.Stored())
	}
	d.Must(t, "POST", d.Path("sync"), nil)
	d.want("push_config", "applied", "Config applied.", "stopped")
	d.saveUnstaged(plainConf + "MTU = 1400\n")
	d.bind() // while it is connected
	if d.client.Stored() != plainConf {
		t.Fatalf("bound again with %q, want what is staged", d.client.Stored())
	}
	if v := d.client.Violations(); len(v) != 0 {
		t.Errorf("faults of the messages: %q", v)
	}
}
