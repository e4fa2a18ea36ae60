package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wfm/protocol"
)

// patience bounds how long a test waits for an event that must come: it only ends a test that
// hangs.
const patience = time.Minute

// eventually waits until ok returns true. It returns false if that takes longer than patience.
func eventually(ok func() bool) bool {
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-ticks.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func testProfile() Profile {
	return Profile{
		BoundAt: "2026-01-02T03:04:05Z", ServerURL: "https://wfm.example.org",
		Node: protocol.BindProfile{
			ProfileID: "cfg_a-node_b", ConfigID: "cfg_a", ConfigName: "mesh", NodeID: "node_b",
			NodeName: "bee", InterfaceName: "wfmtest0",
		},
		MQTT: protocol.BindMQTT{
			Host: "127.0.0.1", Port: 1883, Username: "node_b", Password: "pa55word-secret", ClientID: "wfm-node_b",
			Topics: protocol.BindTopics{
				Subscribe: protocol.SubscribeTopics("cfg_a", "node_b"),
				Publish:   protocol.PublishTopics("cfg_a", "node_b"),
			},
		},
	}
}

// fakeTools puts scripts named wg, wg-quick, awg and awg-quick in front of PATH. They force
// behaviour that is rare with real tools: failing, hanging, printing too much. An interface is a
// file link-NAME that contains the family it runs as.
type fakeTools struct {
	t   *testing.T
	dir string
}

const fakeQuick = `#!/bin/sh
family=$(basename "$0" -quick); iface=$(basename "$2" .conf)
echo $$ > "$FAKE/tool"
echo "$(basename "$0") $1 $iface" >> "$FAKE/calls"
die() { [ -e "$FAKE/die-$1" ] && rm "$FAKE/die-$1" && kill -9 $PPID; :; }
die "before-$1"
if [ -p "$FAKE/gate" ]; then cat "$FAKE/gate" > /dev/null; fi
if [ -e "$FAKE/hang" ]; then (trap '' TERM; exec sleep 600) & echo $! > "$FAKE/child"; wait; fi
case "$1" in
up)
	[ -e "$FAKE/link-$iface" ] && { echo "already exists" >&2; exit 1; }
	echo "[#] ip link add $iface type wireguard" >&2
	[ -e "$FAKE/down" ] && { echo "no such name" >&2; exit 1; }
	if [ -e "$FAKE/once" ]; then rm "$FAKE/once"; echo "no such name" >&2; exit 1; fi
	if grep -q BROKEN "$2"; then echo "Line unrecognized: 'PrivateKey=BROKENaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa='" >&2; exit 1; fi
	echo "$family" > "$FAKE/link-$iface" ;;
down)
	[ "$(cat "$FAKE/link-$iface" 2>/dev/null)" = "$family" ] || { echo "not a $family interface" >&2; exit 1; }
	grep -qs BADHOOK "$2" && { echo "a hook failed" >&2; exit 1; }
	[ -e "$FAKE/stuck" ] && { echo "device is busy" >&2; exit 1; }
	rm "$FAKE/link-$iface" ;;
esac
die "after-$1"
`

const fakeShow = `#!/bin/sh
echo "$(basename "$0") $*" >> "$FAKE/calls"
[ "$1" = --version ] && { echo "wireguard-tools v1.0.20990101 - https://example.org"; exit 0; }
[ -e "$FAKE/long" ] && { head -c 100000 /dev/zero | tr '\0' '\001'; exit 0; }
[ "$2" = interfaces ] && { cd "$FAKE" && grep -lx "$(basename "$0")" link-* 2>/dev/null | sed s/link-//; exit 0; }
[ -e "$FAKE/link-$2" ] || { echo "Unable to access interface: No such device" >&2; exit 1; }
echo "interface: $2 keys=$WG_HIDE_KEYS"; echo "a warning" >&2
`

// fakeIP only understands "ip link delete dev NAME".
const fakeIP = `#!/bin/sh
echo "ip $*" >> "$FAKE/calls"
[ -e "$FAKE/stuck-link" ] && { echo "RTNETLINK answers: Operation not permitted" >&2; exit 2; }
rm "$FAKE/link-$4"
`

func newFakeTools(t *testing.T) *fakeTools {
	t.Helper()
	f := &fakeTools{t: t, dir: t.TempDir()}
	for _, family := range []string{"wg", "awg"} {
		f.script(family, fakeShow)
		f.script(family+"-quick", fakeQuick)
	}
	f.script("ip", fakeIP)
	t.Setenv("FAKE", f.dir)
	t.Setenv("PATH", f.dir+":/usr/bin:/bin")
	return f
}

func (f *fakeTools) script(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeTools) set(name, content string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeTools) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(f.dir, name))
	return strings.TrimSpace(string(data))
}

func (f *fakeTools) link(name string) linkState {
	if _, err := os.Stat(filepath.Join(f.dir, "link-"+name)); err != nil {
		return linkAbsent
	}
	return linkUp
}

// awaitCall waits until a tool was called.
func (f *fakeTools) awaitCall(t *testing.T) {
	t.Helper()
	f.await(t, "calls")
}

// await waits until a tool has created the file name: "child" once it hangs.
func (f *fakeTools) await(t *testing.T, name string) {
	t.Helper()
	if !eventually(func() bool { return f.read(name) != "" }) {
		t.Fatal("the tool was never called")
	}
}

// gate makes the next quick tool wait until the returned function is called.
func (f *fakeTools) gate() (open func()) {
	f.t.Helper()
	path := filepath.Join(f.dir, "gate")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return func() {
		f.t.Helper()
		// Opening waits for the reader; its end of file is our close.
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			f.t.Error(err)
			return
		}
		_ = os.Remove(path)
		_ = w.Close()
	}
}

// awaitGone waits until the process has ended whose id a tool wrote into the file name.
func (f *fakeTools) awaitGone(name string) {
	f.t.Helper()
	pid, err := strconv.Atoi(f.read(name))
	if err != nil {
		f.t.Fatal(err)
	}
	// The orphan is reaped by init or stays its zombie: it is gone or in state Z, never asleep.
	var stat []byte
	if !eventually(func() bool {
		stat, err = os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		f.t.Fatalf("the %s outlived what started it: %s", name, stat)
	}
}

// dropGate removes the gate, whether or not a tool waits at it: the tool of a killed agent may have
// ended at any point.
func (f *fakeTools) dropGate() {
	f.t.Helper()
	path := filepath.Join(f.dir, "gate")
	rw, err := os.OpenFile(path, os.O_RDWR, 0) // never blocks
	if err != nil {
		f.t.Fatal(err)
	}
	_ = os.Remove(path)
	_ = rw.Close()
}

func (f *fakeTools) tunnels(dir string) *tunnels {
	f.t.Helper()
	if err := makeDirs(dir); err != nil {
		f.t.Fatal(err)
	}
	t := newTunnels(dir)
	t.link, t.retryPause, t.undoPatience = f.link, 5*time.Millisecond, 20*time.Millisecond
	return t
}

func pushOf(text string, version int) protocol.Push {
	return protocol.Push{
		Action: protocol.ActionPush, TunnelProtocol: "wireguard", InterfaceName: "wfmtest0",
		ConfigVersion: version, ConfigSHA256: hashOf([]byte(text)), ConfigText: text,
	}
}

// pushTo pushes like the executor does, and leaves a change open.
func pushTo(t *testing.T, tun *tunnels, profileID string, p protocol.Push) protocol.Ack {
	t.Helper()
	x := &executor{tunnels: tun, journal: &journal{}, wanted: &wanted{}}
	x.profile.Node.ProfileID = profileID
	env, err := protocol.NewEnvelope(protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: protocol.KindPush}, "req_1", p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ack, _ := x.push(t.Context(), env)
	return ack
}

// confirmed confirms the change that Start or Push left open.
func confirmed(t *testing.T, tun *tunnels) {
	t.Helper()
	if err := removeChange(tun.configs.dir, "cfg_a-node_b"); err != nil {
		t.Fatal(err)
	}
}

// fakeUplink is an uplink whose round trips end with the result of reach. If reach is nil, they
// succeed.
type fakeUplink struct {
	reach     func(context.Context) error
	accepted  chan outMessage // messages that reached the server
	reconnect atomic.Int32
}

func (u *fakeUplink) RoundTrip(ctx context.Context, m outMessage) error {
	if u.reach != nil {
		if err := u.reach(ctx); err != nil {
			return err
		}
	}
	if u.accepted != nil {
		u.accepted <- m
	}
	return nil
}

func (u *fakeUplink) Urgent(bool) {}
func (u *fakeUplink) Reconnect()  { u.reconnect.Add(1) }

func commandOf(t *testing.T, kind protocol.Kind, requestID string, payload any) (topic string, data []byte) {
	t.Helper()
	tp := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: kind}
	env, err := protocol.NewEnvelope(tp, requestID, payload, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err = env.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return tp.String(), data
}

func ackOf(t *testing.T, payload json.RawMessage) protocol.Ack {
	t.Helper()
	var a protocol.Ack
	if err := json.Unmarshal(payload, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// testLog collects the log, so that tests can search it for secrets.
type testLog struct {
	mu  chan struct{}
	buf strings.Builder
}

func newTestLog() (*testLog, *slog.Logger) {
	l := &testLog{mu: make(chan struct{}, 1)}
	return l, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu <- struct{}{}
	defer func() { <-l.mu }()
	return l.buf.Write(p)
}

func (l *testLog) String() string {
	l.mu <- struct{}{}
	defer func() { <-l.mu }()
	return l.buf.String()
}
