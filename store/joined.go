package store

import "context"

// joinedKey is the key of a context's update, see [WithUpdate].
type joinedKey struct{}

// WithUpdate returns a context for which [DB.UpdateFor] writes by way of update. It runs what it is given
// in a transaction as [DB.Update] does, and writes in the same one what belongs with it: the audit entry
// of the request that asked for it.
func WithUpdate(ctx context.Context, update func(fn func(*Tx) error) error) context.Context {
	return context.WithValue(ctx, joinedKey{}, update)
}

// UpdateFor is [DB.Update] by way of the context's update, if it has one: for what is done because a
// request asked for it, whichever package does it.
func (db *DB) UpdateFor(ctx context.Context, fn func(*Tx) error) error {
	if update, ok := ctx.Value(joinedKey{}).(func(func(*Tx) error) error); ok {
		return update(fn)
	}
	return db.Update(fn)
}
