package access

import (
	"testing"

	"wfm/store"
)

// TestNobodyPushesOutWhatTheAuditLogHolds holds that all that all people and programs together can
// cause fits into the log for as long as it keeps entries.
func TestNobodyPushesOutWhatTheAuditLogHolds(t *testing.T) {
	if most := newAuditBudget().mostIn(store.AuditTime); most > store.AuditMost {
		t.Errorf("%.0f entries can come in %v, and the log keeps %d", most, store.AuditTime, store.AuditMost)
	}
}
