package store

import (
	"testing"
	"time"
)

func TestOldBindTokensAreRemovedAndNodesOthersTokensAreLeftAlone(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	issue := func(at time.Time, node string) (token string) {
		t.Helper()
		update(t, db, func(tx *Tx) (err error) {
			tx.now = at
			token, _, err = tx.IssueBindToken(node, time.Minute)
			return err
		})
		return token
	}
	begin := time.Now()
	for range 100 { // spent, so that they are kept for a day
		token := issue(begin, "node_1")
		update(t, db, func(tx *Tx) error { tx.now = begin; _, err := tx.Bind(token, Client{}); return err })
	}
	kept := issue(begin, "node_2")
	count := func() (n int) {
		_ = db.View(func(tx *Tx) error { n = len(tx.keysUnder(bucketBindTokens, nil, 0)); return nil })
		return n
	}
	if n := count(); n != 101 {
		t.Fatalf("%d tokens, want 101", n)
	}
	issue(begin, "node_1") // invalidates nothing of the other
	update(t, db, func(tx *Tx) error { tx.now = begin; _, err := tx.Bind(kept, Client{}); return err })
	for range 100 {
		issue(begin.Add(25*time.Hour), "node_1")
	}
	if n := count(); n > 5 {
		t.Errorf("%d old tokens are left", n)
	}
}
