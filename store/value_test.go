package store

import (
	"context"
	"errors"
	"testing"
)

func TestWriteReturnsTheValueOfTheRunThatWasCommitted(t *testing.T) {
	db := open(t)
	boom := errors.New("boom")
	runs := 0
	write := func(tx *Tx) (int, error) {
		runs++
		return runs, tx.Note("n", JournalEntry{})
	}
	twice := func(fn func(*Tx) error) error { // as the writer does when another Update of the batch fails
		if err := db.Update(func(tx *Tx) error { return errors.Join(fn(tx), boom) }); !errors.Is(err, boom) {
			return err
		}
		return db.Update(fn)
	}
	if got, err := WriteFor(WithUpdate(context.Background(), twice), db, write); err != nil || got != 2 || runs != 2 {
		t.Errorf("after %d runs the value is %d (%v), want 2", runs, got, err)
	}
	if got, err := Write(db, write); err != nil || got != 3 {
		t.Errorf("the value is %d (%v), want 3", got, err)
	}
}

func TestAnErrorComesWithoutAValue(t *testing.T) {
	db := open(t)
	boom := errors.New("boom")
	fail := func(*Tx) (int, error) { return 7, boom }
	for name, run := range map[string]func(*DB, func(*Tx) (int, error)) (int, error){"Read": Read[int], "Write": Write[int]} {
		if got, err := run(db, fail); got != 0 || !errors.Is(err, boom) {
			t.Errorf("%s returns %d, %v", name, got, err)
		}
	}
	fine := func(*Tx) (int, error) { return 7, nil }
	if got, err := Read(db, fine); got != 7 || err != nil {
		t.Errorf("Read returns %d, %v", got, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := Write(db, fine); got != 0 || !errors.Is(err, ErrClosed) {
		t.Errorf("Write to a closed store returns %d, %v", got, err)
	}
}
