package store

import "testing"

func TestTheRevisionOfAMeshIsAnotherOneAfterEachChangeThatItsCheckDependsOn(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	last := db.MeshRevision("cfg_a")
	changes := func(what string, want bool, fn func(tx *Tx) error) {
		t.Helper()
		update(t, db, fn)
		now := db.MeshRevision("cfg_a")
		if (now != last) != want {
			t.Errorf("%s: revision %d after %d", what, now, last)
		}
		last = now
	}
	text := func(text string) func(tx *Tx) error {
		return func(tx *Tx) error {
			_, err := tx.SetDesired("node_1", text, ConfVersion{})
			return err
		}
	}
	change := func(fn func(n *Node)) func(tx *Tx) error {
		return func(tx *Tx) error {
			n, err := tx.Node("node_1")
			if err != nil {
				return err
			}
			fn(&n)
			return tx.PutNode(&n)
		}
	}
	changes("a text of its own", true, text("a"))
	changes("the same text", false, text("a"))
	changes("staging", false, func(tx *Tx) error {
		s, err := tx.ConfState("node_1")
		if err == nil {
			_, err = tx.Stage("node_1", s.Desired, "wg")
		}
		return err
	})
	changes("evidence", false, func(tx *Tx) error {
		return tx.UpdateEvidence("node_1", func(e *Evidence) { e.ReachableAt = tx.Now() })
	})
	changes("the node", true, change(func(n *Node) { n.ConfigSource = SourceMesh }))
	changes("a text that follows from the mesh", false, text("b"))
	changes("the mesh", true, func(tx *Tx) error {
		cfg, err := tx.Config("cfg_a")
		if err != nil {
			return err
		}
		cfg.DefaultMTU = 1400
		return tx.PutConfig(&cfg)
	})
	changes("another mesh", false, func(tx *Tx) error { return tx.PutConfig(&Config{ID: "cfg_b", Name: "b", TunnelProtocol: "wireguard"}) })
	if n := db.MeshRevision("cfg_none"); n != 0 {
		t.Errorf("revision %d of no mesh", n)
	}
}
