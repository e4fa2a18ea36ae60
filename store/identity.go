package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
)

// identity is the state in which the writer left the data file. Anyone with access to the directory
// can move, remove, replace, overwrite or cut the file while it is open. Writing would then
// continue into a file that the next start does not find.
type identity struct {
	path string
	file *os.File // bbolt's file
	info os.FileInfo
	need atomic.Int64 // bytes in use
	txid atomic.Uint64

	meta pageMeta // after the last commit; used by the writer only
}

// adopt takes over the state of the file that is used from now on.
func (i *identity) adopt(o *identity) {
	i.path, i.file, i.info, i.meta = o.path, o.file, o.info, o.meta
	i.need.Store(o.need.Load())
	i.txid.Store(o.txid.Load())
}

// reachable checks that the path leads to the open file, and that the file has all pages in use. It
// may be called on any goroutine. Errors: [ErrMoved], and those of the disk.
func (i *identity) reachable() error {
	need := i.need.Load() // first, since a commit first enlarges the file and then need
	now, err := os.Stat(i.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w (it is gone)", ErrMoved)
	case err != nil:
		return diskError(err)
	case !os.SameFile(i.info, now):
		return fmt.Errorf("%w (another file is there)", ErrMoved)
	}
	return whole(now, need)
}

// uncut checks that the open file has all pages in use, wherever the path leads.
func (i *identity) uncut() error {
	need := i.need.Load()
	now, err := i.file.Stat()
	if err != nil {
		return diskError(err)
	}
	return whole(now, need)
}

func whole(now os.FileInfo, need int64) error {
	if now.Size() < need {
		return fmt.Errorf("%w (it was cut to %d bytes)", ErrMoved, now.Size())
	}
	return nil
}

// unchanged checks reachable, and that only the writer has committed since.
func (i *identity) unchanged() error {
	if err := i.reachable(); err != nil {
		return err
	}
	m, ok, err := readMeta(i.file, i.meta.off)
	switch {
	case err != nil:
		return diskError(err)
	case !ok || m.raw != i.meta.raw:
		return fmt.Errorf("%w (it was overwritten)", ErrMoved)
	}
	return nil
}

// update records how the writer left the file. After a failed commit, that can be the new state or
// the former one.
func (i *identity) update() error {
	metas, err := readMetas(i.file)
	if err != nil {
		return diskError(err)
	}
	if len(metas) == 0 {
		return fmt.Errorf("%w (both meta pages are gone)", ErrMoved)
	}
	i.meta = metas[0]
	i.txid.Store(i.meta.txid)
	i.need.Store(int64(i.meta.pages) * i.meta.pageSize) //nolint:gosec // the size of a file
	return nil
}

// committed is update after the commit of the transaction. It checks that the commit went into the
// file that the next start will find.
func (i *identity) committed(txid uint64) error {
	if err := i.update(); err != nil {
		return err
	}
	if i.meta.txid != txid {
		return fmt.Errorf("%w (it was overwritten)", ErrMoved)
	}
	return i.reachable()
}

// openFile opens the file for bbolt and keeps it.
func (i *identity) openFile(path string, flag int, mode os.FileMode) (f *os.File, err error) {
	if f, err = os.OpenFile(path, flag, mode); err != nil {
		return nil, err
	}
	if i.info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, err
	}
	i.file = f
	return f, nil
}
