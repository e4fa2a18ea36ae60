package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// TestWhatAStartWritesIsWrittenBeforeAllElseOnceTheDiskTakesIt opens on a disk that is read-only, and
// on one that is full.
func TestWhatAStartWritesIsWrittenBeforeAllElseOnceTheDiskTakesIt(t *testing.T) {
	for name, disk := range map[string]struct {
		spoil, mend func(dir string) error
		want        error
	}{
		"read-only": {
			func(dir string) error {
				return syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
			},
			func(dir string) error { return syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "") },
			ErrReadOnly,
		},
		"full": {
			func(dir string) error {
				_ = os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 4<<20), 0o600)
				return nil
			},
			func(dir string) error { return os.Remove(filepath.Join(dir, "ballast")) },
			ErrFull,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mountTmpfs(t, dir, "size=4m")
			db, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			addNode(t, db, "node_1")
			if err := errors.Join(db.Close(), disk.spoil(dir)); err != nil {
				t.Fatal(err)
			}
			var order []string
			db, err = Open(dir, Options{First: func(tx *Tx) error {
				order = []string{"first"} // it may run more than once
				return tx.Note("node_1", JournalEntry{Message: strings.Repeat("x", 1<<20)})
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			second := func(tx *Tx) error { order = append(order, "second"); return tx.Note("node_1", JournalEntry{}) }
			if err := db.Update(second); !errors.Is(err, disk.want) {
				t.Errorf("Update: %v, want %v", err, disk.want)
			}
			if err := db.WriteError(); !errors.Is(err, disk.want) {
				t.Errorf("WriteError: %v, want %v", err, disk.want)
			}
			if err := db.View(func(tx *Tx) error { _, err := tx.Node("node_1"); return err }); err != nil {
				t.Errorf("View: %v", err)
			}
			if err := disk.mend(dir); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.WriteError(), db.Update(second)); err != nil {
				t.Errorf("when the disk takes writes: %v", err)
			}
			if fmt.Sprint(order) != "[first second]" {
				t.Errorf("written in the order %v", order)
			}
		})
	}
}

// TestConnectionsOfTheFormerRunHaveEndedBeforeThatIsWritten opens on a full disk.
func TestConnectionsOfTheFormerRunHaveEndedBeforeThatIsWritten(t *testing.T) {
	dir := t.TempDir()
	mountTmpfs(t, dir, "size=4m")
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addNode(t, db, "node_1")
	connect := func(tx *Tx) error {
		return tx.UpdateEvidence("node_1", func(e *Evidence) { e.ConnectionID, e.ConnectedAt = 1, tx.Now() })
	}
	ballast := filepath.Join(dir, "ballast")
	if err := errors.Join(db.Update(connect), db.Close()); err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(ballast, make([]byte, 4<<20), 0o600)
	db, err = Open(dir, Options{OwnBroker: true, First: func(tx *Tx) error {
		return tx.Note("node_1", JournalEntry{Message: strings.Repeat("x", 1<<20)})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	read := func() (e Evidence) {
		t.Helper()
		if err := db.View(func(tx *Tx) (err error) { e, err = tx.Evidence("node_1"); return err }); err != nil {
			t.Fatal(err)
		}
		return e
	}
	unwritten := read()
	if unwritten.ConnectionOpen() || unwritten.DisconnectedAt.IsZero() {
		t.Errorf("while the disk is full: %+v", unwritten)
	}
	if err := errors.Join(os.Remove(ballast), db.Update(func(*Tx) error { return nil })); err != nil {
		t.Fatal(err)
	}
	if e := read(); e.ConnectionOpen() || !e.DisconnectedAt.Equal(unwritten.DisconnectedAt) {
		t.Errorf("once it is written: %+v, before it %+v", e, unwritten)
	}
	if err := db.Update(connect); err != nil || !read().ConnectionOpen() {
		t.Errorf("a new connection: %v, %+v", err, read())
	}
}
