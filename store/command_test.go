package store

import (
	"testing"

	"wfm/protocol"
)

func TestProbesPushOutNoOtherCommands(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error {
		for i := range commandsKept + 50 {
			action := protocol.ActionDetect
			if i < 5 {
				action = protocol.ActionStart
			}
			c := Command{RequestID: protocol.NewID("cmd"), ConfigID: "cfg_a", NodeID: "node_1", Action: action, State: CommandQueued}
			if err := tx.AddCommand(&c); err != nil {
				return err
			}
			c.State = CommandApplied
			if err := tx.PutCommand(c); err != nil {
				return err
			}
		}
		return nil
	})
	_ = db.View(func(tx *Tx) error {
		all, err := tx.Commands("node_1", 0, 1000)
		if err != nil || len(all) != detectsKept+5 || all[len(all)-1].Action != protocol.ActionStart {
			t.Errorf("%d commands kept (%v), want %d detects and the 5 starts", len(all), err, detectsKept)
		}
		return nil
	})
}

func TestCommandsArePrunedButOpenOnesNever(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error {
		for i := range commandsKept + 50 {
			c := Command{RequestID: protocol.NewID("cmd"), ConfigID: "cfg_a", NodeID: "node_1", State: CommandQueued}
			if i == 0 {
				c.RequestID = "cmd_open"
			}
			if err := tx.AddCommand(&c); err != nil {
				return err
			}
			if i == 0 {
				continue
			}
			c.State = CommandApplied
			if err := tx.PutCommand(c); err != nil {
				return err
			}
			if err := tx.AddOutput(c.RequestID, Output{Stream: "stdout", Output: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
	_ = db.View(func(tx *Tx) error {
		all, err := tx.Commands("node_1", 0, 1000)
		if err != nil || len(all) != commandsKept {
			t.Errorf("%d commands kept (%v), want %d", len(all), err, commandsKept)
		}
		if _, err := tx.Command("cmd_open"); err != nil {
			t.Errorf("the open command: %v", err)
		}
		if open, _ := tx.OpenCommands(""); len(open) != 1 {
			t.Errorf("%d open commands, want 1", len(open))
		}
		outputs := 0
		c := tx.cursor(bucketOutput)
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			outputs++
		}
		if outputs > commandsKept {
			t.Errorf("%d outputs kept for %d commands", outputs, commandsKept)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.DeleteNode("node_1") })
	_ = db.View(func(tx *Tx) error {
		for _, b := range [][]byte{bucketCommands, bucketCommandsByNode, bucketCommandsOpen, bucketOutput, bucketEvidence} {
			if k, _ := tx.cursor(b).First(); k != nil {
				t.Errorf("bucket %s keeps something of a deleted node", b)
			}
		}
		return nil
	})
}
