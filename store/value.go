package store

import "context"

// Read returns the value that fn returns from a [DB.View]; with an error, the zero value.
func Read[T any](db *DB, fn func(*Tx) (T, error)) (T, error) { return valueOf(db.View, fn) }

// Write returns the value that fn returns from a [DB.Update], from the run that was committed; with
// an error, the zero value.
func Write[T any](db *DB, fn func(*Tx) (T, error)) (T, error) { return valueOf(db.Update, fn) }

// WriteFor is [Write] through [DB.UpdateFor].
func WriteFor[T any](ctx context.Context, db *DB, fn func(*Tx) (T, error)) (T, error) {
	return valueOf(func(fn func(*Tx) error) error { return db.UpdateFor(ctx, fn) }, fn)
}

// valueOf returns the value of fn in the transaction that run makes.
func valueOf[T any](run func(func(*Tx) error) error, fn func(*Tx) (T, error)) (v T, err error) {
	err = run(func(tx *Tx) (err error) {
		v, err = fn(tx) // the last run's value counts
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
