package store

import "context"

// Read returns the value that fn returns from a [DB.View]; the zero value with an error.
func Read[T any](db *DB, fn func(*Tx) (T, error)) (T, error) { return valueOf(db.View, fn) }

// Write returns the value that fn returns from a [DB.Update], of the run that was committed; the zero value
// with an error.
func Write[T any](db *DB, fn func(*Tx) (T, error)) (T, error) { return valueOf(db.Update, fn) }

// WriteFor is [Write] by way of [DB.UpdateFor].
func WriteFor[T any](ctx context.Context, db *DB, fn func(*Tx) (T, error)) (T, error) {
	return valueOf(func(fn func(*Tx) error) error { return db.UpdateFor(ctx, fn) }, fn)
}

// valueOf returns what fn returns in the transaction that run runs it in.
func valueOf[T any](run func(func(*Tx) error) error, fn func(*Tx) (T, error)) (v T, err error) {
	err = run(func(tx *Tx) (err error) {
		v, err = fn(tx) // of the last run
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
