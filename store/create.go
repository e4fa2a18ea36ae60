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

// newSuffix ends the name of an unfinished data file.
const newSuffix = ".new"

// create creates the data file if there is none. The file gets its name only once it is complete
// and on disk, so that a start that is killed or runs out of space leaves nothing that looks like
// one.
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

// lock keeps other processes from creating a data file in dir. It does nothing where directories
// cannot be locked. Error: [ErrInUse].
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

// closeLocked gives up the lock and closes the file. Closing is not enough: a child process that is
// just being started holds the file open until it executes its own program, and with it the lock.
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

// openForReading opens a data file and locks out other writers until [closeLocked]. Errors:
// [ErrDamaged] for a file that cannot be one, [ErrInUse], and those of the disk.
func openForReading(path string) (f *os.File, size int64, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, diskError(err)
	case info.IsDir():
		return nil, 0, damaged("it is a directory")
	case !info.Mode().IsRegular():
		return nil, 0, damaged("it is not a regular file")
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

// inspect checks that bbolt can open the file safely. A damaged free list, or a file shorter than
// its meta page says, makes bbolt allocate any amount of memory or read beyond the end of the file.
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
		log.Warn("one of the two meta pages of the data file is damaged, perhaps by a power cut; the last write may be missing",
			"path", path)
	}
	var fault error
	w := pageWalk{r: f, meta: metas[0], fault: func(err error) bool { fault = err; return false }}
	if w.begin() != nil {
		return damaged(fault)
	}
	return nil
}

// intactMetas returns the sound meta pages, newest first and at least one, and checks that the file
// is as long as they say. Errors: [ErrDamaged], and those of the disk.
func intactMetas(f *os.File, size int64) ([]pageMeta, error) {
	metas, err := readMetas(f)
	switch {
	case err != nil:
		return nil, diskError(err)
	case len(metas) == 0:
		return nil, damaged("it has no valid meta page")
	}
	if m := metas[0]; m.pages < 4 || m.pages > uint64(size/m.pageSize) { //nolint:gosec // a size is positive
		return nil, damaged(fmt.Sprintf("it was cut off: %d of %d bytes are left", size, m.pages*uint64(m.pageSize))) //nolint:gosec // a size is positive
	}
	return metas, nil
}
