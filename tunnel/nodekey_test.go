package tunnel

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// bindAs binds an agent with the capabilities to the node.
func (d *desk) bindAs(capabilities ...string) {
	d.t.Helper()
	d.update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken("node_a", time.Minute)
		if err != nil {
			return err
		}
		_, err = tx.Bind(token, store.Client{Hostname: "h", Capabilities: capabilities})
		return err
	})
}

func TestAKeyThatStaysOnTheNodeNeedsAnAgentThatHasOne(t *testing.T) {
	d := newDesk(t)
	kept := Order{Host: "broker.test", Wish: &Wish{
		Text: strings.Replace(text(1), "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", wgconf.KeptOnNode, 1), Author: "admin",
	}}
	save := func() error {
		_, err := Door{Store: d.db}.Save(t.Context(), "node_a", kept, true)
		return err
	}
	if err := save(); err != nil {
		t.Errorf("for a node that is not bound: %v", err)
	}
	d.bindAs(protocol.CapabilityDedupe)
	kept.Force = true // does not help
	var invalid *wgconf.Error
	if err := save(); !errors.As(err, &invalid) || invalid.Faults[0].Line != 2 {
		t.Errorf("for an agent without a key: %v", err)
	}
	if _, err := (Door{Store: d.db}).Stage(t.Context(), "node_a", Order{Host: "broker.test", Staged: true}); !errors.As(err, &invalid) {
		t.Errorf("the former config is staged for an agent without a key: %v", err)
	}
	d.bindAs(protocol.CapabilityNodeKey)
	if err := save(); err != nil {
		t.Errorf("for an agent with a key: %v", err)
	}
}
