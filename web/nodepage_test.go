package web_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wfm/protocol"
	"wfm/store"
)

// nodeBrowsed returns the page of a node of the mesh.
func (r region) nodeBrowsed(node string) *reply {
	r.t.Helper()
	return r.browse("/configs/" + r.cfg + "/nodes/" + node)
}

// hides expects a page without the texts.
func (r *reply) hides(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.body, text) {
			r.t.Errorf("%s shows %q:\n%s", r.what, text, r.body)
		}
	}
}

func TestTheNodesPageShowsItsPartInTheMeshAndNoKey(t *testing.T) {
	r := newRegion(t)
	r.put("/api/v1/nodes/"+r.gate.ID, object{"routes": []string{"192.168.7.0/24"}, "masquerade": true}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows("has no link in use", "None yet: the node reaches no other node", "nothing: it connects to others itself")
	r.link(r.a.ID, r.gate.ID, object{"preshared_key": peerKey})
	var gate, leaf struct {
		PublicKey  string `json:"public_key"`
		PrivateKey string `json:"private_key"`
	}
	r.get("/api/v1/nodes/" + r.gate.ID).ok(&gate)
	r.get("/api/v1/nodes/" + r.a.ID).ok(&leaf)
	r.nodeBrowsed(r.a.ID).shows("this node, to 192.0.2.1:51820", "10.66.0.1/32", "10.66.0.2/32", "PrivateKey = (hidden)", "PresharedKey = (hidden)").
		hides(leaf.PrivateKey, peerKey, "has no link in use")
	r.nodeBrowsed(r.gate.ID).shows("a, to 192.0.2.1:51820", "port 51820", strings.ReplaceAll(gate.PublicKey, "+", "&#43;"), "kept by the appliance",
		"192.168.7.0/24", "masquerade", "Made from the mesh").hides(gate.PrivateKey)
	r.token = r.addToken("looker", "read").Token
	looker := r.call("GET", "/configs/"+r.cfg+"/nodes/"+r.a.ID, nil)
	looker.shows("this node, to 192.0.2.1:51820").hides("PrivateKey =")
}

func TestThePageShowsNoKeyThatTheNodeKeeps(t *testing.T) {
	r := newRegion(t)
	r.nodeBrowsed(r.a.ID).shows("Show with key", "Rotate key…")
	r.put("/api/v1/nodes/"+r.a.ID, object{"key_holder": "node", "public_key": peerKey}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows("kept on the node; the appliance does not have it", "PrivateKey = (kept on the node)", peerKey).hides("Show with key")
	phone := r.addMeshNode(r.cfg, "phone", object{"node_type": "static", "key_holder": "node"})
	r.nodeBrowsed(phone.ID).hides("Rotate key…")
}

func TestThePageOfANodeOutsideOfAMeshHasNoPartInIt(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	a.browse("/configs/"+cfg+"/nodes/"+a.addNode(cfg, "router")).shows("Bind an agent", "no agent yet").
		hides("In the mesh", "Port forwards", "Let the mesh write it")
}

func TestPortForwardsAreOnThePagesOfBothNodes(t *testing.T) {
	r := newRegion(t)
	r.post("/api/v1/tools/port-forwards/configs/"+r.cfg, object{"from_node_id": r.a.ID, "from_port": 443, "to_node_id": r.gate.ID, "to_port": 8443}).ok(nil)
	r.nodeBrowsed(r.gate.ID).shows("this node, port 8443", ">a</a>, port 443")
	r.nodeBrowsed(r.a.ID).shows(">gate</a>, port 8443", "this node, port 443")
	r.nodeBrowsed(r.b.ID).shows("None. A port forward leads").hides("8443")
}

func TestTheDifferenceIsShownBeforeTheMeshWritesTheTunnelConfig(t *testing.T) {
	r := newRegion(t)
	r.link(r.a.ID, r.gate.ID, object{})
	path := "/ui/configs/" + r.cfg + "/nodes/" + r.a.ID + "/takeover"
	r.save(nodePath(r.cfg, r.a.ID), tunnelConf(1))
	r.nodeBrowsed(r.a.ID).shows("Written by hand", "Let the mesh write it…")
	var v struct {
		Lines   []struct{ Class, Text string }
		Message string
		Hints   []string
	}
	body := r.post(path, nil).ok(&v).body
	lines := ""
	for _, l := range v.Lines {
		lines += l.Text + "\n"
	}
	if strings.Contains(body, privateKey) || !strings.Contains(lines, " PrivateKey = (hidden)\n") || !strings.Contains(lines, "+# gate\n") ||
		!strings.Contains(lines, "-PublicKey = "+peerKey) || len(v.Hints) == 0 {
		t.Errorf("%s", body)
	}
	if text, version := r.text(r.cfg, r.a.ID); text != tunnelConf(1) || version != 3 {
		t.Errorf("version %d\n%s", version, text)
	}
	r.call("POST", path, nil, as(r.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
	r.put("/api/v1/nodes/"+r.a.ID, object{"config_source": "mesh"}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows("Made from the mesh").hides("Let the mesh write it")
}

func TestTheMessageOfATakeoverThatChangesNothingSaysSo(t *testing.T) {
	r := newRegion(t)
	r.put("/api/v1/nodes/"+r.a.ID, object{"config_source": "text"}).ok(nil)
	r.post("/ui/configs/"+r.cfg+"/nodes/"+r.a.ID+"/takeover", nil).ok(nil)
	if body := r.post("/ui/configs/"+r.cfg+"/nodes/"+r.a.ID+"/takeover", nil).ok(nil).body; !strings.Contains(body, `"lines":[]`) ||
		!strings.Contains(body, "The text stays as it is") {
		t.Errorf("%s", body)
	}
}

func TestAStaticNodeIsHandedOutAndNeverOfflineOrPending(t *testing.T) {
	r := newRegion(t)
	phone := r.addMeshNode(r.cfg, "phone", object{"node_type": "static"})
	wrong := []string{"offline</span>", "pending", "Bind an agent", "Once an agent", `class="primary">Stage`, "No commands yet"}
	r.nodeBrowsed(phone.ID).shows("Scan it with the WireGuard app", "Not handed out yet", "One-time link").hides(wrong...)
	r.get(nodePath(r.cfg, phone.ID) + "/download-conf")
	r.nodeBrowsed(phone.ID).shows("Handed out</span> version 1").hides(wrong...)
	r.link(phone.ID, r.gate.ID, object{})
	r.nodeBrowsed(phone.ID).shows("Changed since</span>", "version 1 was handed out", "hand it out again").hides(wrong...)
	r.get(nodePath(r.cfg, phone.ID) + "/config-qr")
	r.nodeBrowsed(phone.ID).shows("Handed out</span> version 2").hides(wrong...)
	r.browse("/configs/"+r.cfg+"/nodes/"+r.addMeshNode(r.cfg, "printer", object{"node_type": "static", "config_source": "text"}).ID).
		shows("There is no tunnel config for this device yet", "Write the tunnel config").hides("Show the code", "Not handed out yet")
}

func TestStartIsTheNextStepOnlyOfANodeThatCanStart(t *testing.T) {
	a, cfg, node := controlled(t)
	path := "/configs/" + cfg + "/nodes/" + node
	const primary = `title="Start the tunnel (start)" class="primary"`
	seen := func(change func(*store.Evidence)) {
		t.Helper()
		a.update(func(tx *store.Tx) error {
			return tx.UpdateEvidence(node, func(e *store.Evidence) {
				e.ReachableAt, e.HeartbeatAt = tx.Now(), tx.Now()
				change(e)
			})
		})
	}
	seen(func(*store.Evidence) {})
	a.browse(path).shows("online", "Start the tunnel (start)").hides(primary) // it has no tunnel config
	v := a.save(nodePath(cfg, node), tunnelConf(1))
	a.update(func(tx *store.Tx) error {
		_, err := tx.ConfirmApplied(node, store.ConfRef{Version: 1, SHA256: v.DesiredS}, "wg", 1)
		return err
	})
	a.browse(path).shows(primary)
	seen(func(e *store.Evidence) { e.OfflineAt = e.ReachableAt })
	a.browse(path).shows("offline").hides(primary)
}

func TestAHubsPageHasItsFirstLinksAndLeadsToTheOthers(t *testing.T) {
	r := newRegion(t)
	rows := make([]object, 100)
	for i := range rows {
		rows[i] = object{"name": fmt.Sprintf("leaf%d", i)}
	}
	r.post(r.path()+"/nodes/bulk", object{"nodes": rows}).ok(nil)
	r.post(r.path()+"/mesh/quick-generate", object{"mode": "hub_spoke", "hub_node_id": r.gate.ID}).ok(nil)
	page := r.nodeBrowsed(r.gate.ID).shows("/links?q=gate", ">2 more links</a>")
	if n := strings.Count(page.body, `<tr id="link-`); n != 100 {
		t.Errorf("%d links are shown", n)
	}
	r.nodeBrowsed(r.a.ID).hides("more link")
}

func TestStartIsNotTheNextStepWhileChangesOfTheMeshAreNotApplied(t *testing.T) {
	r := newRegion(t)
	r.bind(r.a.ID)
	v := r.syncStatus(nodePath(r.cfg, r.a.ID))
	r.update(func(tx *store.Tx) error {
		if err := tx.UpdateEvidence(r.a.ID, func(e *store.Evidence) { e.ReachableAt, e.HeartbeatAt = tx.Now(), tx.Now() }); err != nil {
			return err
		}
		_, err := tx.ConfirmApplied(r.a.ID, store.ConfRef{Version: v.Desired, SHA256: v.DesiredS}, "wg", 1)
		return err
	})
	const primary = `title="Start the tunnel (start)" class="primary"`
	r.nodeBrowsed(r.a.ID).shows(primary, "up to date").hides("Review and apply</a>")
	r.link(r.a.ID, r.gate.ID, nil)
	r.nodeBrowsed(r.a.ID).shows("changes not applied", `href="/configs/`+r.cfg+`/apply">Review and apply</a>`).hides(primary)
}

func TestTheFormOfANodeHasTheOptionsOfItsVersionOfAmneziaWG(t *testing.T) {
	r := newRegion(t)
	r.nodeBrowsed(r.a.ID).shows(`name="auto_sync"`, `name="post_up"`).hides("awg_")
	r.put(r.path(), object{"tunnel_protocol": "amneziawg", "awg_version": "2.0"}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows(`name="awg_jc"`, `name="awg_i5"`, "Generate J and I").hides("awg_options")
	r.put(r.path(), object{"awg_version": "3.1", "awg_options": object{"rekey_after_time": "100-130"}}).ok(nil)
	r.put("/api/v1/nodes/"+r.a.ID, object{"awg_options": object{"rekey_timeout": "7"}}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows(`name="awg_options.rekey_after_time" value="" placeholder="100-130"`, `name="awg_options.rekey_timeout" value="7"`)
}

func TestTheTunnelStatusNamesThePeersThatAreNodesOfTheMesh(t *testing.T) {
	r := newRegion(t)
	r.bind(r.a.ID)
	r.link(r.a.ID, r.gate.ID, nil)
	var gate struct {
		PublicKey string `json:"public_key"`
	}
	r.get("/api/v1/nodes/" + r.gate.ID).ok(&gate)
	ctx := t.Context() // the request's context would join its transaction
	r.commands.wait = func(_ context.Context, id string) {
		_, err := r.commands.end(ctx, id, func(c *store.Command) {
			c.State, c.Ack = store.CommandApplied, &protocol.Ack{Status: protocol.AckApplied, Message: "shown"}
		})
		r.update(func(tx *store.Tx) error {
			text := "interface: wg0\n\npeer: " + gate.PublicKey + "\n  allowed ips: 10.66.0.0/24\n"
			return errors.Join(err, tx.AddOutput(id, store.Output{Stream: "stdout", Output: text}))
		})
	}
	r.post(nodePath(r.cfg, r.a.ID)+"/endpoint/control", object{"action": "wg_show", "wait": 60}).ok(nil)
	r.nodeBrowsed(r.a.ID).shows(`<th scope="row">gate <code title="` + strings.ReplaceAll(gate.PublicKey, "+", "&#43;"))
}
