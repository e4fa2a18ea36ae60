package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"wfm/protocol"
)

func TestDerivedInterfaceNamesAreReadableAndUniqueInTheirMesh(t *testing.T) {
	t.Parallel()
	db := open(t)
	var names []string
	add := func(cfg Config, name string) (got string) {
		t.Helper()
		update(t, db, func(tx *Tx) error {
			n := Node{ID: protocol.NewID("node"), ConfigID: cfg.ID, Name: name, Enabled: true, Type: NodeDynamic}
			n.InterfaceName = tx.FreeInterfaceName(cfg, n, nil)
			got = n.InterfaceName
			return tx.PutNode(&n)
		})
		names = append(names, got)
		return got
	}
	stores, other := Config{ID: "cfg_s", Name: "stores"}, Config{ID: "cfg_o", Name: "stores two"}
	update(t, db, func(tx *Tx) error { return errors.Join(tx.PutConfig(&stores), tx.PutConfig(&other)) })
	for _, tc := range []struct{ node, want string }{
		{"camera-0001", "stores-came0001"},
		{"camera-0002", "stores-came0002"},
		{"Gate 1", "stores-gate1"},
		{"Filiale Stuttgart", "stores-filiales"},
		{"Filiale Stettin", "stores-filiale2"},
		{"Filiale Sindelfingen", "stores-filiale3"},
		{"1234567890123456789", "stores-12456789"},
	} {
		if got := add(stores, tc.node); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.node, got, tc.want)
		}
	}
	for i := range 300 {
		add(stores, fmt.Sprintf("%d Filiale S", i)+string(rune('a'+i%26))+fmt.Sprint("x", i/26, "y"))
		add(stores, fmt.Sprintf("東京%d号", i))
		add(stores, "Filiale Sa"+fmt.Sprint(i)+"z")
	}
	for _, name := range names {
		if !protocol.ValidInterfaceName(name) {
			t.Errorf("%q is no name of an interface", name)
		}
	}
	slices.Sort(names)
	if all := len(names); len(slices.Compact(names)) != all {
		t.Errorf("%d of %d names are there twice", all-len(slices.Compact(names)), all)
	}
	update(t, db, func(tx *Tx) error {
		n := Node{ID: "node_o", ConfigID: other.ID, Name: "Gate 1"}
		if got := tx.FreeInterfaceName(Config{ID: other.ID, Name: "stores"}, n, nil); got != "stores-gate1" {
			t.Errorf("in another mesh: %s", got)
		}
		return nil
	})
}

func TestANameIsFreeAgainWithItsNode(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1") // its interface is wg0
	update(t, db, func(tx *Tx) error {
		n, err := tx.Node("node_1")
		if err != nil {
			return err
		}
		n.InterfaceName = "wg7"
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		taken := func(name, nodeID string) bool { return tx.interfaceTaken(n.ConfigID, name, nodeID) }
		if taken("wg0", "x") || !taken("wg7", "x") || taken("wg7", n.ID) {
			t.Error("a renamed interface is not found under its name alone")
		}
		if tx.interfaceTaken(n.ConfigID, "wg", "x") {
			t.Error("the beginning of a name is taken for it")
		}
		if err := tx.DeleteNode(n.ID); err != nil {
			return err
		}
		if tx.interfaceTaken(n.ConfigID, "wg7", "x") {
			t.Error("the name of a deleted node is taken")
		}
		return nil
	})
}

func TestInterfacesOfAnOlderFileAreFound(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	if err := db.bolt.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.DeleteBucket(bucketInterfaces), tx.DeleteBucket(bucketTags), indexInterfaces(tx))
	}); err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) error {
		if n, err := tx.Node("node_1"); err != nil || !tx.interfaceTaken(n.ConfigID, n.InterfaceName, "x") {
			t.Errorf("%v is not found (%v)", n, err)
		}
		return nil
	})
}

func TestTagsAreKeptCountedAndDeleted(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	var cfg string
	update(t, db, func(tx *Tx) error {
		n, err := tx.SetTags("node_1", []string{"edge", "eu", "edge"})
		cfg = n.ConfigID
		return errors.Join(err, tx.KeepTag(cfg, "spare"), tx.KeepTag(cfg, "spare"), tx.KeepTag(cfg, "eu"))
	})
	want := func(want ...Tag) {
		t.Helper()
		_ = db.View(func(tx *Tx) error {
			if got, err := tx.Tags(cfg); err != nil || !slices.Equal(got, want) {
				t.Errorf("%v (%v), want %v", got, err, want)
			}
			return nil
		})
	}
	want(Tag{"edge", 1}, Tag{"eu", 1}, Tag{"spare", 0})
	update(t, db, func(tx *Tx) error {
		for name, count := range map[string]int{"edge": 1, "spare": 0} {
			if removed, err := tx.DeleteTag(cfg, name); err != nil || removed != count {
				t.Errorf("delete %s: %d, %v", name, removed, err)
			}
		}
		if _, err := tx.DeleteTag(cfg, "edge"); !errors.Is(err, ErrTagNotFound) {
			t.Errorf("delete it again: %v", err)
		}
		return nil
	})
	want(Tag{"eu", 1})
	update(t, db, func(tx *Tx) error { _, err := tx.SetTags("node_1", nil); return err })
	want(Tag{"eu", 0})
	many := make([]string, MaxNodeTags+1)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	if err := db.Update(func(tx *Tx) error { _, err := tx.SetTags("node_1", many); return err }); !errors.Is(err, ErrNodeTags) {
		t.Errorf("too many for a node: %v", err)
	}
	update(t, db, func(tx *Tx) error {
		for i := range MaxConfigTags - 1 {
			if err := tx.KeepTag(cfg, fmt.Sprint("k", i)); err != nil {
				return err
			}
		}
		if err := tx.KeepTag(cfg, "one more"); !errors.Is(err, ErrTooManyTags) {
			t.Errorf("too many for a config: %v", err)
		}
		return tx.DeleteConfig(cfg)
	})
	if keys := 0; db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketTags).ForEach(func(_, _ []byte) error { keys++; return nil })
	}) != nil || keys != 0 {
		t.Errorf("%d tags stay of a deleted config", keys)
	}
}
