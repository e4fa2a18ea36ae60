package store

import (
	"slices"
	"testing"
	"time"
)

func TestTheTimeBetweenTheLastSignOfLifeAndTheNextStartIsAGap(t *testing.T) {
	db := open(t)
	gaps := func() (g []Gap) {
		t.Helper()
		if err := db.View(func(tx *Tx) (err error) { g, err = tx.Gaps(); return err }); err != nil {
			t.Fatal(err)
		}
		return g
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(minutes int, fn func(*Tx) error) {
		t.Helper()
		update(t, db, func(tx *Tx) error {
			tx.now = begin.Add(time.Duration(minutes) * time.Minute)
			return fn(tx)
		})
	}
	at(0, (*Tx).NoteStart)
	if g := gaps(); len(g) != 0 {
		t.Fatalf("before the first start there is a gap: %v", g)
	}
	at(5, (*Tx).MarkAlive)
	at(65, (*Tx).NoteStart)
	at(70, (*Tx).NoteStart) // killed before its first mark
	want := []Gap{{begin.Add(5 * time.Minute), begin.Add(65 * time.Minute)}, {begin.Add(65 * time.Minute), begin.Add(70 * time.Minute)}}
	if g := gaps(); !slices.Equal(g, want) {
		t.Errorf("gaps %v, want %v", g, want)
	}
	at(60, (*Tx).NoteStart) // the clock was set back
	if g := gaps(); len(g) != 2 {
		t.Errorf("a gap that ends before it begins: %v", g)
	}
	for i := range 2 * gapsKept {
		at(100+i, (*Tx).NoteStart)
	}
	if g := gaps(); len(g) != gapsKept || !g[len(g)-1].To.Equal(begin.Add((99+2*gapsKept)*time.Minute)) {
		t.Errorf("%d gaps kept, the last ends %s", len(g), g[len(g)-1].To)
	}
}
