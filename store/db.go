package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// FileName is the name of the data file in the data directory.
const FileName = "wfm.db"

// Options are what Open may be given. The zero value is fine.
type Options struct {
	// Logger gets what no caller is told. Default: discard.
	Logger *slog.Logger
	// Witness is called at the end of each Update, in its transaction, once for each node of which the
	// function changed the record or the evidence, unless it is gone. Its error fails the Update.
	Witness func(tx *Tx, n Node) error
	// MaxSize bounds the file in bytes; 0 is unbounded. Updates beyond it are ErrFull.
	MaxSize int
}

// DB is the open store. Its methods may be called concurrently.
type DB struct {
	bolt    *bbolt.DB
	log     *slog.Logger
	clock   *clock
	witness func(*Tx, Node) error // may be nil
	writer  *writer
	grants  grants
	feed    feed
	tally   tally

	closeOnce sync.Once
	closeErr  error
}

// Open opens or creates the data file in dir, which is created too (0700) when it is missing, and
// brings its schema up to date. Errors: [ErrInUse] at once when another process holds the file,
// [ErrNewer], [ErrDamaged], [ErrReadOnly], [ErrFull]; all name the path.
func Open(dir string, o Options) (*DB, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	path := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory %s: %w", dir, diskError(err))
	}
	bolt, err := openBolt(path, o.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{bolt: bolt, log: o.Logger, clock: newClock(), witness: o.Witness}
	err = guardDamage(func() error {
		if err := migrate(bolt, migrations); err != nil {
			return err
		}
		if err := db.settleClock(); err != nil {
			return err
		}
		return db.loadGrants()
	})
	if err != nil {
		if !errors.Is(err, errPanicked) { // whose transaction is still open: Close would wait for it
			err = errors.Join(err, bolt.Close())
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.writer = newWriter(db)
	return db, nil
}

func openBolt(path string, maxSize int) (bolt *bbolt.DB, err error) {
	err = guardDamage(func() (err error) {
		bolt, err = bbolt.Open(path, 0o600, &bbolt.Options{
			// The shortest time-out there is: the lock is tried once and never waited for.
			Timeout:      time.Nanosecond,
			FreelistType: bbolt.FreelistMapType,
			MaxSize:      maxSize,
		})
		if err != nil && strings.Contains(err.Error(), "file size too small") {
			err = fmt.Errorf("%w (%w)", ErrDamaged, err)
		}
		return diskError(err)
	})
	return bolt, err
}

var errPanicked = errors.New("the data file makes no sense")

// guardDamage turns a panic of fn into ErrDamaged: bbolt panics on files that were damaged from
// outside, and an operator wants a sentence.
func guardDamage(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%w)", ErrDamaged, errPanicked)
		}
	}()
	return fn()
}

// Close waits for running transactions, ends all subscriptions and closes the file. Later calls
// return the first one's result.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		db.writer.stop()
		db.feed.closeAll()
		db.closeErr = db.bolt.Close()
	})
	return db.closeErr
}

// View runs fn on a consistent snapshot. Values read may be kept: records are copies.
func (db *DB) View(fn func(*Tx) error) error {
	err := db.bolt.View(func(b *bbolt.Tx) error { return fn(&Tx{bolt: b, now: db.Now()}) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// Update runs fn in a read-write transaction and returns when it is on disk. An error of fn is
// returned as it is and changes nothing. fn may run more than once and shares the disk write with
// other Updates (see the package's invariants). Errors of its own: [ErrFull], [ErrReadOnly],
// [ErrClosed], [ErrPanic].
func (db *DB) Update(fn func(*Tx) error) error { return db.writer.do(fn) }

// WriteError is the error of the last write that failed, nil while writing works. After an error
// it tries again, so that a health check sees the recovery: with a record large enough that it
// does not just fit where a smaller one was freed.
func (db *DB) WriteError() error {
	if db.writer.lastError() == nil {
		return nil
	}
	key := []byte("probe")
	err := db.Update(func(tx *Tx) error { return tx.putRaw(bucketMeta, key, make([]byte, 64<<10)) })
	if err == nil {
		err = db.Update(func(tx *Tx) error { return tx.deleteRaw(bucketMeta, key) })
	}
	if err == nil {
		db.writer.forgive()
	}
	return err
}

// Size is the data file's size in bytes.
func (db *DB) Size() int64 {
	var n int64
	_ = db.bolt.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n
}

var (
	bucketMeta = []byte("meta")
	keySchema  = []byte("schema_version")
)

// migrations bring a file from schema version i to i+1. Append only.
var migrations = []func(*bbolt.Tx) error{
	createBuckets( // 1: the first schema
		bucketAdmin, bucketSessions,
		bucketConfigs, bucketConfigNames, bucketNodes, bucketNodeNames,
		bucketCredentials, bucketBindTokens, bucketEvidence, bucketJournal,
		bucketCommands, bucketCommandsByNode, bucketCommandsOpen, bucketOutput,
	),
	createBuckets(bucketTransitions),                                          // 2: history of presence
	createBuckets(bucketFiles),                                                // 3: certificates
	createBuckets(bucketConfStates, bucketConfVersions, bucketConfTexts),      // 4: desired configs
	createBuckets(bucketRollouts, bucketRolloutsByConfig, bucketRolloutNodes), // 5: rollouts
	createBuckets(bucketTokens, bucketAudit, bucketAuditOpen, bucketSettings), // 6: API tokens, the audit log, settings
	func(tx *bbolt.Tx) error { // 7: bind tokens by node; those of before, of five minutes, are forgotten
		if err := tx.DeleteBucket(bucketBindTokens); err != nil {
			return fmt.Errorf("forget bind tokens: %w", err)
		}
		return createBuckets(bucketBindTokens, bucketOpenTokens)(tx)
	},
	createBuckets(bucketAccounts, bucketSecrets), // 8: accounts at an external broker
	createBuckets(bucketWanted),                  // 9: wanted states
	indexInterfaces,                              // 10: tags of configs, and interface names in use
}

func createBuckets(names ...[]byte) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		for _, name := range names {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		return nil
	}
}

// indexInterfaces makes the index of interface names that nodes have, and the bucket of tags.
func indexInterfaces(tx *bbolt.Tx) error {
	if err := createBuckets(bucketTags, bucketInterfaces)(tx); err != nil {
		return err
	}
	index := tx.Bucket(bucketInterfaces)
	return tx.Bucket(bucketNodes).ForEach(func(id, raw []byte) error {
		var n Node
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("read node %q: %w", id, err)
		}
		return index.Put(interfaceKey(n), []byte{1})
	})
}

// migrate runs what is missing of steps in one transaction: all or nothing.
func migrate(bolt *bbolt.DB, steps []func(*bbolt.Tx) error) error {
	have := uint64(0)
	err := bolt.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return ErrDamaged // somebody else's bbolt file
			}
			return nil
		}
		v := meta.Get(keySchema)
		if len(v) != 8 {
			return ErrDamaged
		}
		have = binary.BigEndian.Uint64(v)
		return nil
	})
	switch want := uint64(len(steps)); {
	case err != nil:
		return err
	case have > want:
		return fmt.Errorf("schema version %d, this program knows %d: %w", have, want, ErrNewer)
	case have == want:
		return nil
	}
	err = bolt.Update(func(tx *bbolt.Tx) error {
		for i := have; i < uint64(len(steps)); i++ {
			if err := steps[i](tx); err != nil {
				return fmt.Errorf("migrate to schema version %d: %w", i+1, err)
			}
		}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		return meta.Put(keySchema, binary.BigEndian.AppendUint64(nil, uint64(len(steps))))
	})
	return diskError(err)
}
