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

// The actors of requests without a login.
const (
	actorAnonymous = "anonymous"
	actorAgent     = "agent" // at the bind exchange
)

// maxUnwritten bounds the results that wait until the store can be written again.
const maxUnwritten = 1000

const auditIDsKey = "wfm.audit_ids"

// NoteID adds an id to the request's audit entry, of a record that the request made and the path
// does not name.
func NoteID(c echo.Context, name, id string) {
	ids, ok := c.Get(auditIDsKey).(map[string]string)
	if !ok {
		ids = make(map[string]string)
		c.Set(auditIDsKey, ids)
	}
	ids[name] = id
}

// Auditor writes the audit log.
//
// The beginning of a request that may change something is written before the handler runs, and its
// result before the client gets the answer. So nothing is done without a trace, in any handler and
// whenever the process is killed: an entry without a result is closed as interrupted at the next
// start. A request whose beginning cannot be written is refused. If a handler does everything in
// one transaction, that transaction writes the entry, see [Auditor.Update].
type Auditor struct {
	db     *store.DB
	log    *slog.Logger
	budget *auditBudget

	mu        sync.Mutex
	unwritten []outcome // results that the store has not taken yet
}

// outcome is an entry to write, or to add to the sum of its login.
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
		if !protocol.ValidID(id) { // not an id of ours; it may be a secret in the wrong place
			id = "?"
		}
		NoteID(c, name, id)
	}
	return e
}

// ended completes the entry of a request that has been answered, or will be answered with err.
func ended(c echo.Context, e store.AuditEntry, err error) store.AuditEntry {
	e.Status = c.Response().Status
	if err != nil {
		a := wire.Translate(err)
		e.Status, e.Code = a.Status, a.Code
	}
	e.ActorID = LoginOf(c).ID
	if e.Actor = LoginOf(c).Username; e.Actor == "" { // the request was a login, which made the actor known
		e.Actor = actorAnonymous
		if strings.HasPrefix(c.Path(), "/api/client/") {
			e.Actor = actorAgent
		}
	}
	ids, _ := c.Get(auditIDsKey).(map[string]string)
	e.IDs = maps.Clone(ids) // the request may add ids later
	return e
}

// Audited wraps the handlers of requests with a login.
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

// AuditedStranger wraps the handlers that check a proof of identity: set-up, login and bind. It
// writes the entry after the handler. A crash in between gives nothing away, since the answer with
// its secret has not been sent.
func (a *Auditor) AuditedStranger(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		return a.auditedInOne(c, &auditTrail{begun: entryOf(c), stranger: true}, next)
	}
}

// beginAudit writes the beginning of the request of e.
func (a *Auditor) beginAudit(c echo.Context, e store.AuditEntry) error {
	e = ended(c, e, nil)
	e.Status = 0
	return a.db.Update(func(tx *store.Tx) error { return tx.OpenAudit(e) })
}

// noteRefused records a request that was refused because of its login, Host or Origin.
func (a *Auditor) noteRefused(c echo.Context, err error) { a.noteAttempt(ended(c, entryOf(c), err)) }

func (a *Auditor) noteAttempt(e store.AuditEntry) {
	if a.budget.admitAttempt(&e) {
		a.note(e)
	}
}

// NoteKeyRead records that a version of the node's tunnel config, or with version 0 its private key
// alone, is shown, and the version that it is compared with (0 for none): the text holds private keys.
// The text is shown even if the entry cannot be written yet. Showing it changes nothing, and a full
// disk must not hide a config that needs repair.
func (a *Auditor) NoteKeyRead(c echo.Context, nodeID string, version, against int) {
	e := entryOf(c)
	if version != 0 {
		NoteID(c, "version", strconv.Itoa(version))
	}
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

// close writes the entry and the sums that are due. Before them it writes the entries that could
// not be written so far and those that were only counted.
func (a *Auditor) close(o outcome) error {
	return a.write(append(a.counted(false), o), a.budget.takeSum)
}

// Flush writes everything that is not written yet, before the server stops.
func (a *Auditor) Flush() error { return a.write(a.counted(true), always) }

// always reports true for every sum, to close them all.
func always(store.AuditEntry, time.Time) bool { return true }

// Settle closes the sums that the budget allows, before the log is read.
func (a *Auditor) Settle() {
	if err := a.closeDue(); err != nil {
		a.log.Error("sums could not be written to the audit log yet", "err", err)
	}
}

// closeDue closes the sums within the budget.
func (a *Auditor) closeDue() error {
	return a.write(nil, func(_ store.AuditEntry, now time.Time) bool { _, ok := a.budget.sums.Take("", now); return ok })
}

// hasSums reports whether there are sums to close. After an error it reports false; the next call
// tries again.
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

// write writes the outcomes that could not be written so far, then the given ones, then the sums
// for which due reports true. After an error it keeps the outcomes for the next call.
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

// NoteIDs adds many ids to the request's audit entry.
func NoteIDs(c echo.Context, name string, ids []string) { NoteID(c, name, strings.Join(ids, " ")) }
