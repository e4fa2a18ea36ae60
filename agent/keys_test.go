package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wfm/agent/keyring"
	"wfm/protocol"
	"wfm/tunnel/wgconf"
)

const testID = "cfg_a-node_b" // of testProfile

// keptText is a config for the public key; "" names none.
func keptText(public string, port int) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = %d\nPostDown = true\n", wgconf.KeptAs(public), port)
}

// keyTools are fake tools that keep the config they start the interface with.
func keyTools(t *testing.T) *fakeTools {
	t.Helper()
	f := newFakeTools(t)
	f.script("wg-quick", strings.Replace(fakeQuick, "up)\n", "up)\n	cp \"$2\" \"$FAKE/got\"\n", 1))
	return f
}

// gotKey returns the private key that the tools started the interface with.
func (f *fakeTools) gotKey() string {
	f.t.Helper()
	for line := range strings.Lines(f.read("got")) {
		if key, found := strings.CutPrefix(line, "PrivateKey = "); found {
			return strings.TrimSpace(key)
		}
	}
	return ""
}

// pairsIn returns the pairs of the profile.
func pairsIn(t *testing.T, dir, id string) []keyring.Pair {
	t.Helper()
	pairs, err := keysIn(dir).Pairs(id)
	if err != nil {
		t.Fatal(err)
	}
	return pairs
}

// wantNoKey checks that no file of the agent but those of keys has a private key of the profile.
func wantNoKey(t *testing.T, dir, id string) {
	t.Helper()
	pairs := pairsIn(t, dir, id)
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".key" {
			return err
		}
		data, err := os.ReadFile(path)
		for _, p := range pairs {
			if strings.Contains(string(data), p.Private) {
				t.Errorf("%s has a private key:\n%s", path, data)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// rotate has the agent make a new key pair.
func rotate(t *testing.T, b *bench, requestID string) (public string) {
	t.Helper()
	topic, data := commandOf(t, protocol.KindInfo, requestID, protocol.Info{Action: protocol.ActionRotateKey})
	b.Receive(topic, data)
	ack := b.nextAck(t, requestID)
	if ack.Status != protocol.AckApplied || ack.Action != protocol.ActionRotateKey || !protocol.ValidPublicKey(ack.PublicKey) {
		t.Fatalf("%+v", ack)
	}
	return ack.PublicKey
}

func TestAKeyIsPutIntoTheConfigThatTheToolsReadOnly(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	b := newBench(t, dir, f)
	pair := pairsIn(t, dir, testID)[0]
	text := keptText(pair.Public, 1)
	push(t, b, text, 1)
	if ack := b.nextAck(t, "req_1"); ack.Status != protocol.AckApplied || ack.ConfigVersion != 1 || ack.ConfigSHA256 != hashOf([]byte(text)) {
		t.Fatalf("%+v", ack)
	}
	if ack := b.control(t, "req_2", protocol.ActionStart); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	if f.gotKey() != pair.Private || f.link("wfmtest0") != linkUp {
		t.Errorf("the tools were given\n%s", f.read("got"))
	}
	topic, data := commandOf(t, protocol.KindDetect, "req_3", protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_3"); ack.ConfigVersion != 1 || ack.ConfigSHA256 != hashOf([]byte(text)) {
		t.Errorf("while it runs: %+v", ack)
	}
	wantNode(t, f, dir, text, true)
	wantNoKey(t, dir, testID)
	info, err := os.Stat(keysIn(dir).Path(testID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, err %v", info.Mode(), err)
	}
	b.stop()
	if err := os.Remove(filepath.Join(f.dir, "link-wfmtest0")); err != nil { // as a power cut does
		t.Fatal(err)
	}
	f.set("got", "")
	b = newBench(t, dir, f)
	b.nextEvent(t, protocol.EventTunnelDown)
	b.nextEvent(t, protocol.EventTunnelRestored)
	if f.gotKey() != pair.Private || len(pairsIn(t, dir, testID)) != 1 {
		t.Errorf("after a restart the tools were given\n%s", f.read("got"))
	}
	wantNoKey(t, dir, testID)
}

func TestANewKeyIsUsedFromThePushThatNamesIt(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	b := newBench(t, dir, f)
	first := pairsIn(t, dir, testID)[0]
	push(t, b, keptText(first.Public, 1), 1)
	b.nextAck(t, "req_1")
	b.control(t, "req_2", protocol.ActionStart)
	second := rotate(t, b, "req_3")
	if second == first.Public || b.tunnels.keys.Public(testID) != second {
		t.Fatalf("the new key is %s, the former one %s", second, first.Public)
	}
	b.control(t, "req_4", protocol.ActionStop)
	b.control(t, "req_5", protocol.ActionStart)
	if f.gotKey() != first.Private {
		t.Error("the new key is in use before a config names it")
	}
	topic, data := commandOf(t, protocol.KindPush, "req_6", pushOf(keptText(second, 2), 2))
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_6"); ack.Status != protocol.AckApplied {
		t.Fatalf("%+v", ack)
	}
	if pair, err := b.tunnels.keys.Find(testID, second); err != nil || f.gotKey() != pair.Private {
		t.Errorf("%v; the tools were given\n%s", err, f.read("got"))
	}
	if pairs := pairsIn(t, dir, testID); len(pairs) != 1 || pairs[0].Public != second {
		t.Errorf("kept: %v", pairs)
	}
	wantNoKey(t, dir, testID)
}

func TestANewKeyThatCutsTheNodeOffIsTakenBackWithItsConfig(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	reached := true
	b := newBenchWithin(t, dir, f, &fakeUplink{reach: func(context.Context) error {
		if !reached {
			return errors.New("no route to host")
		}
		return nil
	}}, patience)
	first := pairsIn(t, dir, testID)[0]
	text := keptText(first.Public, 1)
	push(t, b, text, 1)
	b.nextAck(t, "req_1")
	b.control(t, "req_2", protocol.ActionStart)
	second := rotate(t, b, "req_3")
	b.settled(t)
	reached = false
	b.tunnels.confirmLimit = 1
	topic, data := commandOf(t, protocol.KindPush, "req_4", pushOf(keptText(second, 2), 2))
	b.Receive(topic, data)
	if ack := b.nextAck(t, "req_4"); ack.Status != protocol.AckFailed || !ack.RolledBack || ack.ConfigSHA256 != hashOf([]byte(text)) {
		t.Fatalf("%+v", ack)
	}
	b.stop()
	if f.gotKey() != first.Private {
		t.Errorf("the tools were given\n%s", f.read("got"))
	}
	wantNode(t, f, dir, text, true)
	if pairs := pairsIn(t, dir, testID); len(pairs) != 2 || pairs[1].Public != second {
		t.Errorf("kept: %v; the new key is still announced to the server", pairs)
	}
}

func TestAConfigForAKeyThatTheNodeLacksChangesNothing(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	tun := f.tunnels(dir)
	if _, err := tun.keys.Ensure(testID); err != nil {
		t.Fatal(err)
	}
	text := keptText(tun.keys.Public(testID), 1)
	pushTo(t, tun, testID, pushOf(text, 1))
	other, err := keyring.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	f.set("link-wfmtest0", "wg")
	ack := pushTo(t, tun, testID, pushOf(keptText(other.Public, 2), 2))
	if ack.Status != protocol.AckFailed || ack.ConfigVersion != 1 || !strings.Contains(ack.Message, "push the node's latest tunnel config") {
		t.Errorf("%+v", ack)
	}
	wantNode(t, f, dir, text, true)
	if f.read("calls") != "" {
		t.Errorf("calls:\n%s", f.read("calls"))
	}
}

func TestAConfigThatNamesNoKeyKeepsTheOneItWasStoredWith(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	tun := f.tunnels(dir)
	if _, err := tun.keys.Ensure(testID); err != nil {
		t.Fatal(err)
	}
	first := pairsIn(t, dir, testID)[0]
	pushTo(t, tun, testID, pushOf(keptText("", 1), 1))
	second, err := keyring.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	if err := tun.keys.Add(testID, second); err != nil {
		t.Fatal(err)
	}
	start := func(want keyring.Pair) {
		t.Helper()
		if _, err := tun.Start(t.Context(), "req_1", mustTarget(t, "wireguard", "")); err != nil {
			t.Fatal(err)
		}
		confirmed(t, tun)
		if f.gotKey() != want.Private {
			t.Errorf("the tools were not given the pair of %s", want)
		}
		if err := tun.pruneKeys(testID); err != nil {
			t.Fatal(err)
		}
	}
	start(first)
	if pairs := pairsIn(t, dir, testID); len(pairs) != 2 {
		t.Errorf("kept: %v", pairs)
	}
	f.set("got", "")
	if err := os.Remove(filepath.Join(f.dir, "link-wfmtest0")); err != nil {
		t.Fatal(err)
	}
	pushTo(t, tun, testID, pushOf(keptText("", 2), 2))
	start(second)
	if pairs := pairsIn(t, dir, testID); len(pairs) != 1 {
		t.Errorf("kept: %v", pairs)
	}
}

func TestEachProfileHasKeysOfItsOwnUntilItIsUnbound(t *testing.T) {
	dir := t.TempDir()
	k := keysIn(dir)
	other := testProfile()
	other.Node.NodeID, other.Node.ProfileID = "node_c", "cfg_a-node_c"
	other.MQTT.ClientID, other.MQTT.Topics = protocol.ClientID("node_c"), protocol.BindTopics{}
	for _, p := range []Profile{testProfile(), other} {
		if err := saveProfile(dir, p); err != nil {
			t.Fatal(err)
		}
		if made, err := k.Ensure(p.ID()); !made || err != nil {
			t.Fatal(made, err)
		}
		if made, err := k.Ensure(p.ID()); made || err != nil {
			t.Fatal(made, err)
		}
	}
	if a, b := k.Public(testID), k.Public(other.ID()); a == b || a == "" || b == "" {
		t.Errorf("%q and %q", a, b)
	}
	if ids, err := profileIDs(dir); err != nil || len(ids) != 2 {
		t.Errorf("profiles %q, %v", ids, err)
	}
	left := filepath.Join(stateDir(dir), readyPrefix+testID+".1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveProfile(dir, testID); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{keysIn(dir).Path(testID), left} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if k.Public(other.ID()) == "" {
		t.Error("the other profile lost its key")
	}
}

func TestTheKeyOfAnUnboundNodeStaysWhileItsChangeIsTakenBack(t *testing.T) {
	f, dir := keyTools(t), t.TempDir()
	tun := f.tunnels(dir)
	if err := saveProfile(dir, testProfile()); err != nil {
		t.Fatal(err)
	}
	if _, err := tun.keys.Ensure(testID); err != nil {
		t.Fatal(err)
	}
	pair := pairsIn(t, dir, testID)[0]
	pushTo(t, tun, testID, pushOf(keptText(pair.Public, 1), 1))
	f.set("link-wfmtest0", "wg")
	pushTo(t, tun, testID, pushOf("two", 2)) // waits for its confirmation
	if _, err := RemoveProfile(dir, testID); err != nil {
		t.Fatal(err)
	}
	_, log := newTestLog()
	k := &keeper{options: Options{Dir: dir, Log: log}, tunnels: tun, served: map[string]*served{}}
	k.takeBack(t.Context(), testID, errors.New("unbound"))
	if f.gotKey() != pair.Private || f.link("wfmtest0") != linkUp {
		t.Errorf("the tools were given\n%s", f.read("got"))
	}
	k.forget(testID)
	if _, err := os.Stat(keysIn(dir).Path(testID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key stays: %v", err)
	}
	// Another node's push cannot bring this tunnel back any more, and does not try for ever.
	ack := pushTo(t, tun, "cfg_a-node_c", pushOf("BROKEN", 1))
	if ack.Status != protocol.AckFailed || !ack.RolledBack || !strings.Contains(ack.Message, "private key was removed") {
		t.Errorf("%+v", ack)
	}
	wantNode(t, f, dir, keptText(pair.Public, 1), false)
}

func TestWhatAKilledAgentLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{readyPrefix + testID + ".1", downPrefix + "2"} {
		path := filepath.Join(stateDir(dir), name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "wfmtest0.conf"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := runAgent(t, dir, newFakeTools(t))
	left := func() []os.DirEntry {
		entries, err := os.ReadDir(stateDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), ".") })
	}
	if !eventually(func() bool { return len(left()) == 0 }) {
		t.Errorf("left: %v", left())
	}
	stop()
}
