package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

func TestStopWorksWhateverTheHooksDo(t *testing.T) {
	for name, c := range map[string]struct {
		text, file, want string
	}{
		"hook fails": {"BADHOOK", "", "wfmtest0 is stopped; wfmtest0 was taken down without the hooks of its config (stop wfmtest0: wg-quick ended with " +
			"exit status 1"},
		"tool fails": {"one", "stuck", "wfmtest0 is stopped; the interface wfmtest0 was deleted; "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeTools(t)
			tun := f.tunnels(t.TempDir())
			if err := tun.configs.Write("wfmtest0", []byte(c.text), configMeta{}); err != nil {
				t.Fatal(err)
			}
			f.set("link-wfmtest0", "wg")
			if c.file != "" {
				f.set(c.file, "")
			}
			out, err := tun.Stop(t.Context(), "req_1", mustTarget(t, "wireguard", ""))
			if err != nil || !strings.HasPrefix(out.message, c.want) || f.link("wfmtest0") != linkAbsent {
				t.Fatalf("%+v, %v; calls:\n%s", out, err, f.read("calls"))
			}
			if left, _ := filepath.Glob(filepath.Join(stateDir(tun.configs.dir), ".down-*")); left != nil {
				t.Fatalf("left %v", left)
			}
		})
	}
}

func TestCopyWithoutHooksHoldsNoKeyEither(t *testing.T) {
	got := string(withoutHooks([]byte(realConfig(1) + "DNS = 10.0.0.1, corp.example\r\n table=off\nPreDown = touch x; Table = 1\nSaveConfig = true")))
	if want := "[Interface]\nDNS = 10.0.0.1, corp.example\n table=off\n"; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

// withHooks returns a config with hooks and a default route, so that the tool sets up routing
// rules.
func withHooks(port int, hooks string) string {
	text := strings.Replace(realConfig(port), "10.99.0.2/32", "10.99.0.2/32, 0.0.0.0/0", 1)
	return strings.Replace(text, "\n\n[Peer]", "\n"+hooks+"\n[Peer]", 1)
}

func TestRealTunnelIsReplacedAndStoppedWhateverItsHooksDo(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
	tun.changeLimit = 6 * time.Second                                          // for the hook that hangs; the tools are faster, also on a busy machine
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", g.iface).Run() }) //nolint:noctx // clean-up has no context left
	flag := filepath.Join(t.TempDir(), "flag")
	push := func(text string, version int) {
		t.Helper()
		if ack := pushTo(t, tun, g.profileID, pushOf(text, version)); ack.Status != protocol.AckApplied {
			t.Fatalf("%+v", ack)
		}
	}
	stop := func() {
		t.Helper()
		out, err := tun.Stop(t.Context(), "req_1", g)
		if err != nil || systemLink(g.iface) != linkAbsent {
			t.Fatal(out, err)
		}
		t.Log(out.message)
		if rules, err := exec.CommandContext(t.Context(), "ip", "-4", "rule").Output(); err != nil || strings.Count(string(rules), "\n") != 3 {
			t.Fatalf("rules left: %v\n%s", err, rules)
		}
	}
	for _, hook := range []string{"PreDown = false", "PreDown = sleep 1000", "PostUp = touch " + flag + "\nPreDown = rm " + flag} {
		push(withHooks(51001, hook), 1)
		if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
			t.Fatal(err)
		}
		confirmed(t, tun)
		_ = os.Remove(flag)
		push(withHooks(51002, hook), 2)
		confirmed(t, tun)
		expectRunning(t, tun, g, "51002")
		_ = os.Remove(flag)
		stop()
	}

	// A push that cannot be confirmed and whose hooks fail with the new and with the former text.
	push(withHooks(51003, "PostUp = touch "+flag+"\nPreDown = rm "+flag), 3)
	if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	out, err := tun.Push(t.Context(), "req_2", g, pushOf(withHooks(51004, "PreDown = rm "+flag), 4), false)
	if err != nil || out.pending == nil {
		t.Fatal(out, err)
	}
	if out, err := tun.TakeBack(t.Context(), *out.pending, fmt.Errorf("cut off")); !out.rolledBack {
		t.Fatal(err)
	}
	expectRunning(t, tun, g, "51003")
	stop()
}

func TestWhatIsNoTunnelIsNotDeleted(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
	if err := run("ip", "link", "add", g.iface, "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	if err := tun.configs.Write(g.iface, []byte(realConfig(51001)), configMeta{}); err != nil {
		t.Fatal(err)
	}
	if out, err := tun.Stop(t.Context(), "req_1", g); err == nil || !strings.Contains(err.Error(), "is not a tunnel") || systemLink(g.iface) == linkAbsent {
		t.Fatal(out, err)
	}
}

func TestRealTunnelComesBackOnceItsEndpointResolvesAgain(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	resolve := func(lines string) {
		t.Helper()
		if err := os.WriteFile(hosts, []byte(lines), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const known = "127.0.0.1 peer.wfm.example\n"
	resolve(known)
	if err := run("mount", "--bind", hosts, "/etc/hosts"); err != nil { // in this test's namespace only
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", g.iface).Run() }) //nolint:noctx // clean-up has no context left
	tun.changeLimit, tun.confirmLimit, tun.undoPatience = 6*time.Second, time.Millisecond, 0
	pushTo(t, tun, g.profileID, pushOf(strings.Replace(realConfig(51001), "AllowedIPs", "Endpoint = peer.wfm.example:51820\nAllowedIPs", 1), 1))
	out, err := tun.Start(t.Context(), "req_0", g)
	if err != nil || out.pending == nil {
		t.Fatal(out, err)
	}
	if err := removeChange(dir, g.profileID); err != nil { // confirmed
		t.Fatal(err)
	}
	b := newBenchOf(t, tun, &fakeUplink{reach: func(context.Context) error {
		resolve("")
		return errors.New("no route to host")
	}})
	push(t, b, realConfig(51002), 2)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || ack.RolledBack || ack.ConfigVersion != 1 ||
		!strings.Contains(ack.Message, "did not start either") {
		t.Fatalf("%+v", ack)
	}
	b.wantHeartbeat(t, false)
	resolve(known)
	wantRestored(t, b)
	expectRunning(t, tun, g, "51001")
}

func TestPeersKeepTheirEndpointsWhenTheTunnelIsRestarted(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", g.iface).Run() }) //nolint:noctx // clean-up has no context left
	push := func(text string, version int) {
		t.Helper()
		if ack := pushTo(t, tun, g.profileID, pushOf(text, version)); ack.Status != protocol.AckApplied {
			t.Fatalf("%+v", ack)
		}
	}
	wg := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "wg", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("wg %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	const fixed, roams, gone = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
		"TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
	peers := func(keys ...string) string {
		text := strings.Replace(realConfig(51001), "AllowedIPs", "Endpoint = 192.0.2.1:1\nAllowedIPs", 1)
		for i, key := range keys {
			text += fmt.Sprintf("\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.99.0.%d/32\n", key, i+3)
		}
		return text
	}
	push(peers(roams, gone), 1)
	if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	for _, key := range []string{fixed, roams, gone} {
		wg("set", g.iface, "peer", key, "endpoint", "192.0.2.9:9")
	}
	push(peers(roams), 2)
	confirmed(t, tun)
	got := wg("show", g.iface, "endpoints")
	if !strings.Contains(got, fixed+"\t192.0.2.1:1\n") || !strings.Contains(got, roams+"\t192.0.2.9:9\n") || strings.Contains(got, gone) {
		t.Errorf("after the restart: %s", got)
	}
}
