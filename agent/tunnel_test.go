package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

func mustTarget(t *testing.T, proto, previous string) target {
	t.Helper()
	g, err := newTarget("cfg_a-node_b", proto, previous, "wfmtest0")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTargetAcceptsNothingUnvalidated(t *testing.T) {
	for _, c := range []struct{ proto, previous, iface string }{
		{"", "", "wg0"},
		{"openvpn", "", "wg0"},
		{"wireguard", "wg; id", "wg0"},
		{"wireguard", "", ""},
		{"wireguard", "", "../wg0"},
		{"wireguard", "", "wg0;id"},
		{"wireguard", "", "-h"},
		{"wireguard", "", "all"},
		{"wireguard", "", "interfaces"},
		{"wireguard", "", "sixteen_letters_"},
	} {
		if _, err := newTarget("p", c.proto, c.previous, c.iface); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

func TestStartAndStopAreIdempotent(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	g := mustTarget(t, "wireguard", "")
	if _, err := tun.Start(t.Context(), "req_1", g); err == nil || !strings.Contains(err.Error(), "push the config first") {
		t.Fatalf("start without a config: %v", err)
	}
	if out, err := tun.Stop(t.Context(), "req_1", g); err != nil || !strings.Contains(out.message, "was not running") {
		t.Fatalf("stop of what does not run: %+v, %v", out, err)
	}
	if err := tun.configs.Write(g.iface, []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	if out, err := tun.Start(t.Context(), "req_1", g); err != nil || out.pending == nil {
		t.Fatalf("start: %+v, %v; want a change to confirm", out, err)
	}
	confirmed(t, tun)
	if out, err := tun.Start(t.Context(), "req_2", g); err != nil || out.pending != nil || !strings.Contains(out.message, "already running") {
		t.Fatalf("start of what runs: %+v, %v; want nothing to confirm", out, err)
	}
	if _, err := tun.Stop(t.Context(), "req_1", g); err != nil {
		t.Fatal(err)
	}
	if calls := f.read("calls"); calls != "wg-quick up wfmtest0\nwg-quick down wfmtest0" {
		t.Fatalf("calls:\n%s", calls)
	}
}

func TestInterfaceThatIsNotOursIsLeftAlone(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	f.set("link-wfmtest0", "wg")
	g := mustTarget(t, "wireguard", "")
	if _, err := tun.Stop(t.Context(), "req_1", g); err == nil || !strings.Contains(err.Error(), "not started from a config of this agent") {
		t.Fatalf("stop: %v", err)
	}
	ack := pushTo(t, tun, "cfg_a-node_b", pushOf("x", 1))
	if ack.Status != protocol.AckFailed || ack.ConfigSHA256 != "" || f.read("calls") != "" {
		t.Fatalf("push: %+v, calls %q", ack, f.read("calls"))
	}
}

func TestChangeOfProtocolTakesTheInterfaceDownWithTheFormerTools(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	g := mustTarget(t, "amneziawg_2", "wireguard")
	if err := tun.configs.Write(g.iface, []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	f.set("link-wfmtest0", "wg")
	if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	if got := f.read("calls"); got != "wg-quick down wfmtest0\nawg-quick up wfmtest0" {
		t.Fatalf("calls:\n%s", got)
	}
	// The same command again: the interface runs as awg now, so its former protocol does not
	// matter.
	if out, err := tun.Start(t.Context(), "req_1", g); err != nil || !strings.Contains(out.message, "already running") {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := tun.Stop(t.Context(), "req_1", mustTarget(t, "wireguard", "wireguard")); err != nil {
		t.Fatalf("stop that does not know of the change: %v", err)
	}
}

func TestMissingToolIsNamedWithItsPackage(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	g := mustTarget(t, "amneziawg", "")
	if err := tun.configs.Write(g.iface, []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err := tun.Start(t.Context(), "req_1", g)
	if err == nil || !strings.Contains(err.Error(), "awg-quick is not installed") || !strings.Contains(err.Error(), "amneziawg-tools") {
		t.Fatalf("err %v", err)
	}
	if got := tun.toolchain(t.Context()); len(got) != 0 {
		t.Fatalf("toolchain %v", got)
	}
}

func TestToolThatHangsIsEndedWithItsChildren(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	g := mustTarget(t, "wireguard", "")
	if err := tun.configs.Write(g.iface, []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	f.set("hang", "")
	for tun.changeLimit = 300 * time.Millisecond; f.read("child") == ""; tun.changeLimit *= 2 { // until the tool gets as far as that
		_, err := tun.Start(t.Context(), "req_1", g)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("did not end within %s", tun.changeLimit)) {
			t.Fatalf("err %v", err)
		}
	}
	f.awaitGone("child")
}

func TestToolTalkingTooMuchIsBounded(t *testing.T) {
	newFakeTools(t).set("long", "")
	res := runTool(t.Context(), patience, "wg", "show", "x")
	if res.err != nil || len(res.stdout.String()) != maxToolOutput || !strings.Contains(res.stdout.Text(), "[cut here: 34464 more bytes]") {
		t.Fatalf("%d bytes, err %v", len(res.stdout.String()), res.err)
	}
	out := fitOutput(res.stdout.Text())
	env, err := protocol.NewEnvelope(protocol.Topic{ConfigID: "c", NodeID: "n", Kind: protocol.KindEvent}, "", protocol.Event{Output: out}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Encode(); err != nil || !strings.Contains(out, "does not fit one message") {
		t.Fatalf("control characters, 6 bytes each in JSON: %v", err)
	}
}

func TestComplaintHoldsNoSecret(t *testing.T) {
	const key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for _, stderr := range []string{
		"[#] ip link add wg0\nLine unrecognized: `PrivateKey=" + key + "'\nConfiguration parsing error\n[#] echo " + key,
		"Line unrecognized: `PrivateKey=short'",
		"Key is not the correct length or format: `" + key[:30] + "'",
		"wg: bad " + key,
	} {
		got := complaint(stderr)
		if strings.Contains(got, key[:20]) || strings.Contains(got, "short") || got == "" {
			t.Errorf("complaint %q", got)
		}
	}
	if got := complaint("│ Running wireguard-go is not required │\n└───┘\n"); got != "" {
		t.Errorf("complaint %q, want nothing of a greeting", got)
	}
	if got := complaint("wg-quick: `wg0' already exists\n"); got != ": wg-quick: `wg0' already exists" {
		t.Errorf("complaint %q lost what helps", got)
	}
}

func TestComplaintHoldsNothingThatHooksPrint(t *testing.T) {
	const hidden = ": it seems that a hook of the config failed or hung (%s); what hooks print is not shown"
	for stderr, want := range map[string]string{
		"[#] ip link add wg0 type wireguard\nError: Unknown device type.\n[!] Missing WireGuard kernel module.\n[#] curl -u me:hunter2 https://x\ncurl: " +
			"hunter2\n[#] ip link delete dev wg0\n": strings.Replace(hidden, "%s", "curl", 1),
		"[#] T=hunter2; echo $T\nhunter2\n": strings.Replace(hidden, "%s",
			"a shell command", 1),
		"[#] ip route add x; echo hunter2\nhunter2\n": strings.Replace(hidden, "%s", "ip", 1),
		"[#] /opt/hook\nhunter2\n[#] ip link set up dev wg0\nRTNETLINK answers: Operation not permitted\n": ": RTNETLINK answers: Operation " +
			"not permitted",
		"[#] wg setconf wg0 /dev/fd/63\nTemporary failure in name resolution: `x:1'. Trying again in 1.00 seconds...\n": ": Temporary failure in name " +
			"resolution: `x:1'. Trying again in 1.00 seconds...",
	} {
		if got := complaint(stderr); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPushStoresAndRestartsOnlyWhatRan(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	ack := pushTo(t, tun, "cfg_a-node_b", pushOf("one", 1))
	if ack.Status != protocol.AckApplied || ack.ConfigVersion != 1 || ack.ConfigSHA256 != hashOf([]byte("one")) || f.read("calls") != "" {
		t.Fatalf("%+v, calls %q", ack, f.read("calls"))
	}
	info, err := os.Stat(tun.configs.Path("wfmtest0"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, err %v", info.Mode(), err)
	}
	if _, err := tun.Start(t.Context(), "req_1", mustTarget(t, "wireguard", "")); err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	ack = pushTo(t, tun, "cfg_a-node_b", pushOf("two", 2))
	if ack.Status != protocol.AckApplied || ack.ConfigVersion != 2 || ack.RolledBack {
		t.Fatalf("%+v", ack)
	}
	if got := f.read("calls"); got != "wg-quick up wfmtest0\nwg show wfmtest0 endpoints\nwg-quick down wfmtest0\nwg-quick up wfmtest0" {
		t.Fatalf("calls:\n%s", got)
	}
}

func TestPushThatDoesNotStartIsRolledBack(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	pushTo(t, tun, "cfg_a-node_b", pushOf("one", 1))
	if _, err := tun.Start(t.Context(), "req_1", mustTarget(t, "wireguard", "")); err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	bad := pushOf("BROKEN", 2)
	bad.TunnelProtocol, bad.PreviousTunnelProtocol = "amneziawg", "wireguard"
	ack := pushTo(t, tun, "cfg_a-node_b", bad)
	if ack.Status != protocol.AckFailed || !ack.RolledBack || ack.ConfigVersion != 1 || ack.ConfigSHA256 != hashOf([]byte("one")) {
		t.Fatalf("%+v", ack)
	}
	if strings.Contains(ack.Message, "BROKEN") || !strings.Contains(ack.Message, "the former config is back and running") {
		t.Fatalf("message %q", ack.Message)
	}
	if f.read("link-wfmtest0") != "wg" {
		t.Fatalf("runs as %q, want wg again; calls:\n%s", f.read("link-wfmtest0"), f.read("calls"))
	}
}

func TestPushThatCannotStopTheInterfaceChangesNothing(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	pushTo(t, tun, "cfg_a-node_b", pushOf("one", 1))
	f.set("link-wfmtest0", "wg")
	f.set("stuck", "")
	f.set("stuck-link", "")
	ack := pushTo(t, tun, "cfg_a-node_b", pushOf("two", 2))
	if ack.Status != protocol.AckFailed || ack.RolledBack || ack.ConfigVersion != 1 || !strings.Contains(ack.Message, "device is busy") {
		t.Fatalf("%+v", ack)
	}
}

func TestPushThatIsNotStoredLeavesTheFormerConfigRunning(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	tun := f.tunnels(dir)
	pushTo(t, tun, "cfg_a-node_b", pushOf("one", 1))
	f.set("link-wfmtest0", "wg")
	// A folder at the note's path makes the store fail half-way, even for root.
	meta := tun.configs.metaPath("wfmtest0")
	if err := os.Remove(meta); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(meta, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	ack := pushTo(t, tun, "cfg_a-node_b", pushOf("two", 2))
	if ack.Status != protocol.AckFailed || ack.ConfigSHA256 != hashOf([]byte("one")) {
		t.Fatalf("%+v: the text on disk must be the former one", ack)
	}
}

func TestPushIsRefusedForWhatItCannotBe(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	for name, spoil := range map[string]func(*protocol.Push){
		"wrong hash":      func(p *protocol.Push) { p.ConfigSHA256 = hashOf([]byte("other")) },
		"unknown version": func(p *protocol.Push) { p.AWGVersion = "9.9" },
		"unknown action":  func(p *protocol.Push) { p.Action = "format_disk" },
		"unknown tunnel":  func(p *protocol.Push) { p.TunnelProtocol = "ipsec" },
		"path interface":  func(p *protocol.Push) { p.InterfaceName = "../../x" },
		"empty":           func(p *protocol.Push) { p.ConfigText = ""; p.ConfigSHA256 = hashOf(nil) },
	} {
		p := pushOf("text", 1)
		spoil(&p)
		if ack := pushTo(t, tun, "cfg_a-node_b", p); ack.Status != protocol.AckFailed || ack.Message == "" {
			t.Errorf("%s: %+v", name, ack)
		}
	}
	if left, _ := os.ReadDir(tunnelsDir(tun.configs.dir)); len(left) != 0 {
		t.Fatalf("stored %v", left)
	}
}

func TestInterfaceOfAnotherProfileIsRefused(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	tun := f.tunnels(dir)
	if err := saveProfile(dir, testProfile()); err != nil {
		t.Fatal(err)
	}
	pushTo(t, tun, "cfg_a-node_b", pushOf("one", 1))
	ack := pushTo(t, tun, "cfg_z-node_z", pushOf("two", 1))
	if ack.Status != protocol.AckFailed || !strings.Contains(ack.Message, "used by another node") {
		t.Fatalf("%+v", ack)
	}
	if _, err := RemoveProfile(dir, "node_b"); err != nil {
		t.Fatal(err)
	}
	if ack := pushTo(t, tun, "cfg_z-node_z", pushOf("two", 1)); ack.Status != protocol.AckApplied {
		t.Fatalf("after the owner is gone: %+v", ack)
	}
}

func TestEditedConfigHasNoVersion(t *testing.T) {
	store := configs{dir: t.TempDir()}
	if err := makeDirs(store.dir); err != nil {
		t.Fatal(err)
	}
	if err := store.Write("wg0", []byte("one"), configMeta{Version: 7}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store.Path("wg0"), []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	stored, err := store.Read("wg0")
	if err != nil || stored.Version() != 0 || stored.SHA256 != hashOf([]byte("edited")) {
		t.Fatalf("version %d, sha %s, err %v", stored.Version(), stored.SHA256, err)
	}
}

func TestToolStoppedWithTheAgentSaysSo(t *testing.T) {
	f := newFakeTools(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.set("hang", "")
	cancel()
	if res := runTool(ctx, patience, "wg-quick", "up", "/x/wfmtest0.conf"); res.err == nil {
		t.Fatal("no error")
	}
}
