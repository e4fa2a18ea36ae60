package web

import (
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
)

const auditTrailKey = "wfm.audit_trail"

// auditTrail is the audit entry of a request that does all it does in one transaction, with which the
// entry is written: what was done is in the log, what is in the log was done, and the disk is waited for
// once.
type auditTrail struct {
	begun   store.AuditEntry
	summed  bool
	written *store.AuditEntry // nil: nothing was done
}

// inOneWrite are the audited routes whose handlers change something in one call of [Server.update], and
// nowhere else. Any other handler has its beginning written before it runs.
var inOneWrite = map[string]bool{
	"POST /api/v1/configs":                    true,
	"PUT " + pathConfig:                       true,
	"DELETE " + pathConfig:                    true,
	"POST " + pathConfig + "/nodes":           true,
	"POST " + pathConfig + "/nodes/bulk":      true,
	"PUT /api/v1/nodes/:node_id":              true,
	"DELETE /api/v1/nodes/:node_id":           true,
	"PUT " + pathNode:                         true,
	"DELETE " + pathNode:                      true,
	"POST " + pathNode + "/reset-client":      true,
	"POST " + pathConfig + "/tags":            true,
	"POST " + pathConfig + "/tags/apply":      true,
	"DELETE " + pathConfig + "/tags/:tag":     true,
	"PUT /api/v1/nodes/:node_id/tags":         true,
	"DELETE /api/v1/nodes/:node_id/tags/:tag": true,
	"POST /api/v1/auth/logout":                true,
	"DELETE /api/v1/auth/sessions":            true,
	"DELETE /api/v1/auth/sessions/:id":        true,
	"POST /api/v1/auth/tokens":                true,
	"DELETE /api/v1/auth/tokens/:id":          true,
	"POST /api/v1/settings/mqtt/reset":        true,
}

// update runs fn in a transaction, with the end of the request's audit entry where that is the request's
// one write. fn notes the ids of what it makes.
func (s *Server) update(c echo.Context, fn func(*store.Tx) error) error {
	trail, ok := c.Get(auditTrailKey).(*auditTrail)
	if !ok || trail.written != nil {
		return s.opts.Store.Update(fn)
	}
	var written store.AuditEntry
	err := s.opts.Store.Update(func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		written = ended(c, trail.begun, nil)
		written.Status = http.StatusOK // what every answer has that is no error
		if err := endAudit(tx, outcome{written, trail.summed}); err != nil {
			return err
		}
		return tx.CloseAuditSums(func(sum store.AuditEntry) bool { return s.audit.budget.takeSum(sum, tx.Now()) })
	})
	if err == nil {
		trail.written = &written
	}
	return err
}

// auditedInOne is audited for a handler that changes something with update alone.
func (s *Server) auditedInOne(c echo.Context, trail *auditTrail, next echo.HandlerFunc) error {
	c.Set(auditTrailKey, trail)
	err := s.recovered(next, c)
	end := ended(c, trail.begun, err)
	if w := trail.written; w != nil && w.Status == end.Status && w.Code == end.Code && maps.Equal(w.IDs, end.IDs) {
		s.audit.writeDue()
		return err
	}
	if err := s.audit.close(outcome{end, trail.summed}); err != nil {
		s.log.Error("the result of a request could not be written to the audit log yet", "request_id", end.RequestID, "err", err)
	}
	return err
}

// writeDue writes what was only counted or could not be written so far, if there is any that is due.
func (a *auditor) writeDue() {
	outcomes := a.counted(false)
	a.mu.Lock()
	waiting := len(a.unwritten) > 0
	a.mu.Unlock()
	if waiting || len(outcomes) > 0 {
		_ = a.write(outcomes, a.budget.takeSum) // kept for the next time after an error
	}
}
