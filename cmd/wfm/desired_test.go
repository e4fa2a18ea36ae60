package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wfm/internal/apptest"
)

// site is a node in a network namespace of its own, on the same network as the appliance.
type site struct {
	*apptest.Node
	*apptest.Netns
	network         *apptest.Network
	private, public string // keys of its tunnel
	agent           *apptest.Process
}

// addSite makes the namespace of a node and binds the agent.
func addSite(t *testing.T, network *apptest.Network, a *apptest.Appliance, cfg, name string) *site {
	t.Helper()
	s := &site{Netns: network.Add(t), network: network}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.private = base64.StdEncoding.EncodeToString(key.Bytes())
	s.public = base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
	s.Node = a.AddNode(t, cfg, name, apptest.Interface())
	t.Cleanup(func() { apptest.Run(t, "ip", "-n", s.Name, "link", "del", s.Interface) })
	s.run(t)
	return s
}

// run starts the node's agent in its namespace.
func (s *site) run(t *testing.T) {
	t.Helper()
	s.agent = s.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", s.AgentDir)
	s.agent.Expect(t, "msg=connected")
	s.Await(t, "online")
}

// config returns the site's tunnel config with the peer. more are additional lines of its
// [Interface].
func (s *site) config(peer *site, more ...string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s/24\nListenPort = 51820\n%s\n\n[Peer]\nPublicKey = %s\nEndpoint = %s:51820\nAllowedIPs "+
		"= %s/32\n",
		s.private, s.inner(), strings.Join(more, "\n"), peer.public, peer.IP, peer.inner())
}

// inner returns the site's address in the tunnel.
func (s *site) inner() string { return strings.Replace(s.IP, "10.77.", "10.88.", 1) }

func (s *site) ping(t *testing.T, peer *site) {
	t.Helper()
	if out, code := s.Run(t, "ping", "-c", "1", "-w", "15", peer.inner()); code != 0 {
		t.Fatalf("no answer through the tunnel: %s", out)
	}
}

// save saves and stages a config.
func (s *site) save(t *testing.T, config string) {
	t.Helper()
	s.Must(t, "PUT", s.Path("applied-conf"), map[string]any{"content": config})
	s.Must(t, "POST", s.Path("sync"), nil)
}

// push pushes the staged config and checks the final state.
func (s *site) push(t *testing.T, state string) map[string]any {
	t.Helper()
	got := s.Must(t, "POST", s.Path("endpoint/control"), map[string]any{"action": "push_config", "wait": 60})
	if got["state"] != state {
		t.Fatalf("push: %v, want %s", got, state)
	}
	return got
}

func (s *site) wantSync(t *testing.T, status string, desired, confirmed int) {
	t.Helper()
	got := s.Must(t, "GET", s.Path("sync-status"), nil)
	if got["status"] != status || got["desired_version"] != float64(desired) || got["confirmed_version"] != float64(confirmed) {
		t.Errorf("sync status %v, want %s with version %d desired and %d confirmed", got, status, desired, confirmed)
	}
}

// twoSites returns two sites that are bound to a running appliance and online.
func twoSites(t *testing.T) (a *apptest.Appliance, cfg string, north, south *site) {
	t.Helper()
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ping")
	network := apptest.NewNetwork(t)
	a = apptest.Start(t, "", "WFM_HTTP_ADDR="+network.HostIP+":18000", "WFM_MQTT_ADDR="+network.HostIP+":11883")
	cfg = a.AddConfig(t, "home")
	return a, cfg, addSite(t, network, a, cfg, "north"), addSite(t, network, a, cfg, "south")
}

// linkedSites returns two sites whose tunnels run.
func linkedSites(t *testing.T) (north, south *site) {
	t.Helper()
	_, _, north, south = twoSites(t)
	for _, pair := range [][2]*site{{north, south}, {south, north}} {
		pair[0].save(t, pair[0].config(pair[1]))
		pair[0].push(t, "applied")
		if got := pair[0].Control(t, "start"); got["state"] != "applied" {
			t.Fatalf("start: %v", got)
		}
	}
	north.ping(t, south)
	return north, south
}

// The whole way of a tunnel config, with the real agent, the real tools and real tunnels.
func TestTwoSitesArePushedConfigsAndReachEachOther(t *testing.T) {
	t.Parallel()
	a, cfg, north, south := twoSites(t)
	north.Refused(t, "NO_STAGED_CONFIG", "POST", north.Path("endpoint/control"), map[string]any{"action": "push_config"})
	for _, pair := range [][2]*site{{north, south}, {south, north}} {
		pair[0].Must(t, "PUT", pair[0].Path("applied-conf"), map[string]any{"content": pair[0].config(pair[1]), "stage": false})
	}
	if got := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/sync-all", nil); got["synced_count"] != 2.0 || got["failed_count"] != 0.0 {
		t.Fatalf("sync-all: %v", got)
	}
	for _, s := range []*site{north, south} {
		s.wantSync(t, "pending", 1, 0)
		life := s.push(t, "applied")
		s.wantSync(t, "latest", 1, 1)
		if got := s.Control(t, "start"); got["state"] != "applied" {
			t.Fatalf("start: %v", got)
		}
		command := s.Call(t, "GET", "/api/v1/commands/"+life["request_id"].(string), nil).Body
		if strings.Contains(command, s.private) || !strings.Contains(command, "config_sha256") {
			t.Errorf("the command as it is shown: %s", strings.ReplaceAll(command, s.private, "(key)"))
		}
	}
	north.ping(t, south)
	south.ping(t, north)

	// A change of a running tunnel with about the largest possible message: each < takes six bytes.
	north.save(t, north.config(south, "MTU = 1400")+strings.Repeat("#"+strings.Repeat("<", 999)+"\n", 43))
	north.wantSync(t, "pending", 2, 1)
	north.push(t, "applied")
	north.wantSync(t, "latest", 2, 2)
	north.ping(t, south)

	if out := a.Output(); strings.Contains(out, north.private) || strings.Contains(out, south.private) {
		t.Error("the appliance's log holds a private key")
	}
	for _, s := range []*site{north, south} {
		if got := s.Control(t, "stop"); got["state"] != "applied" {
			t.Errorf("stop: %v", got)
		}
	}
}

func TestAConfigThatDoesNotStartFailsAndTheFormerTunnelRunsOn(t *testing.T) {
	t.Parallel()
	north, south := linkedSites(t)
	north.Refused(t, "INVALID_TUNNEL_CONFIG", "PUT", north.Path("applied-conf"),
		map[string]any{"content": strings.Replace(north.config(south), north.private, "not a key", 1)})
	north.Refused(t, "CONFIG_WOULD_CUT_OFF", "PUT", north.Path("applied-conf"),
		map[string]any{"content": strings.Replace(north.config(south), south.inner()+"/32", strings.TrimSuffix(north.network.HostIP, ".1")+".0/24", 1)})
	north.wantSync(t, "latest", 1, 1)

	// Only the node can find out that this one does not start.
	north.save(t, north.config(south, "PostUp = false"))
	got := north.push(t, "failed")
	if message := fmt.Sprint(got["message"]); !strings.HasPrefix(message, "rolled back: ") || !strings.Contains(message, "former config is back") {
		t.Errorf("message: %q", message)
	}
	north.wantSync(t, "pending", 2, 1)
	north.ping(t, south)
	if got := north.Must(t, "POST", north.Path("conf-history/1/restore"), nil); got["status"] != "latest" {
		t.Errorf("the config that runs is desired again: %v", got)
	}
	for _, s := range []*site{north, south} {
		s.Control(t, "stop")
	}
}

func TestAPushWaitsForANodeThatIsAwayAndDriftIsMeasured(t *testing.T) {
	t.Parallel()
	a, _, north, south := twoSites(t)
	north.save(t, north.config(south))
	north.agent.Signal(t, syscall.SIGTERM)
	north.agent.Wait(t, apptest.Patience)
	north.Await(t, "offline")
	control := map[string]any{"action": "push_config"}
	first := north.Must(t, "POST", north.Path("endpoint/control"), control)
	north.save(t, north.config(south, "MTU = 1400"))
	second := north.Must(t, "POST", north.Path("endpoint/control"), control)
	if first["state"] != "queued" || second["state"] != "queued" {
		t.Fatalf("pushes to a node that is away: %v, %v", first, second)
	}
	a.Kill()
	a.Restart(t)
	north.run(t)
	state := func(command map[string]any) any {
		return north.Must(t, "GET", "/api/v1/commands/"+command["request_id"].(string), nil)["state"]
	}
	apptest.Eventually(t, func() bool { return state(second) == "applied" }, func() string { return fmt.Sprint("second push: ", state(second)) })
	if got := state(first); got != "superseded" {
		t.Errorf("first push: %v", got)
	}
	north.wantSync(t, "latest", 2, 2)

	file := filepath.Join(north.AgentDir, "tunnels", north.Interface+".conf")
	if err := os.WriteFile(file, []byte(north.config(south, "MTU = 1380")), 0o600); err != nil {
		t.Fatal(err)
	}
	north.Control(t, "detect")
	north.wantSync(t, "drifted", 2, 2)
	north.push(t, "applied")
	north.Control(t, "detect")
	north.wantSync(t, "latest", 2, 2)
}
