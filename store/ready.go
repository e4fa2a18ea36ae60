package store

import (
	"fmt"
	"time"
)

const (
	// hangsAfter is how long one write may take before the disk counts as hanging.
	hangsAfter = 10 * time.Second
	// probePatience is how long WriteError waits for its own write.
	probePatience = 2 * time.Second
)

// WriteError returns the reason why the store cannot be relied on to write, or nil. After a failed
// write it tries again, so that a health check sees the recovery. The record it writes is so large
// that it does not fit where a smaller one was freed. WriteError never waits long.
//
// Errors: those of [DB.Update], and [ErrHangs].
func (db *DB) WriteError() error {
	if err := db.broken(); err != nil {
		return err
	}
	if err := db.writer.hangs(); err != nil {
		return err
	}
	db.reopening.RLock()
	err := db.file.reachable()
	db.reopening.RUnlock()
	if err != nil && db.writer.running() {
		return db.noteBroken(err)
	}
	return db.writer.probe()
}

// hangs returns ErrHangs while one write takes too long.
func (w *writer) hangs() error {
	since := w.since.Load()
	if since == 0 {
		return nil
	}
	if took := time.Since(w.began) - time.Duration(since); took > hangsAfter {
		return fmt.Errorf("%w (a write has taken %s so far)", ErrHangs, took.Round(time.Second))
	}
	return nil
}

func (w *writer) running() bool {
	select {
	case <-w.stopping:
		return false
	default:
		return true
	}
}

// probe writes again after a failed write, and returns the resulting error.
func (w *writer) probe() error {
	w.mu.Lock()
	err := w.err
	if err == nil {
		w.mu.Unlock()
		return nil
	}
	done := w.probing
	if done == nil {
		done = make(chan struct{})
		w.probing = done
		go w.tryWrite(done)
	}
	w.mu.Unlock()
	patience := time.NewTimer(probePatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
	return w.lastError()
}

// tryWrite clears the last error if writing works again. It closes done at its end.
func (w *writer) tryWrite(done chan struct{}) {
	key := []byte("probe")
	err := w.do(func(tx *Tx) error { return tx.putRaw(bucketMeta, key, make([]byte, 64<<10)) })
	if err == nil {
		err = w.do(func(tx *Tx) error { return tx.deleteRaw(bucketMeta, key) })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err, w.probing = err, nil
	close(done)
}

func (w *writer) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
