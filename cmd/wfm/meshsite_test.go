package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// enough is the limit for packets to find their way. WireGuard tries a handshake anew every five
// seconds.
const enough = time.Minute

// The network behind amsterdam. The host in it knows no way to the mesh.
var lan4, lan6 = netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd00:7::/64")

// meshSite has everything that a mesh of one's own has: an appliance that all machines reach, a gateway with a
// public address, machines behind routers that hide them, and a host in the network of one of them.
type meshSite struct {
	*apptest.Appliance
	t                                     *testing.T
	network                               *apptest.Network
	host                                  *apptest.Netns   // behind amsterdam
	server                                *apptest.Machine // of the appliance
	gate, amsterdam, berlin, phone, spare *apptest.Machine
	configID                              string
	began                                 time.Time
}

// member is a node with its machine.
type member struct {
	*apptest.Node
	*apptest.Machine
	name   string
	v4, v6 string // in the mesh; "" if it has none
}

func newMeshSite(t *testing.T) *meshSite {
	t.Helper()
	apptest.Need(t, "wg", "wg-quick", "wireguard-go", "ip", "nft", "sysctl", "ping", "curl", "sh")
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		if os.Getenv("WFM_CI") != "" {
			t.Fatal("needs /dev/net/tun")
		}
		t.Skip("needs /dev/net/tun")
	}
	network := apptest.NewNetwork(t)
	s := &meshSite{t: t, network: network, gate: network.Add(t).Boot(t), began: time.Now()}
	behind := func(lan string) *apptest.Machine {
		router := network.Add(t)
		m := router.AddBehind(t, netip.MustParsePrefix(lan)).Boot(t)
		router.Masquerade(t)
		m.IPTool(t, "route", "add", "default", "via", netip.MustParsePrefix(lan).Addr().Next().String())
		return m
	}
	s.amsterdam, s.berlin, s.phone, s.spare = behind("192.168.1.0/24"), behind("192.168.2.0/24"), behind("192.168.3.0/24"), behind("192.168.4.0/24")
	s.host = s.amsterdam.AddBehind(t, lan4)
	port := strings.Fields(s.inside(s.amsterdam, "sh", "-c", "ip -o -4 address show to "+lan4.String()))[1]
	s.amsterdam.IPTool(t, "address", "add", "fd00:7::1/64", "dev", port, "nodad")
	s.host.IPTool(t, "address", "add", "fd00:7::2/64", "dev", "eth0", "nodad")
	// On a machine of its own, the appliance offers no other networks because of other tests' tunnels.
	s.server = network.Add(t).Boot(t)
	s.Appliance = apptest.StartOn(t, s.server, "WFM_HTTP_ADDR="+s.server.IP+":18000", "WFM_MQTT_ADDR="+s.server.IP+":11883")
	return s
}

// step says in the log where the test is.
func (s *meshSite) step(name string) {
	s.t.Helper()
	s.t.Logf("%5.1f s: %s", time.Since(s.began).Seconds(), name)
}

// inside runs a program on the machine that has to succeed, and returns its output.
func (s *meshSite) inside(m *apptest.Machine, name string, args ...string) string {
	s.t.Helper()
	out, code := m.Run(s.t, name, args...)
	if code != 0 {
		s.t.Fatalf("%s on %s: %s", name, m.Name, out)
	}
	return out
}

// path returns a path of the API below the mesh's.
func (s *meshSite) path(of string) string { return "/api/v1/configs/" + s.configID + "/" + of }

// add makes a node with the settings and gives it a machine.
func (s *meshSite) add(m *apptest.Machine, name string, settings map[string]any) *member {
	s.t.Helper()
	body := map[string]any{"name": name}
	maps.Copy(body, settings)
	return s.member(m, s.Must(s.t, "POST", s.path("nodes"), body))
}

// member returns the node of the API's answer.
func (s *meshSite) member(m *apptest.Machine, node map[string]any) *member {
	s.t.Helper()
	address := func(key string) string {
		if node[key] == nil {
			return ""
		}
		p, err := netip.ParsePrefix(fmt.Sprint(node[key]))
		if err != nil {
			s.t.Fatalf("%s of %v: %v", key, node, err)
		}
		return p.Addr().String()
	}
	return &member{
		Machine: m, name: node["name"].(string), v4: address("virtual_ip"), v6: address("virtual_ip6"),
		Node: &apptest.Node{
			Appliance: s.Appliance, ConfigID: s.configID, ID: node["node_id"].(string), Interface: node["interface_name"].(string), AgentDir: s.t.TempDir(),
		},
	}
}

// bindAgent runs the bind command on the node's machine, and its agent from then on.
func (s *meshSite) bindAgent(n *member, command string) {
	s.t.Helper()
	path := filepath.Dir(apptest.Binary("wfm-agent")) + ":" + os.Getenv("PATH")
	if out, code := n.Run(s.t, "env", "PATH="+path, "WFM_AGENT_DIR="+n.AgentDir, "sh", "-c", command); code != 0 {
		s.t.Fatalf("%s on %s: %s", command, n.name, out)
	}
	n.Spawn(s.t, nil, apptest.Binary("wfm-agent"), "run", "--dir", n.AgentDir).Expect(s.t, "msg=connected")
	n.Await(s.t, "online")
}

// apply applies the mesh, as the request says, and waits until each node has its tunnel config.
func (s *meshSite) apply(request any) {
	s.t.Helper()
	s.awaitRollout(s.Must(s.t, "POST", s.path("apply"), request)["rollout_id"].(string))
}

// start starts the tunnels of the nodes.
func (s *meshSite) start(nodes ...*member) {
	s.t.Helper()
	var ids []string
	for _, n := range nodes {
		ids = append(ids, n.ID)
	}
	begun := s.Must(s.t, "POST", s.path("endpoint/control-batch"), map[string]any{"action": "start", "node_ids": ids, "wave_size": len(ids)})
	s.awaitRollout(begun["rollout_id"].(string))
}

// awaitRollout waits until the rollout has ended well.
func (s *meshSite) awaitRollout(id string) {
	s.t.Helper()
	var last apptest.Answer
	within(s.t, enough, func() bool {
		last = s.Call(s.t, "GET", "/api/v1/rollouts/"+id, nil)
		state := last.Data.(map[string]any)["state"]
		return state != "running"
	}, func() string { return "the rollout does not end: " + last.Body })
	r := last.Data.(map[string]any)
	if counts := r["counts"].(map[string]any); r["state"] != "done" || counts["failed"] != 0.0 {
		s.t.Fatalf("the rollout: %s", last.Body)
	}
}

// pingEachOther waits until each of the nodes reaches each other one, with IPv4 and IPv6.
func (s *meshSite) pingEachOther(nodes ...*member) {
	s.t.Helper()
	var pairs []reach
	for _, from := range nodes {
		for _, to := range nodes {
			for _, address := range []string{to.v4, to.v6} {
				if from != to && address != "" {
					pairs = append(pairs, reach{from, to.name, address})
				}
			}
		}
	}
	s.ping(pairs...)
}

// pingHost waits until each of the nodes reaches the host behind amsterdam, with IPv4 and IPv6.
func (s *meshSite) pingHost(nodes ...*member) {
	s.t.Helper()
	var pairs []reach
	for _, from := range nodes {
		pairs = append(pairs, reach{from, "the host behind amsterdam", s.host.IP}, reach{from, "the host behind amsterdam", "fd00:7::2"})
	}
	s.ping(pairs...)
}

// reach is a node and an address that it has to reach.
type reach struct {
	from        *member
	to, address string
}

// ping waits until all of them reach each other.
func (s *meshSite) ping(pairs ...reach) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), enough)
	defer cancel()
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, p := range pairs {
		all.Go(func() {
			for {
				// It ends with the first answer, and earlier if the machine knows no way.
				cmd := exec.CommandContext(ctx, "nsenter", p.from.Command("ping", "-n", "-c", "1", "-i", "0.2", "-w", "5", p.address)...)
				if cmd.Run() == nil {
					return
				}
				if ctx.Err() != nil {
					failed.Store(true)
					s.t.Errorf("%s does not reach %s at %s", p.from.name, p.to, p.address)
					return
				}
			}
		})
	}
	all.Wait()
	if failed.Load() {
		for _, m := range []*apptest.Machine{s.gate, s.amsterdam, s.berlin, s.phone} {
			out, _ := m.Run(s.t, "sh", "-c", "wg show; ip route; ip -6 route")
			s.t.Logf("%s:\n%s", m.Name, out)
		}
		s.t.FailNow()
	}
}

// serviceVariable has the address at which the test's program serves, instead of testing.
const serviceVariable = "WFM_TEST_SERVICE"

// answerAt answers who comes by TCP or UDP with the address that they come from.
func answerAt(address string) error {
	ctx := context.Background()
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	udp, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	go func() {
		b := make([]byte, 100)
		for {
			if _, from, err := udp.ReadFrom(b); err == nil {
				_, _ = udp.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from)
			}
		}
	}()
	for {
		c, err := tcp.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String())
		_ = c.Close()
	}
}

// service runs answerAt on the node's machine.
func (s *meshSite) service(n *member, address string) {
	s.t.Helper()
	n.Spawn(s.t, []string{serviceVariable + "=" + address}, os.Args[0]).Expect(s.t, "serving")
}

// seenFromOutside returns the address under which a service sees a client in the public network.
func (s *meshSite) seenFromOutside(network, address string) (seen string) {
	s.t.Helper()
	problem := error(nil)
	apptest.Eventually(s.t, func() bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(s.t.Context(), network, address)
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second)) // a packet of UDP may be lost
			if network == "udp" {
				_, _ = io.WriteString(c, "hello")
			}
			b := make([]byte, 100)
			var size int
			size, err = c.Read(b)
			seen = string(b[:size])
		}
		problem = err
		return err == nil
	}, func() string { return fmt.Sprintf("%s %s from outside: %v", network, address, problem) })
	return seen
}
