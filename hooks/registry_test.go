package hooks

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/ingress"
	"wfm/protocol"
	"wfm/store"
)

// pipe is one end of a connection, as the listener wraps it.
type pipe struct {
	net.Conn

	done    chan struct{}
	silent  bool
	refused *packets.Code
}

func (p *pipe) Done() <-chan struct{} { return p.done }
func (p *pipe) Silent() bool          { return p.silent }
func (p *pipe) Farewell(func() []byte) {
}

func (p *pipe) Refused() (packets.Code, bool) {
	if p.refused != nil {
		return *p.refused, true
	}
	return packets.Code{}, false
}

// recorder is an ingress that answers as the test says.
type recorder struct {
	err    error
	events []string
}

func (r *recorder) Receive(ingress.Session, protocol.Topic, []byte) error { return r.err }
func (r *recorder) Will(ingress.Session, []byte, ingress.WillCause)       {}
func (r *recorder) Connected(ingress.Session)                             {}
func (r *recorder) Subscribed(ingress.Session)                            {}
func (r *recorder) Disconnected(s ingress.Session, reason string) {
	r.events = append(r.events, fmt.Sprint(s.ID, " ", reason))
}

// bench is a hook whose broker does not serve, and the right of node_a.
type bench struct {
	*Hook
	t       *testing.T
	grant   store.Grant
	ingress *recorder
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, grant: store.NewGrant("node_a", "cfg_a", "secret"), ingress: &recorder{}}
	b.Hook = New(Options{Server: mqtt.New(&mqtt.Options{}), Grants: oneGrant(b.grant), Ingress: b.ingress})
	return b
}

// login returns a client of node_a that has logged in and has no session yet.
func (b *bench) login() (*mqtt.Client, *pipe) {
	b.t.Helper()
	near, far := net.Pipe()
	b.t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	go func() { _, _ = io.Copy(io.Discard, far) }()
	conn := &pipe{Conn: near, done: make(chan struct{})}
	cl := b.server.NewClient(conn, "tcp", protocol.ClientID("node_a"), false)
	cl.Properties.ProtocolVersion = 5
	b.registry.add(cl, b.grant, "")
	return cl, conn
}

// session returns a client of node_a whose session is established.
func (b *bench) session() (*mqtt.Client, *pipe) {
	b.t.Helper()
	cl, conn := b.login()
	b.registry.establish(cl)
	b.server.Clients.Add(cl)
	b.OnSessionEstablished(cl, packets.Packet{})
	return cl, conn
}

// send hands n packets of the client to the hook, one each interval. It returns the error of the first
// that is refused.
func (b *bench) send(cl *mqtt.Client, n int, interval time.Duration) error {
	for range n {
		if _, err := b.OnPacketRead(cl, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}); err != nil {
			return err
		}
		if interval > 0 {
			<-time.After(interval)
		}
	}
	return nil
}

func TestASessionThatPausesIsForgivenWhatItSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cl, _ := b.session()
		for round := range 4 {
			began := time.Now()
			if err := b.send(cl, 200+9*50, 0); err != nil { // slowed down for 9 s
				t.Fatalf("round %d: %v", round+1, err)
			}
			if took := time.Since(began); took < 8*time.Second || took > 10*time.Second {
				t.Errorf("round %d: slowed down for %s", round+1, took)
			}
			<-time.After(4 * time.Second) // enough for a whole burst
		}
		if err := b.send(cl, 200+11*50, 0); !errors.Is(err, packets.ErrRejectPacket) || !cl.Closed() {
			t.Errorf("slowed down for more than 10 s: %v", err)
		}
	})
}

func TestASessionThatPausesTooShortlyIsEndedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cl, _ := b.session()
		err := b.send(cl, 200+6*50, 0)
		<-time.After(1900 * time.Millisecond) // less than half a burst
		if err = errors.Join(err, b.send(cl, 95+6*50, 0)); !errors.Is(err, packets.ErrRejectPacket) {
			t.Errorf("slowed down for 6 s, twice: %v", err)
		}
	})
}

func TestASessionThatIsNeverSlowedDownIsNeverEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cl, _ := b.session()
		began := time.Now()
		// A large burst, and then exactly as much as it may.
		if err := errors.Join(b.send(cl, 150, 0), b.send(cl, 60*50, time.Second/50)); err != nil || cl.Closed() {
			t.Errorf("ended: %v", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("slowed down by %s", took-time.Minute)
		}
	})
}

func TestMessagesAreCountedAsTakenOrRefused(t *testing.T) {
	b := newBench(t)
	cl, _ := b.session()
	publish := func() error {
		_, err := b.OnPublish(cl, packets.Packet{TopicName: "wfm/cfg_a/node_a/heartbeat", FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}})
		return err
	}
	for range 3 {
		if err := publish(); !errors.Is(err, packets.CodeSuccessIgnore) {
			t.Errorf("a message that is taken: %v", err)
		}
	}
	b.ingress.err = errors.New("no room")
	if err := publish(); err == nil || errors.Is(err, packets.CodeSuccessIgnore) {
		t.Errorf("a message that is refused: %v", err)
	}
	if taken, refused := b.Messages(); taken != 3 || refused != 1 {
		t.Errorf("taken %d, refused %d, want 3 and 1", taken, refused)
	}
}

func TestTheEndOfARefusedSessionLeavesTheLiveOneAlone(t *testing.T) {
	b := newBench(t)
	live, conn := b.session()
	_, refused := b.login()
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_a", Kind: protocol.KindControl}
	live.State.Subscriptions.Add(topic.String(), packets.Subscription{})
	b.registry.Ended(refused)
	if got, ok := b.server.Clients.Get(live.ID); !ok || got != live || !b.registry.Ready(topic) || b.registry.Sessions() != 1 {
		t.Errorf("the broker knows the live one: %v, it is ready: %v, sessions: %d", ok, b.registry.Ready(topic), b.registry.Sessions())
	}
	b.registry.Ended(conn)
	if _, ok := b.server.Clients.Get(live.ID); ok || b.registry.Connected("node_a") || b.registry.Sessions() != 0 {
		t.Error("something is left of the live one after its end")
	}
	if want := []string{"1 disconnected by the client"}; !slices.Equal(b.ingress.events, want) {
		t.Errorf("told %v, want %v", b.ingress.events, want)
	}
	if len(b.registry.slots) != 0 {
		t.Errorf("%d slots are left", len(b.registry.slots))
	}
}

func TestANodeIsConnectedFromItsFirstSessionOnAndReadyOnceItHasSubscribed(t *testing.T) {
	b := newBench(t)
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_a", Kind: protocol.KindControl}
	other := topic
	other.Kind = protocol.KindPush
	want := func(when string, connected bool, ready, otherReady bool) {
		t.Helper()
		r := b.registry
		if r.Connected("node_a") != connected || r.SessionID("node_a") != map[bool]uint64{true: 1}[connected] || r.Ready(topic) != ready ||
			r.Ready(other) != otherReady {
			t.Errorf("%s: connected %v (id %d), ready %v and %v; want %v, %v, %v", when,
				r.Connected("node_a"), r.SessionID("node_a"), r.Ready(topic), r.Ready(other), connected, ready, otherReady)
		}
		delivered, err := r.Deliver(topic, func() error { return nil })
		if delivered != ready || err != nil {
			t.Errorf("%s: delivered %v, %v", when, delivered, err)
		}
	}
	want("never seen", false, false, false)
	cl, _ := b.login()
	want("logged in", false, false, false)
	b.registry.establish(cl)
	want("not established yet", false, false, false)
	b.OnSessionEstablished(cl, packets.Packet{})
	want("established", true, false, false)
	cl.State.Subscriptions.Add(topic.String(), packets.Subscription{})
	want("subscribed", true, true, false)
	if delivered, err := b.registry.Deliver(topic, func() error { return io.EOF }); delivered || !errors.Is(err, io.EOF) {
		t.Errorf("a message that could not be published: %v, %v", delivered, err)
	}
	cl.Stop(nil)
	want("closed", false, false, false)
}

func TestEachEndOfASessionHasItsReason(t *testing.T) {
	for want, causes := range map[string][]error{
		"disconnected by the client":                             {nil, packets.CodeDisconnect},
		packets.ErrSessionTakenOver.Reason:                       {packets.ErrSessionTakenOver, fmt.Errorf("ended: %w", packets.ErrSessionTakenOver)},
		"no message within the keep-alive time":                  {os.ErrDeadlineExceeded},
		"connection closed by the other side without DISCONNECT": {io.EOF, fmt.Errorf("read: %w", syscall.ECONNRESET)},
		"connection lost":                                        {io.ErrUnexpectedEOF, net.ErrClosed},
	} {
		for _, cause := range causes {
			if got := endReason(cause); got != want {
				t.Errorf("%v: %q, want %q", cause, got, want)
			}
		}
	}
}

func TestAWillSaysHowTheSessionEnded(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*session, *pipe)
		want   ingress.WillCause
	}{
		"closed":              {func(*session, *pipe) {}, ingress.WillClosed},
		"silent":              {func(_ *session, p *pipe) { p.silent = true }, ingress.WillSilent},
		"ended":               {func(s *session, _ *pipe) { s.end(packets.ErrServerBusy) }, ingress.WillSuperseded},
		"refused":             {func(_ *session, p *pipe) { p.refused = &packets.ErrPacketTooLarge }, ingress.WillSuperseded},
		"refused, and silent": {func(_ *session, p *pipe) { p.refused, p.silent = &packets.ErrPacketTooLarge, true }, ingress.WillSuperseded},
	} {
		b := newBench(t)
		cl, conn := b.session()
		s := b.registry.session(cl)
		tc.change(s, conn)
		if got := s.willCause(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestMQTT311HasTheReturnCodeOfItsStandard(t *testing.T) {
	for want, codes := range map[byte][]packets.Code{
		0: {packets.CodeSuccess},
		1: {packets.ErrUnsupportedProtocolVersion},
		2: {packets.ErrClientIdentifierNotValid},
		3: {
			packets.ErrUnspecifiedError, packets.ErrImplementationSpecificError, packets.ErrServerUnavailable, packets.ErrServerBusy,
			packets.ErrServerShuttingDown, packets.ErrQuotaExceeded, packets.ErrConnectionRateExceeded,
		},
		5: {packets.ErrNotAuthorized, packets.ErrBadUsernameOrPassword, packets.ErrBanned, packets.ErrSessionTakenOver},
	} {
		for _, code := range codes {
			if got := connackV3(code.Code); got != want {
				t.Errorf("%s becomes %d, want %d", code.Reason, got, want)
			}
		}
	}
	for code := range byte(6) {
		if got := connackV3(code); got != code {
			t.Errorf("the standard's own %d becomes %d", code, got)
		}
	}
}

func TestWhatAnOutsiderWritesIntoTheLogIsShort(t *testing.T) {
	for size, want := range map[int]int{0: 0, 79: 79, 80: 80, 81: 80 + len("…"), 1000: 80 + len("…")} {
		if got := clip(strings.Repeat("x", size)); len(got) != want {
			t.Errorf("%d bytes become %d, want %d", size, len(got), want)
		}
	}
}
