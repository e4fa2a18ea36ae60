package access

import (
	"testing"

	"wfm/store"
)

// TestNobodyPushesOutWhatTheAuditLogHolds checks that the entries of all possible requests fit into
// the log for the time that it keeps entries.
func TestNobodyPushesOutWhatTheAuditLogHolds(t *testing.T) {
	if most := newAuditBudget().mostIn(store.AuditTime); most > store.AuditMost {
		t.Errorf("%.0f entries can come in %v, and the log keeps %d", most, store.AuditTime, store.AuditMost)
	}
}
