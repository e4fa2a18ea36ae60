package certs

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"

	"wfm/store"
)

// Storage implements certmagic's storage in the store. It may be used concurrently.
type Storage struct {
	db *store.DB

	mu    sync.Mutex
	locks map[string]chan struct{} // closed when the lock is released
}

var (
	_ certmagic.Storage   = (*Storage)(nil)
	_ certmagic.TryLocker = (*Storage)(nil)
)

// NewStorage returns the storage in db.
func NewStorage(db *store.DB) *Storage {
	return &Storage{db: db, locks: make(map[string]chan struct{})}
}

// Store puts value at key. It returns when the value is on disk.
func (s *Storage) Store(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.db.Update(func(tx *store.Tx) error { return tx.PutFile(key, value) }); err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// Load returns the value at key. Error: fs.ErrNotExist.
func (s *Storage) Load(_ context.Context, key string) ([]byte, error) {
	f, err := s.file(key)
	return f.Value, err
}

func (s *Storage) file(key string) (store.File, error) {
	f, err := store.Read(s.db, func(tx *store.Tx) (store.File, error) {
		f, ok, err := tx.File(key)
		if err == nil && !ok {
			err = fs.ErrNotExist
		}
		return f, err
	})
	if err != nil {
		err = fmt.Errorf("load %s: %w", key, err)
	}
	return f, err
}

// Delete removes the key and everything below it. A missing key is not an error.
func (s *Storage) Delete(_ context.Context, key string) error {
	if err := s.db.Update(func(tx *store.Tx) error { return tx.DeleteFiles(key) }); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Exists reports whether the key is a file or a directory.
func (s *Storage) Exists(_ context.Context, key string) bool {
	exists, _ := store.Read(s.db, func(tx *store.Tx) (bool, error) {
		_, exists, err := tx.File(key)
		return exists || len(tx.Files(key, true)) > 0, err
	})
	return exists
}

// List returns the keys below path. Error: fs.ErrNotExist.
func (s *Storage) List(_ context.Context, path string, recursive bool) ([]string, error) {
	keys, err := store.Read(s.db, func(tx *store.Tx) ([]string, error) { return tx.Files(strings.Trim(path, "/"), recursive), nil })
	if err == nil && len(keys) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	return keys, nil
}

// Stat describes the key. Error: fs.ErrNotExist.
func (s *Storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	f, err := s.file(key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: f.ModifiedAt, Size: int64(len(f.Value)), IsTerminal: true}, nil
	}
	if s.Exists(ctx, key) {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return certmagic.KeyInfo{}, err
}

// Lock takes the named lock. It waits for the lock until ctx ends.
func (s *Storage) Lock(ctx context.Context, name string) error {
	for {
		held := s.take(name)
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
	}
}

// TryLock takes the named lock if it is free.
func (s *Storage) TryLock(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return s.take(name) == nil, nil
}

// take takes the lock and returns nil. If the lock is held, it returns a channel that is closed on
// release.
func (s *Storage) take(name string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.locks[name]; ok {
		return held
	}
	s.locks[name] = make(chan struct{})
	return nil
}

// Unlock releases the named lock. It returns an error if the lock is not held.
func (s *Storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.locks[name]
	if !ok {
		return fmt.Errorf("unlock %s: it is not locked", name)
	}
	delete(s.locks, name)
	close(held)
	return nil
}
