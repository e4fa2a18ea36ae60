package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// TestNothingIsAcknowledgedIntoAFileThatNoStartFindsAgain has the live file moved, removed, replaced,
// overwritten or cut, at rest and in the middle of a commit.
func TestNothingIsAcknowledgedIntoAFileThatNoStartFindsAgain(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	aside := func(path string) string { return path + ".aside" }
	for name, do := range map[string]func(path string) error{
		"moved":   func(path string) error { return os.Rename(path, aside(path)) },
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(aside(path), raw, 0o600), os.Rename(aside(path), path))
		},
		"overwritten with an older copy": func(path string) error { return os.WriteFile(path, raw, 0o600) },
		"overwritten in place": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(raw)
			return errors.Join(err, f.Close())
		},
		"overwritten with nothing": func(path string) error { return os.WriteFile(path, make([]byte, len(raw)), 0o600) },
		"cut to a half":            func(path string) error { return os.Truncate(path, int64(len(raw)/8192*4096)) },
		"cut to nothing":           func(path string) error { return os.Truncate(path, 0) },
		"directory moved":          func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".aside") },
	} {
		for when, inCommit := range map[string]bool{"at rest": false, "in a commit": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data")
				path := filepath.Join(dir, FileName)
				if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path, raw, 0o600)); err != nil {
					t.Fatal(err)
				}
				db, err := Open(dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				db.checker.wait()
				note := func(tx *Tx) error { return tx.Note("node_1", JournalEntry{Message: "x"}) }
				update(t, db, note)
				if inCommit {
					db.writer.commitTx = func(tx *bbolt.Tx) error { return errors.Join(tx.Commit(), do(path)) }
				} else if err := do(path); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if err := db.Update(note); !errors.Is(err, ErrMoved) && !errors.Is(err, ErrDamaged) {
						t.Errorf("Update: %v, want ErrMoved", err)
					}
				}
				if at, err := os.ReadFile(path); !inCommit && strings.HasPrefix(name, "overwritten with an") && (err != nil || !bytes.Equal(at, raw)) {
					t.Errorf("the copy that was put there was written to (%v)", err)
				}
				if err := db.WriteError(); !errors.Is(err, ErrMoved) && !errors.Is(err, ErrDamaged) {
					t.Errorf("WriteError: %v", err)
				}
				_ = db.View(func(tx *Tx) error { _, err := tx.Nodes("cfg_a", "", 0); return err })
			})
		}
	}
}

// TestAMovedFileIsNoticedWithoutAWrite tests the check behind /readyz.
func TestAMovedFileIsNoticedWithoutAWrite(t *testing.T) {
	t.Parallel()
	db, err := openCopy(t, sampleFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.WriteError(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(db.path, db.path+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := db.WriteError(); !errors.Is(err, ErrMoved) {
		t.Errorf("WriteError: %v, want ErrMoved", err)
	}
}

func TestTheCheckOfABackupFindsWhatIsDamagedInIt(t *testing.T) {
	t.Parallel()
	db, err := openCopy(t, sampleFile(t))
	if err != nil {
		t.Fatal(err)
	}
	raw := sampleFile(t) // which has it several times: free pages are not cleared
	overwrite(t, db.path, 0, bytes.ReplaceAll(raw, []byte(`"node_id":"node_7"`), []byte("\"node\x00id\":\"node_7\"")))
	if b, err := db.Backup(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Backup: %v, want ErrDamaged", err)
		_ = b.Close()
	}
}
