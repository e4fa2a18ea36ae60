package access

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// Who acts when nobody is logged in.
const (
	actorAnonymous = "anonymous"
	actorAgent     = "agent" // at the bind exchange
)

// maxUnwritten bounds the results that wait for the store to take writes again.
const maxUnwritten = 1000

const auditIDsKey = "wfm.audit_ids"

// NoteID adds an id to the request's audit entry: of what it made, which the path does not name.
func NoteID(c echo.Context, name, id string) {
	ids, ok := c.Get(auditIDsKey).(map[string]string)
	if !ok {
		ids = make(map[string]string)
		c.Set(auditIDsKey, ids)
	}
	ids[name] = id
}

// Auditor writes down who did what.
//
// Of a request that may change something, its beginning is written before the handler runs, and its
// result before the client gets the answer. So nothing is done that leaves no trace, whichever
// handler does it and whenever the process is killed: what has no result is closed as interrupted
// at the next start. A request whose beginning cannot be written is refused. Where a handler does all
// in one transaction, its entry is in that one, see [Server.update].
type Auditor struct {
	db     *store.DB
	log    *slog.Logger
	budget *auditBudget

	mu        sync.Mutex
	unwritten []outcome // results that could not be written yet
}

// outcome is an entry to write, or to add to its login's sum.
type outcome struct {
	store.AuditEntry
	summed bool
}

// NewAuditor makes an auditor.
func NewAuditor(db *store.DB, log *slog.Logger) *Auditor {
	return &Auditor{db: db, log: log, budget: newAuditBudget()}
}

func entryOf(c echo.Context) store.AuditEntry {
	e := store.AuditEntry{
		At: time.Now().UTC(), Actor: LoginOf(c).Username, Action: c.Request().Method + " " + wire.PathTemplate(c.Path()),
		RemoteAddr: wire.RemoteHost(c.Request()), RequestID: wire.RequestIDOf(c),
	}
	for i, name := range c.ParamNames() {
		id := c.ParamValues()[i]
		if !protocol.ValidID(id) { // no id of ours, but perhaps a secret in the wrong place
			id = "?"
		}
		NoteID(c, name, id)
	}
	return e
}

// ended completes the entry of a request that was answered, or will be with err.
func ended(c echo.Context, e store.AuditEntry, err error) store.AuditEntry {
	e.Status = c.Response().Status
	if err != nil {
		a := wire.Translate(err)
		e.Status, e.Code = a.Status, a.Code
	}
	e.ActorID = LoginOf(c).ID
	if e.Actor = LoginOf(c).Username; e.Actor == "" { // a login has made one
		e.Actor = actorAnonymous
		if strings.HasPrefix(c.Path(), "/api/client/") {
			e.Actor = actorAgent
		}
	}
	ids, _ := c.Get(auditIDsKey).(map[string]string)
	e.IDs = maps.Clone(ids) // the request may note more
	return e
}

// Audited is around the handlers of requests of somebody who is logged in.
func (a *Auditor) Audited(r wire.Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		whole := a.budget.takeWrite(LoginOf(c), time.Now())
		e := entryOf(c)
		if r.OneWrite {
			return a.auditedInOne(c, &auditTrail{begun: e, summed: !whole}, next)
		}
		if err := a.beginAudit(c, e); err != nil {
			return err
		}
		err := wire.Recovered(next, c)
		if err := a.close(outcome{ended(c, e, err), !whole}); err != nil {
			a.log.Error("the result of a request could not be written to the audit log yet", "request_id", e.RequestID, "err", err)
		}
		return err
	}
}

// AuditedStranger is around the handlers that prove who somebody is. A crash before the entry is
// written leaves nobody with anything: the answer, with its secret, has not been sent yet.
func (a *Auditor) AuditedStranger(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		return a.auditedInOne(c, &auditTrail{begun: entryOf(c), stranger: true}, next)
	}
}

// beginAudit writes down that the request of e begins.
func (a *Auditor) beginAudit(c echo.Context, e store.AuditEntry) error {
	e = ended(c, e, nil)
	e.Status = 0
	return a.db.Update(func(tx *store.Tx) error { return tx.OpenAudit(e) })
}

// noteRefused writes down a request that was refused for who made it.
func (a *Auditor) noteRefused(c echo.Context, err error) { a.noteAttempt(ended(c, entryOf(c), err)) }

func (a *Auditor) noteAttempt(e store.AuditEntry) {
	if a.budget.admitAttempt(&e) {
		a.note(e)
	}
}

// NoteKeyRead writes down that the text of a version of the node's config, which holds private keys,
// is shown, with what it is compared with (0: nothing). It is shown also when that cannot be written
// yet: it changes nothing, and a full disk must not hide what is to be mended.
func (a *Auditor) NoteKeyRead(c echo.Context, nodeID string, version, against int) {
	e := entryOf(c)
	NoteID(c, "version", strconv.Itoa(version))
	if against != 0 {
		NoteID(c, "against", strconv.Itoa(against))
	}
	e = ended(c, e, nil)
	text := fmt.Sprint(e.ActorID, " ", nodeID, " ", version, " ", against)
	if _, ok := a.budget.sameKeys.Take(text, time.Now()); ok && a.budget.admitKeyRead(&e) {
		a.note(e)
	}
}

func (a *Auditor) note(e store.AuditEntry) {
	if err := a.close(outcome{e, false}); err != nil {
		a.log.Error("an entry could not be written to the audit log yet", "request_id", e.RequestID, "err", err)
	}
}

// close writes the entry, and before it what could not be written so far or was only counted, and the
// sums that are due.
func (a *Auditor) close(o outcome) error {
	return a.write(append(a.counted(false), o), a.budget.takeSum)
}

// Flush writes all that is not written yet, before the end.
func (a *Auditor) Flush() error { return a.write(a.counted(true), always) }

// always has every sum closed.
func always(store.AuditEntry, time.Time) bool { return true }

// Settle closes the sums that the budget allows, for somebody who reads the log.
func (a *Auditor) Settle() {
	if err := a.closeDue(); err != nil {
		a.log.Error("sums could not be written to the audit log yet", "err", err)
	}
}

// closeDue closes the sums that the budget allows.
func (a *Auditor) closeDue() error {
	return a.write(nil, func(_ store.AuditEntry, now time.Time) bool { _, ok := a.budget.sums.Take("", now); return ok })
}

// hasSums reports whether there are sums to close; an error leaves that to the next look.
func (a *Auditor) hasSums() bool {
	has, _ := store.Read(a.db, func(tx *store.Tx) (bool, error) { return tx.HasAuditSums(), nil })
	return has
}

func (a *Auditor) counted(all bool) (outcomes []outcome) {
	for _, e := range a.budget.takeCounted(all) {
		outcomes = append(outcomes, outcome{e, false})
	}
	return outcomes
}

// write writes the outcomes, before them those that could not be written so far, and after them the
// sums that due reports true for. After an error it keeps the outcomes for the next time.
func (a *Auditor) write(outcomes []outcome, due func(store.AuditEntry, time.Time) bool) error {
	a.mu.Lock()
	batch := append(a.unwritten, outcomes...)
	a.unwritten = nil
	a.mu.Unlock()
	if len(batch) == 0 && !a.hasSums() {
		return nil
	}
	err := a.db.Update(func(tx *store.Tx) error {
		for _, o := range batch {
			if err := endAudit(tx, o); err != nil {
				return err
			}
		}
		return tx.CloseAuditSums(func(sum store.AuditEntry) bool { return due(sum, tx.Now()) })
	})
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.unwritten = append(batch, a.unwritten...)
		a.unwritten = a.unwritten[max(0, len(a.unwritten)-maxUnwritten):]
	}
	return err
}

func endAudit(tx *store.Tx, o outcome) error {
	if o.summed {
		return tx.SumAudit(o.AuditEntry)
	}
	return tx.CloseAudit(o.AuditEntry)
}

// NoteIDs adds the ids of many to the request's one audit entry.
func NoteIDs(c echo.Context, name string, ids []string) { NoteID(c, name, strings.Join(ids, " ")) }
