package command

import (
	"testing"
	"time"

	"wfm/internal/goldentest"
	"wfm/protocol"
	"wfm/store"
)

// A deployed client must find everything that its own backend sent in our messages, in the same
// place and of the same type.
func TestCommandsAreWrittenAsDeployedClientsKnowThem(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		const configID, nodeID = goldentest.ConfigID, goldentest.NodeID
		f.update(func(tx *store.Tx) error {
			if err := tx.PutConfig(&store.Config{ID: configID, Name: "office", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
				return err
			}
			return tx.PutNode(&store.Node{ID: nodeID, ConfigID: configID, Name: "router", Enabled: true, Type: store.NodeDynamic, InterfaceName: goldentest.Interface})
		})
		f.update(func(tx *store.Tx) error {
			token, _, err := tx.IssueBindToken(nodeID, time.Minute)
			if err == nil {
				_, err = tx.Bind(token, store.Client{Platform: "linux", Version: "1.0.0-rc.1"})
			}
			return err
		})
		f.pub.mu.Lock()
		f.pub.open[nodeID] = true
		for _, k := range protocol.CommandKinds() {
			f.pub.ready[protocol.Topic{ConfigID: configID, NodeID: nodeID, Kind: k}] = true
		}
		f.pub.mu.Unlock()
		f.stage(nodeID, "[Interface]\n")
		seen := map[protocol.Action]bool{}
		f.issue(nodeID, protocol.ActionPush, false) // so that there is something to start
		for _, m := range goldentest.Messages(t) {
			action, ok := issuable(m)
			if m.FromNode || !ok {
				continue
			}
			seen[action] = true
			f.issue(nodeID, action, false)
			sent := f.pub.sent[len(f.pub.sent)-1]
			if sent.topic.String() != m.Topic {
				t.Errorf("%s goes to %s, theirs to %s", action, sent.topic, m.Topic)
			}
			for _, wrong := range goldentest.Differs(sent.raw, m.Payload) {
				t.Errorf("%s: %s\nours:   %s\ntheirs: %s", action, wrong, sent.raw, m.Payload)
			}
		}
		for _, a := range []protocol.Action{protocol.ActionDetect, protocol.ActionWGShow, protocol.ActionStart, protocol.ActionStop, protocol.ActionPush} {
			if !seen[a] {
				t.Errorf("no %s among the messages", a)
			}
		}
	})
}

// issuable is the action of a message to the node, unless it is one of those it is to refuse.
func issuable(m goldentest.Message) (protocol.Action, bool) {
	name, _ := m.Body["action"].(string)
	action := protocol.Action(name)
	if m.Type == string(protocol.KindDetect) {
		action = protocol.ActionDetect
	}
	tunnel, _ := m.Body["tunnel_protocol"].(string)
	return action, action.Kind() != "" && protocol.ToolFamily(tunnel) != ""
}
