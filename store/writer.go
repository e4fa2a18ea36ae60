package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// maxBatch bounds the number of Updates that share a transaction, and with it the memory of a
// commit.
const maxBatch = 512

// writer is the one goroutine that writes, with group commit. It never waits for more Updates to
// arrive: it takes those in the queue and commits them with one fdatasync, while the next ones
// queue up. So a lone Update costs one disk write, and a thousand concurrent ones cost a few.
type writer struct {
	db       *DB
	requests chan []*writeRequest
	stopping chan struct{}
	done     chan struct{}

	// recent is used by the goroutine only.
	recent *recent
	tried  uint64 // the transaction of the last commit, even if it failed; of the goroutine only
	// first runs before everything else; nil once it has succeeded.
	first func(*Tx) error
	// commitTx is [bbolt.Tx.Commit], which a test can replace.
	commitTx func(*bbolt.Tx) error
	// since is when the current transaction began, in nanoseconds of the process; 0 between
	// transactions.
	since atomic.Int64
	began time.Time // when the process began

	mu      sync.Mutex
	err     error // of the last failed write, until a probe succeeds
	probing chan struct{}
}

type writeRequest struct {
	fn    func(*Tx) error
	reply chan error
	// regranted are the nodes whose grant the commit changed. It is set before the reply.
	regranted []string
}

func newWriter(db *DB) *writer {
	w := &writer{
		db: db, requests: make(chan []*writeRequest, maxBatch),
		stopping: make(chan struct{}), done: make(chan struct{}),
		commitTx: (*bbolt.Tx).Commit, began: time.Now(), recent: newRecent(),
	}
	w.first = func(tx *Tx) error {
		if err := tx.settleClock(db.log); err != nil {
			return err
		}
		if db.opts.First != nil {
			if err := db.opts.First(tx); err != nil {
				return err
			}
		}
		if !db.opts.OwnBroker {
			return nil
		}
		return tx.CloseAllConnections(db.opened)
	}
	go w.run()
	return w
}

func (w *writer) do(fn func(*Tx) error) error { return w.doAll([]func(*Tx) error{fn})[0] }

// doAll puts the functions in the queue as one entry, so that they run in order and share one
// commit.
func (w *writer) doAll(fns []func(*Tx) error) []error {
	errs := make([]error, len(fns))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := w.db.broken(); err != nil {
		return fail(err)
	}
	group := make([]*writeRequest, len(fns))
	for i, fn := range fns {
		group[i] = &writeRequest{fn: fn, reply: make(chan error, 1)}
	}
	select {
	case <-w.stopping:
		return fail(ErrClosed)
	default:
	}
	select {
	case w.requests <- group:
	case <-w.stopping:
		return fail(ErrClosed)
	}
	var regranted []string
	for i, r := range group {
		errs[i] = w.await(r)
		regranted = append(regranted, r.regranted...)
	}
	w.db.grants.tell(regranted)
	return errs
}

func (w *writer) await(r *writeRequest) error {
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

func (w *writer) run() {
	defer close(w.done)
	debug.SetPanicOnFault(true) // see guarded
	for {
		select {
		case r := <-w.requests:
			w.since.Store(max(1, int64(time.Since(w.began))))
			w.handle(w.gather(r))
			w.since.Store(0)
		case <-w.stopping:
			return
		}
	}
}

// gather takes the requests that are already queued, without waiting. A group stays together, so a
// batch may exceed maxBatch by one group.
func (w *writer) gather(first []*writeRequest) []*writeRequest {
	batch := first
	for len(batch) < maxBatch {
		select {
		case group := <-w.requests:
			batch = append(batch, group...)
		default:
			return batch
		}
	}
	return batch
}

// handle commits the batch, after running first if it has not succeeded yet.
func (w *writer) handle(batch []*writeRequest) {
	if w.first != nil {
		r := &writeRequest{fn: w.first, reply: make(chan error, 1)}
		w.commit([]*writeRequest{r})
		if err := <-r.reply; err != nil {
			for _, r := range batch {
				r.reply <- w.note(err)
			}
			return
		}
		w.first = nil
		w.db.settled.Store(true)
	}
	w.commit(batch)
}

// commit runs the batch in one transaction. A function that fails without having written just gets
// its error. One that fails after it wrote causes a rollback, after which the others run again
// without it: each Update succeeds or fails on its own.
func (w *writer) commit(batch []*writeRequest) {
	for len(batch) > 0 {
		txs, culprit, err := w.attempt(batch)
		if culprit >= 0 {
			batch[culprit].reply <- err
			batch = append(batch[:culprit:culprit], batch[culprit+1:]...)
			continue
		}
		if err == nil {
			for i, tx := range txs {
				batch[i].regranted = w.db.grants.apply(tx.grants)
			}
		} else {
			w.afterFailure(batch, txs)
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
				w.db.revisions.take(tx)
				w.db.feed.publish(tx.changes)
				r.reply <- nil
			}
		}
		return
	}
}

// batch is shared by the Updates that are written in one transaction.
type batch struct {
	db     *DB
	grants map[string]grantChange // changed by earlier Updates; valid with the commit
}

func (b *batch) take(changes []grantChange) {
	for _, c := range changes {
		if b.grants == nil {
			b.grants = make(map[string]grantChange)
		}
		b.grants[c.nodeID] = c
	}
}

// grant returns the node's right after the earlier Updates.
func (b *batch) grant(nodeID string) (Grant, bool) {
	if c, ok := b.grants[nodeID]; ok {
		return c.grant, c.ok
	}
	return b.db.Grant(nodeID)
}

// attempt returns the index of a function that failed after it wrote, or -1. With -1, err is the
// result of the commit itself, and each Tx holds the result of its own function.
func (w *writer) attempt(requests []*writeRequest) (txs []*Tx, culprit int, err error) {
	if err := w.ready(); err != nil {
		return emptyTxs(requests), -1, err
	}
	b, err := w.db.begin(true)
	if err != nil {
		return emptyTxs(requests), -1, w.note(diskError(err))
	}
	now := w.db.Now()
	dirty := false
	shared := &batch{db: w.db}
	for i, r := range requests {
		tx := &Tx{bolt: b, now: now, writable: true, recent: w.recent, batch: shared}
		err := w.call(r.fn, tx)
		if err == nil {
			err = tx.settleGrants()
		}
		if err != nil && tx.wrote {
			w.recent = newRecent()
			return nil, i, w.rollback(b, err)
		}
		if err != nil { // keeps nothing of a transaction that failed
			tx = &Tx{err: err}
		}
		shared.take(tx.grants)
		dirty = dirty || tx.wrote
		txs = append(txs, tx)
	}
	if !dirty {
		return txs, -1, w.db.release(b)
	}
	if err = w.finish(b); err != nil {
		w.recent = newRecent()
	}
	return txs, -1, err
}

// ready checks that the next start will find the file that is written.
func (w *writer) ready() error {
	if err := w.db.broken(); err != nil {
		return err
	}
	if w.db.bolt.IsReadOnly() {
		if err := w.db.reopen(); err != nil {
			return w.note(err)
		}
		w.recent = newRecent()
	}
	return w.note(w.db.file.unchanged())
}

// finish commits b. A commit counts as written only if it went into the file that the next start
// will find.
func (w *writer) finish(b *bbolt.Tx) error {
	id := uint64(b.ID()) //nolint:gosec // counts from 0
	w.tried = id
	err := guarded(func() error { return w.commitTx(b) })
	if errors.Is(err, ErrDamaged) {
		_ = w.db.release(b)
	}
	if err == nil {
		err = w.db.file.committed(id)
	}
	return w.note(diskError(err))
}

// afterFailure makes the state in memory agree with the file. A commit that failed at its very end
// may be in the file nevertheless.
func (w *writer) afterFailure(batch []*writeRequest, txs []*Tx) {
	if w.db.broken() != nil { // until the next start, which reads everything again
		return
	}
	if err := w.db.file.update(); err != nil {
		_ = w.note(err)
		return
	}
	var changes []Change
	err := w.db.View(func(now *Tx) error {
		for i, tx := range txs {
			changes = append(changes, tx.changes...)
			for id := range tx.touched {
				g, ok, err := now.Grant(id)
				if err != nil {
					return fmt.Errorf("grant of %q: %w", id, err)
				}
				batch[i].regranted = append(batch[i].regranted, w.db.grants.apply([]grantChange{{id, g, ok}})...)
			}
		}
		return nil
	})
	if err != nil {
		_ = w.note(err)
	}
	// Subscribers do not get changes that are not in the file: a subscriber that writes again after
	// each change would try at once, and for ever.
	if w.db.file.txid.Load() == w.tried {
		w.db.revisions.take(txs...)
		w.db.feed.publish(changes)
	}
}

func emptyTxs(batch []*writeRequest) []*Tx {
	txs := make([]*Tx, len(batch))
	for i := range txs {
		txs[i] = &Tx{}
	}
	return txs
}

func (w *writer) rollback(b *bbolt.Tx, cause error) error {
	if err := w.db.release(b); err != nil {
		return fmt.Errorf("%w (roll back: %w)", cause, err)
	}
	return cause
}

// note keeps an error. A success does not clear it: on a full disk, small writes still succeed now
// and then.
func (w *writer) note(err error) error {
	if err == nil {
		return nil
	}
	if _ = w.db.noteBroken(err); w.db.broken() != nil { // logged by noteBroken itself
		return err
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

// call turns a panic of fn into an error: one faulty request must not end the writer, which
// everything depends on.
func (w *writer) call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		p := recover()
		switch {
		case p == nil:
		case fromDamage(p):
			tx.wrote = true // unknown, so roll back
			err = w.db.noteBroken(damaged(p))
		default:
			tx.wrote = true
			err = fmt.Errorf("%w: %v", ErrPanic, p)
		}
	}()
	if err = fn(tx); err == nil && w.db.opts.Witness != nil {
		err = tx.callWitness(w.db.opts.Witness)
	}
	return w.db.noteBroken(err)
}
