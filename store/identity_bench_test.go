package store

import "testing"

// BenchmarkIdentity measures the cost per commit of checking that its file will be found again.
func BenchmarkIdentity(b *testing.B) {
	db := open(b)
	update(b, db, func(tx *Tx) error { return tx.Note("n", JournalEntry{}) })
	id := &db.file
	for b.Loop() {
		if err := id.unchanged(); err != nil {
			b.Fatal(err)
		}
		if err := id.committed(id.meta.txid); err != nil {
			b.Fatal(err)
		}
	}
}
