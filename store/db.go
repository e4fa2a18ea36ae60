package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// FileName is the name of the data file in the data directory.
const FileName = "wfm.db"

// Options configures Open. The zero value is valid.
type Options struct {
	// Logger gets the problems that no caller learns of. Default: discard.
	Logger *slog.Logger
	// Witness is called at the end of each Update, in its transaction, once for each node whose
	// record or evidence the function changed, unless the node was deleted. Its error fails the
	// Update. It must not change anything that n points to.
	Witness func(tx *Tx, n Node) error
	// First runs in a transaction before every Update until it succeeds. If the disk takes no
	// writes, Open succeeds nevertheless, and First is tried before the next Update. May be nil.
	First func(tx *Tx) error
	// OwnBroker says that every connection of a node is one to this process, so that the
	// connections of the former run have ended. That is recorded after First; reads before that
	// already reflect it.
	OwnBroker bool
	// MaxSize bounds the file in bytes; 0 is unbounded. Updates beyond it return ErrFull.
	MaxSize int
}

// DB is the open store. Its methods may be called concurrently.
type DB struct {
	path    string
	bolt    *bbolt.DB
	file    identity
	log     *slog.Logger
	clock   *clock
	opts    Options
	writer  *writer
	grants  grants
	feed    feed
	tally   tally
	checker checker
	// revisions are those of meshes.
	revisions revisions

	fault atomic.Pointer[error] // see broken
	stuck atomic.Bool           // bbolt's locks will never be released
	// reopening is held while bolt is replaced, and read-locked while any goroutine but the writer
	// uses it.
	reopening sync.RWMutex

	opened  time.Time   // by the store's clock
	settled atomic.Bool // the writes of a start are done

	closeOnce sync.Once
	closeErr  error
}

// Open opens or creates the data file in dir, creates dir (0700) if it is missing, and migrates the
// schema. An existing file is never taken for a new one, even if it is empty. On a disk that takes
// no writes, Open opens the file for reading: see Options.First.
//
// Every page is checked. In a file above 4 MiB, the check continues in the background after 50 ms:
// see [DB.WriteError].
//
// Errors: [ErrInUse] at once if another process holds the file, [ErrNewer], [ErrDamaged],
// [ErrReadOnly], [ErrFull], [ErrDisk]; all name the path.
func Open(dir string, o Options) (*DB, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	path := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory %s: %w", dir, diskError(err))
	}
	db := &DB{path: path, log: o.Logger, clock: newClock(), opts: o}
	if err := db.open(dir); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func (db *DB) open(dir string) error {
	if err := create(dir, db.path, db.opts.MaxSize); err != nil {
		return err
	}
	if err := inspect(db.path, db.log); err != nil {
		return err
	}
	err := db.openBolt(false)
	if errors.Is(err, ErrReadOnly) {
		err = db.openBolt(true)
	}
	if err != nil {
		return err
	}
	err = guarded(func() error {
		if err := migrate(db.bolt, migrations); err != nil {
			return err
		}
		if err := db.file.update(); err != nil {
			return err
		}
		return db.loadGrants()
	})
	if err == nil {
		err = db.startCheck()
	}
	if err != nil {
		return errors.Join(err, db.closeBolt())
	}
	db.opened = db.Now()
	db.writer = newWriter(db)
	if err := db.Update(func(*Tx) error { return nil }); err != nil && !Unwritable(err) {
		return errors.Join(err, db.Close())
	}
	return nil
}

// openBolt opens the file, read-only if it cannot be written.
func (db *DB) openBolt(readOnly bool) error {
	file := identity{path: db.path}
	return guarded(func() error {
		bolt, err := bbolt.Open(db.path, 0o600, &bbolt.Options{
			// The shortest timeout there is: the lock is tried once, without waiting.
			Timeout:      time.Nanosecond,
			FreelistType: bbolt.FreelistMapType,
			MaxSize:      db.opts.MaxSize,
			ReadOnly:     readOnly,
			OpenFile:     file.openFile,
		})
		if err != nil {
			return diskError(err)
		}
		if err := file.update(); err != nil {
			return errors.Join(err, bolt.Close())
		}
		db.bolt = bolt
		db.file.adopt(&file)
		return nil
	})
}

// reopen makes a store writable that was opened read-only.
func (db *DB) reopen() error {
	if f, err := os.OpenFile(db.path, os.O_RDWR, 0); err != nil {
		return diskError(err)
	} else if err := f.Close(); err != nil {
		return diskError(err)
	}
	db.checker.wait() // it reads the file
	db.reopening.Lock()
	defer db.reopening.Unlock()
	if err := db.bolt.Close(); err != nil {
		return diskError(err)
	}
	if err := inspect(db.path, db.log); err != nil {
		return db.noteBroken(err)
	}
	err := db.openBolt(false)
	if err != nil {
		err = errors.Join(err, db.openBolt(true))
	}
	return err
}

// Close waits for running transactions, ends all subscriptions and closes the file. Later calls
// return the first one's result.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		db.writer.stop()
		db.feed.closeAll()
		db.closeErr = db.closeBolt()
	})
	return db.closeErr
}

// closeBolt waits for transactions, except for those that will never end.
func (db *DB) closeBolt() error {
	db.checker.stop()
	if db.stuck.Load() {
		return nil
	}
	return guarded(db.bolt.Close)
}

// View runs fn on a consistent snapshot. Values read may be kept: records are copies. Its own
// errors are [ErrDamaged], if fn read something that makes no sense, [ErrMoved] and [ErrClosed].
func (db *DB) View(fn func(*Tx) error) error {
	db.reopening.RLock()
	defer db.reopening.RUnlock()
	if err := db.file.uncut(); err != nil {
		return db.noteBroken(err)
	}
	b, err := db.begin(false)
	if err != nil {
		return diskError(err)
	}
	defer func() { _ = db.release(b) }()
	tx := &Tx{bolt: b, now: db.Now()}
	if db.opts.OwnBroker && !db.settled.Load() {
		tx.endedAt = db.opened
	}
	return db.noteBroken(guarded(func() error { return fn(tx) }))
}

// Update runs fn in a read-write transaction and returns once it is on disk and the watchers of
// grants have acted on those it changed, see [DB.WatchGrants]. An error of fn is returned unchanged
// and nothing is written. fn may run more than once and shares the disk write with other Updates
// (see the package's invariants). Its own errors are [ErrFull], [ErrReadOnly]
// and [ErrDisk], after which a later Update may succeed; [ErrDamaged] and [ErrMoved], after which
// nothing is written until the next start; [ErrClosed] and [ErrPanic].
func (db *DB) Update(fn func(*Tx) error) error { return db.writer.do(fn) }

// UpdateAll runs each function as an Update of its own, in order, all in one commit. It returns
// their errors in the same order.
func (db *DB) UpdateAll(fns []func(*Tx) error) []error { return db.writer.doAll(fns) }

// Size returns how many bytes of the data file are in use.
func (db *DB) Size() int64 { return db.file.need.Load() }

// Commits returns the number of writes since the data file was created. Updates that share a write
// count once.
func (db *DB) Commits() uint64 { return db.file.txid.Load() }

var (
	bucketMeta = []byte("meta")
	keySchema  = []byte("schema_version")
)

// migrations[i] brings a file from schema version i to i+1. Append only.
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
	func(tx *bbolt.Tx) error { // 7: bind tokens by node; drops older tokens, which live five minutes
		if err := tx.DeleteBucket(bucketBindTokens); err != nil {
			return fmt.Errorf("forget bind tokens: %w", err)
		}
		return createBuckets(bucketBindTokens, bucketOpenTokens)(tx)
	},
	createBuckets(bucketAccounts, bucketSecrets), // 8: accounts at an external broker
	createBuckets(bucketWanted),                  // 9: wanted states
	indexInterfaces,                              // 10: tags of configs, and interface names in use
	createBuckets( // 11: the mesh; nodes of before have neither addresses nor keys of the appliance's
		bucketLinks, bucketLinksByConfig, bucketLinksByNode,
		bucketForwards, bucketForwardsByConfig, bucketForwardsByNode,
		bucketAddresses, bucketPublicKeys,
	),
	indexTraits, // 12: nodes with routes, and nodes with configs of their own
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

// indexInterfaces creates the index of the nodes' interface names, and the bucket of tags.
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

// schemaOf returns the file's schema version; 0 if it has no bucket. Error: [ErrDamaged].
func schemaOf(bolt *bbolt.DB) (have uint64, err error) {
	err = bolt.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return damaged("it is a bbolt file of another program")
			}
			return nil
		}
		v := meta.Get(keySchema)
		if len(v) != 8 {
			return damaged("it has no schema version")
		}
		have = binary.BigEndian.Uint64(v)
		return nil
	})
	return have, err
}

// migrate runs the steps that the file lacks in one transaction: all or none.
func migrate(bolt *bbolt.DB, steps []func(*bbolt.Tx) error) error {
	have, err := schemaOf(bolt)
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
