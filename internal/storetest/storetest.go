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
func Ballast(tb testing.TB, db *store.DB) {
	tb.Helper()
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
			tb.Fatal(err)
		}
	}
}

// MaxSize is an option of the store that keeps the data file from growing beyond its present size.
const MaxSize = 1

// Fill leaves the store without room even for a small change until the function it returns is called: a
// reader of every version keeps its pages from being used again. It changes the evidence of the node.
func Fill(tb testing.TB, db *store.DB, nodeID string) (release func()) {
	tb.Helper()
	var readers sync.WaitGroup
	end := make(chan struct{})
	release = sync.OnceFunc(func() { close(end); readers.Wait() })
	tb.Cleanup(release)
	for range 1000 {
		err := db.Update(func(tx *store.Tx) error {
			return tx.UpdateEvidence(nodeID, func(e *store.Evidence) { e.HeartbeatAt = tx.Now() })
		})
		if errors.Is(err, store.ErrFull) {
			return release
		}
		if err != nil {
			tb.Fatal(err)
		}
		started := make(chan struct{})
		readers.Go(func() {
			_ = db.View(func(*store.Tx) error { close(started); <-end; return nil })
		})
		<-started
	}
	tb.Fatal("the store never filled up")
	return nil
}

// Damage makes the records that begin with the text unreadable in the data file in dir, while it is
// open, until the function it returns is called. A record that the writer has read since the file was
// opened may be known to it still.
func Damage(tb testing.TB, dir, begin string) (repair func()) {
	tb.Helper()
	path := filepath.Join(dir, store.FileName)
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
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
		tb.Fatalf("no record begins with %s", begin)
	}
	write := func(first byte) {
		tb.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			tb.Fatal(err)
		}
		for _, at := range found {
			if _, err := f.WriteAt([]byte{first}, at); err != nil {
				tb.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	write('#')
	return func() { write(begin[0]) }
}

// Subscriptions counts the subscriptions of the store that are not closed.
func Subscriptions(db *store.DB) int {
	return reflect.ValueOf(db).Elem().FieldByName("feed").FieldByName("subs").Len()
}
