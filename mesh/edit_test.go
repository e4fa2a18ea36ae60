package mesh_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// kept is a mesh in a store.
type kept struct {
	db  *store.DB
	ids func() string
	rng *rand.ChaCha8
}

const keptID = "cfg_a"

// newKept makes a mesh with the subnets.
func newKept(tb testing.TB, subnets ...string) *kept {
	tb.Helper()
	db, err := store.Open(tb.TempDir(), store.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	k := &kept{db, counter("id"), chacha(7)}
	cfg := store.Config{ID: keptID, Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
	for i, s := range subnets {
		*[]*netip.Prefix{&cfg.VirtualSubnet, &cfg.VirtualSubnet6}[i] = prefix(s)
	}
	k.edit(tb, func(e *mesh.Edit) error { return e.PutConfig(&cfg) })
	return k
}

// try makes an edit in a transaction of its own.
func (k *kept) try(edit func(*mesh.Edit) error) (mesh.Changed, error) {
	return store.Write(k.db, func(tx *store.Tx) (mesh.Changed, error) { return mesh.Change(tx, keptID, "anna", k.rng, edit) })
}

// edit is like try, for an edit that succeeds. It checks the configs of all nodes afterwards.
func (k *kept) edit(tb testing.TB, edit func(*mesh.Edit) error) mesh.Changed {
	tb.Helper()
	c, err := k.try(edit)
	if err != nil {
		tb.Fatal(err)
	}
	k.check(tb)
	return c
}

// check checks that the desired config of each node is that of the whole mesh.
func (k *kept) check(tb testing.TB) {
	tb.Helper()
	if err := k.db.View(func(tx *store.Tx) error {
		m, err := mesh.Load(tx, keptID)
		if err != nil {
			return err
		}
		for id, want := range m.Texts() {
			if got := textOf(tx, id); !mesh.SameButComments(got, want) {
				tb.Fatalf("the desired config of %s is\n%s\nwant\n%s", id, got, want)
			}
		}
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
}

func textOf(tx *store.Tx, id string) string {
	s, err := tx.ConfState(id)
	if err != nil || s.Desired.Version == 0 {
		return ""
	}
	text, _ := tx.ConfText(id, s.Desired.SHA256)
	return text
}

func (k *kept) text(id string) (text string) {
	_ = k.db.View(func(tx *store.Tx) error { text = textOf(tx, id); return nil })
	return text
}

func (k *kept) state(tb testing.TB, id string) (n store.Node, s store.ConfState, v store.ConfVersion) {
	tb.Helper()
	if err := k.db.View(func(tx *store.Tx) (err error) {
		if n, err = tx.Node(id); err != nil {
			return err
		}
		if s, err = tx.ConfState(id); err != nil || s.Desired.Version == 0 {
			return err
		}
		v, err = tx.ConfVersion(id, s.Desired.Version)
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return n, s, v
}

// put makes a node whose id is its name.
func put(e *mesh.Edit, name string, change ...func(*store.Node)) error {
	n, err := e.NewNode(name)
	if err != nil {
		return err
	}
	n.Name = name
	for _, c := range change {
		c(&n)
	}
	return e.PutNode(&n)
}

// alter changes a node.
func (k *kept) alter(tb testing.TB, id string, change func(*store.Node)) mesh.Changed {
	tb.Helper()
	return k.edit(tb, func(e *mesh.Edit) error { return k.altered(id, e, change) })
}

func (k *kept) altered(id string, e *mesh.Edit, change func(*store.Node)) error {
	n, err := e.Node(id)
	if err != nil {
		return err
	}
	change(&n)
	return e.PutNode(&n)
}

func at(address string) func(*store.Node) { return func(n *store.Node) { n.IPv4Address = address } }

func (k *kept) quick(q mesh.Quick) func(*mesh.Edit) error {
	return func(e *mesh.Edit) error {
		_, err := e.Quick(q, k.ids)
		return err
	}
}

// star makes the gateway "hub" with leaves, linked with it.
func star(tb testing.TB, leaves int) *kept {
	tb.Helper()
	k := newKept(tb, "10.66.0.0/16")
	k.edit(tb, func(e *mesh.Edit) error {
		if err := put(e, "hub", at("192.0.2.1")); err != nil {
			return err
		}
		for i := range leaves {
			if err := put(e, fmt.Sprintf("leaf%d", i)); err != nil {
				return err
			}
		}
		return k.quick(mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "hub"})(e)
	})
	return k
}

func TestANewNodeLacksNothing(t *testing.T) {
	t.Parallel()
	k := newKept(t, "10.66.0.0/24", "fd00:66::/64")
	c := k.edit(t, func(e *mesh.Edit) error { return errors.Join(put(e, "berlin"), put(e, "paris")) })
	if !slices.Equal(c.NodeIDs, []string{"berlin", "paris"}) {
		t.Errorf("the changed nodes are %q", c.NodeIDs)
	}
	for id, want := range map[string]string{"berlin": "10.66.0.1/32 fd00:66::1/128", "paris": "10.66.0.2/32 fd00:66::2/128"} {
		n, s, v := k.state(t, id)
		if got := fmt.Sprint(n.VirtualIP, " ", n.VirtualIP6); got != want || n.InterfaceName == "" || !mesh.ValidKey(n.PrivateKey) {
			t.Errorf("%s has the addresses %s, the interface %q and keys: %v", id, got, n.InterfaceName, mesh.ValidKey(n.PrivateKey))
		}
		if public, err := mesh.PublicKey(n.PrivateKey); err != nil || public != n.PublicKey {
			t.Errorf("the keys of %s are no pair (%v)", id, err)
		}
		if s.Desired.Version != 1 || s.Staged.Version != 0 || v.Author != "anna" || v.Source != "made from the mesh" {
			t.Errorf("%s: desired %d, staged %d, by %q, %q", id, s.Desired.Version, s.Staged.Version, v.Author, v.Source)
		}
	}
	k.edit(t, func(e *mesh.Edit) error { return e.DeleteNode("berlin") })
	k.edit(t, func(e *mesh.Edit) error {
		return errors.Join(put(e, "london"), e.DeleteNode("london"), put(e, "rome"))
	})
	if n, _, _ := k.state(t, "rome"); n.VirtualIP != prefix("10.66.0.1/32") {
		t.Errorf("the next node has %s, want the free 10.66.0.1", n.VirtualIP)
	}
}

func TestInAMeshWithoutASubnetNodesHaveConfigsOfTheirOwn(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	k.edit(t, func(e *mesh.Edit) error { return put(e, "berlin") })
	n, s, _ := k.state(t, "berlin")
	if n.ConfigSource != store.SourceText || n.PublicKey != "" || n.VirtualIP.IsValid() || s.Desired.Version != 0 {
		t.Errorf("source %q, key %q, address %v, version %d; want none", n.ConfigSource, n.PublicKey, n.VirtualIP, s.Desired.Version)
	}
}

func TestAMeshWithoutASubnetFieldGetsAFreeOne(t *testing.T) {
	t.Parallel()
	k := newKept(t, "10.66.0.0/24")
	_ = k.db.View(func(tx *store.Tx) error {
		got, err := mesh.FreeSubnet(tx, []netip.Prefix{prefix("10.66.1.0/24")})
		if err != nil || got != prefix("10.66.2.0/24") {
			t.Errorf("%v, %v; want 10.66.2.0/24", got, err)
		}
		return nil
	})
}

func TestAChangeMakesNewVersionsWhereItShows(t *testing.T) {
	t.Parallel()
	k := star(t, 4)
	alter := func(id string, change func(*store.Node)) func() mesh.Changed {
		return func() mesh.Changed { return k.alter(t, id, change) }
	}
	edit := func(edit func(*mesh.Edit) error) func() mesh.Changed {
		return func() mesh.Changed { return k.edit(t, edit) }
	}
	link := func() string {
		var id string
		_ = k.db.View(func(tx *store.Tx) error { id = tx.LinkEnds("leaf0")[0].LinkID; return nil })
		return id
	}
	enable := func(enabled bool) func(*mesh.Edit) error {
		return func(e *mesh.Edit) error {
			l, err := e.Link(link())
			if err != nil {
				return err
			}
			l.Enabled = enabled
			return e.PutLink(&l)
		}
	}
	forward := store.PortForward{
		ID: "f", ConfigID: keptID, FromNodeID: "leaf0", FromPort: 80, ToNodeID: "hub", ToPort: 8080, ToPlatform: "linux", Protocol: store.ForwardTCP, Enabled: true,
	}
	for _, tc := range []struct {
		name   string
		change func() mesh.Changed
		want   string
	}{
		{"a new name", alter("hub", func(n *store.Node) { n.Name = "gate" }), ""},
		{"nothing", alter("hub", func(*store.Node) {}), ""},
		{"an MTU", alter("leaf1", func(n *store.Node) { n.MTU = 1400 }), "leaf1"},
		{"a public address", alter("hub", func(n *store.Node) { n.IPv4Address = "192.0.2.2" }), "leaf0 leaf1 leaf2 leaf3"},
		{"an address in the tunnel", alter("leaf1", func(n *store.Node) { n.VirtualIP = prefix("10.66.9.9/32") }), "hub leaf1"},
		{"a key", alter("leaf2", func(n *store.Node) { n.PrivateKey = keysOf("x").Private }), "hub leaf2"},
		{"routes", alter("leaf3", func(n *store.Node) { n.Routes = prefixes("192.168.7.0/24") }), "hub leaf0 leaf1 leaf2 leaf3"},
		{"an MTU beside them", alter("leaf1", func(n *store.Node) { n.MTU = 1401 }), "leaf1"},
		{"no routes", alter("leaf3", func(n *store.Node) { n.Routes = nil }), "hub leaf0 leaf1 leaf2 leaf3"},
		{"a disabled link", edit(enable(false)), "hub leaf0"},
		{"and enabled again", edit(enable(true)), "hub leaf0"},
		{"a disabled leaf", alter("leaf0", func(n *store.Node) { n.Enabled = false }), "hub"},
		{"a change while it rests", alter("leaf0", func(n *store.Node) { n.MTU = 1300 }), ""},
		{"and enabled again", alter("leaf0", func(n *store.Node) { n.Enabled = true }), "hub leaf0"},
		{"a port forward", edit(func(e *mesh.Edit) error { return e.PutPortForward(&forward) }), "hub"},
		{"the address of its service", alter("leaf0", func(n *store.Node) { n.VirtualIP = prefix("10.66.9.8/32") }), "hub leaf0"},
		{"without the port forward", edit(func(e *mesh.Edit) error { return e.DeletePortForward("f") }), "hub"},
		{"an MTU of the mesh", edit(func(e *mesh.Edit) error {
			c, err := e.Config()
			if err != nil {
				return err
			}
			c.DefaultMTU = 1380
			return e.PutConfig(&c)
		}), "hub leaf2 leaf3"},
		{"a key at the node", alter("leaf0", func(n *store.Node) { n.KeyHolder = store.KeyAtNode }), "leaf0"},
		{"a deleted link", edit(func(e *mesh.Edit) error { return e.DeleteLink(link()) }), "hub leaf0"},
		{"a deleted leaf", edit(func(e *mesh.Edit) error { return e.DeleteNode("leaf1") }), "hub"},
	} {
		if got := strings.Join(tc.change().NodeIDs, " "); got != tc.want {
			t.Errorf("%s: new configs for %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestANodeGoesFromItsTextToTheMeshAndBack(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	own := keysOf("by hand")
	text := "[Interface] # mine\nPrivateKey = " + own.Private + "\nAddress = 10.66.0.77/24\nListenPort = 4000\n"
	made := k.text("leaf0")
	var changed mesh.Changed
	door := tunnel.Door{Store: k.db, Saved: func(tx *store.Tx, s tunnel.Saved) (err error) {
		changed, err = mesh.TextSaved(tx, s)
		return err
	}}
	save := func(text string) mesh.Changed {
		t.Helper()
		if _, err := door.Save(t.Context(), "leaf0", tunnel.Order{Wish: &tunnel.Wish{Text: text, Author: "anna", Source: store.ConfEdited}}, false); err != nil {
			t.Fatal(err)
		}
		k.check(t)
		return changed
	}
	if c := save(text); !slices.Equal(c.NodeIDs, []string{"hub"}) {
		t.Errorf("a text with another key makes new configs for %q, want the hub's", c.NodeIDs)
	}
	if n, _, _ := k.state(t, "leaf0"); n.ConfigSource != store.SourceText {
		t.Errorf("the source of the config is %q after somebody wrote it", n.ConfigSource)
	}
	if hub := k.text("hub"); !strings.Contains(hub, own.Public) {
		t.Errorf("the hub does not have the key of the text:\n%s", hub)
	}
	if c := save(made); !slices.Equal(c.NodeIDs, []string{"hub"}) {
		t.Errorf("the former text makes new configs for %q, want the hub's", c.NodeIDs)
	}
	save(text)
	if c := save(text + "# nothing new\n"); len(c.NodeIDs) != 0 {
		t.Errorf("a comment makes new configs for %q", c.NodeIDs)
	}
	k.edit(t, func(e *mesh.Edit) error { return put(e, "next") })
	k.alter(t, "leaf0", func(n *store.Node) { n.ConfigSource = store.SourceMesh })
	n, _, v := k.state(t, "leaf0")
	if n.PublicKey != own.Public || n.VirtualIP != prefix("10.66.0.77/32") || n.ListenPort != 4000 || v.Source != store.ConfMade {
		t.Errorf("after its text, the node has the key %s, the address %s, the port %d, a config %q", n.PublicKey, n.VirtualIP, n.ListenPort, v.Source)
	}
}

func TestATriedChangeShowsTheTextsAndChangesNothing(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	was := k.text("leaf0")
	mtu := func(e *mesh.Edit) error {
		return k.altered("leaf0", e, func(n *store.Node) { n.MTU = 1400 })
	}
	texts, changed, err := mesh.Try(k.db, keptID, k.rng, func(e *mesh.Edit) error { return errors.Join(mtu(e), put(e, "new")) })
	if err != nil || len(texts) != 2 || !slices.Equal(changed.NodeIDs, []string{"leaf0", "new"}) {
		t.Fatalf("%+v, %+v, %v; want the texts of leaf0 and new", texts, changed, err)
	}
	if c := texts[0]; c.NodeID != "leaf0" || c.Before != was || !strings.Contains(c.After, "MTU = 1400\n") {
		t.Errorf("leaf0: %+v", c)
	}
	if c := texts[1]; c.NodeID != "new" || c.Before != "" || c.After == "" {
		t.Errorf("new: %+v", c)
	}
	if now := k.text("leaf0"); now != was {
		t.Errorf("the config of leaf0 is now\n%s", now)
	}
	if _, err := store.Read(k.db, func(tx *store.Tx) (store.Node, error) { return tx.Node("new") }); !errors.Is(err, store.ErrNodeNotFound) {
		t.Errorf("the node that was only tried: %v", err)
	}
	if _, _, err := mesh.Try(k.db, keptID, k.rng, func(e *mesh.Edit) error { return e.DeleteNode("nobody") }); !errors.Is(err, store.ErrNodeNotFound) {
		t.Errorf("a change that cannot be: %v", err)
	}
}

func TestAKeyGoesToTheNodeAndANewOneComesBack(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	old, _, _ := k.state(t, "leaf0")
	k.alter(t, "leaf0", func(n *store.Node) { n.KeyHolder = store.KeyAtNode })
	if n, _, _ := k.state(t, "leaf0"); n.PrivateKey != "" || n.PublicKey != old.PublicKey || strings.Contains(k.text("leaf0"), old.PrivateKey) {
		t.Error("the appliance keeps the private key of a node that holds it")
	}
	c := k.alter(t, "leaf0", func(n *store.Node) { n.KeyHolder = store.KeyAtAppliance })
	n, _, _ := k.state(t, "leaf0")
	if n.PrivateKey == "" || n.PublicKey == old.PublicKey || !slices.Equal(c.NodeIDs, []string{"hub", "leaf0"}) {
		t.Errorf("back at the appliance: private key %v, new public key %v, new configs %q", n.PrivateKey != "", n.PublicKey != old.PublicKey, c.NodeIDs)
	}
	k.alter(t, "leaf1", func(n *store.Node) { n.PrivateKey, n.PublicKey = "", keysOf("phone").Public })
	if n, _, _ := k.state(t, "leaf1"); n.PrivateKey != "" || strings.Contains(k.text("leaf1"), "PrivateKey") {
		t.Error("a node of which only the public key is known gets a private key")
	}
}

func TestHooksFitTheSystemOfTheAgentThatIsBound(t *testing.T) {
	t.Parallel()
	k := star(t, 1)
	bind := func(platform string) string {
		t.Helper()
		if err := k.db.Update(func(tx *store.Tx) error {
			before, err := tx.Node("hub")
			if err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken("hub", 1e9*60)
			if err != nil {
				return err
			}
			b, err := tx.Bind(token, store.Client{Hostname: "h", Platform: platform})
			if err != nil {
				return err
			}
			return mesh.AgentChanged(tx, before, b.Node, k.rng)
		}); err != nil {
			t.Fatal(err)
		}
		k.check(t)
		return k.text("hub")
	}
	made := k.text("hub")
	if on := bind("linux"); on != made {
		t.Errorf("the agent of Linux has another config:\n%s", on)
	}
	if on := bind("darwin"); on == made {
		t.Error("the agent of macOS has the hooks of Linux")
	}
	if on := bind("linux"); on != made {
		t.Errorf("back on Linux, the config is\n%s", on)
	}
}

// TestAConfigThatCutsANodeOffIsAskedAboutWhenItIsStaged has an exit node without a way around.
func TestAConfigThatCutsANodeOffIsAskedAboutWhenItIsStaged(t *testing.T) {
	t.Parallel()
	k := star(t, 1)
	k.edit(t, func(e *mesh.Edit) error {
		var id string
		_ = k.db.View(func(tx *store.Tx) error { id = tx.LinkEnds("leaf0")[0].LinkID; return nil })
		l, err := e.Link(id)
		if err != nil {
			return err
		}
		l.Manual = true
		for _, d := range []*store.Direction{&l.Forward, &l.Reverse} {
			if d.LocalNodeID == "leaf0" {
				d.AllowedIPs = prefixes("203.0.113.0/24")
			}
		}
		return e.PutLink(&l)
	})
	door := tunnel.Door{Store: k.db}
	_, err := door.Stage(t.Context(), "leaf0", tunnel.Order{Host: "203.0.113.9"})
	if cut := new(tunnel.CutOffError); !errors.As(err, &cut) {
		t.Errorf("staged: %v, want a CutOffError", err)
	}
	if _, err := door.Stage(t.Context(), "leaf0", tunnel.Order{Host: "203.0.113.9", Force: true}); err != nil {
		t.Errorf("staged by force: %v", err)
	}
}

func TestARefusedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	before := k.text("hub")
	for name, tc := range map[string]struct {
		edit       func(*mesh.Edit) error
		code, want string
	}{
		"a taken address": {func(e *mesh.Edit) error {
			return put(e, "x", func(n *store.Node) { n.VirtualIP = prefix("10.66.0.1/32") })
		}, mesh.CodeInvalidVirtualIP, "virtual_ip 10.66.0.1 is taken by hub"},
		"the broadcast address": {func(e *mesh.Edit) error {
			return put(e, "x", func(n *store.Node) { n.VirtualIP = prefix("10.66.255.255/32") })
		}, mesh.CodeInvalidVirtualIP, "broadcast"},
		"a taken key": {func(e *mesh.Edit) error {
			n, err := e.Node("hub")
			return errors.Join(err, put(e, "x", func(x *store.Node) { x.PrivateKey = n.PrivateKey }))
		}, mesh.CodeInvalidKey, "public_key is that of hub"},
		"keys of two pairs": {func(e *mesh.Edit) error {
			return put(e, "x", func(n *store.Node) { n.PrivateKey, n.PublicKey = keysOf("x").Private, keysOf("y").Public })
		}, mesh.CodeInvalidKey, "public_key does not belong to private_key"},
		"a hook of two lines": {func(e *mesh.Edit) error {
			return k.altered("hub", e, func(n *store.Node) { n.PostUp = []string{"a\nb"} })
		}, mesh.CodeInvalidValue, "post_up"},
		"a link with itself": {func(e *mesh.Edit) error {
			return e.PutLink(&store.Link{
				ID: "l", ConfigID: keptID, Forward: store.Direction{LocalNodeID: "hub", PeerNodeID: "hub"},
				Reverse: store.Direction{LocalNodeID: "hub", PeerNodeID: "hub"},
			})
		}, mesh.CodeInvalidPeerLink, "itself"},
		"a port forward to a missing node": {func(e *mesh.Edit) error {
			return e.PutPortForward(&store.PortForward{ID: "f", ConfigID: keptID, FromNodeID: "nobody", ToNodeID: "hub"})
		}, mesh.CodeInvalidPortForward, "from_node_id"},
		"two subnets of IPv4": {func(e *mesh.Edit) error {
			c, err := e.Config()
			c.VirtualSubnet6 = prefix("10.67.0.0/24")
			return errors.Join(err, e.PutConfig(&c))
		}, mesh.CodeInvalidSubnet, "virtual_subnet6"},
		"a config that is too large": {func(e *mesh.Edit) error {
			return k.altered("hub", e, func(n *store.Node) {
				for range 300 {
					n.PostUp = append(n.PostUp, "echo "+strings.Repeat("x", 4000))
				}
			})
		}, mesh.CodeInvalidText, "hub could not be given its tunnel config"},
	} {
		_, err := k.try(func(e *mesh.Edit) error {
			if err := put(e, "new"); err != nil { // is taken back with the rest
				return err
			}
			return tc.edit(e)
		})
		refused := new(mesh.Error)
		if !errors.As(err, &refused) || refused.Code != tc.code || !strings.Contains(refused.Message, tc.want) {
			t.Errorf("%s: %v, want %s with %q", name, err, tc.code, tc.want)
		}
		if _, err := store.Read(k.db, func(tx *store.Tx) (store.Node, error) { return tx.Node("new") }); !errors.Is(err, store.ErrNodeNotFound) {
			t.Errorf("%s: the node that was made with it: %v", name, err)
		}
	}
	if after := k.text("hub"); after != before {
		t.Errorf("the hub's config is now\n%s", after)
	}
}

func TestAMeshThatTurnsToAmneziaWGGetsItsValues(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	turn := func(version string) (store.Config, mesh.Changed) {
		t.Helper()
		var c store.Config
		changed := k.edit(t, func(e *mesh.Edit) (err error) {
			if c, err = e.Config(); err != nil {
				return err
			}
			c.TunnelProtocol, c.AWGVersion = protocol.TunnelAmneziaWG, version
			return e.PutConfig(&c)
		})
		return c, changed
	}
	c, changed := turn("1.5")
	n, _, _ := k.state(t, "leaf0")
	if len(changed.NodeIDs) != 3 || c.AWG.S1 == "" || c.AWG.S3 != "" || n.AWG.Jc == "" || !strings.Contains(k.text("leaf0"), "Jc = "+n.AWG.Jc+"\n") {
		t.Errorf("after the first turn: %q, mesh %+v, node %+v", changed.NodeIDs, c.AWG, n.AWG)
	}
	again, changed := turn("1.5")
	if again.AWG != c.AWG || len(changed.NodeIDs) != 0 {
		t.Errorf("values change by themselves: %+v, %q", again.AWG, changed.NodeIDs)
	}
	later, changed := turn("2.0")
	if later.AWG.S3 == "" || later.AWG.S1 != c.AWG.S1 || len(changed.Hints) == 0 {
		t.Errorf("for 2.0: %+v, hints %q", later.AWG, changed.Hints)
	}
}

// TestPartsOfAMeshGiveTheSameConfigsAsTheWhole makes random edits; edit checks all configs.
func TestPartsOfAMeshGiveTheSameConfigsAsTheWhole(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		k := newKept(t, [][]string{{"10.66.0.0/24"}, {"10.66.0.0/24", "fd00:66::/64"}}[r.IntN(2)]...)
		k.edit(t, func(e *mesh.Edit) error {
			for i := range 9 {
				if err := put(e, fmt.Sprintf("n%d", i), at(fmt.Sprintf("192.0.2.%d", i+1))); err != nil {
					return err
				}
			}
			return k.quick(mesh.Quick{Mode: []mesh.QuickMode{mesh.FullMesh, mesh.FreeMesh}[r.IntN(2)], GatewayNodeIDs: nil})(e)
		})
		for range 60 {
			id := fmt.Sprintf("n%d", r.IntN(9))
			_, err := k.try(func(e *mesh.Edit) error { return k.random(r, e, id) })
			if refused := new(mesh.Error); err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			k.check(t)
		}
	}
}

// random makes one of many changes that concern the node.
func (k *kept) random(r *rand.Rand, e *mesh.Edit, id string) error {
	n, err := e.Node(id)
	if errors.Is(err, store.ErrNodeNotFound) {
		return put(e, id)
	}
	if err != nil {
		return err
	}
	switch r.IntN(12) {
	case 0:
		return e.DeleteNode(id)
	case 1:
		n.Enabled = !n.Enabled
	case 2:
		n.Routes = prefixes([]string{"", "192.168.1.0/24", "192.168.1.0/24 fd00:7::/64"}[r.IntN(3)])
	case 3:
		n.IPv4Address = []string{"", "192.0.2.77"}[r.IntN(2)]
	case 4:
		n.PrivateKey = keysOf(fmt.Sprint(id, r.IntN(1000))).Private
	case 5:
		n.VirtualIP = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 0, byte(50 + r.IntN(100))}), 32)
	case 6:
		n.Name, n.ListenPort = fmt.Sprint(id, "-", r.IntN(100)), 1000+r.IntN(3)
	case 7:
		n.ConfigSource = []store.ConfigSource{store.SourceMesh, store.SourceText}[r.IntN(2)]
	case 8, 9:
		all, err := e.Links()
		if err != nil || len(all) == 0 {
			return err
		}
		l := all[r.IntN(len(all))]
		if r.IntN(3) == 0 {
			return e.DeleteLink(l.ID)
		}
		l.Enabled = !l.Enabled
		return e.PutLink(&l)
	case 10:
		to := fmt.Sprintf("n%d", r.IntN(9))
		return e.PutPortForward(&store.PortForward{
			ID: k.ids(), ConfigID: keptID, FromNodeID: id, FromPort: 80, ToNodeID: to, ToPort: 1 + r.IntN(60000),
			ToPlatform: "linux",
			Protocol:   store.ForwardTCP, Enabled: r.IntN(3) > 0,
		})
	default:
		return k.quick(mesh.Quick{Mode: mesh.FullMesh})(e)
	}
	return e.PutNode(&n)
}

func TestAKeyIsReplacedWhereTheApplianceHasIt(t *testing.T) {
	t.Parallel()
	k := star(t, 2)
	old, _, _ := k.state(t, "leaf0")
	rotate := func(id string) mesh.Changed {
		return k.edit(t, func(e *mesh.Edit) error { _, err := e.RotateKey(id); return err })
	}
	if c := rotate("leaf0"); !slices.Equal(c.NodeIDs, []string{"hub", "leaf0"}) {
		t.Errorf("new configs for %q", c.NodeIDs)
	}
	if n, _, _ := k.state(t, "leaf0"); n.PrivateKey == old.PrivateKey || n.PublicKey == old.PublicKey || n.VirtualIP != old.VirtualIP {
		t.Error("the pair is the former one, or more than the pair is another one")
	}
	if text := k.text("hub"); strings.Contains(text, old.PublicKey) {
		t.Errorf("the hub still has the former key:\n%s", text)
	}
	for name, change := range map[string]func(*store.Node){
		"written by hand": func(n *store.Node) { n.ConfigSource = store.SourceText },
		"made its own":    func(n *store.Node) { n.PrivateKey, n.PublicKey = "", keysOf("phone").Public },
	} {
		k := star(t, 1)
		k.alter(t, "leaf0", change)
		err := k.db.Update(func(tx *store.Tx) error {
			_, err := mesh.Change(tx, keptID, "admin", k.rng, func(e *mesh.Edit) error { _, err := e.RotateKey("leaf0"); return err })
			return err
		})
		if refused, ok := errors.AsType[*mesh.Error](err); !ok || refused.Code != mesh.CodeKeyElsewhere || !strings.Contains(refused.Message, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
