package mesh_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// bind binds an agent to the node; key is the public key it reports, "" for an agent without keys.
func (k *kept) bind(tb testing.TB, id, key string) error {
	tb.Helper()
	client := store.Client{Hostname: "h", Platform: "linux", PublicKey: key}
	if key != "" {
		client.Capabilities = []string{protocol.CapabilityNodeKey}
	}
	err := k.db.Update(func(tx *store.Tx) error {
		before, err := tx.Node(id)
		if err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken(id, time.Minute)
		if err != nil {
			return err
		}
		b, err := tx.Bind(token, client)
		if err != nil {
			return err
		}
		if err := mesh.AgentChanged(tx, before, b.Node, k.rng); err != nil {
			return err
		}
		_, err = mesh.TakeKey(tx, id, k.rng)
		return err
	})
	k.check(tb)
	return err
}

// report has the agent of leaf0 report the key from now on, and returns what follows from it.
func (k *kept) report(tb testing.TB, key string) (c mesh.Changed, err error) {
	tb.Helper()
	const id = "leaf0"
	k.update(tb, func(tx *store.Tx) error {
		return tx.UpdateClient(id, func(c *store.Client) { c.PublicKey = key })
	})
	err = k.db.Update(func(tx *store.Tx) (err error) {
		c, err = mesh.TakeKey(tx, id, k.rng)
		return err
	})
	k.check(tb)
	return c, err
}

func (k *kept) update(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	if err := k.db.Update(fn); err != nil {
		tb.Fatal(err)
	}
}

func TestAKeyStaysOnTheNodeAsSoonAsItsAgentCanKeepIt(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	made, _, _ := k.state(t, "leaf0")
	first, second := keysOf("first").Public, keysOf("second").Public
	if err := k.bind(t, "leaf0", first); err != nil {
		t.Fatal(err)
	}
	n, _, _ := k.state(t, "leaf0")
	if n.KeyHolder != store.KeyAtNode || n.PublicKey != first || n.PrivateKey != "" {
		t.Errorf("the holder is %q, the public key %s, a private key is kept: %v", n.KeyHolder, n.PublicKey, n.PrivateKey != "")
	}
	if text := k.text("leaf0"); !strings.Contains(text, "PrivateKey = "+wgconf.KeptAs(first)+"\n") {
		t.Errorf("the node's config is\n%s", text)
	}
	if text := k.text("hub"); !strings.Contains(text, first) || strings.Contains(text, made.PublicKey) {
		t.Errorf("the hub's config is\n%s", text)
	}
	if err := k.bind(t, "leaf0", second); err != nil || !strings.Contains(k.text("hub"), second) {
		t.Errorf("after another bind, which failed with %v, the hub's config is\n%s", err, k.text("hub"))
	}
	if err := k.bind(t, "leaf0", ""); err != nil {
		t.Fatal(err)
	}
	n, _, _ = k.state(t, "leaf0")
	if n.KeyHolder != store.KeyAtAppliance || n.PrivateKey == "" || n.PublicKey == second || !strings.Contains(k.text("hub"), n.PublicKey) ||
		!strings.Contains(k.text("leaf0"), "PrivateKey = "+n.PrivateKey) {
		t.Errorf("with an agent that keeps no key, the holder is %q; the configs are\n%s\n%s", n.KeyHolder, k.text("leaf0"), k.text("hub"))
	}
}

func TestTheHolderOfAKeyThatAPersonChoseStays(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	made, _, _ := k.state(t, "leaf0")
	k.alter(t, "leaf0", func(n *store.Node) { n.KeyChosen = true })
	if err := k.bind(t, "leaf0", keysOf("first").Public); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := k.state(t, "leaf0"); n.KeyHolder != store.KeyAtAppliance || n.PrivateKey != made.PrivateKey {
		t.Errorf("the key of the appliance was given up: the holder is %q", n.KeyHolder)
	}
	k.alter(t, "leaf0", func(n *store.Node) { n.KeyHolder = store.KeyAtNode })
	if n, _, _ := k.state(t, "leaf0"); n.PublicKey != keysOf("first").Public {
		t.Errorf("the node holds its key, and the public one is %s, not the agent's", n.PublicKey)
	}
	var refused *mesh.Error
	if err := k.bind(t, "leaf0", ""); !errors.As(err, &refused) || refused.Code != mesh.CodeKeyElsewhere {
		t.Errorf("an agent that keeps no key: %v", err)
	}
	k.alter(t, "leaf1", func(n *store.Node) { n.PrivateKey, n.PublicKey = "", keysOf("device").Public })
	if err := k.bind(t, "leaf1", keysOf("second").Public); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := k.state(t, "leaf1"); n.PublicKey != keysOf("device").Public || n.KeyHolder != store.KeyAtAppliance {
		t.Errorf("a device with keys of its own got the public key %s", n.PublicKey)
	}
}

func TestAnAgentWithoutKeysIsNotGivenOne(t *testing.T) {
	t.Parallel()
	k := star(t, 1)
	if err := k.bind(t, "leaf0", ""); err != nil {
		t.Fatal(err)
	}
	var refused *mesh.Error
	if err := k.db.Update(func(tx *store.Tx) error {
		_, err := mesh.Change(tx, keptID, "admin", k.rng, func(e *mesh.Edit) error {
			return k.altered("leaf0", e, func(n *store.Node) { n.KeyHolder = store.KeyAtNode })
		})
		return err
	}); !errors.As(err, &refused) || refused.Code != mesh.CodeInvalidKey {
		t.Errorf("its node may hold the key: %v", err)
	}
	door := mesh.Door(k.db, nil)
	k.update(t, func(tx *store.Tx) error { return tx.ResetClient("leaf0") })
	text := "[Interface]\nPrivateKey = " + wgconf.KeptOnNode + "\nAddress = 10.66.0.7/24\n"
	if _, err := door.Save(t.Context(), "leaf0", tunnel.Order{Wish: &tunnel.Wish{Text: text, Author: "anna", Source: store.ConfEdited}}, true); err != nil {
		t.Fatal(err)
	}
	if err := k.bind(t, "leaf0", ""); !errors.As(err, &refused) || refused.Code != mesh.CodeKeyElsewhere {
		t.Errorf("bound to a node whose hand-written config leaves the key to it: %v", err)
	}
}

func TestAReportedKeyGoesToThePeersAndNothingIsStaged(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	if err := k.bind(t, "leaf0", keysOf("first").Public); err != nil {
		t.Fatal(err)
	}
	c, err := k.report(t, keysOf("second").Public)
	if err != nil || !slices.Equal(c.NodeIDs, []string{"hub", "leaf0"}) || !strings.Contains(k.text("hub"), keysOf("second").Public) {
		t.Errorf("%v, new configs for %q; the hub's is\n%s", err, c.NodeIDs, k.text("hub"))
	}
	if _, s, _ := k.state(t, "hub"); s.Staged.Version != 0 {
		t.Errorf("version %d of the hub is staged", s.Staged.Version)
	}
	if c, err = k.report(t, keysOf("second").Public); err != nil || len(c.NodeIDs) > 0 {
		t.Errorf("the same key again: %v, new configs for %q", err, c.NodeIDs)
	}
	hub, _, _ := k.state(t, "hub")
	own := keysOf("by hand")
	text := "[Interface]\nPrivateKey = " + own.Private + "\nAddress = 10.66.0.77/24\n"
	if _, err := mesh.Door(k.db, nil).Save(t.Context(), "leaf1", tunnel.Order{Wish: &tunnel.Wish{Text: text, Author: "anna"}}, false); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"hub": hub.PublicKey, "leaf1": own.Public} {
		c, err := k.report(t, key)
		if refused, ok := errors.AsType[*mesh.Error](err); !ok || !strings.Contains(refused.Message, name) || len(c.NodeIDs) > 0 {
			t.Errorf("the key of %s: %v, new configs for %q", name, err, c.NodeIDs)
		}
		if n, _, _ := k.state(t, "leaf0"); n.PublicKey != keysOf("second").Public {
			t.Errorf("the node has the key of %s", name)
		}
		k.alter(t, "leaf0", func(n *store.Node) { n.MTU = 1300 + len(name) }) // another change leaves it too
		if n, _, _ := k.state(t, "leaf0"); n.PublicKey != keysOf("second").Public {
			t.Errorf("after another change, the node has the key of %s", name)
		}
	}
	k.alter(t, "leaf0", func(n *store.Node) { n.KeyHolder = store.KeyAtAppliance })
	if c, err = k.report(t, keysOf("third").Public); err != nil || len(c.NodeIDs) > 0 {
		t.Errorf("a key reported while the appliance holds it: %v, new configs for %q", err, c.NodeIDs)
	}
}

func TestANodeWithoutItsAgentGetsAKeyThatItCanRun(t *testing.T) {
	t.Parallel()
	k := star(t, 1)
	if err := k.bind(t, "leaf0", keysOf("first").Public); err != nil {
		t.Fatal(err)
	}
	k.alter(t, "leaf0", func(n *store.Node) { n.Type = store.NodeStatic })
	if n, _, _ := k.state(t, "leaf0"); n.KeyHolder != store.KeyAtAppliance || !strings.Contains(k.text("leaf0"), "PrivateKey = "+n.PrivateKey) {
		t.Errorf("the config of a static node is\n%s", k.text("leaf0"))
	}
}

func TestAKeyThatAPersonGaveStaysInUse(t *testing.T) {
	t.Parallel()
	k := star(t, 1)
	own := keysOf("by hand")
	text := "[Interface]\nPrivateKey = " + own.Private + "\nAddress = 10.66.0.77/24\n"
	if _, err := mesh.Door(k.db, nil).Save(t.Context(), "leaf0", tunnel.Order{Wish: &tunnel.Wish{Text: text, Author: "anna"}}, false); err != nil {
		t.Fatal(err)
	}
	k.alter(t, "leaf0", func(n *store.Node) { n.ConfigSource = store.SourceMesh })
	if err := k.bind(t, "leaf0", keysOf("first").Public); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := k.state(t, "leaf0"); n.PublicKey != own.Public || n.PrivateKey != own.Private {
		t.Errorf("the node has the public key %s", n.PublicKey)
	}
}
