package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

func TestConcurrentUpdatesSucceedOrFailEachOnItsOwn(t *testing.T) {
	db := open(t)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			err := db.Update(func(tx *Tx) error {
				if i%5 == 1 {
					return boom // has not written
				}
				if err := tx.Note("node_"+strconv.Itoa(i), JournalEntry{}); err != nil {
					return err
				}
				switch i % 5 {
				case 2:
					return boom // has written
				case 3:
					panic("faulty")
				}
				return nil
			})
			want := []error{nil, boom, boom, ErrPanic, nil}[i%5]
			if !errors.Is(err, want) || (want == nil && err != nil) {
				t.Errorf("update %d: %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	_ = db.View(func(tx *Tx) error {
		for i := range 300 {
			got, err := tx.Journal("node_"+strconv.Itoa(i), 0, 10)
			want := []int{1, 0, 0, 0, 1}[i%5]
			if err != nil || len(got) != want {
				t.Errorf("update %d left %d entries (%v), want %d", i, len(got), err, want)
			}
		}
		return nil
	})
}

func TestUpdateAllRunsInOrderInOneCommitAndEachSucceedsOrFailsOnItsOwn(t *testing.T) {
	db := open(t)
	boom := errors.New("boom")
	fns := make([]func(*Tx) error, 2*maxBatch)
	for i := range fns {
		fns[i] = func(tx *Tx) error {
			if err := tx.Note("node", JournalEntry{Event: strconv.Itoa(i)}); err != nil || i%100 != 99 {
				return err
			}
			return boom
		}
	}
	before := db.Commits()
	errs := db.UpdateAll(fns)
	if got := db.Commits() - before; got != 1 {
		t.Errorf("%d commits", got)
	}
	var want []string
	for i, err := range errs {
		switch {
		case i%100 == 99 && !errors.Is(err, boom), i%100 != 99 && err != nil:
			t.Errorf("update %d: %v", i, err)
		case err == nil:
			want = append(want, strconv.Itoa(i))
		}
	}
	_ = db.View(func(tx *Tx) error {
		kept, err := tx.Journal("node", 0, len(fns))
		var got []string
		for _, e := range slices.Backward(kept) { // the newest come first
			got = append(got, e.Event)
		}
		if err != nil || !slices.Equal(got, want[len(want)-len(got):]) || len(got) < 10 {
			t.Errorf("kept %v (%v)", got, err)
		}
		return nil
	})
	_ = db.Close()
	for _, err := range db.UpdateAll(fns[:2]) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestUpdatesShareDiskWritesWithoutWaiting(t *testing.T) {
	db := open(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Update(func(*Tx) error { close(entered); <-release; return nil })
	})
	<-entered
	var committed atomic.Int32
	before := writeCount(db)
	for range 100 {
		wg.Go(func() {
			if err := db.Update(func(tx *Tx) error { return tx.Note("n", JournalEntry{}) }); err == nil {
				committed.Add(1)
			}
		})
	}
	for len(db.writer.requests) < 100 {
		if t.Context().Err() != nil {
			t.Fatal("the updates never queued")
		}
	}
	close(release)
	wg.Wait()
	if committed.Load() != 100 || writeCount(db)-before > 2 {
		t.Errorf("%d of 100 committed in %d transactions", committed.Load(), writeCount(db)-before)
	}
}

func writeCount(db *DB) (n int) {
	_ = db.bolt.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil })
	return n
}

func TestOnCommitAndChangesHappenOnceAndOnlyAfterCommit(t *testing.T) {
	db := open(t)
	sub := db.Subscribe(10)
	ran := 0
	fail := errors.New("fail")
	_ = db.Update(func(tx *Tx) error {
		tx.Emit(Change{Kind: ChangeNode})
		tx.OnCommit(func() { ran += 100 })
		return fail
	})
	update(t, db, func(tx *Tx) error {
		tx.OnCommit(func() { ran++ })
		tx.Emit(Change{Kind: ChangeConfig, ConfigID: "c"})
		return tx.Note("n", JournalEntry{})
	})
	if c := <-sub.C; ran != 1 || c.Kind != ChangeConfig {
		t.Errorf("ran %d times, first change %q", ran, c.Kind)
	}
}

func TestSlowSubscriberIsDroppedAndSlowsNobody(t *testing.T) {
	db := open(t)
	slow, quick := db.Subscribe(1), db.Subscribe(100)
	for range 5 {
		update(t, db, func(tx *Tx) error { return tx.Note("n", JournalEntry{}) })
	}
	got := 0
	for range slow.C {
		got++
	}
	if got != 1 || len(quick.C) != 5 {
		t.Errorf("slow got %d, quick has %d", got, len(quick.C))
	}
	slow.Close()
	quick.Close()
	quick.Close()
}

func TestUpdateAndViewAfterCloseSayClosed(t *testing.T) {
	db, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	if err := db.View(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View: %v", err)
	}
}

func TestFullFileRefusesTheWriteAndKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{MaxSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	kept := fillUntilFull(t, db)
	if err := db.writer.lastError(); !errors.Is(err, ErrFull) {
		t.Errorf("the last write's error: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantNotes(t, db, kept)
	update(t, db, func(tx *Tx) error { return tx.Note("n", JournalEntry{}) })
}

func TestFullDiskRefusesTheWriteAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("needs the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	kept := fillUntilFull(t, db)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := db.WriteError(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	wantNotes(t, db, kept)
}

func TestReadOnlyDirectoryIsNamedAtOpen(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", syscall.MS_RDONLY, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open: %v", err)
	}
}

// fillUntilFull writes notes of 4 KiB until one is refused, and returns how many were taken.
func fillUntilFull(t *testing.T, db *DB) (kept int) {
	t.Helper()
	for i := range 2000 {
		err := db.Update(func(tx *Tx) error {
			return tx.Note(fmt.Sprintf("node_%d", i), JournalEntry{Message: strings.Repeat("x", 4<<10)})
		})
		if errors.Is(err, ErrFull) {
			return kept
		}
		if err != nil {
			t.Fatalf("write %d: %v, want ErrFull", i, err)
		}
		kept++
	}
	t.Fatal("the store never filled up")
	return 0
}

func wantNotes(t *testing.T, db *DB, kept int) {
	t.Helper()
	_ = db.View(func(tx *Tx) error {
		for i := range kept + 1 {
			got, err := tx.Journal(fmt.Sprintf("node_%d", i), 0, 10)
			if want := i < kept; err != nil || (len(got) == 1) != want {
				t.Errorf("note %d: found %d (%v), taken: %v", i, len(got), err, want)
			}
		}
		return nil
	})
}

// TestNothingCommittedIsLostByKill runs itself as a child that prints every number once it is
// committed, kills it hard in the middle, and looks whether all that was printed is there.
func TestNothingCommittedIsLostByKill(t *testing.T) {
	if dir := os.Getenv("WFM_STORE_CHILD"); dir != "" {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100_000 {
			if err := db.Update(func(tx *Tx) error { return tx.Note("node_"+strconv.Itoa(i), JournalEntry{}) }); err != nil {
				t.Fatal(err)
			}
			fmt.Println("committed", i)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingCommittedIsLostByKill$")
	cmd.Env = append(os.Environ(), "WFM_STORE_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "committed "); ok {
			if last, err = strconv.Atoi(n); err != nil {
				break // the last line may be cut
			}
			if last == 200 {
				_ = cmd.Process.Kill()
			}
		}
	}
	_ = cmd.Wait()
	if last < 200 {
		t.Fatalf("the child committed only up to %d", last)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(tx *Tx) error {
		for i := range last + 1 {
			if got, err := tx.Journal("node_"+strconv.Itoa(i), 0, 1); err != nil || len(got) != 1 {
				t.Errorf("%d was committed and is gone (%v)", i, err)
			}
		}
		return nil
	})
}

// The benchmarks compare many concurrent small writes: ours, and bbolt's own Batch and Update.
func benchmarkWrites(b *testing.B, write func(db *DB, key string) error) {
	b.Helper()
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := open(b)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := write(db, strconv.FormatInt(n%1000, 10)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

func BenchmarkWriteGroupCommit(b *testing.B) {
	benchmarkWrites(b, func(db *DB, key string) error {
		return db.Update(func(tx *Tx) error { return tx.putRaw(bucketMeta, []byte(key), []byte("value")) })
	})
}

func BenchmarkWriteBboltBatch(b *testing.B) {
	benchmarkWrites(b, func(db *DB, key string) error {
		return db.bolt.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte(key), []byte("value")) })
	})
}

func BenchmarkWriteBboltUpdate(b *testing.B) {
	benchmarkWrites(b, func(db *DB, key string) error {
		return db.bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte(key), []byte("value")) })
	})
}
