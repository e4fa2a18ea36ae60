package access

import (
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

const auditTrailKey = "wfm.audit_trail"

// auditTrail is the audit entry of a request that makes all its changes in one transaction. The
// transaction also writes the entry, so that the log has exactly the changes that were made, and
// the request waits for the disk once.
type auditTrail struct {
	begun   store.AuditEntry
	summed  bool
	written *store.AuditEntry // nil if nothing was done

	// The success of a request without a login is written as far as the budget of proofs allows.
	// The budget is asked once, although the transaction may run more than once.
	stranger, asked, admitted bool
	repeats                   int
}

// admits reports whether to write e, the end of the request.
func (t *auditTrail) admits(b *auditBudget, e *store.AuditEntry) bool {
	if !t.stranger {
		return true
	}
	if !t.asked {
		t.asked, t.admitted = true, b.admitAttempt(e)
		t.repeats = e.Repeats
	}
	e.Repeats = t.repeats
	return t.admitted
}

// Update runs fn in a transaction. If this is the one write of the request, the transaction also
// writes the end of its audit entry. fn notes the ids of the records that it makes; update notes
// those of commands and rollouts.
func (a *Auditor) Update(c echo.Context, fn func(*store.Tx) error) error {
	trail, ok := c.Get(auditTrailKey).(*auditTrail)
	if !ok || trail.written != nil {
		return a.db.Update(fn)
	}
	ids, _ := c.Get(auditIDsKey).(map[string]string)
	ids = maps.Clone(ids)
	var written store.AuditEntry
	err := a.db.Update(func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		noteMade(c, tx)
		written = ended(c, trail.begun, nil)
		written.Status = http.StatusOK // every successful answer has this status
		if !trail.admits(a.budget, &written) {
			return nil
		}
		if err := endAudit(tx, outcome{written, trail.summed}); err != nil {
			return err
		}
		return tx.CloseAuditSums(func(sum store.AuditEntry) bool { return a.budget.takeSum(sum, tx.Now()) })
	})
	if err != nil {
		c.Set(auditIDsKey, ids) // the transaction made nothing
		return err
	}
	trail.written = &written
	return nil
}

// noteMade notes the ids of the commands and rollouts that the transaction made.
func noteMade(c echo.Context, tx *store.Tx) {
	for _, made := range tx.Changes() {
		switch {
		case !made.Created:
		case made.Kind == store.ChangeCommand:
			NoteID(c, "request_id", made.RequestID)
		case made.Kind == store.ChangeRollout:
			NoteID(c, "rollout_id", made.RolloutID)
		}
	}
}

// auditedInOne wraps a handler that makes all its changes in one transaction.
func (a *Auditor) auditedInOne(c echo.Context, trail *auditTrail, next echo.HandlerFunc) error {
	c.Set(auditTrailKey, trail)
	c.SetRequest(c.Request().WithContext(store.WithUpdate(c.Request().Context(), func(fn func(*store.Tx) error) error { return a.Update(c, fn) })))
	err := wire.Recovered(next, c)
	end := ended(c, trail.begun, err)
	if w := trail.written; w != nil && w.Status == end.Status && w.Code == end.Code && maps.Equal(w.IDs, end.IDs) {
		a.writeDue()
		return err
	}
	if trail.stranger {
		a.noteAttempt(end)
		return err
	}
	if err := a.close(outcome{end, trail.summed}); err != nil {
		a.log.Error("the result of a request could not be written to the audit log yet", "request_id", end.RequestID, "err", err)
	}
	return err
}

// Begin writes the beginning of the request, for a handler that has to change something before its
// one transaction.
func (a *Auditor) Begin(c echo.Context) error {
	trail, ok := c.Get(auditTrailKey).(*auditTrail)
	if !ok || trail.stranger {
		return nil
	}
	return a.beginAudit(c, trail.begun)
}

// writeDue writes the entries that are due of those that were only counted or could not be written
// so far.
func (a *Auditor) writeDue() {
	outcomes := a.counted(false)
	a.mu.Lock()
	waiting := len(a.unwritten) > 0
	a.mu.Unlock()
	if waiting || len(outcomes) > 0 {
		_ = a.write(outcomes, a.budget.takeSum) // after an error, kept for the next call
	}
}
