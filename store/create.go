package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"wfm/internal/atomicfile"
)

// newSuffix ends the name of a data file that is being made.
const newSuffix = ".new"

// create makes the data file if there is none. It gets its name only when it is whole and on disk,
// so that a start that is killed, or finds no room, leaves nothing that looks like one.
func create(dir, path string, maxSize int) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	if err := fill(path+newSuffix, maxSize); err != nil {
		_ = os.Remove(path + newSuffix)
		return err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return diskError(err)
	}
	return diskError(atomicfile.SyncDir(dir))
}

func fill(path string, maxSize int) error {
	return guarded(func() error { // on a full disk, writing to a hole of the mapped file faults
		bolt, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Nanosecond, FreelistType: bbolt.FreelistMapType, MaxSize: maxSize})
		if err != nil {
			return diskError(err)
		}
		return errors.Join(migrate(bolt, migrations), bolt.Close())
	})
}

// lock keeps other processes from making a data file in dir. Where directories cannot be locked, it
// does nothing. Error: [ErrInUse].
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, diskError(err)
	}
	if err := flock(f, syscall.LOCK_EX); errors.Is(err, ErrInUse) {
		_ = f.Close()
		return nil, err
	}
	return func() { closeLocked(f) }, nil
}

// closeLocked gives up the lock and closes the file. Closing alone does not do: a child that this
// process is just starting has the file open until it runs its own program, and keeps the lock as long.
func closeLocked(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // fails only where locks are not supported
	_ = f.Close()                                   // it was only read
}

func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// openForReading opens a data file and makes sure that no other process writes it, until [closeLocked]. Errors:
// [ErrDamaged] for what cannot be one, [ErrInUse], and those of the disk.
func openForReading(path string) (f *os.File, size int64, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, diskError(err)
	case info.IsDir():
		return nil, 0, damaged("it is a directory")
	case !info.Mode().IsRegular():
		return nil, 0, damaged("it is no regular file")
	case info.Size() == 0:
		return nil, 0, damaged("it is empty")
	}
	if f, err = os.Open(path); err != nil {
		return nil, 0, diskError(err)
	}
	if err := flock(f, syscall.LOCK_SH); errors.Is(err, ErrInUse) {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// inspect makes sure that bbolt can open the file: a damaged free list, or a file that is shorter
// than it says, has bbolt ask for any amount of memory, or read where no file is.
func inspect(path string, log *slog.Logger) error {
	f, size, err := openForReading(path)
	if err != nil {
		return err
	}
	defer closeLocked(f)
	metas, err := intactMetas(f, size)
	if err != nil {
		return err
	}
	if len(metas) == 1 {
		log.Warn("a page at the head of the data file is damaged, as a power cut may leave it; the state before the last write may be what is used",
			"path", path)
	}
	var fault error
	w := pageWalk{r: f, meta: metas[0], fault: func(err error) bool { fault = err; return false }}
	if w.begin() != nil {
		return damaged(fault)
	}
	return nil
}

// intactMetas returns the sound meta pages, the newest first and at least one, and makes sure that
// the file is as long as that says. Errors: [ErrDamaged], and those of the disk.
func intactMetas(f *os.File, size int64) ([]pageMeta, error) {
	metas, err := readMetas(f)
	switch {
	case err != nil:
		return nil, diskError(err)
	case len(metas) == 0:
		return nil, damaged("it does not begin like one")
	}
	if m := metas[0]; m.pages < 4 || m.pages > uint64(size/m.pageSize) { //nolint:gosec // a size is positive
		return nil, damaged(fmt.Sprintf("it was cut off: %d of %d bytes are there", size, m.pages*uint64(m.pageSize))) //nolint:gosec // a size is positive
	}
	return metas, nil
}
