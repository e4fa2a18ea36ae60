package storetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"wfm/store"
)

// Ballast leaves some room within the data file, for [Fill] to take. The store must then be closed, and
// opened again with [MaxSize].
func Ballast(t testing.TB, db *store.DB) {
	t.Helper()
	for _, text := range []string{strings.Repeat("x", 4<<10), ""} { // short notes push out the long ones
		err := db.Update(func(tx *store.Tx) error {
			for range 200 {
				if err := tx.Note("ballast", store.JournalEntry{Message: text}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// MaxSize is an option of the store that keeps the data file from growing beyond its present size.
const MaxSize = 1

// Fill leaves the store without room even for a small change until the function it returns is called: a
// reader of every version keeps its pages from being used again. It changes the evidence of the node.
func Fill(t testing.TB, db *store.DB, nodeID string) (release func()) {
	t.Helper()
	var readers sync.WaitGroup
	end := make(chan struct{})
	release = sync.OnceFunc(func() { close(end); readers.Wait() })
	t.Cleanup(release)
	for range 1000 {
		err := db.Update(func(tx *store.Tx) error {
			return tx.UpdateEvidence(nodeID, func(e *store.Evidence) { e.HeartbeatAt = tx.Now() })
		})
		if errors.Is(err, store.ErrFull) {
			return release
		}
		if err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		readers.Go(func() {
			_ = db.View(func(*store.Tx) error { close(started); <-end; return nil })
		})
		<-started
	}
	t.Fatal("the store never filled up")
	return nil
}

// Damage makes the records that begin with the text unreadable in the data file in dir, while it is
// open, until the function it returns is called. A record that the writer has read since the file was
// opened may be known to it still.
func Damage(t testing.TB, dir, begin string) (repair func()) {
	t.Helper()
	path := filepath.Join(dir, store.FileName)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []int64
	for at := 0; ; at++ {
		next := bytes.Index(raw[at:], []byte(begin))
		if next < 0 {
			break
		}
		at += next
		found = append(found, int64(at))
	}
	if len(found) == 0 {
		t.Fatalf("no record begins with %s", begin)
	}
	write := func(first byte) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range found {
			if _, err := f.WriteAt([]byte{first}, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write('#')
	return func() { write(begin[0]) }
}

// Subscriptions counts the subscriptions of the store that are not closed.
func Subscriptions(db *store.DB) int {
	return reflect.ValueOf(db).Elem().FieldByName("feed").FieldByName("subs").Len()
}
