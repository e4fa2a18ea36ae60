package ingress

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"wfm/internal/goldentest"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

// goldenFixture is an ingress with the node of the golden messages, bound to a deployed agent.
func goldenFixture(t *testing.T, f *fixture) Session {
	t.Helper()
	f.update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: goldentest.ConfigID, Name: "office", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		return tx.PutNode(&store.Node{
			ID: goldentest.NodeID, ConfigID: goldentest.ConfigID, Name: "router", Enabled: true, Type: store.NodeDynamic, InterfaceName: goldentest.Interface,
		})
	})
	f.bind(goldentest.NodeID)
	grant, ok := f.db.Grant(goldentest.NodeID)
	if !ok {
		t.Fatal("no grant")
	}
	s := Session{ID: 1, NodeID: goldentest.NodeID, ConfigID: goldentest.ConfigID, Generation: grant.Generation, Since: time.Now()}
	f.Connected(s)
	return s
}

// sentCommand writes into the ledger that the golden command was sent.
func (f *fixture) sentCommand(m goldentest.Message) {
	f.t.Helper()
	action := protocol.Action(fmt.Sprint(m.Body["action"]))
	if m.Type == string(protocol.KindDetect) {
		action = protocol.ActionDetect
	}
	payload, err := json.Marshal(m.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	f.update(func(tx *store.Tx) error {
		return tx.AddCommand(&store.Command{
			RequestID: m.RequestID, ConfigID: goldentest.ConfigID, NodeID: goldentest.NodeID, Action: action, Kind: protocol.Kind(m.Type), Payload: payload,
			State: store.CommandSent, Attempts: 1, SentAt: tx.Now(), ExpiresAt: tx.Now().Add(time.Hour), DeadlineAt: tx.Now().Add(time.Hour),
		})
	})
}

// goldenNode returns the known state of the node, as a line to compare.
func (f *fixture) goldenNode() (line string, conf store.ConfState) {
	f.t.Helper()
	if err := f.db.View(func(tx *store.Tx) error {
		n, err := tx.Node(goldentest.NodeID)
		if err != nil {
			return err
		}
		e, err := tx.Evidence(n.ID)
		if err != nil {
			return err
		}
		conf, err = tx.ConfState(n.ID)
		p := presence.Project(n, true, e, tx.Now(), presence.DefaultTimes())
		line = fmt.Sprintf("%s, %s, %s", p.State, tunnelOf(e), e.LastEvent)
		return err
	}); err != nil {
		f.t.Fatal(err)
	}
	return line, conf
}

// The effect of every message of the deployed client, in the order they came. After a command's
// answer: its state, a word of its detail, and the node's presence, tunnel and last event.
func TestTheIngressUnderstandsEveryMessageOfADeployedClient(t *testing.T) {
	want := []struct{ kind, state, detail, node string }{
		{kind: "event", node: "online, unknown, online"},
		{kind: "heartbeat", node: "online, stopped, online"},
		{kind: "event", node: "online, stopped, detect"},
		{"detect/ack", "applied", "Detect completed.", "online, stopped, detect"},
		{kind: "event", node: "online, stopped, command_output"},
		{"info/ack", "failed", "wg returned no interfaces", "online, stopped, command_output"},
		{kind: "event", node: "online, stopped, control"},
		{"control/ack", "applied", "Command applied.", "online, running, control"},
		{kind: "event", node: "online, running, control"},
		{"control/ack", "failed", "`office-router' already exists", "online, unknown, control"},
		{kind: "event", node: "online, unknown, detect"},
		{"detect/ack", "applied", "Detect completed.", "online, running, detect"},
		{kind: "event", node: "online, running, command_output"},
		{"info/ack", "applied", "wg completed.", "online, running, command_output"},
		{kind: "event", node: "online, running, config_push"},
		{"config/push/ack", "applied", "Config applied.", "online, running, config_push"},
		{kind: "event", node: "online, running, config_push"},
		{"config/push/ack", "failed", "restart interface after config update failed", "online, unknown, config_push"},
		{kind: "event", node: "online, unknown, control"},
		{"control/ack", "failed", "`office-router' is not a WireGuard interface", "online, unknown, control"},
		{kind: "event", node: "online, unknown, control"},
		{"control/ack", "failed", "`office-router' is not a WireGuard interface", "online, unknown, control"},
		{kind: "event", node: "online, unknown, control"},
		{"control/ack", "failed", "unsupported control action: restart", "online, unknown, control"},
		{"detect/ack", "failed", "unsupported tunnel_protocol: bogus", "online, unknown, control"},
		{kind: "event", node: "offline, unknown, offline"},
	}
	ingressTest(t, func(t *testing.T, f *fixture) {
		s := goldenFixture(t, f)
		for _, m := range goldentest.Messages(t) {
			<-time.After(time.Second)
			if !m.FromNode {
				f.sentCommand(m)
				continue
			}
			if len(want) == 0 || want[0].kind != m.Type {
				t.Fatalf("a %s is not what is expected: %+v", m.Type, want)
			}
			w := want[0]
			want = want[1:]
			topic, err := protocol.ParseTopic(m.Topic)
			if err == nil {
				err = f.Receive(s, topic, m.Payload)
			}
			if err != nil {
				t.Fatalf("%s: %v", m.Payload, err)
			}
			node, _ := f.goldenNode()
			if node != w.node {
				t.Errorf("after %.300s\nthe node is %s, want %s", m.Payload, node, w.node)
			}
			if w.state == "" {
				continue
			}
			if cmd := f.command(m.RequestID); string(cmd.State) != w.state || !strings.Contains(cmd.Detail, w.detail) || len(cmd.Notes) != 0 {
				t.Errorf("after %.300s\nthe command is %s, %q, %v", m.Payload, cmd.State, cmd.Detail, cmd.Notes)
			}
		}
		if len(want) != 0 {
			t.Errorf("never came: %+v", want)
		}
		f.wantGoldenKept(t)
	})
}

// wantGoldenKept checks the records left by the golden messages.
func (f *fixture) wantGoldenKept(t *testing.T) {
	t.Helper()
	if _, conf := f.goldenNode(); conf.Confirmed.Version != 2 || !strings.HasPrefix(conf.Confirmed.SHA256, "a464b6d0") {
		t.Errorf("confirmed: %+v, want the push that was applied", conf.Confirmed)
	}
	if err := f.db.View(func(tx *store.Tx) error {
		out, err := tx.Output("req_f20db170fa8c")
		if err != nil {
			return err
		}
		if len(out) != 1 || out[0].Stream != "stdout" || !strings.Contains(out[0].Output, "interface: office-router\n  public key: ") {
			t.Errorf("output of wg_show: %+v", out)
		}
		n, err := tx.Node(goldentest.NodeID)
		if err == nil && (n.Client.Version != "1.0.0-rc.1" || n.Client.Platform != "linux" || len(n.Client.Capabilities) != 0) {
			t.Errorf("client: %+v", n.Client)
		}
		if err != nil {
			return err
		}
		all, err := tx.Commands(goldentest.NodeID, 0, 100)
		asked := 0
		for _, cmd := range all {
			if cmd.RequestedBy == "system" && cmd.Action == protocol.ActionDetect {
				asked++
			}
		}
		if asked == 0 {
			t.Error("no detect followed the changes that failed")
		}
		if err != nil {
			return err
		}
		e, err := tx.Evidence(goldentest.NodeID)
		if err == nil && e.LastEventMessage != "Client disconnected with will message." {
			t.Errorf("last event: %q", e.LastEventMessage)
		}
		if err != nil {
			return err
		}
		journal, err := tx.Journal(goldentest.NodeID, 0, 100)
		for _, e := range journal {
			if e.Event == "message_refused" || e.Event == "ack_unmatched" || e.Event == "output_unmatched" {
				t.Errorf("journal: %+v", e)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
