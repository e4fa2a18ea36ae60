package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/storetest"
	"wfm/protocol"
	"wfm/store"
)

var errGone = errors.New("gone")

// published is a message the scripted publisher was given.
type published struct {
	topic  protocol.Topic
	env    protocol.Envelope
	raw    []byte
	expiry time.Duration
}

// scripted is a Publisher that is ready, and fails, as the test says, and records its messages.
type scripted struct {
	mu    sync.Mutex
	open  map[string]bool // by node id: sessions
	ready map[protocol.Topic]bool
	fails int // so many publishes from now on
	sent  []published
	look  func(published) // called by every publish, also one that fails
}

func (s *scripted) Connected(nodeID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[nodeID]
}

func (s *scripted) Ready(topic protocol.Topic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready[topic]
}

func (s *scripted) Publish(topic protocol.Topic, message []byte, expiry time.Duration) error {
	env, err := protocol.Decode(topic, message)
	if err != nil {
		return err
	}
	p := published{topic, env, message, expiry}
	s.mu.Lock()
	look := s.look
	s.mu.Unlock()
	if look != nil {
		look(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return errGone
	}
	s.sent = append(s.sent, p)
	return nil
}

// session says whether the node has a session, and on which topics it is ready.
func (s *scripted) session(nodeID string, open bool, kinds ...protocol.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[nodeID] = open
	for _, k := range protocol.CommandKinds() {
		delete(s.ready, protocol.Topic{ConfigID: "cfg_a", NodeID: nodeID, Kind: k})
	}
	for _, k := range kinds {
		s.ready[protocol.Topic{ConfigID: "cfg_a", NodeID: nodeID, Kind: k}] = true
	}
}

// ids returns the request ids of the messages published for the node, in order.
func (s *scripted) ids(nodeID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range s.sent {
		if p.topic.NodeID == nodeID {
			out = append(out, p.env.RequestID)
		}
	}
	return out
}

func (s *scripted) count(requestID string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.sent {
		if p.env.RequestID == requestID {
			n++
		}
	}
	return n
}

// fixture is a control over a real store, with node_a and node_b bound to agents that know request
// ids, and node_old to one that does not. All are away.
type fixture struct {
	t     *testing.T
	dir   string
	limit int // of the file
	db    *store.DB
	pub   *scripted
	*Ledger
}

// bubble runs test with a fixture in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFixture(t)) })
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), pub: &scripted{open: make(map[string]bool), ready: make(map[protocol.Topic]bool)}}
	f.pub.look = f.mustBeOnDiskAsSent
	f.open()
	f.update(func(tx *store.Tx) error {
		return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard})
	})
	f.bind("node_a", protocol.CapabilityDedupe)
	f.bind("node_b", protocol.CapabilityDedupe)
	f.bind("node_old")
	t.Cleanup(func() {
		f.Stop()
		if err := f.db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	db, err := store.Open(f.dir, store.Options{MaxSize: f.limit})
	if err != nil {
		f.t.Fatal(err)
	}
	f.db = db
	f.start()
}

// Stop stops the ledger, also in a clean-up.
func (f *fixture) Stop() {
	f.t.Helper()
	if err := f.Ledger.Stop(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) start() {
	f.t.Helper()
	f.Ledger = New(Options{Store: f.db})
	if err := f.Start(f.pub); err != nil {
		f.t.Fatal(err)
	}
}

// restart ends the control, lets time pass, and starts a new one; with the file closed and opened
// again if reopen. All sessions are gone.
func (f *fixture) restart(away time.Duration, reopen bool) {
	f.t.Helper()
	f.Stop()
	f.pub.mu.Lock()
	clear(f.pub.open)
	clear(f.pub.ready)
	f.pub.mu.Unlock()
	if reopen {
		if err := f.db.Close(); err != nil {
			f.t.Fatal(err)
		}
	}
	pass(away)
	if reopen {
		f.open()
	} else {
		f.start()
	}
	synctest.Wait()
}

// bind binds an agent that was given a config to begin with, and can describe itself.
func (f *fixture) bind(nodeID string, capabilities ...string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		n := store.Node{ID: nodeID, ConfigID: "cfg_a", Name: nodeID, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken(nodeID, time.Minute)
		if err != nil {
			return err
		}
		if _, err = tx.Bind(token, store.Client{Capabilities: append(capabilities, protocol.CapabilityDescribe)}); err != nil {
			return err
		}
		return tx.NoteHandedOut(nodeID, store.ConfRef{Version: 1})
	})
}

func (f *fixture) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(fn); err != nil {
		f.t.Fatal(err)
	}
}

// pass lets time pass, and then all work that is due be done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// connect gives the node a session with all its subscriptions, established now.
func (f *fixture) connect(nodeID string) {
	f.t.Helper()
	pass(time.Millisecond) // the session is younger than the commands sent before it
	f.pub.session(nodeID, true, protocol.CommandKinds()...)
	f.NodeReady(nodeID, time.Now())
	synctest.Wait()
}

func (f *fixture) disconnect(nodeID string) { f.pub.session(nodeID, false) }

func (f *fixture) issue(nodeID string, action protocol.Action, queue bool) store.Command {
	f.t.Helper()
	cmd, err := f.Issue(f.t.Context(), nodeID, action, "admin", queue)
	if err != nil {
		f.t.Fatalf("issue %s: %v", action, err)
	}
	return cmd
}

func (f *fixture) command(requestID string) store.Command {
	f.t.Helper()
	cmd, err := f.read(requestID)
	if err != nil {
		f.t.Fatalf("read %s: %v", requestID, err)
	}
	return cmd
}

// commands are all of the node, oldest first.
func (f *fixture) commands(nodeID string) (out []store.Command) {
	f.t.Helper()
	err := f.db.View(func(tx *store.Tx) error {
		all, err := tx.Commands(nodeID, 0, 1000)
		slices.Reverse(all)
		out = all
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *fixture) evidence(nodeID string) (e store.Evidence) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { e, err = tx.Evidence(nodeID); return err }); err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) journal(nodeID string) (out []store.JournalEntry) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { out, err = tx.Journal(nodeID, 0, 1000); return err }); err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *fixture) ackOn(nodeID string, kind protocol.Kind, requestID string, ack protocol.Ack) (v Verdict) {
	f.t.Helper()
	topic := protocol.Topic{ConfigID: "cfg_a", NodeID: nodeID, Kind: kind}
	env := protocol.Envelope{Type: kind, RequestID: requestID, ConfigID: "cfg_a", NodeID: nodeID, SessionID: "session_1"}
	f.update(func(tx *store.Tx) (err error) { v, err = f.Ack(tx, topic, env, ack); return err })
	synctest.Wait()
	return v
}

// answer is the ACK the command waits for.
func (f *fixture) answer(cmd store.Command, status protocol.AckStatus) Verdict {
	f.t.Helper()
	return f.ackOn(cmd.NodeID, cmd.Kind.Ack(), cmd.RequestID, protocol.Ack{Status: status, Message: "the node says " + string(status)})
}

// want checks the command's state, and that its detail or last note contains text.
func (f *fixture) want(requestID string, state store.CommandState, text string) store.Command {
	f.t.Helper()
	cmd := f.command(requestID)
	said := cmd.Detail
	if n := len(cmd.Notes); n > 0 {
		said += "\n" + cmd.Notes[n-1].Text
	}
	if cmd.State != state || !strings.Contains(said, text) {
		f.t.Fatalf("%s %s is %q and says %q, want %q and %q", cmd.Action, requestID, cmd.State, said, state, text)
	}
	return cmd
}

// mustBeOnDiskAsSent checks the store at every publish.
func (f *fixture) mustBeOnDiskAsSent(p published) {
	cmd, err := f.read(p.env.RequestID)
	switch {
	case err != nil:
		f.t.Errorf("published and not on disk: %v", err)
	case cmd.State != store.CommandSent, cmd.Attempts == 0, cmd.SentAt.IsZero(), !cmd.DeadlineAt.After(cmd.SentAt):
		f.t.Errorf("%s is published while it is %s (attempts %d, sent %s, deadline %s)", cmd.Action, cmd.State, cmd.Attempts, cmd.SentAt, cmd.DeadlineAt)
	case p.topic != protocol.Topic{ConfigID: cmd.ConfigID, NodeID: cmd.NodeID, Kind: cmd.Kind}:
		f.t.Errorf("%s to %s is published on %s", cmd.Action, cmd.NodeID, p.topic)
	case !samePayload(p.env.Payload, cmd):
		f.t.Errorf("published payload %s, on disk is %s", p.env.Payload, cmd.Payload)
	case p.expiry != cmd.DeadlineAt.Sub(cmd.SentAt):
		f.t.Errorf("%s is published to expire after %s", cmd.Action, p.expiry)
	case cmd.Attempts > maxAttempts:
		f.t.Errorf("%s is published for the %dth time", cmd.Action, cmd.Attempts)
	}
}

// limitSize keeps the file from growing beyond its present size, with some room in it, as fill needs.
func (f *fixture) limitSize() {
	f.t.Helper()
	storetest.Ballast(f.t, f.db)
	f.limit = storetest.MaxSize
	f.reopen()
}

// reopen closes the file and opens it again.
func (f *fixture) reopen() {
	f.t.Helper()
	f.Stop()
	if err := f.db.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

// fill leaves the store without room even for a small change until the function it returns is called.
func (f *fixture) fill() (release func()) {
	f.t.Helper()
	return storetest.Fill(f.t, f.db, "node_b")
}

// samePayload reports whether the published payload is the one on disk. A push is published with
// the text of its hash, and on disk without.
func samePayload(published json.RawMessage, cmd store.Command) bool {
	if cmd.Action != protocol.ActionPush {
		return string(published) == string(cmd.Payload)
	}
	var out protocol.Push
	if err := json.Unmarshal(published, &out); err != nil || strings.Contains(string(cmd.Payload), "config_text") {
		return false
	}
	sum := sha256.Sum256([]byte(out.ConfigText))
	kept, err := json.Marshal(pushPayload{Push: out})
	return err == nil && string(kept) == string(cmd.Payload) && hex.EncodeToString(sum[:]) == out.ConfigSHA256
}
