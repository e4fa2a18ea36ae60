package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

func TestPostDownRunsOnceWhenAnOwnChangeIsTakenBack(t *testing.T) {
	const text = "[Interface]\nPostDown = echo %i >> \"$FAKE/postdown\"\n"
	for name, c := range map[string]struct {
		fails bool // the start
		ran   string
	}{
		"start failed":        {fails: true, ran: "wfmtest0"}, // run by the start
		"went down by itself": {},                             // with its hooks, or by a command that wants none
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			runningTunnel(t, f, dir)
			if c.fails {
				f.set("once", "")
			}
			first := !c.fails
			b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
				if first {
					first = false
					_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
					return errors.New("not yet")
				}
				return nil
			}}, 50*time.Millisecond)
			push(t, b, text, 2)
			if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckFailed || !ack.RolledBack {
				t.Fatalf("%+v", ack)
			}
			b.settled(t)
			wantNode(t, f, dir, "one", true)
			if ran := f.read("postdown"); ran != c.ran {
				t.Errorf("PostDown ran for %q, want %q; calls:\n%s", ran, c.ran, f.read("calls"))
			}
		})
	}
}

func TestStartThatIsConfirmedSaysThatTheTunnelRuns(t *testing.T) {
	for name, c := range map[string]struct{ runs, text, want string }{
		"stopped before":         {"", "one", "wfmtest0 is running"},
		"another protocol":       {"awg", "one", "wfmtest0 is running"},
		"stopped without a hook": {"awg", "BADHOOK", "wfmtest0 is running; wfmtest0 was taken down without the hooks of its config ("},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFakeTools(t), t.TempDir()
			runningTunnel(t, f, dir)
			if err := f.tunnels(dir).configs.Write("wfmtest0", []byte(c.text), configMeta{ProfileID: "cfg_a-node_b"}); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0"))
			start := startCommand()
			if c.runs != "" {
				f.set("link-wfmtest0", c.runs)
				start.PreviousTunnelProtocol = "amneziawg"
			}
			b := newBench(t, dir, f)
			topic, data := commandOf(t, protocol.KindControl, "req_1", start)
			b.Receive(topic, data)
			ack := b.nextAck(t, "req_1")
			if ack.Status != protocol.AckApplied || !strings.HasPrefix(ack.Message, c.want) || (c.text == "one" && ack.Message != c.want) {
				t.Fatalf("%+v", ack)
			}
			b.settled(t)
			wantNode(t, f, dir, c.text, true)
		})
	}
}

func TestFinishedChangeThatCannotBeRemovedIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	if err := removeChange(dir, "cfg_a-node_b"); err != nil {
		t.Errorf("with none there: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(changePath(dir, "cfg_a-node_b"), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := removeChange(dir, "cfg_a-node_b"); err == nil || !strings.Contains(err.Error(), "remove finished change") {
		t.Errorf("with one that cannot be removed: %v", err)
	}
}

func TestOpenChangesThatCannotBeListedAreAnError(t *testing.T) {
	dir := t.TempDir()
	if ids, err := openChanges(dir); err != nil || ids != nil {
		t.Errorf("before there is a directory: %v, %v", ids, err)
	}
	if err := os.WriteFile(stateDir(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := openChanges(dir); err == nil {
		t.Errorf("with a file in its place: %v", ids)
	}
}

func TestChangeOfAnInterfaceThatCannotBeLeftStaysOpen(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	leaveOpen(t, f, dir)
	tun := f.tunnels(dir)
	c, err := loadChange(dir, "cfg_a-node_b")
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	// As the tunnel goes down, its config becomes a directory, which no config can replace.
	f.script("wg-quick", "#!/bin/sh\nrm \"$FAKE/link-wfmtest0\" \"$2\"; mkdir -p \"$2/in the way\"\n")
	if _, err := tun.Leave(t.Context(), *c); err == nil {
		t.Error("it is left, though its former config is not back")
	}
	if c, err := loadChange(dir, "cfg_a-node_b"); err != nil || c == nil {
		t.Errorf("the change is not open any more: %v, %v", c, err)
	}
	if err := os.RemoveAll(tun.configs.Path("wfmtest0")); err != nil {
		t.Fatal(err)
	}
	if _, err := tun.Leave(t.Context(), *c); err != nil {
		t.Error(err)
	}
	wantNode(t, f, dir, "one", false)
}
