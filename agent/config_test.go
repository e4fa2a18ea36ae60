package agent

import (
	"strings"
	"testing"

	"wfm/protocol"
)

// boundBefore stores the config "theirs" of a node that is bound, or was.
func boundBefore(t *testing.T, f *fakeTools, dir string, bound bool) *tunnels {
	t.Helper()
	tun := f.tunnels(dir)
	if err := tun.configs.Write("wfmtest0", []byte("theirs"), configMeta{Version: 7, TunnelProtocol: "wireguard", ProfileID: "cfg_z-node_z"}); err != nil {
		t.Fatal(err)
	}
	if bound {
		other := testProfile()
		other.Node.ProfileID, other.Node.ConfigID, other.Node.NodeID = "cfg_z-node_z", "cfg_z", "node_z"
		other.MQTT.ClientID, other.MQTT.Topics = "wfm-node_z", protocol.BindTopics{}
		if err := saveProfile(dir, other); err != nil {
			t.Fatal(err)
		}
	}
	return tun
}

func wantStored(t *testing.T, tun *tunnels, text string) {
	t.Helper()
	if stored, err := tun.configs.Read("wfmtest0"); err != nil || string(stored.Text) != text {
		t.Fatalf("%q, %v; want %q", stored.Text, err, text)
	}
}

func TestConfigOfAnUnboundNodeIsNotRunByAnother(t *testing.T) {
	f := newFakeTools(t)
	tun, g := boundBefore(t, f, t.TempDir(), false), mustTarget(t, "wireguard", "")
	for _, running := range []bool{false, true} {
		if running {
			f.set("link-wfmtest0", "wg")
		}
		if out, err := tun.Start(t.Context(), "req_1", g); err == nil || !strings.Contains(err.Error(), "no config is stored for wfmtest0: push the config first") {
			t.Fatalf("start, running %v: %+v, %v", running, out, err)
		}
		if stored, err := tun.Stored(g.profileID, g.iface); err != nil || stored.Exists() {
			t.Fatalf("stored %q, %v", stored.Text, err)
		}
		if tun.Up(g.profileID, g.iface) {
			t.Fatal("another node's tunnel counts as this one's")
		}
	}
	if res := tun.Show(t.Context(), g); res.err == nil || !strings.Contains(res.err.Error(), "still runs the config of a node that was unbound") ||
		res.stdout.String() != "" {
		t.Fatalf("%v", res.err)
	}
	if f.read("calls") != "" {
		t.Fatalf("calls:\n%s", f.read("calls"))
	}
	// This agent may stop the running tunnel and, with a way back, replace it.
	if ack := pushTo(t, tun, g.profileID, pushOf("BROKEN", 1)); ack.Status != protocol.AckFailed || !ack.RolledBack || ack.ConfigVersion != 0 ||
		f.link(g.iface) != linkUp {
		t.Fatalf("%+v", ack)
	}
	wantStored(t, tun, "theirs")
	if _, err := tun.Stop(t.Context(), "req_1", g); err != nil || f.link(g.iface) != linkAbsent {
		t.Fatal(err)
	}
	if ack := pushTo(t, tun, g.profileID, pushOf("ours", 1)); ack.Status != protocol.AckApplied || ack.ConfigVersion != 1 {
		t.Fatalf("%+v", ack)
	}
	if _, err := tun.Start(t.Context(), "req_1", g); err != nil || !tun.Up(g.profileID, g.iface) {
		t.Fatal(err)
	}
}

func TestTunnelOfAnotherBoundNodeIsNotShown(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	boundBefore(t, f, dir, true)
	f.set("link-wfmtest0", "wg")
	b := newBench(t, dir, f)
	topic, data := commandOf(t, protocol.KindDetect, "req_1", protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied || *ack.WGOnline || ack.ConfigSHA256 != "" {
		t.Fatalf("%+v", ack)
	}
	topic, data = commandOf(t, protocol.KindInfo, "req_2", protocol.Info{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_2"); ack.Status != protocol.AckFailed || !strings.Contains(ack.Message, "is used by another node bound on this machine") {
		t.Fatalf("%+v", ack)
	}
}

func TestConfigOfTheBindReplacesOnlyWhatAnUnboundNodeLeft(t *testing.T) {
	desired := protocol.BindResponse{DesiredConf: "ours", DesiredConfSHA256: hashOf([]byte("ours")), DesiredConfVersion: 3}
	for _, c := range []struct {
		bound bool
		want  string
	}{{false, "ours"}, {true, "theirs"}} {
		dir := t.TempDir()
		tun := boundBefore(t, newFakeTools(t), dir, c.bound)
		if err := keepDesired(dir, testProfile(), desired); err != nil {
			t.Fatal(err)
		}
		wantStored(t, tun, c.want)
	}
}
