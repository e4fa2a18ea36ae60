package store

import "sync"

// revisions counts the committed changes of each mesh that its check depends on, since the store was
// opened.
type revisions struct {
	mu     sync.Mutex
	byMesh map[string]uint64
}

// take counts the changes of transactions that were committed.
func (r *revisions) take(txs ...*Tx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byMesh == nil {
		r.byMesh = make(map[string]uint64)
	}
	for _, tx := range txs {
		for _, c := range tx.changes {
			switch c.Kind { //nolint:exhaustive // the others do not change the mesh
			case ChangeConfig, ChangeNode, ChangeMesh:
				r.byMesh[c.ConfigID]++
			}
		}
		for _, id := range tx.reworded {
			r.byMesh[id]++
		}
	}
}

// MeshRevision returns a number that is another one after each change of the mesh, its nodes, its links
// and its port forwards, and of the tunnel configs that people write for its nodes. It has no meaning
// for another run. A result may be kept with the revision that was read before its transaction.
func (db *DB) MeshRevision(configID string) uint64 {
	db.revisions.mu.Lock()
	defer db.revisions.mu.Unlock()
	return db.revisions.byMesh[configID]
}
