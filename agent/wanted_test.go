package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// keepWish stores the tunnel "one" and the wanted state, as former commands left them.
func keepWish(t *testing.T, f *fakeTools, dir string, state protocol.WantedState) *tunnels {
	t.Helper()
	tun := f.tunnels(dir)
	tun.lookEvery, tun.settleLink = 5*time.Millisecond, time.Millisecond
	if err := tun.configs.Write("wfmtest0", []byte("one"), configMeta{Version: 1, TunnelProtocol: "wireguard"}); err != nil {
		t.Fatal(err)
	}
	w, err := openWanted(dir, testProfile())
	if err == nil {
		err = w.Set(wish{State: state, Interface: "wfmtest0", TunnelProtocol: "wireguard", BoundAt: testProfile().BoundAt})
	}
	if err != nil {
		t.Fatal(err)
	}
	return tun
}

func wishOnDisk(t *testing.T, dir string) protocol.WantedState {
	t.Helper()
	w, err := openWanted(dir, testProfile())
	if err != nil {
		t.Fatal(err)
	}
	return w.State()
}

// nextEvent returns the next message other than a heartbeat, which must be an event.
func (b *bench) nextEvent(t *testing.T, name string) protocol.Event {
	t.Helper()
	m := b.next(t)
	for m.kind == protocol.KindHeartbeat {
		m = b.next(t)
	}
	var e protocol.Event
	if err := json.Unmarshal(m.payload, &e); err != nil || e.Event != name {
		t.Fatalf("%s %s, want the event %s", m.kind, m.payload, name)
	}
	return e
}

func (b *bench) control(t *testing.T, requestID string, action protocol.Action) protocol.Ack {
	t.Helper()
	c := startCommand()
	c.Action = action
	topic, data := commandOf(t, protocol.KindControl, requestID, c)
	b.Receive(topic, data)
	ack := b.nextAck(t, requestID)
	b.settled(t)
	return ack
}

func TestWantedTunnelIsStartedByTheNextAgent(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBenchOf(t, keepWish(t, f, dir, protocol.WantedRunning), &fakeUplink{})
	b.nextEvent(t, protocol.EventTunnelDown)
	b.nextEvent(t, protocol.EventTunnelRestored)
	b.wantHeartbeat(t, true)
	wantNode(t, f, dir, "one", true)
}

func TestTunnelThatIsNotWantedStaysDown(t *testing.T) {
	for _, state := range []protocol.WantedState{protocol.WantedStopped, protocol.WantedNone} {
		f, dir := newFakeTools(t), t.TempDir()
		b := newBenchOf(t, keepWish(t, f, dir, state), &fakeUplink{})
		topic, data := commandOf(t, protocol.KindDetect, "req_d", protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
		b.Receive(topic, data)
		if ack := b.nextAck(t, "req_d"); ack.WantedState != state || *ack.WGOnline {
			t.Fatalf("%+v", ack)
		}
		b.stop()
		wantNode(t, f, dir, "one", false)
		if calls := f.read("calls"); calls != "" {
			t.Fatalf("calls: %s", calls)
		}
	}
}

func TestStartAndStopAreKept(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBenchOf(t, keepWish(t, f, dir, protocol.WantedNone), &fakeUplink{})
	if ack := b.control(t, "req_1", protocol.ActionStart); ack.Status != protocol.AckApplied || wishOnDisk(t, dir) != protocol.WantedRunning {
		t.Fatalf("%+v, %s", ack, wishOnDisk(t, dir))
	}
	if ack := b.control(t, "req_2", protocol.ActionStop); ack.Status != protocol.AckApplied || wishOnDisk(t, dir) != protocol.WantedStopped {
		t.Fatalf("%+v, %s", ack, wishOnDisk(t, dir))
	}
}

// A WG Free Mesh backend names no interface and sometimes no protocol, and does not know wanted
// states.
func TestStartAndStopOfAnotherBackendAreKept(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBenchOf(t, keepWish(t, f, dir, protocol.WantedNone), &fakeUplink{})
	give := func(requestID string, c protocol.Control, status protocol.AckStatus, want protocol.WantedState) {
		t.Helper()
		topic, data := commandOf(t, protocol.KindControl, requestID, c)
		b.Receive(topic, data)
		if ack := b.nextAck(t, requestID); ack.Status != status || wishOnDisk(t, dir) != want {
			t.Fatalf("%s: %+v, wanted is %s, want %s", c.Action, ack, wishOnDisk(t, dir), want)
		}
		b.settled(t)
	}
	give("req_1", protocol.Control{Action: protocol.ActionStart}, protocol.AckApplied, protocol.WantedRunning)
	// A refused command does not change the wanted state.
	give("req_2", protocol.Control{Action: "restart"}, protocol.AckFailed, protocol.WantedRunning)
	give("req_3", protocol.Control{Action: protocol.ActionStop, AWGVersion: "7"}, protocol.AckFailed, protocol.WantedRunning)
	give("req_4", protocol.Control{Action: protocol.ActionStop}, protocol.AckApplied, protocol.WantedStopped)
}

func TestStartThatIsTakenBackIsNotWanted(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := keepWish(t, f, dir, protocol.WantedStopped)
	f.set("once", "")
	b := newBenchOf(t, tun, &fakeUplink{})
	ack := b.control(t, "req_1", protocol.ActionStart)
	if ack.Status != protocol.AckFailed || ack.WGOnline == nil || *ack.WGOnline || wishOnDisk(t, dir) != protocol.WantedNone {
		t.Fatalf("%+v, %s", ack, wishOnDisk(t, dir))
	}
	b.stop()
	newBenchOf(t, tun, &fakeUplink{}).stop()
	wantNode(t, f, dir, "one", false)
}

func TestStartThatIsRefusedLeavesARunningTunnelWanted(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBenchOf(t, keepWish(t, f, dir, protocol.WantedRunning), &fakeUplink{})
	b.nextEvent(t, protocol.EventTunnelDown)
	b.nextEvent(t, protocol.EventTunnelRestored)
	c := startCommand()
	c.TunnelProtocol = "amneziawg_2"
	f.set("stuck", "")
	f.set("stuck-link", "")
	topic, data := commandOf(t, protocol.KindControl, "req_1", c)
	b.Receive(topic, data)
	ack := b.nextAck(t, "req_1")
	if ack.Status != protocol.AckFailed || ack.WGOnline == nil || !*ack.WGOnline || wishOnDisk(t, dir) != protocol.WantedRunning {
		t.Fatalf("%+v, %s", ack, wishOnDisk(t, dir))
	}
}

func TestTunnelThatGoesDownIsToldAndStartedAgain(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	f.set("link-wfmtest0", "wg")
	b := newBenchOf(t, keepWish(t, f, dir, protocol.WantedRunning), &fakeUplink{})
	b.control(t, "req_1", protocol.ActionStart) // so that the agent has seen it running
	_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
	b.wantHeartbeat(t, false)
	b.nextEvent(t, protocol.EventTunnelDown)
	b.nextEvent(t, protocol.EventTunnelRestored)
	b.wantHeartbeat(t, true)
	b.stop()
	if len(b.sent) > 0 {
		t.Fatalf("told more: %s", (<-b.sent).payload)
	}
	wantNode(t, f, dir, "one", true)
}

func TestProfileThatSaysNotToRestoreOnlyTells(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	p := testProfile()
	if err := saveProfile(dir, p); err != nil {
		t.Fatal(err)
	}
	if id, err := SetRestore(dir, "node_b", false); err != nil || id != p.ID() {
		t.Fatal(id, err)
	}
	p, err := LoadProfile(dir, p.ID())
	if err != nil || p.restores() {
		t.Fatal(p.Restore, err)
	}
	keepWish(t, f, dir, protocol.WantedRunning)
	l, stop := runAgent(t, dir, f)
	await(t, l, "was found stopped")
	stop()
	if calls := f.read("calls"); calls != "" {
		t.Fatalf("calls: %s", calls)
	}
	if _, err := SetRestore(dir, p.ID(), true); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadProfile(dir, p.ID()); err != nil || p.Restore != nil {
		t.Fatal(p.Restore, err)
	}
}

func TestTunnelThatCannotStartIsToldOnce(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := keepWish(t, f, dir, protocol.WantedRunning)
	tun.retryPause = time.Millisecond
	f.set("down", "")
	b := newBenchOf(t, tun, &fakeUplink{})
	b.nextEvent(t, protocol.EventTunnelDown)
	if e := b.nextEvent(t, protocol.EventTunnelNotRestored); !strings.Contains(e.Message, "no such name") {
		t.Fatalf("%+v", e)
	}
	f.mend()
	b.tryAgain()
	b.nextEvent(t, protocol.EventTunnelRestored)
	wantNode(t, f, dir, "one", true)
}

func TestStopEndsAnAttemptToStartAWantedTunnel(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := keepWish(t, f, dir, protocol.WantedRunning)
	f.set("hang", "")
	b := newBenchOf(t, tun, &fakeUplink{})
	f.await(t, "child")
	_ = os.Remove(filepath.Join(f.dir, "hang"))
	b.nextEvent(t, protocol.EventTunnelDown)
	if ack := b.control(t, "req_1", protocol.ActionStop); ack.Status != protocol.AckApplied || wishOnDisk(t, dir) != protocol.WantedStopped {
		t.Fatalf("%+v, %s", ack, wishOnDisk(t, dir))
	}
	b.stop()
	wantNode(t, f, dir, "one", false)
}

func TestPushStartsAWantedTunnelThatDoesNotRun(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := keepWish(t, f, dir, protocol.WantedRunning)
	tun.lookEvery = time.Hour // the agent makes no check of its own, so only the push can start the tunnel that goes down
	f.set("link-wfmtest0", "wg")
	b := newBenchOf(t, tun, &fakeUplink{})
	topic, data := commandOf(t, protocol.KindPush, "req_0", protocol.Push{})
	b.Receive(topic, data)
	b.nextAck(t, "req_0") // the first check is done
	if err := os.Remove(filepath.Join(f.dir, "link-wfmtest0")); err != nil {
		t.Fatal(err)
	}
	push(t, b, "BROKEN", 2)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || !ack.RolledBack || ack.ConfigVersion != 1 {
		t.Fatalf("%+v", ack)
	}
	b.settled(t)
	topic, data = commandOf(t, protocol.KindPush, "req_2", pushOf("two", 2))
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_2"); ack.Status != protocol.AckApplied || ack.Message != "version 2 is stored and wfmtest0 runs it" {
		t.Fatalf("%+v", ack)
	}
	wantNode(t, f, dir, "two", true)
}

func TestBindWithAnotherInterfaceEndsTheWishForTheFormerOne(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	keepWish(t, f, dir, protocol.WantedRunning)
	p := testProfile()
	p.BoundAt, p.Node.InterfaceName = "2026-02-02T03:04:05Z", "wfmtest1"
	if w, err := openWanted(dir, p); err != nil || w.State() != protocol.WantedNone {
		t.Fatal(w.State(), err)
	}
	p.Node.InterfaceName = "wfmtest0"
	if w, err := openWanted(dir, p); err != nil || w.State() != protocol.WantedRunning {
		t.Fatal(w.State(), err)
	}
}

func TestDamagedWishIsNone(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	keepWish(t, f, dir, protocol.WantedRunning)
	for _, text := range []string{"", "{", `{"wanted_state":"running","interface_name":"../x"}`} {
		if err := os.WriteFile(wantedPath(dir, "cfg_a-node_b"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if w, err := openWanted(dir, testProfile()); err == nil || w.State() != protocol.WantedNone {
			t.Fatalf("%q: %s, %v", text, w.State(), err)
		}
	}
}
