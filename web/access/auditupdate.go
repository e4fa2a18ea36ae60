package access

import (
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

const auditTrailKey = "wfm.audit_trail"

// auditTrail is the audit entry of a request that does all it does in one transaction, with which the
// entry is written: what was done is in the log, what is in the log was done, and the disk is waited for
// once.
type auditTrail struct {
	begun   store.AuditEntry
	summed  bool
	written *store.AuditEntry // nil: nothing was done

	// A stranger's success is written as far as the budget of proofs goes, which is asked once: a
	// transaction may run more than once.
	stranger, asked, admitted bool
	repeats                   int
}

// admits reports whether e, which is the end of the request, is to be written.
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

// Update runs fn in a transaction, with the end of the request's audit entry where that is the request's
// one write. fn notes the ids of what it makes, but those of commands and rollouts, which are noted here.
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
		written.Status = http.StatusOK // what every answer has that is no error
		if !trail.admits(a.budget, &written) {
			return nil
		}
		if err := endAudit(tx, outcome{written, trail.summed}); err != nil {
			return err
		}
		return tx.CloseAuditSums(func(sum store.AuditEntry) bool { return a.budget.takeSum(sum, tx.Now()) })
	})
	if err != nil {
		c.Set(auditIDsKey, ids) // of what was made there is nothing
		return err
	}
	trail.written = &written
	return nil
}

// noteMade notes the ids of the commands and rollouts that the transaction has made.
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

// auditedInOne is around a handler that changes something in one transaction alone.
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

// Begin writes down that the request begins, for a handler that changes something before its one
// transaction after all.
func (a *Auditor) Begin(c echo.Context) error {
	trail, ok := c.Get(auditTrailKey).(*auditTrail)
	if !ok || trail.stranger {
		return nil
	}
	return a.beginAudit(c, trail.begun)
}

// writeDue writes what was only counted or could not be written so far, if there is any that is due.
func (a *Auditor) writeDue() {
	outcomes := a.counted(false)
	a.mu.Lock()
	waiting := len(a.unwritten) > 0
	a.mu.Unlock()
	if waiting || len(outcomes) > 0 {
		_ = a.write(outcomes, a.budget.takeSum) // kept for the next time after an error
	}
}
