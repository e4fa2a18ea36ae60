package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// wantRestored waits for the event and the heartbeat that report a change finally taken back.
func wantRestored(t *testing.T, b *bench) {
	t.Helper()
	wantTold(t, b)
	b.wantHeartbeat(t, true)
}

func wantTold(t *testing.T, b *bench) {
	t.Helper()
	var e protocol.Event
	m := b.next(t)
	if err := json.Unmarshal(m.payload, &e); err != nil || m.kind != protocol.KindEvent || e.Event != "tunnel_restored" || e.RequestID != "req_1" {
		t.Fatalf("%s %s", m.kind, m.payload)
	}
	if want := "wfmtest0: the former config is back and running; the change by config/push req_1 is taken back at last"; e.Message != want {
		t.Fatalf("%q, want %q", e.Message, want)
	}
}

// leaveDown runs an agent that pushes "two" over "one", with which the server is out of reach, and
// fails to bring "one" back: no tunnel starts until the file down is removed.
func leaveDown(t *testing.T, f *fakeTools, dir string) *bench {
	t.Helper()
	runningTunnel(t, f, dir)
	cut := true
	b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
		if !cut {
			return nil
		}
		cut = false
		f.set("down", "")
		return errors.New("no route to host")
	}}, time.Millisecond)
	push(t, b, "two", 2)
	ack := b.nextAck(t, "req_1")
	if ack.Status != protocol.AckFailed || ack.RolledBack || ack.ConfigVersion != 1 ||
		!strings.Contains(ack.Message, "no such name") ||
		!strings.HasSuffix(ack.Message, "; this is tried again until it works or another command changes wfmtest0") {
		t.Fatalf("%+v", ack)
	}
	b.wantHeartbeat(t, false) // otherwise the server would go on showing a running tunnel
	b.settled(t)
	return b
}

func (f *fakeTools) mend() { _ = os.Remove(filepath.Join(f.dir, "down")) }

func TestTunnelThatCannotBeBroughtBackIsTriedAgainUntilItRuns(t *testing.T) {
	t.Run("same agent", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		b := leaveDown(t, f, dir)
		f.mend()
		wantRestored(t, b)
		wantNode(t, f, dir, "one", true)
	})
	t.Run("next agent", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		f.mend()
		wantRestored(t, newBench(t, dir, f))
		wantNode(t, f, dir, "one", true)
	})
	t.Run("agent that ends before the server has heard of it", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		f.mend()
		b := newDeafBench(t, f.tunnels(dir))
		awaitNoChange(t, dir)
		b.stop()
		b = newBench(t, dir, f)
		wantTold(t, b)
		b.stop()
		wantNode(t, f, dir, "one", true)
		b = newBench(t, dir, f)
		b.stop()
		if len(b.sent) > 0 {
			t.Fatalf("told again: %s", (<-b.sent).payload)
		}
	})
	t.Run("unbound", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		l, _ := runAgent(t, dir, f)
		await(t, l, "the former config is back on disk but did not start either")
		f.mend()
		awaitNoChange(t, dir)
		wantNode(t, f, dir, "one", true)
	})
	t.Run("machine restarted", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		f.mend()
		changeRecord(t, dir, func(c *change) { c.BootID = "another" })
		b := newBench(t, dir, f)
		if m := b.next(t); !strings.Contains(string(m.payload), "so the tunnel was not started") {
			t.Fatalf("%s", m.payload)
		}
		wantNode(t, f, dir, "one", false)
	})
	t.Run("fatal tunnel that cannot be stopped", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		runningTunnel(t, f, dir)
		b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
			f.set("stuck", "")
			f.set("stuck-link", "")
			return errors.New("no route to host")
		}}, time.Millisecond)
		push(t, b, "two", 2)
		if ack := b.nextAck(t, "req_1"); ack.RolledBack || !strings.Contains(ack.Message, "device is busy") ||
			!strings.Contains(ack.Message, "Operation not permitted") {
			t.Fatalf("%+v", ack)
		}
		b.wantHeartbeat(t, true)
		_ = os.Remove(filepath.Join(f.dir, "stuck-link"))
		if m := b.next(t); !strings.Contains(string(m.payload), "the former config is back and running; the interface wfmtest0 was deleted") {
			t.Fatalf("%s", m.payload)
		}
		wantNode(t, f, dir, "one", true)
	})
}

func TestCommandTakesOverFromAChangeWhoseRecordCouldNotBeWrittenAgain(t *testing.T) {
	for name, run := range map[string]func(*tunnels) (outcome, error){
		"push": func(tun *tunnels) (outcome, error) {
			return tun.Push(t.Context(), "req_2", mustTarget(t, "wireguard", ""), pushOf("three", 3), false)
		},
		"start": func(tun *tunnels) (outcome, error) {
			return tun.Start(t.Context(), "req_2", mustTarget(t, "wireguard", ""))
		},
		"stop": func(tun *tunnels) (outcome, error) {
			return tun.Stop(t.Context(), "req_2", mustTarget(t, "wireguard", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			leaveDown(t, f, dir).stop()
			changeRecord(t, dir, func(c *change) { c.Deadline = time.Now().Add(time.Minute) }) // as before the undoing
			tun := f.tunnels(dir)
			if err := tun.configs.Write("wfmtest0", []byte("two"), configMeta{}); err != nil {
				t.Fatal(err)
			}
			f.mend()
			if _, err := run(tun); err != nil {
				t.Fatal(err)
			}
			if c, err := loadChange(dir, "cfg_a-node_b"); err != nil || (c != nil && c.Former.Text != "one") {
				t.Fatalf("%+v, %v: the way back to what ran is lost", c, err)
			}
			if name == "stop" {
				wantNode(t, f, dir, "one", false)
			}
		})
	}
}

func TestNewerCommandTakesOverFromATunnelThatCannotBeBroughtBack(t *testing.T) {
	command := func(t *testing.T, b *bench, kind protocol.Kind, payload any) protocol.Ack {
		t.Helper()
		topic, data := commandOf(t, kind, "req_2", payload)
		b.Receive(topic, data)
		ack := b.nextAck(t, "req_2")
		b.settled(t)
		return ack
	}
	stop := startCommand()
	stop.Action = protocol.ActionStop
	for name, c := range map[string]struct {
		kind    protocol.Kind
		payload any
		text    string
		runs    bool
	}{
		"push":  {protocol.KindPush, pushOf("three", 3), "three", true},
		"start": {protocol.KindControl, startCommand(), "one", true},
		"stop":  {protocol.KindControl, stop, "one", false},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			leaveDown(t, f, dir).stop() // otherwise it could be faster than the command
			b := newBenchWaiting(t, dir, f)
			f.mend()
			if ack := command(t, b, c.kind, c.payload); ack.Status != protocol.AckApplied {
				t.Fatalf("%+v", ack)
			}
			wantNode(t, f, dir, c.text, c.runs)
		})
	}
	for name, c := range map[string]struct {
		kind    protocol.Kind
		payload any
	}{
		"push that fails as well":  {protocol.KindPush, pushOf("three", 3)},
		"start that fails as well": {protocol.KindControl, startCommand()},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			leaveDown(t, f, dir).stop()
			b := newBenchWaiting(t, dir, f)
			if ack := command(t, b, c.kind, c.payload); ack.Status != protocol.AckFailed || ack.RolledBack {
				t.Fatalf("%+v", ack)
			}
			b.stop()
			changeRecord(t, dir, func(c *change) {
				if c.RequestID != "req_2" || c.Former.Text != "one" || !c.Ran {
					t.Errorf("%+v", c)
				}
			})
		})
	}
	t.Run("command that is refused", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		b := newBenchWaiting(t, dir, f)
		bad := pushOf("three", 3)
		bad.ConfigSHA256 = "x"
		if ack := command(t, b, protocol.KindPush, bad); ack.Status != protocol.AckFailed {
			t.Fatalf("%+v", ack)
		}
		b.stop()
		changeRecord(t, dir, func(c *change) {
			if c.RequestID != "req_1" {
				t.Errorf("%+v", c)
			}
		})
	})
	t.Run("another node, once this one is unbound", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		ack := pushTo(t, f.tunnels(dir), "cfg_z-node_z", pushOf("three", 3))
		if ack.Status != protocol.AckApplied {
			t.Fatalf("%+v", ack)
		}
		wantNode(t, f, dir, "three", false)
	})
}

func TestCommandForARenamedInterfaceEndsTheChangeOfTheFormerOne(t *testing.T) {
	const renamed = "wfmtest1"
	start, pushed := startCommand(), pushOf("three", 3)
	start.InterfaceName, pushed.InterfaceName = renamed, renamed
	stop := start
	stop.Action = protocol.ActionStop
	for name, c := range map[string]struct {
		kind    protocol.Kind
		payload any
	}{
		"push": {protocol.KindPush, pushed}, "start": {protocol.KindControl, start}, "stop": {protocol.KindControl, stop},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			leaveDown(t, f, dir).stop()
			b := newBenchWaiting(t, dir, f)
			f.mend()
			f.set("link-wfmtest0", "wg") // with any text
			if err := b.tunnels.configs.Write(renamed, []byte("x"), configMeta{ProfileID: "cfg_a-node_b"}); err != nil {
				t.Fatal(err)
			}
			topic, data := commandOf(t, c.kind, "req_2", c.payload)
			b.Receive(topic, data)
			var e protocol.Event
			if m := b.next(t); json.Unmarshal(m.payload, &e) != nil || e.Event != "tunnel_left" || e.RequestID != "req_1" ||
				!strings.HasPrefix(e.Message, "wfmtest0 is stopped, ") {
				t.Fatalf("%s %s", m.kind, m.payload)
			}
			if ack := b.nextAck(t, "req_2"); ack.Status != protocol.AckApplied {
				t.Fatalf("%+v", ack)
			}
			b.settled(t)
			wantNode(t, f, dir, "one", false)
			if got := f.link(renamed) == linkUp; got != (name == "start") {
				t.Fatalf("%s runs: %v", renamed, got)
			}
		})
	}
	t.Run("former one that cannot be stopped", func(t *testing.T) {
		f, dir := newFakeTools(t), t.TempDir()
		leaveDown(t, f, dir).stop()
		b := newBenchWaiting(t, dir, f)
		f.set("link-wfmtest0", "wg")
		f.set("stuck", "")
		f.set("stuck-link", "")
		topic, data := commandOf(t, protocol.KindPush, "req_2", pushed)
		b.Receive(topic, data)
		if ack := b.nextAck(t, "req_2"); ack.Status != protocol.AckFailed || !strings.HasPrefix(ack.Message, "nothing was changed: wfmtest0, the former interface") {
			t.Fatalf("%+v", ack)
		}
		b.stop()
		changeRecord(t, dir, func(c *change) {
			if c.RequestID != "req_1" {
				t.Errorf("%+v", c)
			}
		})
	})
}

// newBenchWaiting returns a bench that makes no attempt of its own to bring a tunnel back.
func newBenchWaiting(t *testing.T, dir string, f *fakeTools) *bench {
	t.Helper()
	tun := f.tunnels(dir)
	tun.retryPause = time.Hour
	return newBenchOf(t, tun, &fakeUplink{})
}

func TestCommandDoesNotWaitForAnAttemptToBringATunnelBack(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveDown(t, f, dir).stop()
	f.mend()
	f.set("hang", "")
	b := newBench(t, dir, f)
	f.await(t, "child")
	_ = os.Remove(filepath.Join(f.dir, "hang"))
	stop := startCommand()
	stop.Action = protocol.ActionStop
	topic, data := commandOf(t, protocol.KindControl, "req_2", stop)
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_2"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	b.settled(t)
	wantNode(t, f, dir, "one", false)
}
