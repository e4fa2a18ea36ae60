package store

import (
	"maps"
	"sync"
)

// CommandCounts counts the commands since the store was opened.
type CommandCounts struct {
	Added uint64
	Ended map[CommandState]uint64
}

// tally counts committed commands.
type tally struct {
	mu    sync.Mutex
	added uint64
	ended map[CommandState]uint64
}

func (t *tally) take(tx *Tx) {
	if tx.added == 0 && len(tx.ended) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.added += tx.added
	if t.ended == nil {
		t.ended = make(map[CommandState]uint64)
	}
	for _, s := range tx.ended {
		t.ended[s]++
	}
}

// CommandCounts returns the number of commands added, and the number that ended in each state.
func (db *DB) CommandCounts() CommandCounts {
	db.tally.mu.Lock()
	defer db.tally.mu.Unlock()
	return CommandCounts{db.tally.added, maps.Clone(db.tally.ended)}
}
