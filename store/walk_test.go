package store

import (
	"errors"
	"fmt"
	"testing"

	"wfm/protocol"
)

func TestAWalkReadsOnlyWhatItReaches(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	update(t, db, func(tx *Tx) error {
		for i := range 5 {
			for _, id := range []string{"node_1", "node_2"} {
				c := Command{RequestID: fmt.Sprintf("%s_%d", id, i), NodeID: id, Action: protocol.ActionStart, RequestedBy: fmt.Sprint(i), State: CommandQueued}
				if err := tx.AddCommand(&c); err != nil {
					return err
				}
			}
		}
		return tx.putRaw(bucketCommands, []byte("node_1_1"), []byte("{")) // a walk that decodes it has gone too far
	})
	if err := db.View(func(tx *Tx) error {
		if c, err := tx.CommandRequestedBy("node_1", "3"); err != nil || c.RequestID != "node_1_3" {
			t.Errorf("CommandRequestedBy returns %s, %v", c.RequestID, err)
		}
		if all, err := tx.Commands("node_1", 0, 3); err != nil || len(all) != 3 || all[2].RequestID != "node_1_2" {
			t.Errorf("a page of 3 has %d (%v)", len(all), err)
		}
		if all, err := tx.Commands("node_1", 0, 0); err != nil || len(all) != 0 {
			t.Errorf("a page of none has %d (%v)", len(all), err)
		}
		if all, err := tx.Commands("node_1", 2, 10); err != nil || len(all) != 1 || all[0].RequestID != "node_1_0" {
			t.Errorf("the page before the second has %d (%v)", len(all), err)
		}
		all, err := Collect(tx.EachCommand("node_2"))
		if err != nil || len(all) != 5 || all[0].RequestID != "node_2_4" || all[4].RequestID != "node_2_0" {
			t.Errorf("a walk of node_2 has %d (%v)", len(all), err)
		}
		if _, err := tx.CommandRequestedBy("node_2", "nobody"); !errors.Is(err, ErrCommandNotFound) {
			t.Errorf("CommandRequestedBy nobody: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *Tx) error {
		_, err := Collect(tx.EachCommand("node_1"))
		return err
	}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a walk through a record that cannot be read: %v, want ErrDamaged", err)
	}
}
