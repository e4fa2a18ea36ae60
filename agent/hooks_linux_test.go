package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wfm/protocol"
)

func TestPostDownIsReadAsTheQuickToolsReadIt(t *testing.T) {
	got := postDown([]byte("PostDown = no\n[interface]\r\n postdown=a %i = b # c\r\nPostUp = x\n#PostDown = y\nPostDown =\n[Peer]\nPostDown = " +
		"z\n[Interface]\nPostDown = d"))
	if want := []string{"a %i = b", "d"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
}

// rule returns a pair of hooks that set something up and undo it, like a firewall rule.
func rule(flag string) string {
	return "PostUp = touch " + flag + "-%i\nPostDown = rm " + flag + "-%i\n"
}

func TestRealTunnelLeavesNothingOfItsHooksBehind(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	for name, hooks := range map[string]string{
		"start that fails": "PostUp = false", "PreDown that fails": "PreDown = false",
		"PostDown that fails": "PostDown = false", "PostDown that hangs": "PostDown = sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := makeDirs(dir); err != nil {
				t.Fatal(err)
			}
			tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
			tun.changeLimit = 6 * time.Second
			t.Cleanup(func() { _ = exec.Command("ip", "link", "del", g.iface).Run() }) //nolint:noctx // clean-up has no context left
			if ack := pushTo(t, tun, g.profileID, pushOf(realConfig(51001), 1)); ack.Status != protocol.AckApplied {
				t.Fatalf("%+v", ack)
			}
			if _, err := tun.Start(t.Context(), "req_1", g); err != nil {
				t.Fatal(err)
			}
			confirmed(t, tun)
			flag := filepath.Join(t.TempDir(), "flag")
			text := hooks + "\n" + rule(flag)
			if hooks == "PostUp = false" {
				text = rule(flag) + hooks
			}
			out, err := tun.Push(t.Context(), "req_2", g, pushOf(withHooks(51002, text), 2), false)
			if out.pending != nil {
				if _, statErr := os.Stat(flag + "-" + g.iface); statErr != nil {
					t.Fatal(statErr)
				}
				out, err = tun.TakeBack(t.Context(), *out.pending, errors.New("cut off"))
			}
			if !out.rolledBack {
				t.Fatal(err)
			}
			expectRunning(t, tun, g, "51001")
			if _, err := os.Stat(flag + "-" + g.iface); err == nil {
				t.Fatal("what PostUp has set up is left")
			}
		})
	}
}

func TestPostDownOfATextWhoseAgentWasKilledInTheMiddleIsRun(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	runningTunnel(t, f, dir)
	flag := filepath.Join(t.TempDir(), "flag")
	tun := f.tunnels(dir)
	out, err := tun.Push(t.Context(), "req_1", mustTarget(t, "wireguard", ""), pushOf("[Interface]\n"+rule(flag), 2), false)
	if err != nil || out.pending == nil {
		t.Fatal(out, err)
	}
	if err := os.WriteFile(flag+"-wfmtest0", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(f.dir, "link-wfmtest0")) // the killed tool came this far
	b := newBench(t, dir, f)
	if ack := b.nextAck(t, "req_1"); !ack.RolledBack {
		t.Fatalf("%+v", ack)
	}
	if _, err := os.Stat(flag + "-wfmtest0"); err == nil {
		t.Fatal("what PostUp has set up is left")
	}
	b.settled(t)
	wantNode(t, f, dir, "one", true)
}

func TestHookOfAFailedStartDoesNotGoOn(t *testing.T) {
	f := newFakeTools(t)
	tun := f.tunnels(t.TempDir())
	f.script("wg-quick", "#!/bin/sh\n(exec setsid sleep 600) > /dev/null 2>&1 &\necho $! > \"$FAKE/child\"\nexit 1\n")
	if err := tun.configs.Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tun.Start(t.Context(), "req_1", mustTarget(t, "wireguard", "")); err == nil {
		t.Fatal("started")
	}
	f.awaitGone("child")
}

// The environment of a process that is just running another program cannot be read.
func TestAProcessThatRunsOneProgramAfterTheOtherIsFoundByItsMark(t *testing.T) {
	script := filepath.Join(t.TempDir(), "again")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec \"$0\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		mark := orphanMark + "=" + protocol.NewID("tool")
		cmd := exec.CommandContext(t.Context(), script)
		cmd.Env = append(os.Environ(), mark)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if killMarked(mark) == 0 {
			t.Errorf("run %d: the process was overlooked", i)
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	}
}
