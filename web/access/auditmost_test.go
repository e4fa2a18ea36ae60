package access

import (
	"testing"
	"time"

	"wfm/store"
)

// TestNobodyPushesOutWhatTheAuditLogHolds checks that the entries of all possible requests fit into
// the log for the time that it keeps entries.
func TestNobodyPushesOutWhatTheAuditLogHolds(t *testing.T) {
	if most := newAuditBudget().mostIn(store.AuditTime); most > store.AuditMost {
		t.Errorf("%.0f entries can come in %v, and the log keeps %d", most, store.AuditTime, store.AuditMost)
	}
}

// mostIn returns an upper bound of the entries that all classes can add in d. Refused requests
// without a login need no class of their own, since they share one key.
func (b *auditBudget) mostIn(d time.Duration) (entries float64) {
	for _, class := range []*Limiter[string]{b.allWrites, b.sums, b.refused, b.allKnown, b.proofs, b.allReads} {
		entries += class.burst + d.Seconds()*class.perSecond
	}
	return entries
}
