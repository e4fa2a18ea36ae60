package store

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"wfm/protocol"
)

// linkOf returns an enabled link of the two nodes of cfg_a.
func linkOf(id, a, b string) *Link {
	return &Link{
		ID: id, ConfigID: "cfg_a", Enabled: true,
		Forward: Direction{LocalNodeID: a, PeerNodeID: b, EndpointMode: EndpointNone},
		Reverse: Direction{LocalNodeID: b, PeerNodeID: a, EndpointMode: EndpointNone},
	}
}

func forwardOf(id, from, to string, port int, p ForwardProtocol) *PortForward {
	return &PortForward{ID: id, ConfigID: "cfg_a", FromNodeID: from, FromPort: 80, ToNodeID: to, ToPort: port, Protocol: p, Enabled: true}
}

// meshOf makes the nodes n1 to n3 in cfg_a, and m1 in cfg_b.
func meshOf(t *testing.T) *DB {
	t.Helper()
	db := open(t)
	fillMesh(t, db)
	return db
}

func fillMesh(t *testing.T, db *DB) {
	t.Helper()
	for _, id := range []string{"n1", "n2", "n3"} {
		addNode(t, db, id)
	}
	update(t, db, func(tx *Tx) error {
		if err := tx.PutConfig(&Config{ID: "cfg_b", Name: "b", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		return tx.PutNode(&Node{ID: "m1", ConfigID: "cfg_b", Name: "m1", Enabled: true, Type: NodeDynamic, InterfaceName: "wg0"})
	})
}

func idsOf[T any](t *testing.T, id func(T) string) func(all []T, err error) string {
	return func(all []T, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]string, len(all))
		for i, v := range all {
			ids[i] = id(v)
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
}

func TestLinksAreFoundByMeshNodeAndPair(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	update(t, db, func(tx *Tx) error {
		return errors.Join(tx.PutLink(linkOf("l12", "n1", "n2")), tx.PutLink(linkOf("l13", "n3", "n1")), tx.PutLink(linkOf("l12", "n1", "n2")))
	})
	ids := idsOf(t, func(l Link) string { return l.ID })
	_ = db.View(func(tx *Tx) error {
		for _, tc := range []struct{ got, want string }{
			{ids(tx.Links("cfg_a")), "l12 l13"},
			{ids(tx.Links("cfg_b")), ""},
			{ids(tx.LinksOfNode("n1")), "l12 l13"},
			{ids(tx.LinksOfNode("n2")), "l12"},
			{ids(tx.LinksOfNode("n3")), "l13"},
			{fmt.Sprint(tx.LinkEnds("n1")), "[{l12 n2} {l13 n3}]"},
			{ids(tx.LinksBetween("n1", "n3")), "l13"},
			{ids(tx.LinksBetween("n3", "n1")), "l13"},
			{ids(tx.LinksBetween("n2", "n3")), ""},
		} {
			if tc.got != tc.want {
				t.Errorf("%q, want %q", tc.got, tc.want)
			}
		}
		l, err := tx.Link("l13")
		if err != nil || l.CreatedAt.IsZero() || l.UpdatedAt.IsZero() || l.Forward.LocalNodeID != "n3" {
			t.Errorf("%+v, %v", l, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if err := tx.DeleteLink("l12"); err != nil {
			return err
		}
		if _, err := tx.Link("l12"); !errors.Is(err, ErrLinkNotFound) {
			t.Errorf("read the deleted link: %v", err)
		}
		if err := tx.DeleteLink("l12"); !errors.Is(err, ErrLinkNotFound) {
			t.Errorf("delete it again: %v", err)
		}
		if got := ids(tx.LinksOfNode("n1")); got != "l13" {
			t.Errorf("n1 has %q, want l13", got)
		}
		return nil
	})
}

func TestALinkJoinsTwoNodesOfItsMeshForGood(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	update(t, db, func(tx *Tx) error { return tx.PutLink(linkOf("l12", "n1", "n2")) })
	crossed := linkOf("x", "n1", "n2")
	crossed.Reverse.PeerNodeID = "n3"
	sameWay := linkOf("x", "n1", "n2")
	sameWay.Reverse = sameWay.Forward
	elsewhere := linkOf("x", "m1", "n2")
	elsewhere.ConfigID = "cfg_b"
	for name, tc := range map[string]struct {
		link *Link
		want error
	}{
		"a node with itself":        {linkOf("x", "n1", "n1"), ErrLinkEnds},
		"directions of two pairs":   {crossed, ErrLinkEnds},
		"the same direction twice":  {sameWay, ErrLinkEnds},
		"a node of another mesh":    {linkOf("x", "n1", "m1"), ErrLinkEnds},
		"nodes of two meshes":       {elsewhere, ErrLinkEnds},
		"a node that is not there":  {linkOf("x", "n1", "n9"), ErrNodeNotFound},
		"another pair":              {linkOf("l12", "n1", "n3"), ErrLinkEnds},
		"a second one of the pair":  {linkOf("x", "n1", "n2"), ErrLinkExists},
		"the pair, the other way":   {linkOf("x", "n2", "n1"), ErrLinkExists},
		"the same one, turned over": {linkOf("l12", "n2", "n1"), nil},
	} {
		if err := db.Update(func(tx *Tx) error { return tx.PutLink(tc.link) }); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestAPairHasOneEnabledLink(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	rests := linkOf("l2", "n2", "n1")
	rests.Enabled = false
	update(t, db, func(tx *Tx) error { return errors.Join(tx.PutLink(linkOf("l1", "n1", "n2")), tx.PutLink(rests)) })
	enable := func(id string, enabled bool) error {
		return db.Update(func(tx *Tx) error {
			l, err := tx.Link(id)
			if err != nil {
				return err
			}
			l.Enabled = enabled
			return tx.PutLink(&l)
		})
	}
	if err := enable("l2", true); !errors.Is(err, ErrLinkExists) {
		t.Errorf("enable the second: %v", err)
	}
	if err := errors.Join(enable("l1", true), enable("l1", false), enable("l2", true)); err != nil {
		t.Error(err)
	}
	if err := enable("l1", true); !errors.Is(err, ErrLinkExists) {
		t.Errorf("enable the first again: %v", err)
	}
}

func TestAPortIsForwardedOnce(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	disabled := forwardOf("x0", "n1", "n2", 8080, ForwardTCP)
	disabled.Enabled = false
	update(t, db, func(tx *Tx) error {
		return errors.Join(tx.PutPortForward(forwardOf("f1", "n1", "n2", 8080, ForwardTCP)), tx.PutPortForward(disabled))
	})
	for name, tc := range map[string]struct {
		f    *PortForward
		want error
	}{
		"the same port":                {forwardOf("x1", "n3", "n2", 8080, ForwardTCP), ErrForwardExists},
		"both protocols":               {forwardOf("x2", "n3", "n2", 8080, ForwardAll), ErrForwardExists},
		"the other protocol":           {forwardOf("x3", "n3", "n2", 8080, ForwardUDP), nil},
		"another port":                 {forwardOf("x4", "n1", "n2", 8081, ForwardAll), nil},
		"another entry":                {forwardOf("x5", "n1", "n3", 8080, ForwardTCP), nil},
		"the node itself":              {forwardOf("x6", "n1", "n1", 1, ForwardTCP), ErrForwardEnds},
		"a node of another mesh":       {forwardOf("x7", "m1", "n2", 1, ForwardTCP), ErrForwardEnds},
		"a node that is not there":     {forwardOf("x8", "n9", "n2", 1, ForwardTCP), ErrNodeNotFound},
		"a change of the entry":        {forwardOf("f1", "n1", "n3", 9, ForwardTCP), ErrForwardEnds},
		"a change of the port":         {forwardOf("f1", "n1", "n2", 8079, ForwardTCP), nil},
		"one that was disabled before": {forwardOf("x0", "n1", "n2", 8080, ForwardTCP), ErrForwardExists},
	} {
		var got error
		_ = db.Update(func(tx *Tx) error {
			got = tx.PutPortForward(tc.f)
			return errRefused // each case begins with the same records
		})
		if !errors.Is(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	ids := idsOf(t, func(f PortForward) string { return f.ID })
	update(t, db, func(tx *Tx) error {
		for _, tc := range []struct{ got, want string }{
			{ids(tx.PortForwards("cfg_a")), "f1 x0"},
			{ids(tx.PortForwards("cfg_b")), ""},
			{ids(tx.PortForwardsOfNode("n1")), "f1 x0"},
			{ids(tx.PortForwardsOfNode("n2")), "f1 x0"},
			{ids(tx.PortForwardsOfNode("n3")), ""},
		} {
			if tc.got != tc.want {
				t.Errorf("%q, want %q", tc.got, tc.want)
			}
		}
		if err := tx.DeletePortForward("f1"); err != nil {
			return err
		}
		if err := tx.DeletePortForward("f1"); !errors.Is(err, ErrForwardNotFound) {
			t.Errorf("delete it again: %v", err)
		}
		return tx.PutPortForward(forwardOf("x1", "n3", "n2", 8080, ForwardTCP))
	})
}

var errRefused = errors.New("refused")

// setAddress gives the node an address and a key.
func setAddress(tx *Tx, id, address, key string) error {
	n, err := tx.Node(id)
	if err != nil {
		return err
	}
	n.VirtualIP, n.PublicKey = netip.Prefix{}, key
	if address != "" {
		n.VirtualIP = netip.MustParsePrefix(address)
	}
	return tx.PutNode(&n)
}

func TestAnAddressAndAKeyBelongToOneNodeOfAMesh(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	set := func(id, address, key string) error {
		return db.Update(func(tx *Tx) error { return setAddress(tx, id, address, key) })
	}
	for _, tc := range []struct {
		id, address, key string
		want             error
	}{
		{"n1", "10.66.0.1/32", "k1", nil},
		{"n2", "10.66.0.1/24", "k2", ErrAddressTaken}, // whatever the length of the prefix
		{"n2", "10.66.0.2/32", "k1", ErrKeyTaken},
		{"n2", "10.66.0.2/32", "k2", nil},
		{"m1", "10.66.0.1/32", "k1", nil}, // another mesh
		{"n1", "10.66.0.1/32", "k1", nil}, // its own
		{"n3", "fd00::1/128", "", nil},
		{"n1", "10.66.0.9/32", "k9", nil},
		{"n2", "10.66.0.1/32", "k1", nil}, // free again
		{"n1", "", "", nil},
		{"n2", "10.66.0.9/32", "k9", nil},
	} {
		if err := set(tc.id, tc.address, tc.key); !errors.Is(err, tc.want) {
			t.Errorf("%v: %v", tc, err)
		}
	}
	update(t, db, func(tx *Tx) error {
		addresses := func(want string) {
			t.Helper()
			if got := fmt.Sprint(tx.Addresses("cfg_a")); got != want {
				t.Errorf("addresses %s, want %s", got, want)
			}
		}
		addresses("[10.66.0.9 fd00::1]")
		if id := tx.NodeWithAddress("cfg_a", netip.MustParseAddr("10.66.0.9")); id != "n2" {
			t.Errorf("10.66.0.9 is of %q", id)
		}
		if id := tx.NodeWithPublicKey("cfg_a", "k9"); id != "n2" {
			t.Errorf("k9 is of %q", id)
		}
		if err := tx.DeleteNode("n2"); err != nil {
			return err
		}
		addresses("[fd00::1]")
		if a, k := tx.NodeWithAddress("cfg_a", netip.MustParseAddr("10.66.0.9")), tx.NodeWithPublicKey("cfg_a", "k9"); a+k != "" {
			t.Errorf("a deleted node has an address or a key: %q %q", a, k)
		}
		return nil
	})
}

func TestNodesWithRoutesAndWithConfigsOfTheirOwnAreFound(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	update(t, db, func(tx *Tx) error {
		for _, id := range []string{"n1", "n2"} {
			n, err := tx.Node(id)
			if err != nil {
				return err
			}
			n.ConfigSource, n.Routes = SourceMesh, []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}
			if err := tx.PutNode(&n); err != nil {
				return err
			}
			if n.Routes = nil; id == "n2" {
				if err := tx.PutNode(&n); err != nil {
					return err
				}
			}
		}
		if routed, text := tx.RoutedNodes("cfg_a"), tx.TextNodes("cfg_a"); !slices.Equal(routed, []string{"n1"}) || !slices.Equal(text, []string{"n3"}) {
			t.Errorf("with routes %q, with texts %q; want n1 and n3", routed, text)
		}
		return nil
	})
}

// meshBuckets are those of links, port forwards, and what nodes have in the mesh.
var meshBuckets = [][]byte{
	bucketLinks, bucketLinksByConfig, bucketLinksByNode, bucketForwards, bucketForwardsByConfig, bucketForwardsByNode, bucketAddresses, bucketPublicKeys,
	bucketNodeTraits,
}

func TestADeletedNodeOrMeshTakesItsLinksAndPortForwardsWithIt(t *testing.T) {
	t.Parallel()
	db := meshOf(t)
	fill := func(tx *Tx) error {
		return errors.Join(
			setAddress(tx, "n1", "10.66.0.1/32", "k1"), setAddress(tx, "n2", "10.66.0.2/32", "k2"),
			tx.PutLink(linkOf("l12", "n1", "n2")), tx.PutLink(linkOf("l13", "n1", "n3")), tx.PutLink(linkOf("l23", "n2", "n3")),
			tx.PutPortForward(forwardOf("f12", "n1", "n2", 1, ForwardTCP)), tx.PutPortForward(forwardOf("f23", "n2", "n3", 2, ForwardTCP)),
			tx.PutPortForward(forwardOf("f31", "n3", "n1", 3, ForwardTCP)),
		)
	}
	update(t, db, fill)
	update(t, db, func(tx *Tx) error { return tx.DeleteNode("n1") })
	links, forwards := idsOf(t, func(l Link) string { return l.ID }), idsOf(t, func(f PortForward) string { return f.ID })
	update(t, db, func(tx *Tx) error {
		if l, f := links(tx.Links("cfg_a")), forwards(tx.PortForwards("cfg_a")); l != "l23" || f != "f23" {
			t.Errorf("links %q, port forwards %q stay; want those of the other nodes", l, f)
		}
		if got := links(tx.LinksOfNode("n2")); got != "l23" {
			t.Errorf("n2 has %q", got)
		}
		return nil
	})
	checkFile(t, db)
	update(t, db, func(tx *Tx) error { return errors.Join(tx.DeleteConfig("cfg_a"), tx.DeleteConfig("cfg_b")) })
	_ = db.View(func(tx *Tx) error {
		for _, bucket := range meshBuckets {
			if k, _ := tx.cursor(bucket).First(); k != nil {
				t.Errorf("%s has %q of a deleted mesh", bucket, k)
			}
		}
		return nil
	})
}

// checkFile does to the open file the check of wfm check.
func checkFile(t *testing.T, db *DB) {
	t.Helper()
	b, err := db.Backup()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := Check(path); err != nil {
		t.Errorf("Check: %v %q", err, c.Faults)
	}
}

func TestCheckFindsWhatIsWrongInAMesh(t *testing.T) {
	t.Parallel()
	lose := func(bucket []byte) func(*Tx) error {
		return func(tx *Tx) error {
			k, _ := tx.cursor(bucket).First()
			return tx.deleteRaw(bucket, k)
		}
	}
	foreign := func(bucket, key []byte, value string) func(*Tx) error {
		return func(tx *Tx) error { return tx.putRaw(bucket, key, []byte(value)) }
	}
	for name, tc := range map[string]struct {
		spoil func(*Tx) error
		want  string
	}{
		"a link's mesh":                {lose(bucketLinksByConfig), "link l12 is not in links_by_config"},
		"a link's node":                {lose(bucketLinksByNode), "link l12 is not in links_by_node"},
		"a forward's mesh":             {lose(bucketForwardsByConfig), "port forward f12 is not in port_forwards_by_config"},
		"a forward's node":             {lose(bucketForwardsByNode), "port forward f12 is not in port_forwards_by_node"},
		"an address":                   {lose(bucketAddresses), "node n1 is not in tunnel_addresses"},
		"a key":                        {lose(bucketPublicKeys), "node n1 is not in public_keys"},
		"a link":                       {lose(bucketLinks), `links_by_config: it leads to "l12"`},
		"a port forward":               {lose(bucketForwards), `port_forwards_by_node: it leads to "f12"`},
		"a link under another mesh":    {foreign(bucketLinksByConfig, nodeNameKey("cfg_b", "l12"), "x"), `links_by_config: it leads to "l12"`},
		"a link under another node":    {foreign(bucketLinksByNode, []byte("n3\x00n1\x00l12"), "x"), `links_by_node: it leads to "l12"`},
		"a forward under another node": {foreign(bucketForwardsByNode, nodeNameKey("n3", "f12"), "x"), `port_forwards_by_node: it leads to "f12"`},
		"an address that the node lost": {
			foreign(bucketAddresses, addressKey("cfg_a", netip.MustParseAddr("10.66.0.7")), "n1"),
			"tunnel_addresses: it leads to node n1",
		},
		"an address of another node": {
			foreign(bucketAddresses, addressKey("cfg_a", netip.MustParseAddr("10.66.0.1")), "n2"),
			"node n1 is not in tunnel_addresses",
		},
		"a node with its own text":     {lose(bucketNodeTraits), "node n1 is not in node_traits"},
		"routes that a node lost":      {foreign(bucketNodeTraits, traitKey("cfg_a", traitRoutes, "n1"), "x"), "node_traits: it leads to node n1"},
		"a key of a node that is gone": {foreign(bucketPublicKeys, nodeNameKey("cfg_a", "k7"), "n7"), "public_keys: it leads to node n7"},
		"a link with a node that is gone": {func(tx *Tx) error {
			return errors.Join(tx.dropMesh(Node{ID: "n1"}), tx.deleteRaw(bucketNodes, []byte("n1")))
		}, "link l12 joins node n1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(t.TempDir(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			fillMesh(t, db)
			update(t, db, func(tx *Tx) error {
				return errors.Join(setAddress(tx, "n1", "10.66.0.1/32", "k1"), tx.PutLink(linkOf("l12", "n1", "n2")),
					tx.PutPortForward(forwardOf("f12", "n1", "n2", 1, ForwardTCP)))
			})
			checkFile(t, db)
			update(t, db, tc.spoil)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c, err := Check(db.path)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(strings.Join(c.Faults, "\n"), tc.want) {
				t.Errorf("Check: %v %q, want %q", err, c.Faults, tc.want)
			}
		})
	}
}

// oldFile returns a data file of schema version 10: the mesh "old" with the nodes "berlin", which is
// bound, and "phone", with two versions of a tunnel config each.
func oldFile(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("testdata/schema-10.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAFileFromBeforeTheMeshOpens(t *testing.T) {
	t.Parallel()
	db, err := openCopy(t, oldFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if have, err := schemaOf(db.bolt); err != nil || have != uint64(len(migrations)) {
		t.Errorf("schema version %d, %v; want %d", have, err, len(migrations))
	}
	checkFile(t, db)
	_ = db.View(func(tx *Tx) error {
		cfg, err := tx.Config("cfg_old")
		if err != nil || cfg.MeshSettings != (MeshSettings{}) {
			t.Errorf("the mesh has the settings %+v, %v; want none", cfg.MeshSettings, err)
		}
		nodes, err := tx.Nodes("cfg_old", "", 0)
		if err != nil || len(nodes) != 2 {
			t.Fatal(nodes, err)
		}
		for i, n := range nodes {
			s, err := tx.ConfState(n.ID)
			if err != nil || s.Desired.Version != 2 || n.ConfigSource != SourceText {
				t.Errorf("%s: source %q, version %d, %v; want its text, version 2", n.Name, n.ConfigSource, s.Desired.Version, err)
			}
			for v := range 2 {
				was, err := tx.ConfVersion(n.ID, v+1)
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("[Interface] # by hand\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.9.%d.%d/24\n\n", v, i+1)
				if text, err := tx.ConfText(n.ID, was.SHA256); err != nil || text != want {
					t.Errorf("%s version %d: %q, %v; want %q", n.Name, v+1, text, err, want)
				}
			}
		}
		if _, ok := db.Grants()["node_1"]; !ok {
			t.Error("the bound node has no grant")
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if ids := tx.TextNodes("cfg_old"); !slices.Equal(ids, []string{"node_1", "node_2"}) {
			t.Errorf("the nodes with configs of their own are %q", ids)
		}
		if ids := tx.NodeIDs("cfg_old"); !slices.Equal(ids, []string{"node_1", "node_2"}) {
			t.Errorf("the nodes are %q", ids)
		}
		l := linkOf("l", "node_1", "node_2")
		l.ConfigID = "cfg_old"
		return errors.Join(setAddress(tx, "node_1", "10.66.0.1/32", "k1"), tx.PutLink(l))
	})
	checkFile(t, db)
}

// TestAMeshIsWholeAfterAKill runs itself as a child that makes and deletes nodes with links, kills it
// in the middle, and checks that the records and indexes agree.
func TestAMeshIsWholeAfterAKill(t *testing.T) {
	if dir := os.Getenv("WFM_STORE_MESH_CHILD"); dir != "" {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		fillMesh(t, db)
		for i := range 100_000 {
			id := fmt.Sprintf("x%d", i%7)
			update(t, db, func(tx *Tx) error {
				if err := tx.DeleteNode(id); err != nil && !errors.Is(err, ErrNodeNotFound) {
					return err
				}
				if err := tx.PutNode(&Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: NodeDynamic, InterfaceName: "wg0"}); err != nil {
					return err
				}
				return errors.Join(setAddress(tx, id, fmt.Sprintf("10.66.1.%d/32", i%7), id), tx.PutLink(linkOf("l1"+id, "n1", id)),
					tx.PutLink(linkOf("l2"+id, "n2", id)), tx.PutPortForward(forwardOf("f"+id, id, "n3", 1000+i%7, ForwardTCP)))
			})
			fmt.Println("committed", i)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAMeshIsWholeAfterAKill$")
	cmd.Env = append(os.Environ(), "WFM_STORE_MESH_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "committed 60" {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	path := filepath.Join(dir, FileName)
	if c, err := Check(path); err != nil {
		t.Errorf("Check: %v %q", err, c.Faults)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	links := idsOf(t, func(l Link) string { return l.ID })
	_ = db.View(func(tx *Tx) error {
		if got := links(tx.Links("cfg_a")); len(strings.Fields(got)) != 14 {
			t.Errorf("the links are %s, want two of each of seven nodes", got)
		}
		return nil
	})
	_ = db.bolt.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("inconsistent file: %v", err)
		}
		return nil
	})
}
