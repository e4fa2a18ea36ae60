package store

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// TestMemoryAndFileAgreeAfterACommitThatFailedAtItsEnd makes the last sync of a commit fail: the
// writes are in the file although their caller gets an error.
func TestMemoryAndFileAgreeAfterACommitThatFailedAtItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	addNode(t, db, "node_1")
	bind(t, db)
	if _, ok := db.Grant("node_1"); !ok {
		t.Fatal("no grant")
	}
	var revoked []string
	db.WatchGrants(func(ids []string) { revoked = append(revoked, ids...) })
	feed := db.Subscribe(16)
	fail := func(tx *bbolt.Tx) error {
		return errors.Join(tx.Commit(), &os.PathError{Op: "fdatasync", Path: "wfm.db", Err: syscall.EIO})
	}
	db.writer.commitTx = fail
	reset := func(tx *Tx) error { return tx.ResetClient("node_1") }
	if err := db.Update(reset); !errors.Is(err, ErrDisk) {
		t.Errorf("Update: %v, want ErrDisk", err)
	}
	if _, ok := db.Grant("node_1"); ok {
		t.Error("the old password still logs in")
	}
	if !slices.Equal(revoked, []string{"node_1"}) {
		t.Errorf("revoked: %v", revoked)
	}
	select {
	case <-feed.C:
	default:
		t.Error("the feed was not told")
	}
	db.writer.commitTx = (*bbolt.Tx).Commit
	if err := db.WriteError(); err != nil {
		t.Errorf("WriteError, with a disk that works again: %v", err)
	}

	// A commit that failed before its end has changed nothing, and takes nothing away.
	addNode(t, db, "node_2")
	revoked = nil
	for len(feed.C) > 0 {
		<-feed.C
	}
	db.writer.commitTx = func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), syscall.EIO) }
	update := func(tx *Tx) error { return tx.Note("node_2", JournalEntry{}) }
	if err := db.Update(update); !errors.Is(err, ErrDisk) || len(revoked) != 0 {
		t.Errorf("Update: %v, revoked %v", err, revoked)
	}
	if n := len(feed.C); n != 0 {
		t.Errorf("the feed was told of %d changes that are not in the file", n)
	}
	db.writer.commitTx = (*bbolt.Tx).Commit
	if err := db.Update(update); err != nil {
		t.Error(err)
	}
}

func TestADiskThatHangsIsToldAndForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		release := make(chan struct{})
		db.writer.commitTx = func(tx *bbolt.Tx) error { <-release; return tx.Commit() }
		written := make(chan error, 1)
		go func() { written <- db.Update(func(tx *Tx) error { return tx.Note("n", JournalEntry{}) }) }()
		<-time.After(hangsAfter - time.Second)
		if err := db.WriteError(); err != nil {
			t.Errorf("after 9 s: %v", err)
		}
		<-time.After(2 * time.Second)
		if err := db.WriteError(); !errors.Is(err, ErrHangs) {
			t.Errorf("after 11 s: %v, want ErrHangs", err)
		}
		close(release)
		if err := <-written; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := db.WriteError(); err != nil {
			t.Errorf("when it answers again: %v", err)
		}
	})
}

// TestAProbeOfADiskThatHangsIsNotWaitedFor: the write that failed is tried again, and that hangs.
func TestAProbeOfADiskThatHangsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		_ = db.writer.note(ErrFull)
		release := make(chan struct{})
		db.writer.commitTx = func(tx *bbolt.Tx) error { <-release; return tx.Commit() }
		began := time.Now()
		if err := db.WriteError(); !errors.Is(err, ErrFull) || time.Since(began) > probePatience {
			t.Errorf("WriteError: %v after %s", err, time.Since(began))
		}
		<-time.After(hangsAfter)
		if err := db.WriteError(); !errors.Is(err, ErrHangs) {
			t.Errorf("WriteError: %v, want ErrHangs", err)
		}
		close(release)
		synctest.Wait()
		if err := db.WriteError(); err != nil {
			t.Errorf("when it answers again: %v", err)
		}
	})
}

// TestWhatWasMadeWhileTheClockWasAheadEnds starts the store again once the clock is right.
func TestWhatWasMadeWhileTheClockWasAheadEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const ahead = 10 * 365 * 24 * time.Hour
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addNode(t, db, "node_1")
	right := db.clock.system
	db.clock.system = func() (time.Time, time.Duration) { wall, steady := right(); return wall.Add(ahead), steady }
	var bindToken, limited, unlimited string
	update(t, db, func(tx *Tx) (err error) {
		if bindToken, _, err = tx.IssueBindToken("node_1", 5*time.Minute); err != nil {
			return err
		}
		if _, err = tx.CreateSession("session", "admin", "", 12*time.Hour); err != nil {
			return err
		}
		if _, limited, err = tx.CreateToken("limited", ScopeWrite, tx.Now().Add(time.Hour)); err != nil {
			return err
		}
		_, unlimited, err = tx.CreateToken("unlimited", ScopeWrite, time.Time{})
		return err
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(tx *Tx) error {
		if s, ok, err := tx.Session("session"); err != nil || !ok || s.ValidAt(tx.Now()) {
			t.Errorf("the session is valid until %s (%v, %v)", s.ExpiresAt, ok, err)
		}
		if all, err := tx.Sessions(); err != nil || len(all) != 0 {
			t.Errorf("sessions that are valid: %v (%v)", all, err)
		}
		if k, _, err := tx.Token(limited); err != nil || k.ValidAt(tx.Now()) {
			t.Errorf("the API token is valid until %s (%v)", k.ExpiresAt, err)
		}
		if k, _, err := tx.Token(unlimited); err != nil || !k.ValidAt(tx.Now()) {
			t.Errorf("the API token without an end has ended (%v)", err)
		}
		return nil
	})
	err = db.Update(func(tx *Tx) error { _, err := tx.Bind(bindToken, Client{}); return err })
	if !errors.Is(err, ErrTokenExpired) {
		t.Errorf("Bind: %v, want ErrTokenExpired", err)
	}
}

func TestTheAuditLogFillsItsPages(t *testing.T) {
	t.Parallel()
	db := open(t)
	for range 50 {
		update(t, db, func(tx *Tx) error {
			for range 100 {
				if err := tx.CloseAudit(AuditEntry{Actor: "admin", Action: "PUT /api/v1/x", RequestID: "req_0123456789"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	_ = db.View(func(tx *Tx) error {
		s := tx.bolt.Bucket(bucketAudit).Stats()
		if used := float64(s.LeafInuse) / float64(s.LeafAlloc); used < 0.85 {
			t.Errorf("of the pages of the audit log %.0f %% are used", 100*used)
		}
		return nil
	})
}
