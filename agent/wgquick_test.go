package agent

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"wfm/protocol"
)

// realConfig returns a config for wg-quick. The keys were made for this test.
func realConfig(port int) string {
	return fmt.Sprintf(`[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.99.0.1/24
ListenPort = %d

[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.99.0.2/32
`, port)
}

// needTool skips the test without the tool, except on machines that must have every tool.
func needTool(t *testing.T, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("WFM_CI") != "":
		t.Fatalf("%s is needed here and missing", what)
	default:
		t.Skipf("%s is missing", what)
	}
}

// inOwnNetwork runs the test again inside namespaces of its own, so that it cannot disturb the
// machine's interfaces. It reports whether this is that run.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	needTool(t, os.Geteuid() == 0, "root")
	for _, tool := range []string{"wg", "wg-quick", "ip", "unshare"} {
		_, err := exec.LookPath(tool)
		needTool(t, err == nil, tool)
	}
	if os.Getenv("WFM_TEST_NETNS") != "" {
		needWireGuard(t)
		// The userspace daemon's sockets do not belong to the network namespace: another run has
		// the same names.
		_ = os.MkdirAll("/var/run/wireguard", 0o700)
		if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "none", "/var/run/wireguard").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return true
	}
	t.Parallel() // it waits for its own namespaces only
	probe := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "true")
	needTool(t, probe.Run() == nil, "the right to make a network namespace")
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "WFM_TEST_NETNS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	needTool(t, !strings.Contains(string(out), "--- SKIP"), "WireGuard in the kernel, or wireguard-go and /dev/net/tun")
	if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

func needWireGuard(t *testing.T) {
	t.Helper()
	if exec.CommandContext(t.Context(), "ip", "link", "add", "wfmprobe", "type", "wireguard").Run() == nil {
		_ = exec.CommandContext(t.Context(), "ip", "link", "del", "wfmprobe").Run()
		return
	}
	_, err := exec.LookPath("wireguard-go")
	_, tun := os.Stat("/dev/net/tun")
	if err != nil || tun != nil {
		t.Skip("no WireGuard here")
	}
}

func TestRealWGQuick(t *testing.T) {
	if inOwnNetwork(t) {
		driveRealTools(t)
	}
}

func driveRealTools(t *testing.T) {
	t.Helper()
	iface := fmt.Sprintf("wfmt%d", os.Getpid())
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	tun := newTunnels(dir)
	g, err := newTarget("cfg_a-node_b", "wireguard", "", iface)
	if err != nil {
		t.Fatal(err)
	}
	push := func(text string, version int) protocol.Ack {
		p := pushOf(text, version)
		p.InterfaceName = iface
		return pushTo(t, tun, "cfg_a-node_b", p)
	}
	if ack := push(realConfig(51001), 1); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", iface).Run() }) //nolint:noctx // clean-up has no context left
	confirmed(t, tun)
	expectRunning(t, tun, g, "51001")
	if ack := push(realConfig(51002), 2); ack.Status != protocol.AckApplied || ack.ConfigVersion != 2 {
		t.Fatalf("%+v", ack)
	}
	confirmed(t, tun)
	expectRunning(t, tun, g, "51002")
	broken := strings.Replace(realConfig(51003), "yAnz5TF+", "####", 1)
	ack := push(broken, 3)
	if ack.Status != protocol.AckFailed || !ack.RolledBack || ack.ConfigVersion != 2 || strings.Contains(ack.Message, "lXXJte14") {
		t.Fatalf("%+v", ack)
	}
	t.Logf("ACK of a broken config: %s", ack.Message)
	expectRunning(t, tun, g, "51002")
	if _, err := tun.Stop(t.Context(), "req_1", g); err != nil || systemLink(iface) != linkAbsent {
		t.Fatalf("stop: %v, link %v", err, systemLink(iface))
	}
	if v := tun.toolchain(t.Context())["wg"]; !strings.HasPrefix(v, "v1.") {
		t.Fatalf("version of wg: %q", v)
	}
}

func expectRunning(t *testing.T, tun *tunnels, g target, port string) {
	t.Helper()
	if systemLink(g.iface) != linkUp {
		t.Fatal("the interface is not up")
	}
	res := tun.Show(t.Context(), g)
	out := res.stdout.Text()
	if res.err != nil || !strings.Contains(out, "listening port: "+port) || !strings.Contains(out, "private key: (hidden)") || strings.Contains(out, "yAnz5TF") {
		t.Fatalf("%v\n%s", res.err, out)
	}
}
