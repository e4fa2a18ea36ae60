package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"wfm/protocol"
)

const (
	nodeAddr   = "10.77.0.2"
	serverAddr = "10.77.0.1"
)

// listenAcross listens in another network namespace, one veth pair away: an address that the
// tunnel's routes swallow really is out of reach. The namespace lives as long as the process of the
// test.
func listenAcross(t *testing.T) net.Listener {
	t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	ready := make(chan result)
	go func() {
		runtime.LockOSThread() // for ever: no other goroutine may run on a thread in the other namespace
		l, err := func() (net.Listener, error) {
			if err := run("ip", "link", "add", "wfmv0", "type", "veth", "peer", "name", "wfmv1"); err != nil {
				return nil, err
			}
			ns, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
				return nil, err
			}
			// This thread starts its commands in the new namespace, with nsenter in the original
			// one.
			home := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
			here := fmt.Sprintf("/proc/%d/ns/net", syscall.Gettid())
			for _, args := range [][]string{
				{"nsenter", "--net=" + home, "ip", "link", "set", "wfmv1", "netns", here},
				{"nsenter", "--net=" + home, "ip", "addr", "add", nodeAddr + "/24", "dev", "wfmv0"},
				{"nsenter", "--net=" + home, "ip", "link", "set", "wfmv0", "up"},
				{"ip", "addr", "add", serverAddr + "/24", "dev", "wfmv1"},
				{"ip", "link", "set", "wfmv1", "up"},
			} {
				if err := run(args...); err != nil {
					return nil, err
				}
			}
			return (&net.ListenConfig{}).Listen(context.Background(), "tcp", serverAddr+":0")
		}()
		ready <- result{l, err}
		select {}
	}()
	r := <-ready
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.l
}

func run(args ...string) error {
	out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// swallow returns a config that routes the server's address into the tunnel.
func swallow(port int) string {
	return strings.Replace(realConfig(port), "10.99.0.2/32", "10.99.0.2/32, "+serverAddr+"/32", 1)
}

func TestRealTunnelThatSwallowsTheServerIsTakenBack(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	l := listenAcross(t)
	b := startBrokerOn(t, l, newBrokerHook("pa55word-secret"))
	dir := t.TempDir()
	storeProfile(t, dir, l.Addr().String(), nil)
	tun, g := newTunnels(dir), mustTarget(t, "wireguard", "")
	t.Cleanup(func() { _ = run("ip", "link", "del", g.iface) })
	agent := realAgent(t, dir)
	b.next(protocol.KindHeartbeat)
	send := func(id, text string, version int) {
		b.send(protocol.KindPush, id, pushOf(text, version))
	}
	wantRolledBack := func(kind protocol.Kind, id string) {
		t.Helper()
		ack := ackOf(t, b.wantAck(kind, id, protocol.AckFailed).env.Payload)
		if !ack.RolledBack {
			t.Fatalf("%+v", ack)
		}
		t.Log(ack.Message)
	}

	send("req_1", realConfig(51001), 1)
	b.wantAck(protocol.KindPushAck, "req_1", protocol.AckApplied)
	b.send(protocol.KindControl, "req_2", startCommand())
	b.wantAck(protocol.KindControlAck, "req_2", protocol.AckAccepted)
	b.wantAck(protocol.KindControlAck, "req_2", protocol.AckApplied)
	send("req_3", realConfig(51002), 2)
	b.wantAck(protocol.KindPushAck, "req_3", protocol.AckAccepted)
	b.wantAck(protocol.KindPushAck, "req_3", protocol.AckApplied)
	expectRunning(t, tun, g, "51002")

	send("req_4", strings.Replace(realConfig(51003), "yAnz5TF+", "####", 1), 3)
	wantRolledBack(protocol.KindPushAck, "req_4")
	expectRunning(t, tun, g, "51002")

	send("req_5", swallow(51004), 4)
	wantRolledBack(protocol.KindPushAck, "req_5")
	expectRunning(t, tun, g, "51002")

	// A hook cannot keep it either.
	send("req_h", strings.Replace(swallow(51007), "\n\n[Peer]", "\nPreDown = false\n\n[Peer]", 1), 7)
	wantRolledBack(protocol.KindPushAck, "req_h")
	expectRunning(t, tun, g, "51002")

	// The same with an agent that is killed while the node is cut off.
	agent()
	for len(b.hook.in) > 0 { // the coming heartbeat is the next agent's
		<-b.hook.in
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "WFM_TEST_WHOLE_AGENT_DIR="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	b.next(protocol.KindHeartbeat)
	send("req_6", swallow(51005), 5)
	if !eventually(func() bool {
		c, err := loadChange(dir, g.profileID)
		return err == nil && c != nil && !c.Deadline.IsZero()
	}) {
		t.Fatal("the config is not applied")
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	expectRunning(t, tun, g, "51005")
	agent = realAgent(t, dir)
	wantRolledBack(protocol.KindPushAck, "req_6")
	expectRunning(t, tun, g, "51002")

	b.send(protocol.KindControl, "req_7", protocol.Control{Action: protocol.ActionStop, TunnelProtocol: "wireguard", InterfaceName: g.iface})
	b.wantAck(protocol.KindControlAck, "req_7", protocol.AckApplied)
	send("req_8", swallow(51006), 6)
	b.wantAck(protocol.KindPushAck, "req_8", protocol.AckApplied) // text alone cuts no node off
	b.send(protocol.KindControl, "req_9", startCommand())
	wantRolledBack(protocol.KindControlAck, "req_9")
	if systemLink(g.iface) != linkAbsent {
		t.Fatal("the tunnel that swallows the server runs")
	}
	agent()
}

// realAgent runs a whole agent with the real tools and short time limits.
func realAgent(t *testing.T, dir string) (stop func()) {
	t.Helper()
	_, stop = runAgentWith(t, Options{Dir: dir, Confirm: 3 * time.Second, ConfirmPause: 100 * time.Millisecond})
	return stop
}
