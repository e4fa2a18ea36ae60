package nodekey_test

import (
	"crypto/rand"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wfm/appliance/nodekey"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
)

// office is a mesh with the nodes a and b, of which a holds its key.
type office struct {
	t  *testing.T
	db *store.DB
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := openOffice(t, t.TempDir())
	t.Cleanup(func() { _ = o.db.Close() })
	return o
}

func openOffice(t *testing.T, dir string) *office {
	t.Helper()
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t, db}
	o.update(func(tx *store.Tx) error {
		_, err := mesh.Change(tx, "cfg_a", "admin", rand.Reader, func(e *mesh.Edit) error {
			cfg := store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			cfg.VirtualSubnet, _ = mesh.OfferSubnet(nil)
			if err := e.PutConfig(&cfg); err != nil {
				return err
			}
			for _, name := range []string{"a", "b"} {
				n, err := e.NewNode("node_" + name)
				if err != nil {
					return err
				}
				n.Name, n.IPv4Address = name, "192.0.2.1"
				if name == "a" {
					n.KeyHolder = store.KeyAtNode
				}
				if err := e.PutNode(&n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken("node_a", time.Minute)
		if err != nil {
			return err
		}
		_, err = tx.Bind(token, store.Client{Hostname: "h", Capabilities: []string{protocol.CapabilityNodeKey}})
		return err
	})
	return o
}

func (o *office) update(fn func(*store.Tx) error) {
	o.t.Helper()
	if err := o.db.Update(fn); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) reports(key string) {
	o.t.Helper()
	o.update(func(tx *store.Tx) error {
		return tx.UpdateClient("node_a", func(c *store.Client) { c.PublicKey = key })
	})
}

func (o *office) node(id string) store.Node {
	o.t.Helper()
	n, err := store.Read(o.db, func(tx *store.Tx) (store.Node, error) { return tx.Node(id) })
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// waits until the node's journal has the number of events.
func (o *office) waits(event string, want int) {
	o.t.Helper()
	changes := o.db.Subscribe(64)
	defer changes.Close()
	for {
		lines, err := store.Read(o.db, func(tx *store.Tx) ([]store.JournalEntry, error) { return tx.Journal("node_a", 0, 100) })
		if err != nil {
			o.t.Fatal(err)
		}
		lines = slices.DeleteFunc(lines, func(e store.JournalEntry) bool { return e.Event != event })
		if len(lines) > want {
			o.t.Fatalf("%d events %s, want %d", len(lines), event, want)
		}
		if len(lines) == want {
			return
		}
		select {
		case <-changes.C:
		case <-o.t.Context().Done():
			o.t.Fatalf("no event %s", event)
		}
	}
}

func TestAReportedKeyIsTakenAndThatOfAnotherNodeIsNot(t *testing.T) {
	o := newOffice(t)
	keys := make([]string, 3)
	for i := range keys {
		pair, err := mesh.NewKeys(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = pair.Public
	}
	o.reports(keys[0]) // before the keeper runs
	k := nodekey.New(nodekey.Options{Store: o.db})
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Stop(t.Context()) }()
	o.waits("node_key", 1)
	o.reports(keys[1])
	o.waits("node_key", 2)
	b := o.node("node_b")
	o.reports(b.PublicKey)
	o.waits("node_key_refused", 1)
	o.reports(b.PublicKey) // as every heartbeat does
	o.reports(keys[2])
	o.waits("node_key", 3)
	o.waits("node_key_refused", 1)
	if n := o.node("node_a"); n.PublicKey != keys[2] || o.node("node_b").PublicKey != b.PublicKey {
		t.Errorf("the node has the key %s", n.PublicKey)
	}
}

// pass lets time pass in the test's bubble, and waits for the result.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// An agent that reports one new key after the other would change the configs of its peers without end.
func TestANodeThatNeverStopsChangingItsKeyHasToWait(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, dir)
		k := nodekey.New(nodekey.Options{Store: o.db})
		if err := k.Start(); err != nil {
			t.Fatal(err)
		}
		var last string
		flood := func() {
			for range 20 {
				pair, err := mesh.NewKeys(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				last = pair.Public
				o.reports(last)
				synctest.Wait()
			}
		}
		flood()
		o.waits("node_key", 5)
		o.waits("node_key_refused", 1)
		if o.node("node_a").PublicKey == last {
			t.Error("the last key was taken at once")
		}
		pass(10 * time.Minute)
		o.waits("node_key", 6)
		if got := o.node("node_a").PublicKey; got != last {
			t.Errorf("after the wait, the node has the key %s, want its last one, %s", got, last)
		}
		flood()
		o.waits("node_key", 6)
		pass(2 * time.Hour)
		flood()
		o.waits("node_key", 12) // the one that waited, and five
		if err := k.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := o.db.Close(); err != nil {
			t.Error(err)
		}
	})
}
