package store

import (
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
)

// maxBatch bounds how many Updates share one transaction, and with it the memory of one commit.
const maxBatch = 512

// writer is the one goroutine that writes: group commit. It never waits for company: it takes
// what is queued, commits it with one fdatasync, and meanwhile the next ones queue up. So a lone
// Update pays one disk write, and a thousand concurrent ones pay a few.
type writer struct {
	db       *DB
	requests chan *writeRequest
	stopping chan struct{}
	done     chan struct{}

	mu  sync.Mutex
	err error // of the last write that failed, until forgiven
}

type writeRequest struct {
	fn    func(*Tx) error
	reply chan error
}

func newWriter(db *DB) *writer {
	w := &writer{
		db: db, requests: make(chan *writeRequest, maxBatch),
		stopping: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *writer) do(fn func(*Tx) error) error {
	r := &writeRequest{fn: fn, reply: make(chan error, 1)}
	select {
	case <-w.stopping:
		return ErrClosed
	default:
	}
	select {
	case w.requests <- r:
	case <-w.stopping:
		return ErrClosed
	}
	select {
	case err := <-r.reply:
		return err
	case <-w.done:
		select { // both may be ready; a commit that happened must not be denied
		case err := <-r.reply:
			return err
		default:
			return ErrClosed
		}
	}
}

func (w *writer) stop() {
	close(w.stopping)
	<-w.done
}

func (w *writer) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *writer) forgive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = nil
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case r := <-w.requests:
			w.commit(w.gather(r))
		case <-w.stopping:
			return
		}
	}
}

// gather takes what waits already, and nothing else.
func (w *writer) gather(first *writeRequest) []*writeRequest {
	batch := []*writeRequest{first}
	for len(batch) < maxBatch {
		select {
		case r := <-w.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction. A function that fails without having written simply
// gets its error. One that fails after it wrote costs a rollback, after which the others run
// again without it: each Update succeeds or fails on its own.
func (w *writer) commit(batch []*writeRequest) {
	for len(batch) > 0 {
		txs, culprit, err := w.attempt(batch)
		if culprit >= 0 {
			batch[culprit].reply <- err
			batch = append(batch[:culprit:culprit], batch[culprit+1:]...)
			continue
		}
		if err == nil {
			for _, tx := range txs {
				w.db.grants.apply(tx.grants)
			}
		}
		for i, r := range batch {
			tx := txs[i]
			switch {
			case tx.err != nil:
				r.reply <- tx.err
			case err != nil:
				r.reply <- err
			default:
				for _, fn := range tx.onCommit {
					fn()
				}
				w.db.tally.take(tx)
				w.db.feed.publish(tx.changes)
				r.reply <- nil
			}
		}
		return
	}
}

// attempt returns the index of a function that failed after it wrote, or -1. With -1, err is the
// result of the commit itself, and each Tx holds the result of its own function.
func (w *writer) attempt(batch []*writeRequest) (txs []*Tx, culprit int, err error) {
	b, err := w.db.bolt.Begin(true)
	if err != nil {
		return emptyTxs(batch), -1, w.note(diskError(err))
	}
	now := w.db.Now()
	dirty := false
	for i, r := range batch {
		tx := &Tx{bolt: b, now: now, writable: true}
		err := runGuarded(func(tx *Tx) error {
			err := r.fn(tx)
			if err == nil && w.db.witness != nil {
				err = tx.callWitness(w.db.witness)
			}
			return err
		}, tx)
		if err == nil {
			err = tx.settleGrants()
		}
		if err != nil && tx.wrote {
			return nil, i, rollback(b, err)
		}
		if err != nil { // keeps nothing of a transaction that failed
			tx = &Tx{err: err}
		}
		dirty = dirty || tx.wrote
		txs = append(txs, tx)
	}
	if !dirty {
		return txs, -1, b.Rollback()
	}
	return txs, -1, w.note(diskError(b.Commit()))
}

func emptyTxs(batch []*writeRequest) []*Tx {
	txs := make([]*Tx, len(batch))
	for i := range txs {
		txs[i] = &Tx{}
	}
	return txs
}

func rollback(b *bbolt.Tx, cause error) error {
	if err := b.Rollback(); err != nil {
		return fmt.Errorf("%w (roll back: %w)", cause, err)
	}
	return cause
}

// note keeps an error. A success does not take it back: on a full disk small writes still succeed
// now and then.
func (w *writer) note(err error) error {
	if err == nil {
		return nil
	}
	w.mu.Lock()
	first := w.err == nil
	w.err = err
	w.mu.Unlock()
	if first {
		w.db.log.Error("cannot write the data file", "err", err)
	}
	return err
}

// runGuarded turns a panic of fn into an error: one faulty request must not end the writer, on
// which everything else depends.
func runGuarded(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			tx.wrote = true // unknown, so roll back
			err = fmt.Errorf("%w: %v", ErrPanic, p)
		}
	}()
	return fn(tx)
}
