package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Backup is a copy of the data file. Close deletes it.
type Backup struct {
	*os.File
	Size int64 // bytes
}

// Backup copies the data file as it is now, in one transaction, into an unlinked file in the same
// directory. So it takes as long as the disk does, however slowly the copy is read afterwards: a
// long read transaction keeps the data file growing, and can block a write that has to enlarge it.
// Each page of the copy is checked. Errors: [ErrFull], also if the copy would leave less free space
// than it takes; [ErrDamaged], [ErrReadOnly], [ErrDisk], [ErrClosed].
func (db *DB) Backup() (*Backup, error) {
	f, err := os.CreateTemp(filepath.Dir(db.path), "backup-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("create the file of a backup: %w", diskError(err))
	}
	_ = os.Remove(f.Name())
	b := &Backup{File: f}
	err = db.View(func(tx *Tx) error {
		if err := roomFor(f, tx.bolt.Size()); err != nil {
			return err
		}
		if b.Size, err = tx.bolt.WriteTo(f); errors.Is(err, io.EOF) {
			return damaged("it was cut off")
		}
		return err
	})
	if err == nil {
		err = db.noteBroken(checkAll(f, b.Size))
	}
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("copy the data file: %w", diskError(err))
	}
	return b, nil
}

// roomFor checks that a copy of the size leaves as much space again, so that writers do not run out
// of space because of it.
func roomFor(f *os.File, size int64) error {
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("read the free space: %w", err)
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < 2*size { //nolint:gosec,unconvert // the types differ between systems
		return fmt.Errorf("a backup takes %d bytes, %d are free: %w", size, free, ErrFull)
	}
	return nil
}
