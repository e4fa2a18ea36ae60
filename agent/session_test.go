package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wfm/internal/mqtttest"
	"wfm/protocol"
)

func storeProfile(t *testing.T, dir, addr string, change func(*Profile)) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	p := testProfile()
	p.MQTT.Host = host
	p.MQTT.Port, _ = strconv.Atoi(port)
	if change != nil {
		change(&p)
	}
	if err := saveProfile(dir, p); err != nil {
		t.Fatal(err)
	}
}

// runAgent runs a whole agent on fake tools until the test ends. stop may be called earlier.
func runAgent(t *testing.T, dir string, f *fakeTools) (l *testLog, stop func()) {
	t.Helper()
	return runAgentWith(t, Options{Dir: dir, Confirm: patience, ConfirmPause: 20 * time.Millisecond, link: f.link})
}

// runAgentWith runs a whole agent. It fills in the options that all tests share.
func runAgentWith(t *testing.T, o Options) (l *testLog, stop func()) {
	t.Helper()
	l, o.Log = newTestLog()
	o.Heartbeat, o.Poll, o.pause = time.Hour, 20*time.Millisecond, 5*time.Millisecond
	o.BackoffMin, o.BackoffMax, o.RefusedDelay = 5*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the agent does not stop")
		}
	}
	t.Cleanup(func() {
		stop()
		for _, secret := range []string{"pa55word-secret", "PrivateKey", "CONFIGTEXT"} {
			if strings.Contains(l.String(), secret) {
				t.Errorf("%q is in the log", secret)
			}
		}
	})
	return l, stop
}

func TestAgentServesCommandsOverARealBroker(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	storeProfile(t, dir, b.addr, nil)
	_, stop := runAgent(t, dir, f)

	beat := b.next(protocol.KindHeartbeat)
	if beat.env.SessionID == "" || beat.env.BootID == "" ||
		string(beat.env.Payload) != `{"client_online":true,"wg_online":false,"client_version":"dev","capabilities":["dedupe","describe","commit_confirm",`+
			`"wanted_state","node_key"],"wanted_state":"none","public_key":"`+keysIn(dir).Public("cfg_a-node_b")+`"}` {
		t.Fatalf("heartbeat %+v", beat.env)
	}
	for _, filter := range protocol.SubscribeTopics("cfg_a", "node_b") {
		if b.hook.subscribed[filter] != 1 { // the heartbeat comes after it
			t.Errorf("%s subscribed %d times", filter, b.hook.subscribed[filter])
		}
	}
	b.send(protocol.KindPush, "req_1", pushOf("CONFIGTEXT PrivateKey", 3))
	ack := ackOf(t, b.next(protocol.KindPushAck).env.Payload)
	if ack.Status != protocol.AckApplied || ack.ConfigVersion != 3 {
		t.Fatalf("%+v", ack)
	}
	b.send(protocol.KindControl, "req_2", startCommand())
	b.wantAck(protocol.KindControlAck, "req_2", protocol.AckAccepted)
	b.wantAck(protocol.KindControlAck, "req_2", protocol.AckApplied)
	b.send(protocol.KindInfo, "req_3", protocol.Info{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	for _, stream := range []string{"stdout", "stderr"} {
		if e := eventOf(t, b.next(protocol.KindEvent, protocol.KindInfoAck)); e.Stream != stream || e.RequestID != "req_3" {
			t.Fatalf("%+v, want the %s event before the ACK", e, stream)
		}
	}
	if r := b.next(protocol.KindEvent, protocol.KindInfoAck); r.env.Type != protocol.KindInfoAck || r.env.RequestID != "req_3" {
		t.Fatalf("%+v", r.env)
	}
	b.send(protocol.KindControl, "req_2", startCommand())
	if r := b.next(protocol.KindControlAck); r.env.RequestID != "req_2" {
		t.Fatalf("%+v", r.env)
	}
	if calls := f.read("calls"); strings.Count(calls, "wg-quick") != 1 {
		t.Fatalf("calls:\n%s", calls)
	}
	stop()
	last := b.next(protocol.KindEvent)
	if e := eventOf(t, last); last.will || e.Event != protocol.EventOffline || e.Message != "agent stopped" {
		t.Fatalf("will %v, %+v", last.will, e)
	}
	select { // a clean stop leaves no will
	case r := <-b.hook.in:
		t.Fatalf("after the goodbye: %+v", r)
	default:
	}
}

func TestAbruptLossSendsTheSessionsOwnWillAndANewSessionFollows(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	storeProfile(t, dir, b.addr, nil)
	runAgent(t, dir, f)
	first := b.next(protocol.KindHeartbeat).env
	for range 2 { // the second loss shows that the will is made anew
		cl, ok := b.server.Clients.Get("wfm-node_b")
		if !ok {
			t.Fatal("not connected")
		}
		_ = cl.Net.Conn.Close()
		will := b.next(protocol.KindEvent)
		if e := eventOf(t, will); !will.will || e.Event != protocol.EventOffline || e.Level != "info" ||
			will.env.SessionID != first.SessionID || will.env.BootID != first.BootID {
			t.Fatalf("will of session %q, heartbeat of %q: %+v", will.env.SessionID, first.SessionID, e)
		}
		second := b.next(protocol.KindHeartbeat).env
		if second.SessionID == first.SessionID || second.BootID != first.BootID {
			t.Fatalf("session %q then %q, boot %q then %q", first.SessionID, second.SessionID, first.BootID, second.BootID)
		}
		first = second
	}
}

func TestAckSurvivesARestartOfTheBroker(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	hook := newBrokerHook("pa55word-secret")
	b := startBroker(t, "127.0.0.1:0", hook)
	storeProfile(t, dir, b.addr, nil)
	runAgent(t, dir, f)
	first := b.next(protocol.KindHeartbeat).env
	if err := (configs{dir: dir}).Write("wfmtest0", []byte("x"), configMeta{}); err != nil {
		t.Fatal(err)
	}
	open := f.gate()
	b.send(protocol.KindControl, "req_1", startCommand())
	f.awaitCall(t)
	b.close()
	open() // the command ends while there is no broker
	if !eventually(func() bool { return f.read("link-wfmtest0") != "" }) {
		t.Fatal("the command does not end")
	}
	b = startBroker(t, b.addr, hook)
	b.wantAck(protocol.KindControlAck, "req_1", protocol.AckAccepted)
	if r := b.wantAck(protocol.KindControlAck, "req_1", protocol.AckApplied); r.env.SessionID == first.SessionID {
		t.Fatalf("%+v", r.env)
	}
	b.send(protocol.KindDetect, "req_2", protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.next(protocol.KindDetectAck)
}

func TestStopIsQuickWhenTheBrokerJustWentAway(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	storeProfile(t, dir, b.addr, nil)
	l, stop := runAgent(t, dir, f)
	b.next(protocol.KindHeartbeat)
	b.close()
	stop()
	if strings.Contains(l.String(), context.DeadlineExceeded.Error()) {
		t.Fatalf("it waited until the end of its time\n%s", l)
	}
}

func TestRefusedAckIsOfferedAgainAndThenDropped(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	storeProfile(t, dir, b.addr, nil)
	l, _ := runAgent(t, dir, f)
	b.next(protocol.KindHeartbeat)
	probe := protocol.Detect{TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"}
	refuse := func(n int) {
		b.hook.mu.Lock()
		defer b.hook.mu.Unlock()
		b.hook.refuse = n
	}
	refuse(ackRefusedTries - 1)
	b.send(protocol.KindDetect, "req_1", probe)
	if r := b.next(protocol.KindDetectAck); r.env.RequestID != "req_1" {
		t.Fatalf("%+v", r.env)
	}
	refuse(ackRefusedTries)
	b.send(protocol.KindDetect, "req_2", probe)
	b.send(protocol.KindDetect, "req_3", probe)
	if r := b.next(protocol.KindDetectAck); r.env.RequestID != "req_3" {
		t.Fatalf("%+v, want req_2 dropped", r.env)
	}
	if !strings.Contains(l.String(), "cannot be delivered, it is dropped") {
		t.Error("the drop is not logged")
	}
}

func TestRefusedCredentialsAreSaidOnceAndARebindHeals(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("rotated"))
	storeProfile(t, dir, b.addr, nil)
	l, _ := runAgent(t, dir, f)
	if !eventually(func() bool { _, denied := b.hook.counts(); return denied >= 3 }) {
		t.Fatal("the agent gave up")
	}
	if n := strings.Count(l.String(), "credentials refused: "); n != 1 {
		t.Fatalf("said %d times", n)
	}
	storeProfile(t, dir, b.addr, func(p *Profile) { p.MQTT.Password = "rotated" })
	b.next(protocol.KindHeartbeat)
}

func TestProfilesAreFollowedWhileTheAgentRuns(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	b := startBroker(t, "127.0.0.1:0", newBrokerHook("pa55word-secret"))
	l, _ := runAgent(t, dir, f)
	if !eventually(func() bool { return strings.Contains(l.String(), "no profile yet") }) {
		t.Fatal("an agent without a profile does not say so")
	}
	storeProfile(t, dir, b.addr, nil)
	b.next(protocol.KindHeartbeat)
	b.send(protocol.KindControl, "req_1", protocol.Control{Action: protocol.ActionStop, TunnelProtocol: "wireguard", InterfaceName: "wfmtest0"})
	b.next(protocol.KindControlAck)
	if _, err := RemoveProfile(dir, "node_b"); err != nil {
		t.Fatal(err)
	}
	if e := eventOf(t, b.next(protocol.KindEvent)); e.Event != protocol.EventOffline {
		t.Fatalf("%+v", e)
	}
	if strings.Count(l.String(), "no profile yet") > 2 {
		t.Fatal("said again and again")
	}
}

func TestSecondAgentOnTheSameFolderIsRefused(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	release, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Options{Dir: dir, link: f.link}); !errors.Is(err, ErrRunning) {
		t.Fatalf("err %v", err)
	}
	release()
	runAgent(t, dir, f)
}

func TestTLSTrustsTheBoundCAOnly(t *testing.T) {
	f := newFakeTools(t)
	ca, cert := selfSigned(t)
	other, _ := selfSigned(t)
	hook := newBrokerHook("pa55word-secret")
	plain := startBroker(t, "127.0.0.1:0", hook)
	l := mqtttest.NewListener(plain.server, "tls", tls.NewListener(listen(t, "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}}))
	if err := plain.server.AddListener(l); err != nil {
		t.Fatal(err)
	}
	go l.Serve(plain.server.EstablishConnection)
	for _, c := range []struct {
		name, ca, host string
		works          bool
	}{
		{"its CA", ca, "127.0.0.1", true},
		{"another CA", other, "127.0.0.1", false},
		{"another host name", ca, "localhost", false},
		{"no CA, and one the system does not know", "", "127.0.0.1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			storeProfile(t, dir, l.Address(), func(p *Profile) { p.MQTT.TLS, p.MQTT.CACert, p.MQTT.Host = true, c.ca, c.host })
			log, _ := runAgent(t, dir, f)
			if c.works {
				plain.next(protocol.KindHeartbeat)
				return
			}
			connected := func() bool { return strings.Contains(log.String(), "msg=connected") }
			if !eventually(func() bool { return connected() || strings.Contains(log.String(), "x509:") }) || connected() {
				t.Fatalf("not refused:\n%s", log)
			}
		})
	}
}

// selfSigned makes a certificate for 127.0.0.1 that is its own CA.
func selfSigned(t *testing.T) (caPEM string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestBackoffGrowsAndOnlyAStableConnectionResetsIt(t *testing.T) {
	now := time.Unix(0, 0)
	b := &backoff{least: time.Second, most: time.Minute, refused: time.Minute, stable: time.Minute, now: func() time.Time { return now }}
	if d := b.Next(); d != 0 {
		t.Fatalf("first attempt after %s", d)
	}
	within := func(want time.Duration) {
		t.Helper()
		if d := b.Next(); d < want/2 || d > want {
			t.Fatalf("waits %s, want %s to %s", d, want/2, want)
		}
	}
	within(time.Second)
	within(2 * time.Second)
	b.Up()
	now = now.Add(time.Second)
	b.Down() // a connection that does not last is no success
	within(4 * time.Second)
	b.Up()
	now = now.Add(time.Hour)
	b.Down()
	within(time.Second)
	b.Failed()
	within(2 * time.Second)
}

func TestRefusalIsWaitedOutSoftlyAtFirst(t *testing.T) {
	now := time.Unix(0, 0)
	b := &backoff{least: time.Second, most: time.Minute, refused: time.Minute, stable: time.Minute, now: func() time.Time { return now }}
	within := func(want time.Duration) {
		t.Helper()
		if d := b.Next(); d < want/2 || d > want {
			t.Fatalf("waits %s, want %s to %s", d, want/2, want)
		}
	}
	b.Next()
	for range 2 { // credentials that were never taken, as after a power cut; then each acceptance begins anew
		if b.Denied() != refusalPassing {
			t.Fatal("a first refusal is called lasting")
		}
		for _, wait := range []time.Duration{5, 10, 20, 40, 60, 60} {
			within(wait * time.Second)
			if got := b.Denied(); got != refusalKnown {
				t.Fatalf("said again: %v", got)
			}
		}
		now = now.Add(2 * time.Minute)
		if b.Denied() != refusalLasting || b.Denied() != refusalKnown {
			t.Fatal("a refusal that lasts is not said, or not once")
		}
		for range 100 {
			within(time.Minute)
		}
		b.Up()
	}
}

func TestOutboxIsBoundedAndDropsOutputBeforeAcks(t *testing.T) {
	_, log := newTestLog()
	o := newOutbox(log, time.Millisecond)
	o.Put(outMessage{kind: protocol.KindControlAck, requestID: "first", payload: []byte("{}")})
	big := make([]byte, outboxBytes/4)
	for range 10 {
		o.Put(outMessage{kind: protocol.KindEvent, payload: append([]byte(nil), big...)})
	}
	if o.bytes > outboxBytes || o.queue[0].requestID != "first" {
		t.Fatalf("%d bytes, first is %q", o.bytes, o.queue[0].requestID)
	}
	for range 2 * outboxEntries {
		o.Put(outMessage{kind: protocol.KindControlAck, requestID: "x", payload: []byte("{}")})
	}
	if len(o.queue) != outboxEntries {
		t.Fatalf("%d entries", len(o.queue))
	}
}

func TestBootIDIsTheKernels(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("/proc/sys/kernel/random", "boot_id"))
	if err != nil {
		t.Skip("this kernel has no boot_id")
	}
	if id := readBootID(); id != strings.TrimSpace(string(data)) || len(id) > 64 {
		t.Fatalf("boot id %q", id)
	}
}

func TestAfterATakeoverTheSessionIsLeftAloneForLongerAndLonger(t *testing.T) {
	now := time.Unix(0, 0)
	b := &backoff{least: time.Second, most: time.Minute, stable: time.Minute, longest: 5 * time.Minute, now: func() time.Time { return now }}
	b.Next()
	for i, want := range []time.Duration{
		5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		5 * time.Minute, 5 * time.Minute,
	} {
		b.Up()
		now = now.Add(time.Second)
		if news := b.TakenOver(); news != (i == 0) {
			t.Errorf("takeover %d is news: %v", i, news)
		}
		b.Down()
		if d := b.Next(); d < want/2 || d > max(want, time.Minute) {
			t.Errorf("after takeover %d it waits %s, want about %s", i, d, want)
		}
	}
	b.SetUrgent(true)
	if d := b.Next(); d > time.Second {
		t.Errorf("with a change to confirm it waits %s", d)
	}
	b.SetUrgent(false)
	b.Up()
	now = now.Add(time.Hour)
	if !b.TakenOver() {
		t.Error("a takeover after an hour's peace is no news")
	}
	b.Down()
	if d := b.Next(); d > 5*time.Second {
		t.Errorf("after an hour's peace it waits %s", d)
	}
}
