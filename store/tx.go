package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Tx is one transaction. It is valid only inside the function that receives it.
type Tx struct {
	bolt     *bbolt.Tx
	now      time.Time
	writable bool
	wrote    bool
	err      error // error of a function that failed without having written

	added uint64         // commands
	ended []CommandState // of commands

	changes  []Change
	onCommit []func()
	reworded []string // meshes with a node that has another text of its own
	grants   []grantChange
	endedAt  time.Time           // of the former run's connections, while that is not written; else zero
	touched  map[string]struct{} // nodes whose grant must be computed again
	recent   *recent             // the writer's; nil in a View
	batch    *batch              // the batch of this transaction; nil in a View
}

// errReadOnlyTx is a programming error: a write in a View.
var errReadOnlyTx = errors.New("write in a read-only transaction")

// Now returns the transaction's time, the same for everything in it.
func (tx *Tx) Now() time.Time { return tx.now }

// Emit sends c to the subscribers of the change feed, once, if the transaction commits.
func (tx *Tx) Emit(c Change) { tx.changes = append(tx.changes, c) }

// Changes returns the changes emitted so far, in order.
func (tx *Tx) Changes() []Change { return tx.changes }

// callWitness calls witness for each node that the transaction has changed so far, but not for
// changes that witness itself makes.
func (tx *Tx) callWitness(witness func(*Tx, Node) error) error {
	var told map[string]struct{} // but the last one
	last := ""
	for _, c := range tx.changes {
		if c.Kind != ChangeNode && c.Kind != ChangeEvidence || c.NodeID == last {
			continue
		}
		if _, ok := told[c.NodeID]; ok {
			continue
		}
		if last != "" {
			if told == nil {
				told = make(map[string]struct{})
			}
			told[last] = struct{}{}
		}
		last = c.NodeID
		n, err := tx.node(c.NodeID)
		if errors.Is(err, ErrNodeNotFound) {
			continue
		}
		if err == nil {
			err = witness(tx, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OnCommit runs fn once, after the commit and before Update returns. fn must be quick and must not
// call Update.
func (tx *Tx) OnCommit(fn func()) { tx.onCommit = append(tx.onCommit, fn) }

func (tx *Tx) cursor(name []byte) *bbolt.Cursor { return tx.bolt.Bucket(name).Cursor() }

func (tx *Tx) getRaw(bucket, key []byte) []byte { return tx.bolt.Bucket(bucket).Get(key) }

func (tx *Tx) putRaw(bucket, key, value []byte) error {
	if !tx.writable {
		return errReadOnlyTx
	}
	tx.wrote = true
	tx.recent.drop(bucket, key)
	b := tx.bolt.Bucket(bucket)
	if string(bucket) == string(bucketAudit) { // grows only at its end, so a page split there needs no free space
		b.FillPercent = 0.95
	}
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("put %s: %w", bucket, diskError(err))
	}
	return nil
}

func (tx *Tx) deleteRaw(bucket, key []byte) error {
	if !tx.writable {
		return errReadOnlyTx
	}
	tx.wrote = true
	tx.recent.drop(bucket, key)
	if err := tx.bolt.Bucket(bucket).Delete(key); err != nil {
		return fmt.Errorf("delete from %s: %w", bucket, diskError(err))
	}
	return nil
}

// get reads the JSON record under key into a T; ok is false if there is none.
func get[T any](tx *Tx, bucket []byte, key string) (v T, ok bool, err error) {
	raw := tx.getRaw(bucket, []byte(key))
	if raw == nil {
		return v, false, nil
	}
	if err := decode(raw, &v); err != nil {
		return v, false, fmt.Errorf("read %s %q: %w", bucket, key, err)
	}
	return v, true, nil
}

// decode reads a record. A record that cannot be read is damaged.
func decode(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return damaged("a record cannot be read") // the decoder's error quotes the record
	}
	return nil
}

func put[T any](tx *Tx, bucket []byte, key string, v T) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s %q: %w", bucket, key, err)
	}
	return tx.putRaw(bucket, []byte(key), raw)
}

// seqKey orders a node's records: node id, a zero byte (no id contains one), a counter.
func seqKey(nodeID string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nodeID), 0), seq)
}

func seqPrefix(nodeID string) []byte { return append([]byte(nodeID), 0) }

func seqOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// lastSeq returns the highest counter under the node's prefix, or 0.
func (tx *Tx) lastSeq(bucket []byte, nodeID string) uint64 {
	c := tx.cursor(bucket)
	// Seek past every counter of this node, then step back.
	k, _ := c.Seek(append([]byte(nodeID), 1))
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	if k == nil || len(k) != len(nodeID)+9 || string(k[:len(nodeID)]) != nodeID || k[len(nodeID)] != 0 {
		return 0
	}
	return seqOf(k)
}

// keysUnder returns copies of the keys with the prefix, at most limit (0: all).
func (tx *Tx) keysUnder(bucket, prefix []byte, limit int) [][]byte {
	var keys [][]byte
	c := tx.cursor(bucket)
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix) && (limit == 0 || len(keys) < limit); k, _ = c.Next() {
		keys = append(keys, append([]byte(nil), k...))
	}
	return keys
}

func (tx *Tx) deleteUnder(bucket, prefix []byte) error {
	for _, k := range tx.keysUnder(bucket, prefix, 0) {
		if err := tx.deleteRaw(bucket, k); err != nil {
			return err
		}
	}
	return nil
}
