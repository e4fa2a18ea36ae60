package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"wfm/protocol"
)

func TestAHeartbeatDecodesEachRecordOnceAndTheNextOneNone(t *testing.T) {
	db, grants := boundNodes(t, 1, Options{Witness: benchWitness})
	beat := func() (decoded int) {
		before := db.writer.recent.decoded // from here on the writer is idle
		update(t, db, func(tx *Tx) error { return benchHeartbeat(tx, grants[0]) })
		return db.writer.recent.decoded - before
	}
	db.writer.recent = newRecent()
	if got := beat(); got != 5 { // config, node, evidence, wanted state, last transition
		t.Errorf("the first heartbeat read %d records, want 5", got)
	}
	if got := beat(); got > 1 { // the transition that the first one made
		t.Errorf("the second heartbeat read %d records, want at most the new transition", got)
	}
	if got := beat(); got != 0 {
		t.Errorf("the third heartbeat read %d records, want none", got)
	}
}

// agrees compares the records that the writer keeps decoded with the file.
func agrees(t *testing.T, db *DB) {
	t.Helper()
	r := db.writer.recent
	if err := db.View(func(tx *Tx) error {
		for _, err := range []error{
			sameRecords(tx, r.configs, bucketConfigs), sameRecords(tx, r.nodes, bucketNodes),
			sameRecords(tx, r.evidence, bucketEvidence), sameRecords(tx, r.wanted, bucketWanted),
		} {
			if err != nil {
				return err
			}
		}
		for id, k := range r.transitions {
			last, err := tx.Transitions(id, 0, 1)
			if err != nil {
				return err
			}
			if k.ok != (len(last) == 1) || k.ok && last[0] != k.value {
				return fmt.Errorf("last transition of %s is kept as %+v, in the file is %+v", id, k, last)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func sameRecords[T any](tx *Tx, kept kept[T], bucket []byte) error {
	for key, k := range kept {
		v, ok, err := get[T](tx, bucket, key)
		if err != nil {
			return err
		}
		if ok != k.ok || !reflect.DeepEqual(v, k.value) {
			return fmt.Errorf("%s %s is kept as %+v (%v), in the file is %+v (%v)", bucket, key, k.value, k.ok, v, ok)
		}
	}
	return nil
}

func TestWhatTheWriterKeepsAgreesWithTheFile(t *testing.T) {
	db, _ := boundNodes(t, 8, Options{Witness: benchWitness})
	random := rand.New(rand.NewPCG(1, 2))
	boom := errors.New("boom")
	did := make(map[string]int)
	for range 1500 {
		id := fmt.Sprintf("node_%05d", random.IntN(8))
		what, fn := randomChange(random, id)
		fails := random.IntN(5) == 0
		err := db.Update(func(tx *Tx) error {
			err := fn(tx)
			if err == nil && fails {
				err = boom
			}
			return err
		})
		if err != nil && !errors.Is(err, boom) && !errors.Is(err, ErrNodeNotFound) && !errors.Is(err, ErrTunnelRuns) {
			t.Fatalf("%s: %v", what, err)
		}
		if err == nil {
			did[what]++
		}
		agrees(t, db)
	}
	if len(did) != 11 {
		t.Errorf("only this was done: %v", did)
	}
}

// randomChange returns a change of the node, or of its config, and its name.
func randomChange(random *rand.Rand, id string) (string, func(*Tx) error) {
	n := random.IntN(1000)
	changes := []struct {
		name string
		fn   func(*Tx) error
	}{
		{"heartbeat", func(tx *Tx) error {
			return tx.UpdateEvidence(id, func(e *Evidence) { e.ReachableAt, e.TunnelRunning = tx.Now().UTC(), new(n%2 == 0) })
		}},
		{"conflict", func(tx *Tx) error {
			return tx.UpdateEvidence(id, func(e *Evidence) {
				if e.IdentityConflict == nil {
					e.IdentityConflict = &IdentityConflict{Since: tx.Now().UTC()}
				}
				e.IdentityConflict.Addresses = append(e.IdentityConflict.Addresses, "192.0.2.1")
			})
		}},
		{"version", func(tx *Tx) error { return tx.UpdateClient(id, func(c *Client) { c.Version = fmt.Sprint(n) }) }},
		{"transition", func(tx *Tx) error {
			node, err := tx.Node(id)
			if err != nil {
				return err
			}
			return tx.AddTransition(node, Transition{At: tx.Now().UTC(), To: fmt.Sprint(n % 3)})
		}},
		{"wanted", func(tx *Tx) error {
			return tx.SetWanted(Command{NodeID: id, Action: protocol.ActionStart, RequestID: fmt.Sprint(n)})
		}},
		{"unwanted", func(tx *Tx) error { return tx.WithdrawWanted(Command{NodeID: id, RequestID: fmt.Sprint(n)}, n%2 == 0) }},
		{"node", func(tx *Tx) error {
			return tx.PutNode(&Node{
				ID: id, ConfigID: "cfg_a", Name: id, Enabled: n%3 != 0, Type: NodeDynamic, InterfaceName: fmt.Sprintf("wg%d", n%2), Tags: []string{"a"},
			})
		}},
		{"tags", func(tx *Tx) error { _, err := tx.SetTags(id, []string{fmt.Sprint(n)}); return err }},
		{"reset", func(tx *Tx) error { return tx.ResetClient(id) }},
		{"delete", func(tx *Tx) error { return tx.DeleteNode(id) }},
		{"config", func(tx *Tx) error {
			if err := tx.PutConfig(&Config{ID: "cfg_a", Name: fmt.Sprint(n), Enabled: n%2 == 0, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
				return err
			}
			node, err := tx.Node(id)
			if err != nil {
				return err
			}
			node.Tags = append(node.Tags, "changed by who read it")
			return tx.EndLostConnections(nil)
		}},
	}
	c := changes[random.IntN(len(changes))]
	return c.name, c.fn
}

func TestWhatAnUpdateReadsIsItsOwn(t *testing.T) {
	db, grants := boundNodes(t, 1, Options{})
	id := grants[0].NodeID
	update(t, db, func(tx *Tx) error {
		return tx.UpdateEvidence(id, func(e *Evidence) {
			e.TunnelRunning, e.IdentityConflict = new(true), &IdentityConflict{Addresses: []string{"192.0.2.1"}}
		})
	})
	var conflict *IdentityConflict
	update(t, db, func(tx *Tx) error { // reads a record, changes its copy, and writes nothing
		n, err := tx.Node(id)
		if err != nil {
			return err
		}
		n.Tags[0], n.Client.Capabilities[0], n.Client.Version = "x", "x", "x"
		e, err := tx.Evidence(id)
		if err != nil {
			return err
		}
		*e.TunnelRunning, e.IdentityConflict.Addresses[0] = false, "x"
		return tx.UpdateEvidence(id, func(e *Evidence) { conflict = e.IdentityConflict })
	})
	conflict.Addresses[0] = "y" // after the end
	agrees(t, db)
	update(t, db, func(tx *Tx) error {
		n, err := tx.Node(id)
		if err != nil {
			return err
		}
		e, err := tx.Evidence(id)
		if n.Tags[0] != "field" || n.Client.Version != "1.2.3" || !*e.TunnelRunning || e.IdentityConflict.Addresses[0] != "192.0.2.1" {
			t.Errorf("an earlier reader changed what is kept: %+v %+v %+v", n, n.Client, e.IdentityConflict)
		}
		return err
	})
}

func TestAnUpdateSeesTheGrantsOfThoseBeforeItInItsBatch(t *testing.T) {
	db, grants := boundNodes(t, 2, Options{})
	had := func(tx *Tx, i int) bool {
		g, ok, err := tx.Grant(grants[i].NodeID)
		if err != nil {
			t.Error(err)
		}
		return ok && g.Generation == grants[i].Generation
	}
	var seen []bool
	boom := errors.New("boom")
	run := func(fns ...func(*Tx) error) {
		seen = nil
		requests := make([]*writeRequest, 0, len(fns))
		for _, fn := range fns {
			requests = append(requests, &writeRequest{fn: fn, reply: make(chan error, 1)})
		}
		db.writer.commit(requests) // the writer is idle
	}
	look := func(tx *Tx) error {
		seen = append(seen, had(tx, 0), had(tx, 1))
		return t.Context().Err()
	}
	reset := func(i int, result error) func(*Tx) error {
		return func(tx *Tx) error {
			if err := tx.ResetClient(grants[i].NodeID); err != nil {
				return err
			}
			seen = append(seen, had(tx, i)) // its own change
			return result
		}
	}
	run(reset(0, nil), look)
	if want := []bool{false, false, true}; !reflect.DeepEqual(seen, want) {
		t.Errorf("after a reset the grants are seen as %v, want %v", seen, want)
	}
	run(func(tx *Tx) error { seen = nil; return look(tx) }, reset(1, boom), look)
	if want := []bool{false, true, false, true}; !reflect.DeepEqual(seen, want) {
		t.Errorf("after a reset that failed the grants are seen as %v, want %v", seen, want)
	}
}

func TestAFleetBeyondTheBoundIsStillRead(t *testing.T) {
	k := make(kept[int])
	for i := range recentKept + 100 {
		k.add(fmt.Sprint(i), i, true)
	}
	if len(k) != recentKept || k[fmt.Sprint(recentKept+99)].value != recentKept+99 {
		t.Errorf("%d records are kept, want %d with the newest", len(k), recentKept)
	}
}
