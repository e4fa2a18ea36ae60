package web_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

func TestANodeThatHoldsItsKeyMakesTheNewOne(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	gate := a.addMeshNode(cfg, "gate", object{"ipv4_address": "192.0.2.1"})
	leaf := a.addMeshNode(cfg, "leaf", nil)
	a.post("/api/v1/configs/"+cfg+"/peer-links", object{"forward": object{"local_node_id": leaf.ID, "peer_node_id": gate.ID}}).ok(nil)
	keys := make([]string, 3)
	for i := range keys {
		keys[i], _ = mesh.PublicKey(newPrivateKey(t))
	}
	bind := object{"token": a.bindToken(cfg, leaf.ID), "capabilities": []string{"node_key"}, "public_key": keys[0]}
	a.post("/api/client/bind", bind).ok(nil)
	takeKeys := func() { // as the appliance does when an agent is bound
		a.update(func(tx *store.Tx) error { _, err := mesh.TakeKey(tx, leaf.ID, rand.Reader); return err })
	}
	takeKeys()
	var n meshNodeJSON
	a.get("/api/v1/nodes/" + leaf.ID).ok(&n)
	if n.KeyHolder != "node" || n.PublicKey != keys[0] || n.PrivateKey != "" {
		t.Errorf("after the bind: %+v", n)
	}
	type answer struct {
		PublicKey string `json:"public_key"`
		Previous  string `json:"previous_public_key"`
		Status    string
		Message   string
		RequestID string   `json:"request_id"`
		Affected  []string `json:"affected_node_ids"`
	}
	answerWith := func(state store.CommandState, ack string) {
		a.commands.wait = func(ctx context.Context, id string) {
			if _, err := a.commands.end(ctx, id, func(cmd *store.Command) { cmd.State = state }); err != nil {
				t.Error(err)
			}
			a.update(func(tx *store.Tx) error { return tx.UpdateClient(leaf.ID, func(c *store.Client) { c.PublicKey = ack }) })
		}
	}
	rotate := func(state store.CommandState, ack string) (v answer) {
		t.Helper()
		answerWith(state, ack)
		a.post(nodePath(cfg, leaf.ID)+"/rotate-key", object{"wait": 1}).ok(&v)
		return v
	}
	v := rotate(store.CommandApplied, keys[1])
	want := []string{gate.ID, leaf.ID}
	slices.Sort(want)
	if v.Status != "done" || v.PublicKey != keys[1] || v.Previous != keys[0] || !slices.Equal(v.Affected, want) || v.RequestID == "" {
		t.Errorf("%+v", v)
	}
	if text, _ := a.text(cfg, gate.ID); !strings.Contains(text, "PublicKey = "+keys[1]) {
		t.Errorf("the gateway's tunnel config:\n%s", text)
	}
	if text, _ := a.text(cfg, leaf.ID); !strings.Contains(text, "PrivateKey = (kept on the node) # public key: "+keys[1]) {
		t.Errorf("the node's tunnel config:\n%s", text)
	}
	if v = rotate(store.CommandSent, keys[1]); v.Status != "pending" || v.PublicKey != keys[1] || len(v.Affected) > 0 {
		t.Errorf("while the node does not answer: %+v", v)
	}
	answerWith(store.CommandFailed, keys[1])
	if r := a.post(nodePath(cfg, leaf.ID)+"/rotate-key", nil).fails(http.StatusConflict, "NO_NEW_KEY"); !strings.HasPrefix(r.Error.Message, "The node made no") {
		t.Error(r.Error.Message)
	}
	a.put("/api/v1/nodes/"+leaf.ID, object{"key_holder": "appliance"}).ok(&n)
	if derived, _ := mesh.PublicKey(n.PrivateKey); n.KeyHolder != "appliance" || n.PublicKey == keys[1] || derived != n.PublicKey {
		t.Errorf("back at the appliance: %+v", n)
	}
	a.post("/api/client/bind", object{"token": a.bindToken(cfg, leaf.ID), "capabilities": []string{"node_key"}, "public_key": keys[2]}).ok(nil)
	takeKeys()
	if a.get("/api/v1/nodes/" + leaf.ID).ok(&n); n.KeyHolder != "appliance" {
		t.Errorf("another bind moved the key that was to be kept by the appliance: %+v", n)
	}
	a.post(nodePath(cfg, leaf.ID)+"/endpoint/control", object{"action": "rotate_key"}).fails(http.StatusBadRequest, "INVALID_ACTION")
}

func TestANewKeyIsAppliedWithTheRequestThatMakesIt(t *testing.T) {
	m := newApplied(t)
	var v struct {
		PublicKey string `json:"public_key"`
		Status    string
		Message   string
		RolloutID string `json:"rollout_id"`
	}
	rotate := func() { m.post(nodePath(m.cfg, m.a.ID)+"/rotate-key", object{"apply": true}).ok(&v) }
	rotate()
	if v.Status != "done" || v.PublicKey == m.a.PublicKey || v.RolloutID == "" {
		t.Errorf("%+v", v)
	}
	var r struct {
		Nodes []struct {
			NodeID string `json:"node_id"`
		}
	}
	m.get("/api/v1/rollouts/" + v.RolloutID).ok(&r)
	if len(r.Nodes) != 2 || r.Nodes[0].NodeID != m.a.ID || r.Nodes[1].NodeID != m.gate.ID {
		t.Errorf("the rollout is to %+v, want the node and then its gateway", r.Nodes)
	}
	first := v.PublicKey
	rotate() // while the rollout runs
	if v.Status != "done" || v.PublicKey == first || v.RolloutID != "" ||
		!strings.HasPrefix(v.Message, "The node has a new key pair, which is not applied yet. ") {
		t.Errorf("during a rollout: %+v", v)
	}
}

func TestWithoutMQTTNoNewKeyIsMadeToBeApplied(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	gate := a.addMeshNode(cfg, "gate", nil)
	a.post(nodePath(cfg, gate.ID)+"/rotate-key", object{"apply": true}).fails(http.StatusConflict, "MQTT_DISABLED")
	var n meshNodeJSON
	if a.get("/api/v1/nodes/" + gate.ID).ok(&n); n.PublicKey != gate.PublicKey {
		t.Error("a new key was made")
	}
}
