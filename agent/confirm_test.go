package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// cutOff returns an uplink that never reaches the server.
func cutOff() *fakeUplink {
	return &fakeUplink{reach: func(context.Context) error { return errors.New("no route to host") }}
}

// silent returns an uplink whose round trip ends with its context. asked signals the first round
// trip.
func silent() (u *fakeUplink, asked chan struct{}) {
	asked = make(chan struct{}, 100)
	return &fakeUplink{reach: func(ctx context.Context) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}, asked
}

// runningTunnel stores version 1 with the text "one" and marks the interface as running.
func runningTunnel(t *testing.T, f *fakeTools, dir string) {
	t.Helper()
	tun := f.tunnels(dir)
	meta := configMeta{Version: 1, TunnelProtocol: "wireguard", ProfileID: "cfg_a-node_b"}
	if err := tun.configs.Write("wfmtest0", []byte("one"), meta); err != nil {
		t.Fatal(err)
	}
	f.set("link-wfmtest0", "wg")
}

// wantNode checks the stored text and whether the interface runs, and that no change is open.
func wantNode(t *testing.T, f *fakeTools, dir, text string, runs bool) {
	t.Helper()
	stored, err := configs{dir: dir}.Read("wfmtest0")
	if err != nil || string(stored.Text) != text {
		t.Fatalf("stored %q, %v, want %q", stored.Text, err, text)
	}
	if got := f.link("wfmtest0") == linkUp; got != runs {
		t.Fatalf("runs: %v, want %v; calls:\n%s", got, runs, f.read("calls"))
	}
	if c, err := loadChange(dir, "cfg_a-node_b"); c != nil || err != nil {
		t.Fatalf("open change %v, %v", c, err)
	}
}

func push(t *testing.T, b *bench, text string, version int) {
	t.Helper()
	topic, data := commandOf(t, protocol.KindPush, "req_1", pushOf(text, version))
	b.Receive(topic, data)
}

func TestPushOnARunningTunnelIsAppliedOnlyOnceTheServerIsReached(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	asked, reached := make(chan struct{}), make(chan struct{})
	up := &fakeUplink{accepted: make(chan outMessage, 1), reach: func(context.Context) error {
		asked <- struct{}{}
		<-reached
		return nil
	}}
	b := newBenchOn(t, dir, f, up)
	push(t, b, "two", 2)
	<-asked
	c, err := loadChange(dir, "cfg_a-node_b")
	if err != nil || c == nil || c.RequestID != "req_1" || c.Former.Text != "one" || c.Deadline.IsZero() {
		t.Fatalf("open change %+v, %v", c, err)
	}
	push(t, b, "two", 2) // again: its ACK will come
	topic, data := commandOf(t, protocol.KindDetect, "req_2", protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_2"); ack.ConfigVersion != 2 || ack.ConfigSHA256 != hashOf([]byte("two")) || !*ack.WGOnline {
		t.Fatalf("detect meanwhile: %+v", ack)
	}
	close(reached)
	m := <-up.accepted
	if ack := ackOf(t, m.payload); m.kind != protocol.KindPushAck || m.requestID != "req_1" || ack.Status != protocol.AckAccepted ||
		ack.Action != protocol.ActionPush {
		t.Fatalf("%+v %+v", m, ack)
	}
	ack := b.nextAck(t, "req_1")
	if ack.Status != protocol.AckApplied || ack.ConfigVersion != 2 || ack.ConfigSHA256 != hashOf([]byte("two")) ||
		ack.Message != "version 2 is stored and wfmtest0 runs it" {
		t.Fatalf("%+v", ack)
	}
	b.settled(t)
	wantNode(t, f, dir, "two", true)
}

func TestChangeThatCutsTheNodeOffIsTakenBack(t *testing.T) {
	t.Run("push", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		runningTunnel(t, f, dir)
		up := cutOff()
		b := newBenchWithin(t, dir, f, up, 20*time.Millisecond)
		push(t, b, "two", 2)
		ack := b.nextAck(t, "req_1")
		want := "the config cut this node off from its server: no answer within 20ms after the change (no route to host); the former config is back and running"
		if ack.Status != protocol.AckFailed || !ack.RolledBack || ack.Message != want || ack.ConfigVersion != 1 || ack.ConfigSHA256 != hashOf([]byte("one")) {
			t.Fatalf("%+v", ack)
		}
		b.settled(t)
		wantNode(t, f, dir, "one", true)
		b.wantHeartbeat(t, true)
		var e protocol.Event
		if m := b.next(t); json.Unmarshal(m.payload, &e) != nil || e.Event != "server_unreached" || e.RequestID != "req_1" ||
			!strings.Contains(e.Message, "no route to host") {
			t.Fatalf("%s %s", m.kind, m.payload)
		}
		if up.reconnect.Load() != 1 {
			t.Error("the session keeps the connection of the config that was taken back")
		}
	})
	t.Run("start", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		runningTunnel(t, f, dir)
		_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
		b := newBenchWithin(t, dir, f, cutOff(), 20*time.Millisecond)
		topic, data := commandOf(t, protocol.KindControl, "req_1", startCommand())
		b.Receive(topic, data)
		ack := b.nextAck(t, "req_1")
		if ack.Status != protocol.AckFailed || !ack.RolledBack || !strings.HasPrefix(ack.Message, "the tunnel cut this node off") ||
			!strings.HasSuffix(ack.Message, "wfmtest0 is stopped again") {
			t.Fatalf("%+v", ack)
		}
		b.settled(t)
		wantNode(t, f, dir, "one", false)
	})
	t.Run("start as another protocol", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		runningTunnel(t, f, dir)
		b := newBenchWithin(t, dir, f, cutOff(), 20*time.Millisecond)
		start := startCommand()
		start.TunnelProtocol, start.PreviousTunnelProtocol = "amneziawg", "wireguard"
		topic, data := commandOf(t, protocol.KindControl, "req_1", start)
		b.Receive(topic, data)
		if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || !ack.RolledBack {
			t.Fatalf("%+v", ack)
		}
		b.settled(t)
		wantNode(t, f, dir, "one", true)
		if f.read("link-wfmtest0") != "wg" {
			t.Fatalf("runs as %q; calls:\n%s", f.read("link-wfmtest0"), f.read("calls"))
		}
	})
}

func TestChangeIsNotConfirmedByATunnelThatWentDown(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	first := true
	b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
		if first {
			first = false
			_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
			return errors.New("not yet")
		}
		return nil // the server is reachable without the tunnel
	}}, 50*time.Millisecond)
	push(t, b, "two", 2)
	ack := b.nextAck(t, "req_1")
	if why := ack.Message; ack.Status != protocol.AckFailed || !ack.RolledBack ||
		!strings.Contains(why, "wfmtest0 is not up") && !strings.Contains(why, "not yet") { // on a busy machine, there is no second attempt
		t.Fatalf("%+v", ack)
	}
	b.settled(t)
	wantNode(t, f, dir, "one", true)
}

func TestWhatChangesNoRunningTunnelNeedsNoConfirmation(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBenchOn(t, dir, f, cutOff())
	push(t, b, "one", 1)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied || ack.ConfigVersion != 1 || f.read("calls") != "" {
		t.Fatalf("push to what does not run: %+v, calls %q", ack, f.read("calls"))
	}
	f.set("link-wfmtest0", "wg")
	for _, action := range []protocol.Action{protocol.ActionStart, protocol.ActionStop} {
		c := startCommand()
		c.Action = action
		topic, data := commandOf(t, protocol.KindControl, string("req_"+action), c)
		b.Receive(topic, data)
		if ack := b.nextAck(t, string("req_"+action)); ack.Status != protocol.AckApplied {
			t.Fatalf("%+v", ack)
		}
	}
	b.settled(t)
	wantNode(t, f, dir, "one", false)
}

// leaveOpen runs an agent that applies a push of "two" over "one" and stops before it is confirmed.
func leaveOpen(t *testing.T, f *fakeTools, dir string) {
	t.Helper()
	runningTunnel(t, f, dir)
	up, asked := silent()
	b := newBenchOn(t, dir, f, up)
	push(t, b, "two", 2)
	<-asked
	b.stop()
	if len(b.sent) > 0 {
		t.Fatalf("answered %s", (<-b.sent).payload)
	}
}

// changeRecord edits the record of the open change.
func changeRecord(t *testing.T, dir string, edit func(*change)) {
	t.Helper()
	c, err := loadChange(dir, "cfg_a-node_b")
	if err != nil || c == nil {
		t.Fatalf("open change %v, %v", c, err)
	}
	edit(c)
	if err := c.save(dir); err != nil {
		t.Fatal(err)
	}
}

func TestOpenChangeIsFinishedByTheNextAgent(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(t *testing.T, f *fakeTools, dir string)
		up      *fakeUplink
		text    string
		runs    bool
		message string // of the failed ACK; empty: applied
	}{
		"server within reach": {
			up: &fakeUplink{}, text: "two", runs: true,
		},
		"server out of reach": {
			up: cutOff(), text: "one", runs: true, message: "cut this node off",
		},
		"time is over": {
			edit: func(t *testing.T, _ *fakeTools, dir string) {
				changeRecord(t, dir, func(c *change) { c.Deadline = time.Now().Add(-time.Second) })
			},
			up: &fakeUplink{}, text: "one", runs: true, message: "the agent was not running when this change had to be confirmed",
		},
		"clock set back by a day": {
			edit: func(t *testing.T, _ *fakeTools, dir string) {
				changeRecord(t, dir, func(c *change) { c.Deadline = time.Now().Add(24 * time.Hour) })
			},
			up: cutOff(), text: "one", runs: true, message: "cut this node off",
		},
		"not whole": {
			edit: func(t *testing.T, _ *fakeTools, dir string) {
				changeRecord(t, dir, func(c *change) { c.Deadline = time.Time{} })
			},
			up: &fakeUplink{}, text: "one", runs: true, message: "the agent was ended in the middle of this change",
		},
		"machine restarted": {
			edit: func(t *testing.T, f *fakeTools, dir string) {
				changeRecord(t, dir, func(c *change) { c.BootID = "another" })
				_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
			},
			up: &fakeUplink{}, text: "one", runs: false, message: "so the tunnel was not started",
		},
		"machine restarted, and something started the tunnel": {
			edit: func(t *testing.T, _ *fakeTools, dir string) {
				changeRecord(t, dir, func(c *change) { c.BootID, c.Deadline = "another", time.Time{} })
			},
			up: &fakeUplink{}, text: "one", runs: true, message: "the former config is back and running",
		},
		"tunnel gone": {
			edit: func(_ *testing.T, f *fakeTools, _ string) { _ = os.Remove(filepath.Join(f.dir, "link-wfmtest0")) },
			up:   &fakeUplink{}, text: "one", runs: true, message: "wfmtest0 went down before this change was confirmed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			leaveOpen(t, f, dir)
			if c.edit != nil {
				c.edit(t, f, dir)
			}
			b := newBenchWithin(t, dir, f, c.up, 50*time.Millisecond)
			push(t, b, "two", 2) // the server sends it again
			ack := b.nextAck(t, "req_1")
			if c.message == "" && ack.Status != protocol.AckApplied ||
				c.message != "" && (ack.Status != protocol.AckFailed || !ack.RolledBack || !strings.Contains(ack.Message, c.message)) {
				t.Fatalf("%+v", ack)
			}
			if ack.ConfigSHA256 != hashOf([]byte(c.text)) {
				t.Fatalf("%+v", ack)
			}
			b.settled(t)
			wantNode(t, f, dir, c.text, c.runs)
			if ack.RolledBack && c.up.reach != nil {
				b.nextEvent(t, eventUnreached)
			}
			before := f.read("calls")
			push(t, b, "two", 2)
			if again := b.nextAck(t, "req_1"); again.Message != ack.Message || f.read("calls") != before {
				t.Fatalf("run again: %+v", again)
			}
		})
	}
}

func TestOpenChangeIsNotAnsweredBeforeItIsSettled(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveOpen(t, f, dir)
	up, asked := silent()
	b := newBenchOn(t, dir, f, up)
	<-asked
	if ack, done := b.journal.Lookup(protocol.KindPush, "req_1"); done {
		t.Fatalf("answered %+v", ack)
	}
	b.stop()
	b = newBench(t, dir, f)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
}

func TestAnsweredChangeStaysWhateverIsLeftOfItsRecord(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveOpen(t, f, dir)
	j, err := openJournal(journalPath(dir, "cfg_a-node_b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Finish(protocol.KindPush, "req_1", protocol.Ack{Status: protocol.AckApplied}); err != nil {
		t.Fatal(err)
	}
	changeRecord(t, dir, func(c *change) { c.Deadline = time.Now().Add(-time.Hour) })
	b := newBenchOn(t, dir, f, cutOff())
	push(t, b, "two", 2)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	wantNode(t, f, dir, "two", true)
}

func TestNothingIsChangedThatCouldNotBeUndone(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	b := newBench(t, dir, f)
	// A folder at the record's path makes the write fail even for root, like a full disk.
	if err := os.MkdirAll(filepath.Join(changePath(dir, "cfg_a-node_b"), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	push(t, b, "two", 2)
	ack := b.nextAck(t, "req_1")
	if ack.Status != protocol.AckFailed || ack.RolledBack || !strings.HasPrefix(ack.Message, "nothing was changed: ") || ack.ConfigVersion != 1 {
		t.Fatalf("%+v", ack)
	}
	if f.read("calls") != "" || f.read("link-wfmtest0") != "wg" {
		t.Fatalf("calls:\n%s", f.read("calls"))
	}
}

func TestTakingBackIsTriedAgain(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	tun := f.tunnels(dir)
	tun.confirmLimit, tun.undoPatience = time.Millisecond, patience
	b := newBenchOf(t, tun, &fakeUplink{reach: func(context.Context) error {
		f.set("once", "") // the former config does not start at first
		return errors.New("no route to host")
	}})
	push(t, b, "two", 2)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || !ack.RolledBack {
		t.Fatalf("%+v", ack)
	}
	b.settled(t)
	wantNode(t, f, dir, "one", true)
}

func TestFormerTextThatCannotBeBroughtBackIsKept(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	tun := f.tunnels(dir)
	conf := tun.configs.Path("wfmtest0")
	b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
		// With a folder at the config's path, the config can be neither read nor replaced.
		_ = os.Remove(conf)
		return errors.Join(os.MkdirAll(filepath.Join(conf, "x"), 0o700), errors.New("no route to host"))
	}}, time.Millisecond)
	push(t, b, "two", 2)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || ack.RolledBack ||
		!strings.Contains(ack.Message, "bringing back the former config did not work either") {
		t.Fatalf("%+v", ack)
	}
	b.stop()
	if c, err := loadChange(dir, "cfg_a-node_b"); err != nil || c == nil || !c.Deadline.IsZero() || c.Former.Text != "one" {
		t.Fatalf("open change %+v, %v: must not be confirmed any more", c, err)
	}
	if err := os.RemoveAll(conf); err != nil {
		t.Fatal(err)
	}
	b = newBench(t, dir, f)
	wantRestored(t, b)
	wantNode(t, f, dir, "one", true)
}

// Wherever the agent is cut off, the node has the former text or the new one, and the next agent
// completes the change.
func TestAgentKilledAtAnyStepLosesNoConfig(t *testing.T) {
	kills := []string{"die-before-down", "die-after-down", "die-before-up", "die-after-up"}
	for look := 1; look <= 8; look++ { // from the first query to those of taking the change back
		kills = append(kills, fmt.Sprint(look))
	}
	for _, kill := range kills {
		t.Run(kill, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			runningTunnel(t, f, dir)
			env := "WFM_TEST_KILL_AT=" + kill
			if strings.HasPrefix(kill, "die-") {
				f.set(kill, "")
				env = "WFM_TEST_KILL_AT=0"
			}
			c := spawnAgent(t, dir, env)
			topic, data := commandOf(t, protocol.KindPush, "req_1", pushOf("two", 2))
			c.receive(t, topic, data)
			if err := c.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the agent was not killed: %v", err)
			}
			stored, err := configs{dir: dir}.Read("wfmtest0")
			if text := string(stored.Text); err != nil || (text != "one" && text != "two") {
				t.Fatalf("stored %q, %v", text, err)
			}
			b := newBench(t, dir, f)
			b.Receive(topic, data)
			ack := b.nextAck(t, "req_1")
			b.settled(t)
			// The ACK says applied if the change was whole when the agent ended and was not being
			// taken back yet.
			want := map[bool]string{true: "two", false: "one"}[ack.Status == protocol.AckApplied]
			wantNode(t, f, dir, want, true)
			if ack.ConfigSHA256 != hashOf([]byte(want)) {
				t.Fatalf("%+v", ack)
			}
			t.Logf("%s: %s", ack.Status, ack.Message)
		})
	}
}

func TestChangeOfANodeThatWasUnboundIsTakenBack(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveOpen(t, f, dir)
	storeProfile(t, dir, "127.0.0.1:1", nil) // nothing listens there
	l, _ := runAgent(t, dir, f)
	await(t, l, "a change was left open by a former agent")
	if _, err := RemoveProfile(dir, "node_b"); err != nil {
		t.Fatal(err)
	}
	await(t, l, "the node was unbound before this change was confirmed")
	awaitNoChange(t, dir)
	wantNode(t, f, dir, "one", true)
}

func TestChangeOfAProfileThatCannotBeUsedIsTakenBack(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveOpen(t, f, dir)
	if err := os.WriteFile(profilePath(dir, "cfg_a-node_b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	runAgent(t, dir, f)
	awaitNoChange(t, dir)
	wantNode(t, f, dir, "one", true)
}

func TestDamagedRecordIsNotActedOn(t *testing.T) {
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	good := newChange("req_1", protocol.KindPush, protocol.ActionPush, mustTarget(t, "wireguard", ""), storedConfig{Text: []byte("SECRET")})
	for name, spoil := range map[string]func(*change){
		"interface": func(c *change) { c.Interface = "../x" },
		"protocol":  func(c *change) { c.TunnelProtocol = "x" },
		"profile":   func(c *change) { c.ProfileID = "cfg_z-node_z" },
		"kind":      func(c *change) { c.Kind = protocol.KindDetect },
	} {
		c := *good
		spoil(&c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{raw, raw[:len(raw)/2]} {
			if err := os.WriteFile(changePath(dir, "cfg_a-node_b"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := loadChange(dir, "cfg_a-node_b"); err == nil || got != nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	}
}

func TestDescribeAndDetectTellWhatIsStoredForThisNodeAlone(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := newBench(t, dir, f)
	other := testProfile()
	other.Node.ProfileID, other.Node.ConfigID, other.Node.NodeID = "cfg_z-node_z", "cfg_z", "node_z"
	other.MQTT.ClientID, other.MQTT.Topics = "wfm-node_z", protocol.BindTopics{}
	if err := saveProfile(dir, other); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		owner   string
		version int
		sha     string
	}{
		{"cfg_a-node_b", 3, hashOf([]byte("x"))},
		{"cfg_z-node_z", 0, ""},
	} {
		if err := b.tunnels.configs.Write("wfmtest0", []byte("x"), configMeta{Version: 3, ProfileID: c.owner}); err != nil {
			t.Fatal(err)
		}
		for kind, payload := range map[protocol.Kind]any{
			protocol.KindDetect: protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"},
			protocol.KindInfo:   protocol.Info{Action: protocol.ActionDescribe},
		} {
			id := fmt.Sprintf("req_%d_%s", i, kind)
			topic, data := commandOf(t, kind, id, payload)
			b.Receive(topic, data)
			if ack := b.nextAck(t, id); ack.Status != protocol.AckApplied || ack.ConfigVersion != c.version || ack.ConfigSHA256 != c.sha {
				t.Errorf("%s of what %s stored: %+v", kind, c.owner, ack)
			}
		}
	}
	topic, data := commandOf(t, protocol.KindPush, "req_p", pushOf("y", 4))
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_p"); ack.Status != protocol.AckFailed || ack.ConfigSHA256 != "" || ack.ConfigVersion != 0 {
		t.Errorf("refused push: %+v", ack)
	}
}

func await(t *testing.T, l *testLog, text string) {
	t.Helper()
	if !eventually(func() bool { return strings.Contains(l.String(), text) }) {
		t.Fatalf("never logged %q:\n%s", text, l)
	}
}

func awaitNoChange(t *testing.T, dir string) {
	t.Helper()
	if !eventually(func() bool {
		ids, err := openChanges(dir)
		return err == nil && len(ids) == 0
	}) {
		t.Fatal("the change stays open")
	}
}
