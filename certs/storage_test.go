package certs

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"wfm/store"
)

func storage(t *testing.T) *Storage {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return NewStorage(db)
}

func TestFilesAndDirectoriesBehaveAsCertmagicWants(t *testing.T) {
	s, ctx := storage(t), t.Context()
	for _, key := range []string{"a/b/c", "a/b/d", "a/e", "ab/c"} {
		if err := s.Store(ctx, key, []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(ctx, key); err != nil || string(got) != key {
			t.Errorf("Load %s: %q, %v", key, got, err)
		}
	}
	for _, tc := range []struct {
		path      string
		recursive bool
		want      []string
	}{
		{"a", false, []string{"a/b", "a/e"}},
		{"a", true, []string{"a/b/c", "a/b/d", "a/e"}},
		{"a/b", false, []string{"a/b/c", "a/b/d"}},
		{"", false, []string{"a", "ab"}},
	} {
		if got, err := s.List(ctx, tc.path, tc.recursive); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("List %q, %v: %v, %v; want %v", tc.path, tc.recursive, got, err, tc.want)
		}
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.IsTerminal {
		t.Errorf("Stat of a directory: %+v, %v", info, err)
	}
	if info, err := s.Stat(ctx, "a/e"); err != nil || !info.IsTerminal || info.Size != 3 || info.Modified.IsZero() {
		t.Errorf("Stat of a file: %+v, %v", info, err)
	}
	if err := errors.Join(s.Delete(ctx, "a"), s.Delete(ctx, "never")); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if s.Exists(ctx, "a") || s.Exists(ctx, "a/b/c") || !s.Exists(ctx, "ab") || !s.Exists(ctx, "ab/c") {
		t.Error("Delete took too little or too much")
	}
	_, errLoad := s.Load(ctx, "a/e")
	_, errList := s.List(ctx, "a", true)
	_, errStat := s.Stat(ctx, "a")
	for what, err := range map[string]error{"Load": errLoad, "List": errList, "Stat": errStat} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of nothing: %v", what, err)
		}
	}
}

func TestOneHoldsALockAtATime(t *testing.T) {
	s, ctx := storage(t), t.Context()
	var wg sync.WaitGroup
	holders := 0 // the race detector sees when two hold the lock
	for range 20 {
		wg.Go(func() {
			if err := s.Lock(ctx, "x"); err != nil {
				t.Error(err)
			}
			holders++
			if err := s.Unlock(ctx, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if holders != 20 {
		t.Errorf("%d of 20 had the lock", holders)
	}
	if ok, err := s.TryLock(ctx, "x"); !ok || err != nil {
		t.Errorf("TryLock of a free lock: %v, %v", ok, err)
	}
	if ok, _ := s.TryLock(ctx, "x"); ok {
		t.Error("TryLock of a held lock")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Lock(ended, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock with a context that has ended: %v", err)
	}
	if err := s.Unlock(ctx, "y"); err == nil {
		t.Error("Unlock of what is not locked")
	}
}
