package emqx

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/emqxtest"
	"wfm/protocol"
	"wfm/store"
)

// newOwnFixture is newFixture with the appliance at a listener of its own.
func newOwnFixture(t *testing.T, adjust ...func(*emqxtest.Settings)) *fixture {
	t.Helper()
	settings := lenient()
	for _, f := range adjust {
		f(&settings)
	}
	f := &fixture{t: t, emqx: emqxtest.Start(t, settings), ingress: &scripted{}}
	f.line = emqxtest.NewProxy(t, f.emqx.OwnAddr())
	f.open(&url.URL{Scheme: "mqtt", Host: f.line.Addr()}, nil)
	f.up()
	return f
}

// sendAll has the node publish count messages at once, and waits until EMQX has acknowledged all.
func (f *fixture) sendAll(b store.Bound, prefix string, count int) {
	f.t.Helper()
	c := f.login(b)
	for i := range count {
		c.Publish(event(b), fmt.Appendf(nil, "%s-%d", prefix, i), 1, uint16(1+i))
	}
	for range count {
		if code := c.Expect(packets.Puback).ReasonCode; code != 0 {
			f.t.Fatalf("PUBACK 0x%02x", code)
		}
	}
	c.Close()
}

// inOrder returns the received messages with the prefix.
func (i *scripted) inOrder(prefix string) (out []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.received {
		if strings.HasPrefix(r, prefix+"-") {
			out = append(out, r)
		}
	}
	return out
}

func TestSessionsShareWhatNodesSendAndKeepEachNodesOrder(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	if s := f.broker.Status(); s.Shares != s.SharesMost || s.Plain {
		t.Fatalf("%+v", s)
	}
	const count = 300
	var all sync.WaitGroup
	for i, b := range f.nodes {
		all.Go(func() { f.sendAll(b, fmt.Sprintf("n%d", i), count) })
	}
	all.Wait()
	f.acknowledged()
	for i := range f.nodes {
		got := f.ingress.inOrder(fmt.Sprintf("n%d", i))
		if len(got) != count {
			t.Fatalf("node %d: %d messages", i, len(got))
		}
		for n, payload := range got {
			if want := fmt.Sprintf("n%d-%d", i, n); payload != want {
				t.Fatalf("got %s, want %s", payload, want)
			}
		}
	}
}

func TestOneSessionTakesAllWhereEMQXRefusesSharedSubscriptions(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t, func(s *emqxtest.Settings) { s.OwnZone.NoShared = true })
	if s := f.broker.Status(); !s.Plain || s.Shares != 0 {
		t.Fatalf("%+v", s)
	}
	f.sendAll(f.nodes[0], "n", 50)
	f.acknowledged()
	if n := len(f.ingress.inOrder("n")); n != 50 {
		t.Errorf("%d messages", n)
	}
	f.emqx.Configure(func(s *emqxtest.Settings) { s.OwnZone.NoShared = false })
	f.line.Cut()
	f.line.Mend()
	f.eventually("sessions share again", func() bool { s := f.broker.Status(); return s.Connected && s.Shares == s.SharesMost })
	f.sendAll(f.nodes[0], "m", 50)
	f.acknowledged()
	f.eventually("all came", func() bool { return len(f.ingress.inOrder("m")) >= 50 })
}

// Nodes may log in while EMQX has sessions for their messages, even without the main one.
func TestMessagesAreTakenWhileTheMainSessionIsAway(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	node := f.login(f.nodes[0])
	if !f.broker.Takes() {
		t.Fatal("with all sessions up, messages are not taken")
	}
	f.emqx.RefuseNext(1 << 20)
	f.emqx.Cut(ownClientID)
	f.eventually("the main session is away", func() bool { return !f.broker.Up() })
	if !f.broker.Takes() {
		t.Error("messages are not taken although all shares are up")
	}
	node.Publish(event(f.nodes[0]), []byte("meanwhile"), 1, 5)
	f.eventually("a message is stored meanwhile", func() bool { return f.ingress.count("meanwhile") == 1 })
	f.emqx.Cut(ClientIDs(ownClientID)[2])
	f.eventually("a share is away, too", func() bool { return !f.broker.Takes() })
	f.emqx.RefuseNext(0)
	f.up()
	if !f.broker.Takes() {
		t.Error("messages are not taken although the main session is up again")
	}
}

// The main session takes no messages of nodes: without any other, EMQX would acknowledge them and
// drop them.
func TestNothingIsTakenWhileOnlyTheMainSessionIsUp(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	f.emqx.RefuseNext(1 << 20)
	shares := ClientIDs(ownClientID)[1:]
	for i, id := range shares {
		f.emqx.Cut(id)
		left := len(shares) - i - 1
		f.eventually("a share is away", func() bool { return f.broker.Status().Shares == left })
		if takes := f.broker.Takes(); takes != (left > 0) {
			t.Errorf("with %d shares: %v", left, takes)
		}
	}
	if !f.broker.Up() {
		t.Fatal("the main session is away")
	}
	f.emqx.RefuseNext(0)
	f.eventually("messages are taken again", f.broker.Takes)
}

// If a session ends by itself, its waiting messages go to the others, after those that they have
// got meanwhile.
func TestOtherSessionsGetWhatWaitedInOneThatExpired(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(e *emqxtest.Server, clientID string)
		kept bool
	}{
		"expired": {(*emqxtest.Server).Expire, true},
		"killed":  {(*emqxtest.Server).Drop, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newOwnFixture(t)
			var full atomic.Bool
			var kept atomic.Int32
			full.Store(true)
			f.ingress.fail(func(payload string) error {
				if payload != "old" {
					return nil
				}
				if full.Load() {
					return store.ErrFull
				}
				kept.Add(1)
				return nil
			})
			node := f.login(f.nodes[0])
			node.Publish(event(f.nodes[0]), []byte("old"), 1, 5)
			node.Expect(packets.Puback)
			held := ""
			f.eventually("a session holds the message", func() bool {
				for _, id := range ClientIDs(ownClientID)[1:] {
					if f.emqx.Unacknowledged(id) > 0 {
						held = id
					}
				}
				return held != ""
			})
			f.emqx.RefuseNext(1 << 20) // the session stays away
			tc.end(f.emqx, held)
			f.eventually("the session is gone", func() bool { return f.broker.Status().Shares == shareCount-1 })
			node.Publish(event(f.nodes[0]), []byte("new"), 1, 6)
			if tc.kept {
				full.Store(false)
				f.eventually("another session takes what waited", func() bool { return kept.Load() == 1 })
			}
			f.eventually("another session takes the next message", func() bool { return f.ingress.count("new") == 1 })
			full.Store(false)
			f.acknowledged()
			if !tc.kept && kept.Load() > 0 {
				t.Error("what waited in a killed session came again")
			}
		})
	}
}

// EMQX's own limits kill the session of a client that gets everything; its own zone has none.
func TestBurstIsLostInEMQXsOwnLimitsAndNotInTheZoneOfTheAppliance(t *testing.T) {
	t.Parallel()
	slow := func(s *emqxtest.Settings) {
		s.OwnZone.Handling = 200 * time.Microsecond
		s.OwnZone.MaxMailbox = 0
	}
	f := newOwnFixture(t, slow)
	f.sendAll(f.nodes[0], "n", 3000)
	f.acknowledged()
	if n := len(f.ingress.inOrder("n")); n != 3000 {
		t.Errorf("in its own zone: %d of 3000 messages", n)
	}
	if s := f.broker.Status(); s.SessionsLost != 0 {
		t.Errorf("%+v", s)
	}
	strict := newOwnFixture(t, slow, func(s *emqxtest.Settings) { s.OwnZone.MaxMailbox, s.OwnZone.Handling = 1000, 5*time.Millisecond })
	strict.sendAll(strict.nodes[0], "n", 3000)
	strict.eventually("the loss is noticed", func() bool { return strict.broker.Status().SessionsLost > 0 })
}

func TestLostSessionIsSaidAndEveryConnectedNodeIsAsked(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	for _, b := range f.nodes {
		f.login(b)
		f.eventually("connected", func() bool { return f.broker.Connected(b.Node.ID) })
	}
	if s := f.broker.Status(); s.SessionsLost != 0 || f.askedCount() != 0 {
		t.Fatalf("the first session counts as lost: %+v", s)
	}
	f.line.Cut() // a connection that is lost is no lost session
	f.line.Mend()
	f.up()
	f.eventually("shares are up", func() bool { s := f.broker.Status(); return s.Shares == s.SharesMost })
	if s := f.broker.Status(); s.SessionsLost != 0 {
		t.Fatalf("%+v", s)
	}
	f.emqx.Drop(ClientIDs(ownClientID)[2])
	f.eventually("the loss is noticed, and every node asked", func() bool {
		return f.broker.Status().SessionsLost == 1 && !f.broker.Status().LastSessionLost.IsZero() && f.askedCount() == len(f.nodes)
	})
	for _, b := range f.nodes {
		if err := f.db.View(func(tx *store.Tx) error {
			entries, err := tx.Journal(b.Node.ID, 0, 10)
			for _, e := range entries {
				if e.Event == eventSessionLost {
					return err
				}
			}
			t.Errorf("%s: nothing in the journal: %+v", b.Node.ID, entries)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	f.sendAll(f.nodes[0], "n", 20)
	f.eventually("messages go on", func() bool { return len(f.ingress.inOrder("n")) == 20 })
}

// A session without a connection keeps its part; the others go on with theirs.
func TestSessionThatIsAwayKeepsItsPart(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	f.line.Cut()
	f.eventually("away", func() bool { return !f.broker.Status().Connected })
	var all sync.WaitGroup
	for i, b := range f.nodes {
		all.Go(func() { f.sendAll(b, fmt.Sprintf("n%d", i), 200) })
	}
	all.Wait()
	f.line.Mend()
	f.up()
	f.eventually("all came", func() bool { return len(f.ingress.inOrder("n0")) >= 200 && len(f.ingress.inOrder("n1")) >= 200 })
	f.acknowledged()
	if s := f.broker.Status(); s.SessionsLost != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedLoginIsToldForWhatItIsAndTriedSoon(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	f.emqx.RefuseNext(1 + shareCount)
	f.line.Cut()
	f.line.Mend()
	f.eventually("busy", func() bool { return strings.Contains(f.broker.Status().LastError, "busy (0x89)") })
	f.up()
	for code, want := range map[byte]string{0x89: "busy", 0x87: "cannot ask the appliance yet", 0x86: "WFM_EMQX_PASSWORD"} {
		if err := loginError("wfm-backend", code); !strings.Contains(err.Error(), want) {
			t.Errorf("0x%02x: %v", code, err)
		}
	}
	l := &link{soon: true}
	for _, attempt := range []int{1, 5, 20} {
		if p := l.pause(attempt); p < time.Second || p > 2*time.Second {
			t.Errorf("attempt %d: %s", attempt, p)
		}
	}
}

func TestDenialsThatCameOfNoAnswerAreForgottenAfterAReconnect(t *testing.T) {
	t.Parallel()
	f := newOwnFixture(t)
	f.emqx.Calls()
	f.emqx.Configure(func(s *emqxtest.Settings) {
		s.AuthzURL, s.NoMatch, s.DeadFor = "http://127.0.0.1:1/", "deny", time.Minute
	})
	c := f.login(f.nodes[0])
	c.Publish(event(f.nodes[0]), []byte("denied"), 1, 1)
	if code := c.Expect(packets.Puback).ReasonCode; code != 0x87 {
		t.Fatalf("0x%02x", code)
	}
	f.line.Cut()
	f.line.Mend()
	f.up()
	f.emqx.Configure(func(s *emqxtest.Settings) { s.AuthzURL, s.NoMatch = "", "allow" }) // it is reached again
	f.eventually("allowed", func() bool {
		c.Publish(event(f.nodes[0]), []byte("allowed"), 1, 2)
		return c.Expect(packets.Puback).ReasonCode == 0
	})
	if f.emqx.Configure(func(s *emqxtest.Settings) { s.Version = "5.8.1" }); f.broker.Reconcile(t.Context()) != nil {
		t.Error("an import without a body in its answer fails")
	}
}

// The two come over different sessions of the appliance, so the order is EMQX's whim.
func TestFirstMessageWaitsForTheEventOfItsConnection(t *testing.T) {
	t.Parallel()
	var connected atomic.Bool
	order := make(chan string, 3)
	l := newLanes(func(items []item) {
		for _, it := range items {
			if it.event != nil {
				connected.Store(true)
				order <- "event"
				continue
			}
			order <- string(it.payload)
		}
	}, func(it item) time.Duration {
		if it.event != nil || connected.Load() {
			return 0
		}
		return patience
	})
	e := newEpoch(t.Context())
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_a", Kind: protocol.KindHeartbeat}
	l.put("node_a", item{epoch: e, topic: topic, payload: []byte("first")})
	l.put("node_a", item{epoch: e, topic: topic, payload: []byte("second")})
	l.put("node_a", item{epoch: e, event: &connectionEvent{nodeID: "node_a", connected: true}})
	for _, want := range []string{"event", "first", "second"} {
		if got := <-order; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	l.stop()
}

func TestWhatWaitsOfANodeIsStoredTogetherAndAnEventBetweenStaysThere(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}, 8), make(chan struct{}, 8)
	var runs [][]item
	l := newLanes(func(items []item) {
		begun <- struct{}{}
		<-goOn
		runs = append(runs, items)
	}, func(item) time.Duration { return 0 })
	e := newEpoch(t.Context())
	message := item{epoch: e, topic: protocol.Topic{NodeID: "node_a", Kind: protocol.KindHeartbeat}}
	l.put("node_a", message)
	<-begun
	for range laneRun + 2 {
		l.put("node_a", message)
	}
	l.put("node_a", item{epoch: e, event: &connectionEvent{nodeID: "node_a"}})
	l.put("node_a", message)
	l.put("node_a", item{epoch: newEpoch(t.Context()), topic: message.topic})
	for range cap(goOn) {
		goOn <- struct{}{}
	}
	l.stop()
	var got []int
	for _, run := range runs {
		got = append(got, len(run))
	}
	if want := []int{1, laneRun, 2, 1, 1, 1}; !slices.Equal(got, want) || runs[3][0].event == nil {
		t.Errorf("dealt with %v at once, want %v", got, want)
	}
}
