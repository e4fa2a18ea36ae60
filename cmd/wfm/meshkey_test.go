package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// TestKeysThatStayOnTheirNodes follows the keys of two nodes through rotations, restarts and a loss, with
// real agents and tunnels.
func TestKeysThatStayOnTheirNodes(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ip", "ping", "sh")
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		if os.Getenv("WFM_CI") != "" {
			t.Fatal("needs /dev/net/tun")
		}
		t.Skip("needs /dev/net/tun")
	}
	network := apptest.NewNetwork(t)
	s := &meshSite{t: t, network: network, gate: network.Add(t).Boot(t), amsterdam: network.Add(t).Boot(t), began: time.Now()}
	s.berlin, s.phone = s.amsterdam, s.amsterdam // which s.ping shows after a failure
	s.Appliance = apptest.Start(t, "", "WFM_HTTP_ADDR="+network.HostIP+":18000", "WFM_MQTT_ADDR="+network.HostIP+":11883")
	s.configID = s.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "keys", "virtual_subnet": "10.79.0.0/24"})["config_id"].(string)
	gate := s.add(s.gate, "gate", map[string]any{"ipv4_address": s.gate.IP, "interface_name": apptest.Interface()})
	leaf := s.add(s.amsterdam, "leaf", map[string]any{"interface_name": apptest.Interface()})
	k := keySite{meshSite: s, nodes: []*member{gate, leaf}, agents: map[*member]*apptest.Process{}, seen: map[string]bool{}}
	s.Must(t, "POST", s.path("mesh/quick-generate"), map[string]any{"mode": "hub_spoke"})

	s.step("the nodes hold their keys from the bind on")
	for _, n := range k.nodes {
		k.bind(n)
		apptest.Eventually(t, func() bool {
			v := k.node(n)
			return v["key_holder"] == "node" && v["private_key"] == nil && v["public_key"] == k.keys(n)[0]
		}, func() string { return fmt.Sprintf("%s: %v; its agent has %q", n.name, k.node(n), k.keys(n)) })
	}
	s.apply(nil)
	s.start(gate, leaf)
	k.check()

	s.step("each gets a new key, which is applied at once")
	for _, n := range k.nodes {
		before := k.node(n)["public_key"]
		got := n.Must(t, "POST", n.Path("rotate-key"), map[string]any{"apply": true})
		if got["status"] != "done" || got["previous_public_key"] != before || got["public_key"] == before {
			t.Errorf("%s: %v", n.name, got)
		}
		s.awaitRollout(got["rollout_id"].(string))
		k.check()
	}

	s.step("a new key that is not applied yet outlives a power cut of the node, and the former one is in use")
	former := k.node(leaf)["public_key"]
	next := leaf.Must(t, "POST", leaf.Path("rotate-key"), nil)["public_key"]
	k.agents[leaf].Kill()
	s.inside(leaf.Machine, "ip", "link", "delete", "dev", leaf.Interface)
	k.run(leaf)
	awaitEvents(t, leaf.Node, "tunnel_restored", 1)
	if used := k.used(leaf); used != former || k.node(leaf)["public_key"] != next {
		t.Errorf("after the power cut %v is in use, want %v; the appliance knows %v, want %v", used, former, k.node(leaf)["public_key"], next)
	}
	s.pingEachOther(gate, leaf)
	s.apply(nil)
	k.check()

	s.step("a node that lost its key tells its new one")
	k.agents[leaf].Kill()
	if err := os.Remove(k.file(leaf)); err != nil {
		t.Fatal(err)
	}
	k.run(leaf)
	awaitEvents(t, leaf.Node, "node_key", 4) // the bind, two rotations, and this one
	s.pingEachOther(gate, leaf)              // the tunnel runs on
	s.apply(nil)
	k.check()

	s.step("an appliance that holds the key again gets a new one")
	if v := s.Must(t, "PUT", "/api/v1/nodes/"+leaf.ID, map[string]any{"key_holder": "appliance"}); v["private_key"] == nil {
		t.Errorf("%v", v)
	}
	s.apply(nil)
	s.pingEachOther(gate, leaf)
	s.Must(t, "PUT", "/api/v1/nodes/"+leaf.ID, map[string]any{"key_holder": "node"})
	s.apply(nil)
	k.check()
	s.step("done")
}

// keySite is a mesh whose nodes hold their keys.
type keySite struct {
	*meshSite
	nodes  []*member
	agents map[*member]*apptest.Process
	seen   map[string]bool // private keys, also former ones
}

// bind binds an agent to the node and runs it.
func (k *keySite) bind(n *member) {
	k.t.Helper()
	token := n.Must(k.t, "POST", n.Path("bind-command"), nil)["token"].(string)
	k.inside(n.Machine, apptest.Binary("wfm-agent"), "bind", "--dir", n.AgentDir, "--server", k.URL, "--token", token)
	k.run(n)
}

func (k *keySite) run(n *member) {
	k.t.Helper()
	k.agents[n] = n.Spawn(k.t, nil, apptest.Binary("wfm-agent"), "run", "--dir", n.AgentDir)
	k.agents[n].Expect(k.t, "msg=connected")
	n.Await(k.t, "online")
}

func (k *keySite) node(n *member) map[string]any {
	k.t.Helper()
	return k.Must(k.t, "GET", "/api/v1/nodes/"+n.ID, nil)
}

// file is where the node's agent keeps its keys.
func (k *keySite) file(n *member) string {
	return filepath.Join(n.AgentDir, "profiles", k.configID+"-"+n.ID+".key")
}

// keys returns the public keys of the node's agent, newest first, and remembers the private ones.
func (k *keySite) keys(n *member) (public []string) {
	k.t.Helper()
	data, err := os.ReadFile(k.file(n))
	var f struct {
		PrivateKeys []string `json:"private_keys"`
	}
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil || len(f.PrivateKeys) == 0 {
		k.t.Fatalf("keys of %s: %d, %v", n.name, len(f.PrivateKeys), err)
	}
	for _, private := range f.PrivateKeys {
		k.seen[private] = true
		out := k.inside(n.Machine, "sh", "-c", "echo '"+private+"' | wg pubkey")
		public = append([]string{strings.TrimSpace(out)}, public...)
	}
	return public
}

// used returns the public key with which the node's tunnel runs.
func (k *keySite) used(n *member) any {
	k.t.Helper()
	return strings.TrimSpace(k.inside(n.Machine, "wg", "show", n.Interface, "public-key"))
}

// check checks that the nodes reach each other with the keys that the appliance knows, that each node
// has that key only, and that no file has a private key but those of the agents' keys.
func (k *keySite) check() {
	k.t.Helper()
	k.pingEachOther(k.nodes...)
	for _, n := range k.nodes {
		known, keys := k.node(n)["public_key"], k.keys(n)
		if used := k.used(n); used != known || len(keys) != 1 || keys[0] != known {
			k.t.Errorf("%s runs with %v; the appliance knows %v, and the agent has %q", n.name, used, known, keys)
		}
		if text := n.Must(k.t, "GET", n.Path("sync-status"), nil); text["status"] != "latest" {
			k.t.Errorf("%s: %v", n.name, text)
		}
	}
	for _, dir := range []string{k.Dir, k.nodes[0].AgentDir, k.nodes[1].AgentDir} {
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // a file that was being replaced
				return nil
			}
			if err != nil || !d.Type().IsRegular() || filepath.Ext(path) == ".key" {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			for private := range k.seen {
				raw, _ := base64.StdEncoding.DecodeString(private)
				if strings.Contains(string(data), private) || strings.Contains(string(data), string(raw)) {
					k.t.Errorf("%s has the private key of a node", path)
				}
			}
			return err
		}); err != nil {
			k.t.Error(err)
		}
	}
	for private := range k.seen {
		if strings.Contains(k.Output(), private) || strings.Contains(k.agents[k.nodes[0]].Output()+k.agents[k.nodes[1]].Output(), private) {
			k.t.Error("a log has the private key of a node")
		}
	}
}
