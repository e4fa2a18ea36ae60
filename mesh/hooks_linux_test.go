package mesh_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// inNamespace runs the test once more as root in network and mount namespaces of its own, and reports
// whether this is that run.
func inNamespace(t *testing.T, tools ...string) bool {
	t.Helper()
	apptest.Need(t, append(tools, "ip", "unshare", "nsenter", "sysctl", "bash")...)
	if os.Getenv("WFM_MESH_NAMESPACE") != "" {
		return true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("WFM_CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, for network namespaces")
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "sh", "-c",
		`mount -t tmpfs tmpfs /run && ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "WFM_MESH_NAMESPACE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// in returns a command that runs in a namespace of the test.
func in(t *testing.T, namespace, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=/run/netns/" + namespace, name}, args...)...)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// buildNetwork makes the branch, a peer that it has in the tunnel, and a host in the network behind
// it. The host knows no way to the tunnel. A pair of interfaces stands for the tunnel.
func buildNetwork(t *testing.T) {
	t.Helper()
	output(t, exec.CommandContext(t.Context(), "bash", "-ec", `
		for n in branch peer host; do ip netns add $n; ip -n $n link set lo up; done
		ip -n branch link add wg0 type veth peer name eth0 netns peer
		ip -n branch link add lan0 type veth peer name eth0 netns host
		on() { ip -n $1 address add $3 dev $2 nodad; }
		on branch wg0 10.66.0.2/24; on branch wg0 fd00:66::2/64; on branch lan0 192.168.7.1/24; on branch lan0 fd00:7::1/64
		on peer eth0 10.66.0.3/24; on peer eth0 fd00:66::3/64; on host eth0 192.168.7.9/24; on host eth0 fd00:7::9/64
		ip -n branch link set wg0 up; ip -n branch link set lan0 up; ip -n peer link set eth0 up; ip -n host link set eth0 up
		ip -n peer route add 192.168.7.0/24 via 10.66.0.2
		ip -n peer route add fd00:7::/64 via fd00:66::2`))
	for _, namespace := range []string{"branch", "peer", "host"} { // on the newest kernels a new namespace takes the machine's settings
		output(t, in(t, namespace, "sysctl", "-q", "-w", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"))
	}
}

// quick runs hooks in the branch's namespace, as wg-quick does for the interface.
func quick(t *testing.T, path, iface string, hooks []string) {
	t.Helper()
	for _, hook := range hooks {
		cmd := in(t, "branch", "bash", "-c", `set -e -o pipefail; shopt -s extglob; (eval "$0")`, strings.ReplaceAll(hook, "%i", iface))
		cmd.Env = append(os.Environ(), "PATH="+path)
		output(t, cmd)
	}
}

// state is all of the branch that hooks may change. With iptables, nft shows chains too that are built
// in and empty.
func state(t *testing.T, firewall string) string {
	t.Helper()
	s := output(t, in(t, "branch", "bash", "-c",
		`sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding; grep . /proc/sys/net/ipv6/conf/*/accept_ra; ls -A /run`))
	if firewall == "nft" {
		return s + output(t, in(t, "branch", "nft", "list", "ruleset"))
	}
	for _, tool := range []string{"iptables", "ip6tables"} {
		s += output(t, in(t, "branch", tool, "-t", "nat", "-S"))
	}
	return s
}

func TestHelperThatServesOrDials(t *testing.T) {
	job, network, found := strings.Cut(os.Getenv("WFM_MESH_HELPER"), " ")
	if !found {
		t.Skip("not a helper")
	}
	network, address, _ := strings.Cut(network, " ")
	switch {
	case job == "dial":
		c, err := (&net.Dialer{}).DialContext(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(c, "hello")
		answer, err := bufio.NewReader(c).ReadString('\n')
		fmt.Printf("seen as %s, %v\n", answer, err)
	case network == "udp":
		c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		for b := make([]byte, 100); ; {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = c.WriteTo([]byte(host+"\n"), from)
		}
	default:
		l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintln(c, host)
		}
	}
}

// helper returns a command that does the job in the namespace; see TestHelperThatServesOrDials.
func helper(t *testing.T, namespace, job, network, address string) *exec.Cmd {
	t.Helper()
	cmd := in(t, namespace, os.Args[0], "-test.run=^TestHelperThatServesOrDials$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("WFM_MESH_HELPER=%s %s %s", job, network, address))
	return cmd
}

// serve answers everyone with the address that they come from, until the test ends.
func serve(t *testing.T, namespace, network, address string) {
	t.Helper()
	cmd := helper(t, namespace, "serve", network, address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the server in %s at %s says %q, %v", namespace, address, line, err)
	}
}

// seenAs returns the address under which the server sees the one that dials.
func seenAs(t *testing.T, namespace, network, address string) string {
	t.Helper()
	out := output(t, helper(t, namespace, "dial", network, address))
	_, after, _ := strings.Cut(out, "seen as ")
	seen, _, _ := strings.Cut(after, "\n")
	return seen
}

func TestHooksDoWhatTheySayAndUndoItExactlyWithNft(t *testing.T) {
	if inNamespace(t, "nft") {
		testHooks(t, os.Getenv("PATH"), "nft")
	}
}

func TestHooksDoWhatTheySayAndUndoItExactlyWithIptables(t *testing.T) {
	for _, tool := range []string{"iptables", "ip6tables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	if !inNamespace(t) {
		return
	}
	// A PATH without nft.
	dir := t.TempDir()
	for _, tool := range []string{"bash", "iptables", "ip6tables", "sysctl", "mkdir", "touch", "ls", "rm", "cat", "nsenter"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	testHooks(t, dir, "iptables")
}

func testHooks(t *testing.T, path, firewall string) {
	t.Helper()
	buildNetwork(t)
	output(t, in(t, "branch", "bash", "-c", "echo 1 >/proc/sys/net/ipv6/conf/lan0/accept_ra; echo 0 >/proc/sys/net/ipv6/conf/wg0/accept_ra"))
	hooks := managed(t, branch(t), "branch")
	before := state(t, firewall)

	quick(t, path, "wg0", hooks["PostUp"])
	once := state(t, firewall)
	if before == once || !strings.Contains(once, "lan0/accept_ra:2") || !strings.Contains(once, "wg0/accept_ra:0") {
		t.Errorf("up made of\n%s\n\n%s", before, once)
	}
	quick(t, path, "wg0", hooks["PostUp"])
	if twice := state(t, firewall); twice != once {
		t.Errorf("the second up changed\n%s\n\nto\n\n%s", once, twice)
	}
	serve(t, "host", "tcp", "192.168.7.9:80")
	serve(t, "host", "tcp", "[fd00:7::9]:80")
	serve(t, "peer", "tcp", "10.66.0.3:80")
	serve(t, "peer", "udp", "10.66.0.3:80")
	serve(t, "peer", "tcp", "[fd00:66::3]:80")
	for _, tt := range []struct{ from, network, address, want string }{
		{"peer", "tcp", "192.168.7.9:80", "192.168.7.1"}, // masqueraded, or the host could not answer
		{"peer", "tcp", "[fd00:7::9]:80", "fd00:7::1"},
		{"host", "tcp", "192.168.7.1:8080", "10.66.0.2"}, // forwarded
		{"host", "udp", "192.168.7.1:8080", "10.66.0.2"},
		{"host", "tcp", "[fd00:7::1]:8080", "fd00:66::2"},
	} {
		if got := seenAs(t, tt.from, tt.network, tt.address); got != tt.want {
			t.Errorf("the %s that dials %s %s is seen as %s, want %s", tt.from, tt.network, tt.address, got, tt.want)
		}
	}
	quick(t, path, "wg0", hooks["PostDown"])
	if after := state(t, firewall); after != before {
		t.Errorf("down left\n%s\n\nwant\n%s", after, before)
	}
	quick(t, path, "wg0", hooks["PostDown"])
	if after := state(t, firewall); after != before {
		t.Errorf("the second down left\n%s\n\nwant\n%s", after, before)
	}
	testSharedForwarding(t, path)
}

// testSharedForwarding takes two tunnels up and down in each order, on a machine that forwards and one
// that does not.
func testSharedForwarding(t *testing.T, path string) {
	t.Helper()
	w := branch(t)
	gate := managed(t, w, "gate")
	for _, was := range []string{"0", "1"} {
		for _, order := range [][]string{{"wg0", "wg1"}, {"wg1", "wg0"}} {
			output(t, in(t, "branch", "sysctl", "-q", "-w", "net.ipv4.ip_forward="+was, "net.ipv6.conf.all.forwarding="+was))
			quick(t, path, "wg0", gate["PostUp"])
			quick(t, path, "wg1", gate["PostUp"])
			for i, iface := range order {
				quick(t, path, iface, gate["PostDown"])
				want := was
				if i == 0 {
					want = "1"
				}
				got := strings.Fields(output(t, in(t, "branch", "sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")))
				if !slices.Equal(got, []string{want, want}) {
					t.Errorf("forwarding was %s; after %v of %v went down it is %v, want %s", was, order[:i+1], order, got, want)
				}
			}
		}
	}
}
