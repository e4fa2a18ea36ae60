package store

import (
	"bytes"
	"iter"
)

// newestFirst yields a node's counted records downwards, from below the counter before (0: from the
// end). The bucket must not change meanwhile. The yielded slices are valid until it does.
func (tx *Tx) newestFirst(bucket []byte, nodeID string, before uint64) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := tx.cursor(bucket)
		end := append([]byte(nodeID), 1)
		if before != 0 {
			end = seqKey(nodeID, before)
		}
		var v []byte
		k, _ := c.Seek(end)
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
		for prefix := seqPrefix(nodeID); bytes.HasPrefix(k, prefix) && yield(k, v); {
			k, v = c.Prev()
		}
	}
}

// walk is newestFirst with each record decoded as it is reached. It ends with the first error.
func walk[T any](tx *Tx, bucket []byte, nodeID string, before uint64, read func(k, v []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for k, v := range tx.newestFirst(bucket, nodeID, before) {
			if record, err := read(k, v); !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Collect returns all values of the walk.
func Collect[T any](walk iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range walk {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// page returns the first limit values of the walk.
func page[T any](walk iter.Seq2[T, error], limit int) ([]T, error) {
	if limit <= 0 {
		return nil, nil
	}
	return Collect(func(yield func(T, error) bool) {
		n := 0
		for v, err := range walk {
			if n++; !yield(v, err) || n == limit { // and decodes none beyond
				return
			}
		}
	})
}
