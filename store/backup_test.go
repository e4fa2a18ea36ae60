package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
)

// dump is every bucket with its keys and values.
func dump(t *testing.T, db *DB) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			all[string(name)] = ""
			return b.ForEach(func(k, v []byte) error {
				all[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestABackupOpensAndEqualsTheStoreAsItWas(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	bind(t, db)
	want := dump(t, db)
	b, err := db.Backup()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	addNode(t, db, "node_2") // after it was taken: not in it, and not held up by it

	dir := t.TempDir()
	raw, err := io.ReadAll(b)
	if err != nil || int64(len(raw)) != b.Size {
		t.Fatalf("%d bytes of %d: %v", len(raw), b.Size, err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	got := dump(t, restored)
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%q is %q, was %q", k, got[k], v)
		}
	}
	if _, ok := restored.Grant("node_1"); !ok {
		t.Error("the node lost its right")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(db.bolt.Path()), "backup-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestABackupOfABusyStoreIsConsistent(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := db.Update(func(tx *Tx) error { return tx.Note("node_1", JournalEntry{Message: "x"}) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		b, err := db.Backup()
		if err != nil {
			t.Error(err)
			break
		}
		raw, _ := io.ReadAll(b)
		_ = b.Close()
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		copied, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = copied.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			return nil
		})
		_ = copied.Close()
	}
	close(stop)
	writers.Wait()
}

func TestNoBackupOfAClosedStore(t *testing.T) {
	db, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if _, err := db.Backup(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
