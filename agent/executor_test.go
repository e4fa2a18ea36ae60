package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// bench is an executor on fake tools. sent receives its messages.
type bench struct {
	*executor
	dir  string
	sent chan outMessage
	stop func()
}

func newBench(t *testing.T, dir string, f *fakeTools) *bench {
	t.Helper()
	return newBenchOn(t, dir, f, &fakeUplink{})
}

func newBenchOn(t *testing.T, dir string, f *fakeTools, uplink uplink) *bench {
	t.Helper()
	return newBenchWithin(t, dir, f, uplink, patience)
}

// newBenchWithin returns a bench whose changes must be confirmed within limit.
func newBenchWithin(t *testing.T, dir string, f *fakeTools, uplink uplink, limit time.Duration) *bench {
	t.Helper()
	tun := f.tunnels(dir)
	tun.confirmLimit = limit
	return newBenchOf(t, tun, uplink)
}

func newBenchOf(t *testing.T, tun *tunnels, uplink uplink) *bench {
	t.Helper()
	return newBenchSending(t, tun, uplink, sendTaken)
}

// newDeafBench returns a bench whose server accepts nothing.
func newDeafBench(t *testing.T, tun *tunnels) *bench {
	t.Helper()
	return newBenchSending(t, tun, &fakeUplink{}, sendAgain)
}

// newBenchSending returns a bench in which every message ends with result.
func newBenchSending(t *testing.T, tun *tunnels, uplink uplink, result sendResult) *bench {
	t.Helper()
	return newBenchAs(t, testProfile(), tun, uplink, result)
}

// newBenchAs returns a bench for the profile p.
func newBenchAs(t *testing.T, p Profile, tun *tunnels, uplink uplink, result sendResult) *bench {
	t.Helper()
	_, log := newTestLog()
	dir := tun.configs.dir
	j, err := openJournal(journalPath(dir, "cfg_a-node_b"))
	if err != nil {
		t.Fatal(err)
	}
	out := newOutbox(log, time.Millisecond)
	b := &bench{executor: newExecutor(p, tun, j, out, log), dir: dir, sent: make(chan outMessage, 200)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.Run(ctx, func(_ context.Context, m outMessage) sendResult {
			if result == sendTaken {
				b.sent <- m
			}
			return result
		})
	}()
	b.server = uplink
	b.Start(ctx)
	stopped := false
	b.stop = func() {
		if !stopped {
			stopped = true
			b.Stop()
			cancel()
			<-done
		}
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bench) next(t *testing.T) outMessage {
	t.Helper()
	select {
	case m := <-b.sent:
		return m
	case <-time.After(patience):
		t.Fatal("no message")
		return outMessage{}
	}
}

// nextAck returns the next message, which must be an ACK. It skips the heartbeats that follow
// failures.
func (b *bench) nextAck(t *testing.T, requestID string) protocol.Ack {
	t.Helper()
	m := b.next(t)
	for m.kind == protocol.KindHeartbeat {
		m = b.next(t)
	}
	if m.requestID != requestID {
		t.Fatalf("%s for %q, want %q: %s", m.kind, m.requestID, requestID, m.payload)
	}
	return ackOf(t, m.payload)
}

// wantHeartbeat checks that the next message is a heartbeat that reports the tunnel as up or down.
func (b *bench) wantHeartbeat(t *testing.T, up bool) {
	t.Helper()
	var h protocol.Heartbeat
	m := b.next(t)
	if err := json.Unmarshal(m.payload, &h); err != nil || m.kind != protocol.KindHeartbeat || *h.WGOnline != up {
		t.Fatalf("%s %s, want a heartbeat that says %v", m.kind, m.payload, up)
	}
}

// settled waits until no command is queued or runs.
func (b *bench) settled(t *testing.T) {
	t.Helper()
	if !eventually(func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.running) == 0
	}) {
		t.Fatal("commands do not end")
	}
}

func startCommand() protocol.Control {
	return protocol.Control{Action: protocol.ActionStart, TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"}
}

func TestCommandRunsOnceAndItsAckIsRepeatedAcrossRestart(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	b := newBench(t, dir, f)
	if err := b.tunnels.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	topic, data := commandOf(t, protocol.KindControl, "req_1", startCommand())
	b.Receive(topic, data)
	first := b.nextAck(t, "req_1")
	if first.Status != protocol.AckApplied {
		t.Fatalf("%+v", first)
	}
	b.settled(t)
	b.Receive(topic, data)
	if again := b.nextAck(t, "req_1"); again.Message != first.Message {
		t.Fatalf("repeated as %+v, first %+v", again, first)
	}
	b.stop()
	// A second start would show: the tunnel is gone, and only the command asks for it.
	for _, gone := range []string{filepath.Join(f.dir, "link-wfmtest0"), wantedPath(dir, testProfile().ID())} {
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
	}
	b = newBench(t, dir, f)
	b.Receive(topic, data)
	if again := b.nextAck(t, "req_1"); again.Message != first.Message {
		t.Fatalf("after a restart %+v, first %+v", again, first)
	}
	if calls := f.read("calls"); calls != "wg-quick up wfmtest0" {
		t.Fatalf("calls:\n%s", calls)
	}
}

func TestDuplicateOfARunningCommandIsIgnoredAndDetectIsNotBlocked(t *testing.T) {
	f := newFakeTools(t)
	b := newBench(t, t.TempDir(), f)
	if err := b.tunnels.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	open := f.gate()
	topic, data := commandOf(t, protocol.KindControl, "req_1", startCommand())
	b.Receive(topic, data)
	b.Receive(topic, data)
	probe := protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"}
	dt, dd := commandOf(t, protocol.KindDetect, "req_2", probe)
	b.Receive(dt, dd)
	ack := b.nextAck(t, "req_2")
	if ack.Status != protocol.AckApplied || !*ack.ClientOnline || *ack.WGOnline || ack.ConfigSHA256 != hashOf([]byte("x")) || ack.Platform == "" {
		t.Fatalf("detect during a start: %+v", ack)
	}
	open()
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied || ack.Action != protocol.ActionStart {
		t.Fatalf("%+v", ack)
	}
	dt, dd = commandOf(t, protocol.KindDetect, "req_3", probe)
	b.Receive(dt, dd)
	if ack := b.nextAck(t, "req_3"); !*ack.WGOnline { // and no second ACK of req_1 in between
		t.Fatalf("%+v", ack)
	}
	if calls := f.read("calls"); calls != "wg-quick up wfmtest0" {
		t.Fatalf("calls:\n%s", calls)
	}
}

func TestFullQueueAnswersBusyAndForgetsIt(t *testing.T) {
	f := newFakeTools(t)
	b := newBench(t, t.TempDir(), f)
	if err := b.tunnels.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	open := f.gate()
	var busy string
	for i := 0; busy == "" && i < queueSize+2; i++ { // one may run already, or not yet
		topic, data := commandOf(t, protocol.KindControl, fmt.Sprintf("req_%d", i), startCommand())
		b.Receive(topic, data)
		select {
		case m := <-b.sent:
			busy = m.requestID
			if ack := ackOf(t, m.payload); ack.Status != protocol.AckFailed || !strings.Contains(ack.Message, "busy") {
				t.Fatalf("%+v", ack)
			}
		default:
		}
	}
	if busy == "" {
		busy = b.next(t).requestID
	}
	open()
	b.settled(t)
	for len(b.sent) > 0 {
		<-b.sent
	}
	topic, data := commandOf(t, protocol.KindControl, busy, startCommand())
	b.Receive(topic, data)
	for {
		m := b.next(t)
		if m.requestID == busy {
			if ack := ackOf(t, m.payload); ack.Status != protocol.AckApplied {
				t.Fatalf("a command that was refused as busy must run when it comes again: %+v", ack)
			}
			return
		}
	}
}

func TestOutputComesBeforeTheAck(t *testing.T) {
	f := newFakeTools(t)
	b := newBench(t, t.TempDir(), f)
	f.set("link-wfmtest0", "wg")
	topic, data := commandOf(t, protocol.KindInfo, "req_1", protocol.Info{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.Receive(topic, data)
	for _, want := range []struct{ stream, output string }{
		{"stdout", "interface: wfmtest0 keys=always\n"}, {"stderr", "a warning\n"},
	} {
		m := b.next(t)
		var e protocol.Event
		if err := json.Unmarshal(m.payload, &e); err != nil {
			t.Fatal(err)
		}
		if m.kind != protocol.KindEvent || m.requestID != "" || e.Event != protocol.EventCommandOutput || e.RequestID != "req_1" ||
			e.Action != protocol.ActionWGShow || e.Stream != want.stream || e.Output != want.output {
			t.Fatalf("%s %+v, want %s %q", m.kind, e, want.stream, want.output)
		}
	}
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied || ack.Action != protocol.ActionWGShow {
		t.Fatalf("%+v", ack)
	}
	if calls := f.read("calls"); calls != "wg show wfmtest0" {
		t.Fatalf("calls %q", calls)
	}
}

func TestDescribeTellsToolsAndCapabilities(t *testing.T) {
	f := newFakeTools(t)
	b := newBench(t, t.TempDir(), f)
	if err := os.Remove(filepath.Join(f.dir, "awg-quick")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", f.dir)
	topic, data := commandOf(t, protocol.KindInfo, "req_1", protocol.Info{Action: protocol.ActionDescribe})
	b.Receive(topic, data)
	ack := b.nextAck(t, "req_1")
	if _, has := ack.Toolchain["awg-quick"]; has || ack.Toolchain["wg-quick"] != "present" || ack.Status != protocol.AckApplied ||
		ack.Arch == "" || len(ack.Capabilities) != 5 || !protocol.ValidPublicKey(ack.PublicKey) {
		t.Fatalf("%+v", ack)
	}
}

func TestWhatCannotBeRunIsAnsweredWhenSomebodyWaits(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeTools(t))
	own := func(kind protocol.Kind) string {
		return protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: kind}.String()
	}
	for i, c := range []struct {
		topic, data string
		want        string // request_id of the failed ACK; empty: none comes
	}{
		{own(protocol.KindControl), `{"request_id":"r0","payload":{"action":"explode","tunnel_protocol":"wireguard","interface_name":"wg0"}}`, "r0"},
		{own(protocol.KindControl), `{"request_id":"r1","payload":{"action":"start","tunnel_protocol":"ipsec","interface_name":"wg0"}}`, "r1"},
		{own(protocol.KindControl), `{"request_id":"r2","node_id":"node_z","payload":{}}`, "r2"},
		{own(protocol.KindInfo), `{"request_id":"r3","payload":{"action":"reboot"}}`, "r3"},
		{own(protocol.KindDetect), `{"request_id":"r4","payload":{"tunnel_protocol":"x"}}`, "r4"},
		{own(protocol.KindControl), `not json`, ""},
		{own(protocol.KindControl), `{"payload":{"action":"start"}}`, ""},
		{own(protocol.KindEvent), `{"request_id":"r5"}`, ""},
		{"wfm/cfg_a/node_z/control", `{"request_id":"r6","payload":{}}`, ""},
		{"other/topic", `{"request_id":"r7"}`, ""},
		{own(protocol.KindPush), `{"request_id":"r8","payload":{}}`, "r8"},
	} {
		b.Receive(c.topic, []byte(c.data))
		if c.want == "" {
			continue // the next expected ACK proves that none came
		}
		if ack := b.nextAck(t, c.want); ack.Status != protocol.AckFailed || ack.Message == "" {
			t.Errorf("%d: %+v", i, ack)
		}
	}
}

func TestAckIsSentWhenTheJournalCannotBeWritten(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	b := newBench(t, dir, f)
	if err := os.RemoveAll(stateDir(dir)); err != nil {
		t.Fatal(err)
	}
	stop := startCommand()
	stop.Action = protocol.ActionStop
	topic, data := commandOf(t, protocol.KindControl, "req_1", stop)
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
}

func TestJournalIsBoundedAndProbesDoNotPushOutCommands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.json")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	ack := protocol.Ack{Status: protocol.AckApplied}
	j.durable = make([]entry, journalSize) // full, without the cost of as many writes
	for _, id := range []string{"a", "b"} {
		if err := j.Begin(protocol.KindControl, id, "wg0"); err != nil {
			t.Fatal(err)
		}
		if err := j.Finish(protocol.KindControl, id, ack); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * journalSize {
		j.Remember(protocol.KindDetect, fmt.Sprint(i), ack)
	}
	if len(j.durable) != journalSize || len(j.probes) != journalSize {
		t.Fatalf("%d and %d entries", len(j.durable), len(j.probes))
	}
	j, err = openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, ok := j.Lookup(protocol.KindControl, id); !ok {
			t.Errorf("%s is forgotten", id)
		}
	}
	if _, ok := j.Lookup(protocol.KindPush, "a"); ok {
		t.Error("the answer to another kind of command was found")
	}
}

func TestCommandCutShortIsAnsweredHonestlyAndNotRunAgain(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := f.tunnels(dir)
	if err := tun.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(journalPath(dir, "cfg_a-node_b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Begin(protocol.KindControl, "req_1", "wfmtest0"); err != nil {
		t.Fatal(err)
	}
	topic, data := commandOf(t, protocol.KindControl, "req_1", startCommand())
	for range 2 { // the answer survives, too
		b := newBench(t, dir, f)
		b.Receive(topic, data)
		ack := b.nextAck(t, "req_1")
		if ack.Status != protocol.AckFailed || !strings.Contains(ack.Message, "agent was restarted while running it") {
			t.Fatalf("%+v", ack)
		}
		b.stop()
	}
	if calls := f.read("calls"); calls != "" {
		t.Fatalf("calls:\n%s", calls)
	}
}

func TestStopOfAKilledAgentIsFinishedByTheNext(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	tun := f.tunnels(dir)
	if err := tun.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	f.set("link-wfmtest0", "wg")
	f.gate()
	stop := startCommand()
	stop.Action = protocol.ActionStop
	agent := spawnAgent(t, dir)
	topic, data := commandOf(t, protocol.KindControl, "req_1", stop)
	agent.receive(t, topic, data)
	f.awaitCall(t)
	agent.kill(t)
	f.awaitGone("tool") // otherwise it would interfere with the next agent
	f.dropGate()

	for range 2 { // the answer survives, too
		b := newBench(t, dir, f)
		b.Receive(topic, data)
		ack := b.nextAck(t, "req_1")
		if ack.Status != protocol.AckApplied || ack.Message != "wfmtest0 is stopped" {
			t.Fatalf("%+v", ack)
		}
		b.stop()
	}
	if calls := f.read("calls"); calls != "wg-quick down wfmtest0\nwg-quick down wfmtest0" {
		t.Fatalf("calls:\n%s", calls)
	}
}

func TestWhatAToolOfAKilledAgentStartedIsEnded(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	f.set("hang", "")
	agent := spawnAgent(t, dir)
	topic, data := commandOf(t, protocol.KindPush, "req_1", pushOf("two", 2))
	agent.receive(t, topic, data)
	f.await(t, "child")
	agent.kill(t)
	_ = os.Remove(filepath.Join(f.dir, "hang"))
	if runtime.GOOS == "linux" && endOrphans(dir) == 0 {
		t.Error("nothing was found")
	}
	f.awaitGone("child")
	// Processes left by a tool that has ended do not concern the agent.
	tun := f.tunnels(dir)
	if err := tun.takeUp(t.Context(), testProfile().ID(), "wg", "wfmtest1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(orphanPath(dir)); err == nil {
		t.Error("the mark of a tool that has ended is still there")
	}
}

func TestAnswerThatWasNotDeliveredIsGivenByTheNextAgent(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := f.tunnels(dir)
	j, err := openJournal(journalPath(dir, "cfg_a-node_b"))
	if err != nil {
		t.Fatal(err)
	}
	_, log := newTestLog()
	x := newExecutor(testProfile(), tun, j, newOutbox(log, time.Hour), log) // nothing empties the outbox
	x.server = &fakeUplink{}
	x.Start(t.Context())
	commands := map[protocol.Kind]any{
		protocol.KindPush:    pushOf("one", 1),
		protocol.KindControl: protocol.Control{Action: protocol.ActionStop, TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"},
		protocol.KindDetect:  protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"}, // changes nothing
	}
	for kind, payload := range commands {
		topic, data := commandOf(t, kind, "req_"+string(kind), payload)
		x.Receive(topic, data)
	}
	(&bench{executor: x}).settled(t)
	x.Stop()

	b := newBench(t, dir, f)
	got := map[protocol.Kind]protocol.AckStatus{}
	for range 2 {
		m := b.next(t)
		got[m.kind] = ackOf(t, m.payload).Status
	}
	if len(got) != 2 || got[protocol.KindPushAck] != protocol.AckApplied || got[protocol.KindControlAck] != protocol.AckApplied {
		t.Fatalf("%v", got)
	}
	b.stop()
	b = newBench(t, dir, f)
	b.stop()
	if len(b.sent) != 0 {
		t.Fatalf("%s again", (<-b.sent).kind)
	}
}

func TestStopLetsTheRunningCommandEndAndBeginsNoOther(t *testing.T) {
	f := newFakeTools(t)
	dir := t.TempDir()
	b := newBench(t, dir, f)
	if err := b.tunnels.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	open := f.gate()
	for _, id := range []string{"req_1", "req_2"} {
		topic, data := commandOf(t, protocol.KindControl, id, startCommand())
		b.Receive(topic, data)
	}
	f.awaitCall(t)
	stopped := make(chan struct{})
	go func() { b.Stop(); close(stopped) }()
	<-b.executor.stop // asked to stop while one command still runs
	open()
	<-stopped
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	j, err := openJournal(journalPath(dir, "cfg_a-node_b"))
	if err != nil {
		t.Fatal(err)
	}
	if _, done := j.Lookup(protocol.KindControl, "req_2"); done || len(j.Interrupted()) != 0 {
		t.Fatal("the queued command was begun")
	}
}
