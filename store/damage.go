package store

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// guarded runs fn and turns bbolt's reactions to a damaged file into ErrDamaged: bbolt panics, or
// follows a page number beyond the end of the file, which faults. Any other panic goes on.
//
// fn must stay on its goroutine: the runtime turns faults into panics per goroutine.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if !fromDamage(p) {
				panic(p)
			}
			err = damaged(p)
		}
	}()
	return fn()
}

// damaged returns ErrDamaged with the cause in brackets.
func damaged(cause any) error {
	if err, ok := cause.(error); ok && errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w (%v)", ErrDamaged, cause)
}

// indexError returns the error of reading a record that an index names: if it is missing, the file
// is damaged.
func indexError(err error) error {
	if isNotFound(err) {
		return damaged("an index names a missing record")
	}
	return err
}

func isNotFound(err error) bool {
	return errors.Is(err, ErrConfigNotFound) || errors.Is(err, ErrNodeNotFound) || errors.Is(err, ErrCommandNotFound) ||
		errors.Is(err, ErrRolloutNotFound)
}

// fromDamage reports whether p, which was just recovered, comes from bbolt or from a fault in the
// mapped file. It looks at the stack, which still exists while deferred functions run.
func fromDamage(p any) bool {
	if _, fault := p.(interface{ Addr() uintptr }); fault { // in Go code, only the mapped file can fault
		return true
	}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	panicked := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked = true
		case panicked && !strings.HasPrefix(f.Function, "runtime."):
			return strings.HasPrefix(f.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false
		}
	}
}

// broken returns the reason why nothing is written until the next start, ErrDamaged or ErrMoved;
// nil while the file is sound.
func (db *DB) broken() error {
	if err := db.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// noteBroken stops all writing if err says that the file was damaged or moved, and returns err. The
// first such error is logged, and returned from then on.
func (db *DB) noteBroken(err error) error {
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrMoved) {
		return err
	}
	if db.fault.CompareAndSwap(nil, &err) {
		db.log.Error("the data file is unusable; nothing is written until the next start", "path", db.path, "err", err)
	}
	return err
}

// begin starts a transaction. If bbolt panics here, its locks stay held, so no other call may wait
// for them.
func (db *DB) begin(writable bool) (tx *bbolt.Tx, err error) {
	if db.stuck.Load() {
		return nil, db.broken()
	}
	err = guarded(func() (err error) {
		tx, err = db.bolt.Begin(writable)
		return err
	})
	if errors.Is(err, ErrDamaged) {
		_ = db.noteBroken(err)
		db.stuck.Store(true)
	}
	return tx, err
}

// release ends a transaction that is not to be committed, or whose commit panicked.
func (db *DB) release(tx *bbolt.Tx) error {
	err := guarded(tx.Rollback)
	switch {
	case errors.Is(err, bolterrors.ErrTxClosed):
		return nil
	case errors.Is(err, ErrDamaged):
		_ = db.noteBroken(err)
		db.stuck.Store(true)
	}
	return err
}
