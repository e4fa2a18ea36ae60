package store

import (
	"errors"
	"testing"
)

func TestCommandsAreCountedWhenTheyAreCommittedAndOnce(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	add := func(tx *Tx, id string) error {
		return tx.AddCommand(&Command{RequestID: id, ConfigID: "cfg_a", NodeID: "node_1", State: CommandQueued})
	}
	update(t, db, func(tx *Tx) error { return errors.Join(add(tx, "cmd_1"), add(tx, "cmd_2")) })
	_ = db.Update(func(tx *Tx) error { return errors.Join(add(tx, "cmd_3"), errors.New("given up")) })
	for range 2 {
		update(t, db, func(tx *Tx) error {
			c, err := tx.Command("cmd_1")
			c.State = CommandApplied
			return errors.Join(err, tx.PutCommand(c))
		})
	}
	if got := db.CommandCounts(); got.Added != 2 || got.Ended[CommandApplied] != 1 || len(got.Ended) != 1 {
		t.Errorf("%+v", got)
	}
}
