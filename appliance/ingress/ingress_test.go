package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wfm/appliance/command"
	"wfm/appliance/tracker"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

// taker is a Publisher that takes everything.
type taker struct{}

func (taker) Connected(string) bool                               { return true }
func (taker) Ready(protocol.Topic) bool                           { return true }
func (taker) Publish(protocol.Topic, []byte, time.Duration) error { return nil }

// fixture is an ingress over a real store and ledger, with node_a and node_b bound.
type fixture struct {
	*Ingress
	t      *testing.T
	dir    string
	isFull atomic.Bool // every write that concerns a node fails
}

// ingressTest runs test in a synctest bubble, so that a time is exactly the one it should be.
func ingressTest(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{Ingress: &Ingress{log: slog.New(slog.DiscardHandler)}, t: t, dir: t.TempDir()}
		f.open()
		f.update(func(tx *store.Tx) error {
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard})
		})
		for _, id := range []string{"node_a", "node_b"} {
			f.update(func(tx *store.Tx) error {
				return tx.PutNode(&store.Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"})
			})
			f.bind(id)
		}
		t.Cleanup(f.close)
		test(t, f)
	})
}

func (f *fixture) open() {
	f.t.Helper()
	db, err := store.Open(f.dir, store.Options{Witness: f.witness})
	if err != nil {
		f.t.Fatal(err)
	}
	f.db = db
	f.ledger = command.New(command.Options{Store: db})
	if err := f.ledger.Start(taker{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) witness(tx *store.Tx, n store.Node) error {
	if f.isFull.Load() {
		return store.ErrFull
	}
	return tracker.Witness(presence.DefaultTimes())(tx, n)
}

func (f *fixture) close() {
	_ = f.ledger.Stop(context.WithoutCancel(f.t.Context()))
	_ = f.db.Close()
}

func (f *fixture) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) bind(nodeID string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken(nodeID, time.Minute)
		if err != nil {
			return err
		}
		if _, err = tx.Bind(token, store.Client{Platform: "linux", Version: "1.0"}); err != nil {
			return err
		}
		return tx.NoteHandedOut(nodeID, store.ConfRef{Version: 1})
	})
}

// session is one of node_a that logged in just now, and is not established yet.
func (f *fixture) session(id uint64) Session {
	f.t.Helper()
	grant, ok := f.db.Grant("node_a")
	if !ok {
		f.t.Fatal("node_a has no grant")
	}
	return Session{ID: id, NodeID: "node_a", ConfigID: "cfg_a", Generation: grant.Generation, Since: time.Now()}
}

func topicOf(kind protocol.Kind) protocol.Topic {
	return protocol.Topic{ConfigID: "cfg_a", NodeID: "node_a", Kind: kind}
}

func message(requestID, payload string) []byte {
	return fmt.Appendf(nil, `{"request_id":%q,"boot_id":"boot_1","session_id":"session_1","payload":%s}`, requestID, payload)
}

// receive takes a message of node_a's session, one second after the last event.
func (f *fixture) receive(s Session, kind protocol.Kind, requestID, payload string) {
	f.t.Helper()
	<-time.After(time.Second)
	if err := f.Receive(s, topicOf(kind), message(requestID, payload)); err != nil {
		f.t.Fatalf("%s %s: %v", kind, payload, err)
	}
}

func (f *fixture) issue(action protocol.Action) store.Command {
	f.t.Helper()
	cmd, err := f.ledger.Issue(f.t.Context(), "node_a", action, "admin", false)
	if err != nil {
		f.t.Fatal(err)
	}
	return cmd
}

func (f *fixture) command(requestID string) (cmd store.Command) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { cmd, err = tx.Command(requestID); return err }); err != nil {
		f.t.Fatal(err)
	}
	return cmd
}

func (f *fixture) evidence() (e store.Evidence) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { e, err = tx.Evidence("node_a"); return err }); err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) node() (n store.Node) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { n, err = tx.Node("node_a"); return err }); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) journal() (out []store.JournalEntry) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) (err error) { out, err = tx.Journal("node_a", 0, 1000); return err }); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// all is everything the store knows about node_a, to compare.
func (f *fixture) all() string {
	f.t.Helper()
	var commands []store.Command
	if err := f.db.View(func(tx *store.Tx) (err error) { commands, err = tx.Commands("node_a", 0, 1000); return err }); err != nil {
		f.t.Fatal(err)
	}
	raw, err := json.Marshal([]any{f.node(), f.evidence(), f.journal(), commands})
	if err != nil {
		f.t.Fatal(err)
	}
	return string(raw)
}

func tunnelOf(e store.Evidence) string {
	if e.TunnelRunning == nil {
		return "unknown"
	}
	return map[bool]string{true: "running", false: "stopped"}[*e.TunnelRunning]
}

func now(t time.Time) bool { return t.Equal(time.Now()) }

func TestIngressTakesASignalAsEvidenceOfItsSort(t *testing.T) {
	for name, tc := range map[string]struct {
		kind    protocol.Kind
		payload string
		tunnel  string
		want    func(store.Evidence) bool
	}{
		"heartbeat, tunnel runs": {
			protocol.KindHeartbeat, `{"wg_online":true}`, "running",
			func(e store.Evidence) bool { return now(e.HeartbeatAt) && now(e.TunnelAt) },
		},
		"heartbeat, tunnel stopped": {protocol.KindHeartbeat, `{"wg_online":false}`, "stopped", func(e store.Evidence) bool { return now(e.HeartbeatAt) }},
		"heartbeat, says nothing":   {protocol.KindHeartbeat, `{}`, "unknown", func(e store.Evidence) bool { return now(e.HeartbeatAt) && e.TunnelAt.IsZero() }},
		"heartbeat, odd": {
			protocol.KindHeartbeat, `{"wg_online":"yes","client_online":7}`, "unknown",
			func(e store.Evidence) bool { return now(e.HeartbeatAt) },
		},
		"event": {
			protocol.KindEvent, `{"level":"info","event":"started"}`, "unknown",
			func(e store.Evidence) bool { return now(e.EventAt) && e.LastEvent == "started" },
		},
		"ACK of nothing": {
			protocol.KindDetectAck, `{"status":"applied","wg_online":true}`, "unknown",
			func(e store.Evidence) bool { return now(e.DetectAckAt) },
		},
		"control ACK of nothing": {protocol.KindControlAck, `{"status":"applied"}`, "unknown", func(e store.Evidence) bool { return e.DetectAckAt.IsZero() }},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			f.receive(f.session(1), tc.kind, "req_x", tc.payload)
			e := f.evidence()
			if !now(e.ReachableAt) || e.BootID != "boot_1" || e.SessionID != "session_1" || !e.OfflineAt.IsZero() || tunnelOf(e) != tc.tunnel || !tc.want(e) {
				t.Errorf("%s: tunnel %s, %+v", name, tunnelOf(e), e)
			}
		})
	}
}

func TestIngressTakesTheTunnelsStateFromAnswersThatCount(t *testing.T) {
	for name, tc := range map[string]struct {
		action  protocol.Action
		payload string
		want    string
	}{
		"detect, runs":           {protocol.ActionDetect, `{"status":"applied","wg_online":true}`, "running"},
		"detect, stopped":        {protocol.ActionDetect, `{"status":"applied","wg_online":false}`, "stopped"},
		"detect, does not say":   {protocol.ActionDetect, `{"status":"applied"}`, "unknown"},
		"detect failed":          {protocol.ActionDetect, `{"status":"failed","wg_online":true}`, "unknown"},
		"start applied":          {protocol.ActionStart, `{"status":"applied"}`, "running"},
		"start accepted":         {protocol.ActionStart, `{"status":"accepted"}`, "unknown"},
		"start failed":           {protocol.ActionStart, `{"status":"failed"}`, "unknown"},
		"start, odd status":      {protocol.ActionStart, `{"status":"done"}`, "unknown"},
		"stop applied":           {protocol.ActionStop, `{"status":"applied"}`, "stopped"},
		"raw output of the tool": {protocol.ActionWGShow, `{"status":"applied","message":"interface: wg0"}`, "unknown"},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			cmd := f.issue(tc.action)
			f.receive(f.session(1), cmd.Kind.Ack(), cmd.RequestID, tc.payload)
			if e := f.evidence(); tunnelOf(e) != tc.want || !now(e.ReachableAt) {
				t.Errorf("%s: tunnel %s, %+v", name, tunnelOf(e), e)
			}
		})
	}
}

func TestIngressTakesNothingOfTheTunnelFromAnAckThatDoesNotFit(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		ended, sent := f.issue(protocol.ActionStop), f.issue(protocol.ActionDetect)
		f.receive(s, protocol.KindControlAck, ended.RequestID, `{"status":"applied"}`)
		f.receive(s, protocol.KindHeartbeat, "", `{"wg_online":true}`)
		at := f.evidence().TunnelAt
		foreign, err := f.ledger.Issue(t.Context(), "node_b", protocol.ActionStop, "admin", false)
		if err != nil {
			t.Fatal(err)
		}
		waiting := store.Command{ // never sent
			RequestID: "req_waiting", ConfigID: "cfg_a", NodeID: "node_a", Action: protocol.ActionStop, Kind: protocol.KindControl,
			State: store.CommandQueued, ExpiresAt: time.Now().Add(time.Hour),
		}
		f.update(func(tx *store.Tx) error { return tx.AddCommand(&waiting) })
		const payload = `{"status":"applied","wg_online":false,"client_version":"lies","platform":"lies"}`
		f.receive(s, protocol.KindControlAck, ended.RequestID, payload)
		f.receive(s, protocol.KindControlAck, foreign.RequestID, payload)
		f.receive(s, protocol.KindControlAck, waiting.RequestID, payload)
		f.receive(s, protocol.KindControlAck, "req_none", payload)
		f.receive(s, protocol.KindInfoAck, sent.RequestID, payload)
		e := f.evidence()
		if tunnelOf(e) != "running" || !e.TunnelAt.Equal(at) || !now(e.ReachableAt) {
			t.Errorf("tunnel %s at %s, %+v", tunnelOf(e), e.TunnelAt, e)
		}
		if c := f.node().Client; c.Version != "1.0" || c.Platform != "linux" {
			t.Errorf("client: %+v", c)
		}
		if got := f.command(ended.RequestID); got.State != store.CommandApplied || len(got.Notes) != 1 {
			t.Errorf("the ended command: %s, %+v", got.State, got.Notes)
		}
		if got := f.command(foreign.RequestID); got.State != store.CommandSent || len(got.Notes) != 0 {
			t.Errorf("another node's command: %s, %+v", got.State, got.Notes)
		}
	})
}

func TestIngressTakesNothingAboutTheAgentFromAnAckThatDoesNotCount(t *testing.T) {
	for name, payloads := range map[string][]string{
		"unknown status":    {`{"status":"done","client_version":"lies","wg_online":true}`},
		"repeated accepted": {`{"status":"accepted"}`, `{"status":"accepted","client_version":"lies","wg_online":true}`},
		"unknown status of an accepted one": {
			`{"status":"accepted","client_version":"2.0"}`, `{"status":"done","client_version":"lies","wg_online":true}`,
		},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			cmd := f.issue(protocol.ActionStart)
			for i, payload := range payloads {
				f.receive(f.session(1), protocol.KindControlAck, cmd.RequestID, payload)
				if i == 0 && strings.Contains(payload, "2.0") {
					f.update(func(tx *store.Tx) error {
						return tx.UpdateClient("node_a", func(c *store.Client) { c.Version = "1.0" })
					})
				}
			}
			if c := f.node().Client; c.Version != "1.0" {
				t.Errorf("%s: version %s", name, c.Version)
			}
			if e := f.evidence(); tunnelOf(e) != "unknown" || !now(e.ReachableAt) {
				t.Errorf("%s: tunnel %s, %+v", name, tunnelOf(e), e)
			}
		})
	}
}

// A tool that refuses a line prints it, and users who may only read see the messages of nodes.
func TestIngressHidesKeysInTheMessagesOfANode(t *testing.T) {
	const key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		cmd := f.issue(protocol.ActionStart)
		f.receive(s, protocol.KindControlAck, cmd.RequestID, `{"status":"failed","message":"refused:\nPrivateKey = `+key+`\n"}`)
		got := f.command(cmd.RequestID)
		if got.State != store.CommandFailed || got.Detail != "refused: PrivateKey = (hidden)" || strings.Contains(got.Ack.Message, key) {
			t.Errorf("%s: %s, %s", got.State, got.Detail, got.Ack.Message)
		}
		f.receive(s, protocol.KindEvent, "", `{"level":"error","event":"x","message":"PresharedKey = `+key+`"}`)
		if e := f.evidence(); e.LastEventMessage != "PresharedKey = (hidden)" {
			t.Error(e.LastEventMessage)
		}
	})
}

func TestIngressKeepsWhatTheAgentSaysOfItselfBounded(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		cmd := f.issue(protocol.ActionDetect)
		f.receive(s, protocol.KindDetectAck, cmd.RequestID, `{"status":"applied","platform":"openwrt","capabilities":["dedupe"]}`)
		if c := f.node().Client; c.Platform != "openwrt" || c.Version != "1.0" || len(c.Capabilities) != 0 {
			t.Errorf("after a detect: %+v", c)
		}
		cmd = f.issue(protocol.ActionDetect)
		f.receive(s, protocol.KindDetectAck, cmd.RequestID, `{"status":"applied","platform":"darwin"}`)
		if c := f.node().Client; c.Platform != "openwrt" {
			t.Errorf("without a bind, the agent is on another system: %+v", c)
		}
		f.update(func(tx *store.Tx) error {
			return tx.UpdateClient("node_a", func(c *store.Client) { c.Capabilities = []string{protocol.CapabilityDescribe} })
		})
		cmd = f.issue(protocol.ActionDescribe)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID, `{"status":"applied","client_version":"2.0","capabilities":["dedupe","describe"]}`)
		if n := f.node(); n.Client.Version != "2.0" || n.Client.Platform != "openwrt" || !n.Can(protocol.CapabilityDedupe) || !n.Can(protocol.CapabilityDescribe) {
			t.Errorf("after a describe: %+v", n.Client)
		}
		cmd = f.issue(protocol.ActionDescribe)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID, `{"status":"failed","capabilities":["other"]}`)
		if n := f.node(); !n.Can(protocol.CapabilityDedupe) {
			t.Errorf("a describe that failed took the capabilities: %+v", n.Client)
		}
		long := strings.Repeat("x", 1000)
		cmd = f.issue(protocol.ActionDescribe)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID,
			`{"status":"applied","client_version":"`+long+`","platform":"`+long+`","capabilities":["`+long+`"`+strings.Repeat(`,"c"`, 100)+`]}`)
		c := f.node().Client
		if len(c.Version) > 128 || len(c.Platform) > 128 || len(c.Capabilities) != 32 || len(c.Capabilities[0]) > 128 || !strings.HasPrefix(c.Version, "xxx") {
			t.Errorf("kept: version %d, platform %d, capabilities %d", len(c.Version), len(c.Platform), len(c.Capabilities))
		}
		if c.Hostname != "" || c.BoundAt.IsZero() {
			t.Errorf("the rest of the client: %+v", c)
		}
	})
}

func TestIngressKeepsTheKeyThatTheAgentReports(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		f.update(func(tx *store.Tx) error {
			return tx.UpdateClient("node_a", func(c *store.Client) { c.Capabilities = []string{protocol.CapabilityNodeKey} })
		})
		keys := []string{
			"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
		}
		want := func(key, when string) {
			t.Helper()
			if got := f.node().Client.PublicKey; got != key {
				t.Errorf("%s: %q, want %q", when, got, key)
			}
		}
		beat := `{"client_online":true,"capabilities":["node_key"],"public_key":"%s"}`
		f.receive(s, protocol.KindHeartbeat, "", fmt.Sprintf(beat, keys[0]))
		want(keys[0], "after a heartbeat")
		f.receive(s, protocol.KindHeartbeat, "", fmt.Sprintf(beat, "not a key"))
		want(keys[0], "after a heartbeat with something else")
		f.receive(s, protocol.KindHeartbeat, "", `{"client_online":true,"capabilities":["node_key"]}`)
		want(keys[0], "after a heartbeat without a key")
		cmd := f.issue(protocol.ActionRotateKey)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID, fmt.Sprintf(`{"status":"failed","action":"rotate_key","public_key":%q}`, keys[1]))
		want(keys[0], "after a new key that failed")
		cmd = f.issue(protocol.ActionRotateKey)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID, fmt.Sprintf(`{"status":"applied","action":"rotate_key","public_key":%q}`, keys[1]))
		want(keys[1], "after a new key")
		cmd = f.issue(protocol.ActionDetect)
		f.receive(s, protocol.KindDetectAck, cmd.RequestID, fmt.Sprintf(`{"status":"applied","platform":"linux","public_key":%q}`, keys[2]))
		want(keys[1], "after a detect, which reports no key")
	})
}

func TestAnEventAboutACommandLeavesANoteOnTheNodesOwnAlone(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		cmd := f.issue(protocol.ActionStart)
		f.receive(s, protocol.KindControlAck, cmd.RequestID, `{"status":"failed","message":"tried again until it works"}`)
		f.receive(s, protocol.KindEvent, "", `{"event":"tunnel_restored","message":"wg0 runs again","request_id":"`+cmd.RequestID+`"}`)
		if notes := f.command(cmd.RequestID).Notes; len(notes) != 1 || notes[0].Text != "tunnel_restored: wg0 runs again" {
			t.Errorf("notes %+v", notes)
		}
		other := store.Command{RequestID: "req_other", ConfigID: "cfg_a", NodeID: "node_b", State: store.CommandSent, Attempts: 1}
		f.update(func(tx *store.Tx) error { return tx.AddCommand(&other) })
		f.receive(s, protocol.KindEvent, "", `{"event":"tunnel_restored","message":"not mine","request_id":"req_other"}`)
		f.receive(s, protocol.KindEvent, "", `{"event":"tunnel_restored","message":"nobody's","request_id":"req_unknown"}`)
		if notes := f.command("req_other").Notes; len(notes) != 0 {
			t.Errorf("another node's command has notes %+v", notes)
		}
	})
}

func TestATunnelWhoseChangeFailedIsUnknownUntilTheNodeSaysMore(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		f.receive(s, protocol.KindHeartbeat, "", `{"wg_online":true}`)
		cmd := f.issue(protocol.ActionStop)
		f.receive(s, protocol.KindControlAck, cmd.RequestID, `{"status":"failed"}`)
		if got := tunnelOf(f.evidence()); got != "unknown" {
			t.Errorf("after a stop that failed it is %s", got)
		}
		f.receive(s, protocol.KindHeartbeat, "", `{"wg_online":true}`)
		if got := tunnelOf(f.evidence()); got != "running" {
			t.Errorf("after a heartbeat it is %s", got)
		}
	})
}

func TestAnAgentThatWasReplacedWithoutANewBindIsKnownByItsHeartbeat(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		want := func(version string, can ...string) {
			t.Helper()
			if c := f.node().Client; c.Version != version || !slices.Equal(c.Capabilities, can) {
				t.Errorf("it is %s and can %v, want %s, %v", c.Version, c.Capabilities, version, can)
			}
		}
		f.receive(s, protocol.KindHeartbeat, "", `{}`)
		want("1.0")
		f.receive(s, protocol.KindHeartbeat, "", `{"client_version":"2.0","capabilities":["dedupe","commit_confirm"]}`)
		want("2.0", "dedupe", "commit_confirm")
		f.receive(s, protocol.KindHeartbeat, "", `{"client_version":"2.1","capabilities":["dedupe","commit_confirm"]}`)
		want("2.1", "dedupe", "commit_confirm")
		f.receive(s, protocol.KindHeartbeat, "", `{"client_online":true}`) // the former one is back
		want("2.1")
		f.receive(s, protocol.KindHeartbeat, "", `{"client_version":"`+strings.Repeat("x", 1000)+`","capabilities":["`+strings.Repeat(`a","`, 100)+`a\nb"]}`)
		if c := f.node().Client; len(c.Version) > 128 || len(c.Capabilities) > 32 {
			t.Errorf("kept unbounded: %d bytes, %d capabilities", len(c.Version), len(c.Capabilities))
		}
	})
}

func TestIngressTakesAnOfflineEventAsOffline(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		f.receive(s, protocol.KindHeartbeat, "", `{}`)
		reached := f.evidence().ReachableAt
		f.receive(s, protocol.KindEvent, "", `{"level":"info","event":"offline","message":"bye"}`)
		e := f.evidence()
		if !now(e.OfflineAt) || e.OfflineReason == "" || !e.ReachableAt.Equal(reached) || !now(e.EventAt) || e.LastEvent != "offline" {
			t.Errorf("%+v", e)
		}
		f.receive(s, protocol.KindEvent, "", `{"event":"started"}`)
		if after := f.evidence(); !after.ReachableAt.After(after.OfflineAt) {
			t.Errorf("a later event does not bring it back: %+v", after)
		}
	})
}

func TestIngressKeepsEventsInTheJournalBounded(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		for given, want := range map[string]string{
			"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error", "": "info",
			"loud": "info",
		} {
			f.receive(s, protocol.KindEvent, "", `{"level":"`+given+`","event":"started","message":"hello"}`)
			if e := f.journal()[0]; e.Level != want || e.Event != "started" || e.Message != "hello" || e.SessionID != "session_1" || !now(e.At) {
				t.Errorf("level %q: %+v", given, e)
			}
		}
		long := strings.Repeat("ü", 10_000)
		f.receive(s, protocol.KindEvent, "", `{"event":"`+long+`","message":"`+long+`"}`)
		if e := f.journal()[0]; len(e.Event) > maxEventName+8 || len(e.Message) > maxEventMessage+8 || len(f.evidence().LastEvent) > maxEventName+8 {
			t.Errorf("kept: event %d, message %d, last event %d bytes", len(e.Event), len(e.Message), len(f.evidence().LastEvent))
		}
	})
}

func TestIngressKeepsCommandOutputWithTheCommandAndNotInTheJournal(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := f.session(1)
		cmd := f.issue(protocol.ActionWGShow)
		lines := len(f.journal())
		f.receive(s, protocol.KindEvent, "", `{"event":"command_output","request_id":"`+cmd.RequestID+`","stream":"stdout","output":"interface: wg0"}`)
		f.receive(s, protocol.KindInfoAck, cmd.RequestID, `{"status":"applied"}`)
		var out []store.Output
		if err := f.db.View(func(tx *store.Tx) (err error) { out, err = tx.Output(cmd.RequestID); return err }); err != nil {
			t.Fatal(err)
		}
		if len(out) != 1 || out[0].Output != "interface: wg0" || out[0].Stream != "stdout" {
			t.Errorf("output: %+v", out)
		}
		if got := f.journal(); len(got) != lines {
			t.Errorf("the journal has %+v", got[0])
		}
		if e := f.evidence(); e.ReachableAt.IsZero() || e.LastEvent != protocol.EventCommandOutput {
			t.Errorf("%+v", e)
		}
	})
}

func TestIngressRefusesMalformedAndLyingMessagesAndRecordsThatWithoutTheirContent(t *testing.T) {
	const secret = "topsecret"
	for name, tc := range map[string]struct {
		kind    protocol.Kind
		message string
	}{
		"no JSON":            {protocol.KindHeartbeat, secret},
		"cut off":            {protocol.KindEvent, `{"payload":{"message":"` + secret},
		"no object":          {protocol.KindHeartbeat, `["` + secret + `"]`},
		"empty":              {protocol.KindHeartbeat, ``},
		"another node":       {protocol.KindHeartbeat, `{"node_id":"` + secret + `"}`},
		"another config":     {protocol.KindHeartbeat, `{"config_id":"` + secret + `"}`},
		"another type":       {protocol.KindHeartbeat, `{"type":"` + secret + `"}`},
		"payload a string":   {protocol.KindEvent, `{"payload":"` + secret + `"}`},
		"ACK of nothing":     {protocol.KindControlAck, `{"payload":{"message":"` + secret + `"}}`},
		"odd field":          {protocol.KindHeartbeat, `{"boot_id":{"` + secret + `":1}}`},
		"endless session id": {protocol.KindHeartbeat, `{"session_id":"` + strings.Repeat(secret, 100) + `"}`},
		"too large":          {protocol.KindEvent, `{"payload":{"message":"` + strings.Repeat(secret, protocol.MaxMessageSize/8) + `"}}`},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			before, lines := f.evidence(), len(f.journal())
			err := f.Receive(f.session(1), topicOf(tc.kind), []byte(tc.message))
			if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", name, err)
			}
			e := f.journal()
			if len(e) != lines+1 || e[0].Event != "message_refused" || e[0].Level != "warning" || !strings.HasPrefix(e[0].Message, string(tc.kind)+": ") {
				t.Errorf("%s: journal %+v", name, e)
			}
			if strings.Contains(f.all(), secret) {
				t.Errorf("%s: the message's content is stored: %s", name, f.all())
			}
			if f.evidence() != before {
				t.Errorf("%s: counts as a signal: %+v", name, f.evidence())
			}
		})
	}
}

func TestIngressTakesNothingFromASessionThatLostItsRight(t *testing.T) {
	for name, revoke := range map[string]func(*store.Tx) error{
		"reset":           func(tx *store.Tx) error { return tx.ResetClient("node_a") },
		"bound again":     func(*store.Tx) error { return nil },
		"disabled":        func(tx *store.Tx) error { return changeNode(tx, func(n *store.Node) { n.Enabled = false }) },
		"turned static":   func(tx *store.Tx) error { return changeNode(tx, func(n *store.Node) { n.Type = store.NodeStatic }) },
		"config disabled": func(tx *store.Tx) error { return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a"}) },
		"deleted":         func(tx *store.Tx) error { return tx.DeleteNode("node_a") },
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			s, cmd := f.session(1), f.issue(protocol.ActionStart)
			f.Connected(s)
			f.update(revoke)
			if name == "bound again" {
				f.bind("node_a")
			}
			before := ""
			if name != "deleted" {
				before = f.all()
			}
			for kind, message := range map[protocol.Kind][]byte{
				protocol.KindHeartbeat:  message("", `{"wg_online":true}`),
				protocol.KindEvent:      message("", `{"event":"started"}`),
				protocol.KindControlAck: message(cmd.RequestID, `{"status":"applied"}`),
				protocol.KindInfoAck:    []byte("no JSON"),
			} {
				if err := f.Receive(s, topicOf(kind), message); !errors.Is(err, errRevoked) {
					t.Errorf("%s: %s: %v", name, kind, err)
				}
			}
			f.Will(s, nil, WillClosed)
			f.Connected(Session{ID: 2, NodeID: "node_a", ConfigID: "cfg_a", Generation: s.Generation})
			if name == "deleted" {
				if lines := f.journal(); len(lines) != 0 {
					t.Errorf("journal of a deleted node: %+v", lines)
				}
			} else if after := f.all(); after != before {
				t.Errorf("%s: stored\n%s\nbefore\n%s", name, after, before)
			}
			f.Disconnected(s, "kicked")
			if name != "deleted" && f.evidence().ConnectionOpen() {
				t.Errorf("%s: the connection still counts as open", name)
			}
		})
	}
}

func changeNode(tx *store.Tx, change func(*store.Node)) error {
	n, err := tx.Node("node_a")
	if err != nil {
		return err
	}
	change(&n)
	return tx.PutNode(&n)
}

func TestIngressTakesOnlyTheWillOfThePresentSessionAsOffline(t *testing.T) {
	for name, tc := range map[string]struct {
		open    uint64 // the connection that is open
		cause   WillCause
		offline bool
	}{
		"of the present session":               {1, WillClosed, true},
		"when none is open":                    {0, WillClosed, true},
		"when another is open":                 {2, WillClosed, false},
		"of a silent link":                     {1, WillSilent, false},
		"superseded":                           {1, WillSuperseded, false},
		"superseded, and another is open":      {2, WillSuperseded, false},
		"superseded by one that is not up yet": {0, WillSuperseded, false},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			s := f.session(1)
			if tc.open != 0 {
				f.Connected(f.session(tc.open))
			}
			<-time.After(time.Second)
			f.Will(s, []byte("anything"), tc.cause)
			e := f.evidence()
			if now(e.OfflineAt) != tc.offline || !now(e.WillAt) || (e.LastEvent == protocol.EventOffline) != tc.offline || !e.ReachableAt.IsZero() ||
				e.ConnectionID != tc.open {
				t.Errorf("%s: %+v", name, e)
			}
			if j := f.journal()[0]; j.Event != "last_will" || strings.HasPrefix(j.Message, "its connection was lost") != tc.offline ||
				strings.Contains(j.Message, "anything") {
				t.Errorf("%s: journal %+v", name, j)
			}
		})
	}
}

func TestIngressFencesConnectionsByTheirSession(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		first, second := f.session(1), f.session(2)
		f.Connected(first)
		if e := f.evidence(); e.ConnectionID != 1 || !now(e.ConnectedAt) {
			t.Errorf("connected: %+v", e)
		}
		<-time.After(time.Second)
		f.Connected(second)
		lines := len(f.journal())
		f.Disconnected(first, "replaced")
		if e := f.evidence(); e.ConnectionID != 2 || !e.DisconnectedAt.IsZero() || len(f.journal()) != lines {
			t.Errorf("the end of the old connection: %+v", e)
		}
		<-time.After(time.Second)
		f.Disconnected(second, "the network")
		if e := f.evidence(); e.ConnectionID != 0 || !now(e.DisconnectedAt) || !e.OfflineAt.IsZero() {
			t.Errorf("the end of the present connection: %+v", e)
		}
		if j := f.journal()[0]; j.Event != "disconnected" || !strings.Contains(j.Message, "the network") {
			t.Errorf("journal: %+v", j)
		}
		at := f.evidence().DisconnectedAt
		<-time.After(time.Second)
		f.Disconnected(second, "again")
		if e := f.evidence(); !e.DisconnectedAt.Equal(at) {
			t.Errorf("it ended twice: %+v", e)
		}
	})
}

// The broker's events about the end of an old session may come before or after those about the new
// one, and it may know the will as superseded or not.
func TestWhatAnOldSessionLeavesBehindNeverTakesTheNewOneOffline(t *testing.T) {
	will := func(cause WillCause) func(f *fixture, first, _ Session) {
		return func(f *fixture, first, _ Session) { f.Will(first, nil, cause) }
	}
	ended := func(f *fixture, first, _ Session) { f.Disconnected(first, "replaced") }
	opened := func(f *fixture, _, second Session) { f.Connected(second) }
	type step = func(f *fixture, first, second Session)
	for i, order := range [][]step{
		{will(WillClosed), ended, opened},
		{will(WillClosed), opened, ended},
		{opened, will(WillClosed), ended},
		{ended, will(WillClosed), opened},
		{ended, opened, will(WillClosed)},
		{opened, ended, will(WillClosed)},
		{will(WillSuperseded), ended, opened},
		{will(WillSuperseded), opened, ended},
		{opened, will(WillSuperseded), ended},
		{ended, will(WillSuperseded), opened},
		{ended, opened, will(WillSuperseded)},
		{opened, ended, will(WillSuperseded)},
	} {
		for _, pause := range []time.Duration{0, time.Second} { // 0: all at one moment
			ingressTest(t, func(t *testing.T, f *fixture) {
				first, second := f.session(1), f.session(2)
				f.Connected(first)
				<-time.After(time.Minute)
				for _, do := range order {
					<-time.After(pause)
					do(f, first, second)
				}
				e := f.evidence()
				if s := presence.Project(f.node(), true, e, time.Now(), presence.DefaultTimes()); s.State != presence.Online || e.ConnectionID != 2 {
					t.Errorf("order %d, %s between: %+v by %+v", i, pause, s, e)
				}
			})
		}
	}
}

func TestIngressSendsWhatWaitsOnceTheNodeHasSubscribed(t *testing.T) {
	ingressTest(t, func(t *testing.T, f *fixture) {
		waiting := store.Command{
			RequestID: "req_waiting", ConfigID: "cfg_a", NodeID: "node_a", Action: protocol.ActionStop, Kind: protocol.KindControl,
			Payload: json.RawMessage(`{}`), State: store.CommandQueued, ExpiresAt: time.Now().Add(time.Hour),
		}
		f.update(func(tx *store.Tx) error { return tx.AddCommand(&waiting) })
		f.Subscribed(f.session(1))
		synctest.Wait()
		if got := f.command(waiting.RequestID); got.State != store.CommandSent {
			t.Errorf("it is %s", got.State)
		}
	})
}

func TestIngressSaysThatAMessageCouldNotBeStoredAndDoesNotRefuseIt(t *testing.T) {
	for name, tc := range map[string]struct {
		fail func(*fixture)
		want error
	}{
		"closed": {func(f *fixture) { f.close() }, store.ErrClosed},
		"full":   {func(f *fixture) { f.full() }, store.ErrFull},
	} {
		ingressTest(t, func(t *testing.T, f *fixture) {
			s := f.session(1)
			cmd := f.issue(protocol.ActionWGShow)
			tc.fail(f)
			output := `{"event":"command_output","request_id":"` + cmd.RequestID + `","stream":"stdout","output":"x"}`
			if err := f.Receive(s, topicOf(protocol.KindEvent), message("", output)); !errors.Is(err, tc.want) || errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v, want %v", name, err, tc.want)
			}
			if name == "closed" { // the reason cannot be recorded either
				if err := f.Receive(s, topicOf(protocol.KindEvent), []byte("no JSON")); !errors.Is(err, tc.want) || errors.Is(err, ErrRefused) {
					t.Errorf("%s, malformed: %v", name, err)
				}
				return
			}
			if e := f.evidence(); !e.ReachableAt.IsZero() {
				t.Errorf("%s: a part of the message is stored: %+v", name, e)
			}
		})
	}
}
