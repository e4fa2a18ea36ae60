package store

import "context"

// joinedKey is the key of a context's update, see [WithUpdate].
type joinedKey struct{}

// WithUpdate returns a context whose [DB.UpdateFor] writes through update. update runs its function
// in a transaction as [DB.Update] does and adds a write that belongs with it, such as the audit
// entry of the request behind it.
func WithUpdate(ctx context.Context, update func(fn func(*Tx) error) error) context.Context {
	return context.WithValue(ctx, joinedKey{}, update)
}

// UpdateFor is [DB.Update] through the context's update, if it has one. Use it, in any package, for
// writes on behalf of a request.
func (db *DB) UpdateFor(ctx context.Context, fn func(*Tx) error) error {
	if update, ok := ctx.Value(joinedKey{}).(func(func(*Tx) error) error); ok {
		return update(fn)
	}
	return db.Update(fn)
}
