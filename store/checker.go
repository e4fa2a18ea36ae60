package store

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// checkPatience returns how long a start waits for the check of a file of this size. A small file is
// always checked before anything is written: it takes milliseconds, except on a machine that is busy
// while it boots. A test shortens it.
var checkPatience = func(size int64) time.Duration {
	const small = 4 << 20
	if size <= small {
		return 5 * time.Second
	}
	return 50 * time.Millisecond
}

// checker checks every page and record of the file as it was at the start. It reads the file, not
// the mapped memory, where reading a bad page would fault. Its transaction keeps writers from
// reusing the pages it has yet to read, and ends with the check.
type checker struct {
	stopping atomic.Bool
	done     chan struct{} // closed at the end; nil if there is no check
	err      error         // set before done is closed
}

// startCheck begins to check the file. It returns the result if that is known soon. A fault found
// later marks the store as broken.
func (db *DB) startCheck() error {
	tx, err := db.begin(false)
	if err != nil {
		return err
	}
	c := &db.checker
	c.done = make(chan struct{})
	w := pageWalk{r: interruptible{db.file.file, &c.stopping}, meta: db.file.meta, record: checkRecord}
	w.fault = func(err error) bool { c.err = damaged(err); return false }
	decided := new(atomic.Bool) // whether the check belongs to the start, or continues in the background
	go func() {
		defer close(c.done)
		w.run()
		_ = db.release(tx)
		if late := !decided.CompareAndSwap(false, true); late && c.err != nil && !c.stopping.Load() {
			_ = db.noteBroken(c.err)
		}
	}()
	patience := time.NewTimer(checkPatience(db.Size()))
	defer patience.Stop()
	select {
	case <-c.done:
		return c.err
	case <-patience.C:
	}
	if decided.CompareAndSwap(false, true) {
		return nil
	}
	<-c.done
	return c.err
}

// checkAll checks every page and record of a file that no process writes. Error: [ErrDamaged].
func checkAll(f *os.File, size int64) (err error) {
	metas, err := intactMetas(f, size)
	if err != nil {
		return err
	}
	w := pageWalk{r: f, meta: metas[0], record: checkRecord, fault: func(fault error) bool { err = damaged(fault); return false }}
	w.run()
	return err
}

// stop ends the check and waits for its goroutine.
func (c *checker) stop() {
	c.stopping.Store(true)
	c.wait()
}

func (c *checker) wait() {
	if c.done != nil {
		<-c.done
	}
}

var errInterrupted = errors.New("the check was interrupted")

// interruptible is a file whose reads fail once the check is to stop.
type interruptible struct {
	io.ReaderAt
	stopping *atomic.Bool
}

func (r interruptible) ReadAt(p []byte, off int64) (int, error) {
	if r.stopping.Load() {
		return 0, errInterrupted
	}
	return r.ReaderAt.ReadAt(p, off) //nolint:wrapcheck // of the file
}
