package web

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

func (a *accountAPI) auditRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/audit", Access: wire.Session, Handle: a.listAudit,
			Summary: "Who did what, newest first. Each entry's hash covers it and the hash before.",
			Query:   "actor node_id config_id", Data: []store.AuditEntry{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/audit/export", Access: wire.Session, Handle: a.exportAudit,
			Summary: "The whole audit log, oldest first, an entry a line, and a closing line with their number and the last hash; wfm audit verify checks it.",
			Bare:    "application/x-ndjson",
		},
	}
}

// Who acts when nobody is logged in.
const (
	actorAnonymous = "anonymous"
	actorAgent     = "agent" // at the bind exchange
)

// maxUnwritten bounds the results that wait for the store to take writes again.
const maxUnwritten = 1000

const auditIDsKey = "wfm.audit_ids"

// noteID adds an id to the request's audit entry: of what it made, which the path does not name.
func noteID(c echo.Context, name, id string) {
	ids, ok := c.Get(auditIDsKey).(map[string]string)
	if !ok {
		ids = make(map[string]string)
		c.Set(auditIDsKey, ids)
	}
	ids[name] = id
}

// auditor writes down who did what.
//
// Of a request that may change something, its beginning is written before the handler runs, and its
// result before the client gets the answer. So nothing is done that leaves no trace, whichever
// handler does it and whenever the process is killed: what has no result is closed as interrupted
// at the next start. A request whose beginning cannot be written is refused. Where a handler does all
// in one transaction, its entry is in that one, see [Server.update].
type auditor struct {
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

func newAuditor(db *store.DB, log *slog.Logger) *auditor {
	return &auditor{db: db, log: log, budget: newAuditBudget()}
}

func entryOf(c echo.Context) store.AuditEntry {
	e := store.AuditEntry{
		At: time.Now().UTC(), Actor: loginOf(c).Username, Action: c.Request().Method + " " + wire.PathTemplate(c.Path()),
		RemoteAddr: wire.RemoteHost(c.Request()), RequestID: wire.RequestIDOf(c),
	}
	for i, name := range c.ParamNames() {
		id := c.ParamValues()[i]
		if !protocol.ValidID(id) { // no id of ours, but perhaps a secret in the wrong place
			id = "?"
		}
		noteID(c, name, id)
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
	e.ActorID = loginOf(c).ID
	if e.Actor = loginOf(c).Username; e.Actor == "" { // a login has made one
		e.Actor = actorAnonymous
		if strings.HasPrefix(c.Path(), "/api/client/") {
			e.Actor = actorAgent
		}
	}
	ids, _ := c.Get(auditIDsKey).(map[string]string)
	e.IDs = maps.Clone(ids) // the request may note more
	return e
}

// audited is around the handlers of requests of somebody who is logged in.
func (a *auditor) audited(r wire.Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		whole := a.budget.takeWrite(loginOf(c), time.Now())
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

// auditedStranger is around the handlers that prove who somebody is. A crash before the entry is
// written leaves nobody with anything: the answer, with its secret, has not been sent yet.
func (a *auditor) auditedStranger(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		return a.auditedInOne(c, &auditTrail{begun: entryOf(c), stranger: true}, next)
	}
}

// beginAudit writes down that the request of e begins.
func (a *auditor) beginAudit(c echo.Context, e store.AuditEntry) error {
	e = ended(c, e, nil)
	e.Status = 0
	return a.db.Update(func(tx *store.Tx) error { return tx.OpenAudit(e) })
}

// noteRefused writes down a request that was refused for who made it.
func (a *auditor) noteRefused(c echo.Context, err error) { a.noteAttempt(ended(c, entryOf(c), err)) }

func (a *auditor) noteAttempt(e store.AuditEntry) {
	if a.budget.admitAttempt(&e) {
		a.note(e)
	}
}

// noteKeyRead writes down that the text of a version of the node's config, which holds private keys,
// is shown, with what it is compared with (0: nothing). It is shown also when that cannot be written
// yet: it changes nothing, and a full disk must not hide what is to be mended.
func (a *auditor) noteKeyRead(c echo.Context, nodeID string, version, against int) {
	e := entryOf(c)
	noteID(c, "version", strconv.Itoa(version))
	if against != 0 {
		noteID(c, "against", strconv.Itoa(against))
	}
	e = ended(c, e, nil)
	text := fmt.Sprint(e.ActorID, " ", nodeID, " ", version, " ", against)
	if _, ok := a.budget.sameKeys.take(text, time.Now()); ok && a.budget.admitKeyRead(&e) {
		a.note(e)
	}
}

func (a *auditor) note(e store.AuditEntry) {
	if err := a.close(outcome{e, false}); err != nil {
		a.log.Error("an entry could not be written to the audit log yet", "request_id", e.RequestID, "err", err)
	}
}

// close writes the entry, and before it what could not be written so far or was only counted, and the
// sums that are due.
func (a *auditor) close(o outcome) error {
	return a.write(append(a.counted(false), o), a.budget.takeSum)
}

// flush writes all that is not written yet, before the end.
func (a *auditor) flush() error { return a.write(a.counted(true), always) }

// always has every sum closed.
func always(store.AuditEntry, time.Time) bool { return true }

// settle closes the sums that the budget allows, for somebody who reads the log.
func (a *auditor) settle() {
	if err := a.closeDue(); err != nil {
		a.log.Error("sums could not be written to the audit log yet", "err", err)
	}
}

// closeDue closes the sums that the budget allows.
func (a *auditor) closeDue() error {
	return a.write(nil, func(_ store.AuditEntry, now time.Time) bool { _, ok := a.budget.sums.take("", now); return ok })
}

// hasSums reports whether there are sums to close; an error leaves that to the next look.
func (a *auditor) hasSums() bool {
	has, _ := store.Read(a.db, func(tx *store.Tx) (bool, error) { return tx.HasAuditSums(), nil })
	return has
}

func (a *auditor) counted(all bool) (outcomes []outcome) {
	for _, e := range a.budget.takeCounted(all) {
		outcomes = append(outcomes, outcome{e, false})
	}
	return outcomes
}

// write writes the outcomes, before them those that could not be written so far, and after them the
// sums that due reports true for. After an error it keeps the outcomes for the next time.
func (a *auditor) write(outcomes []outcome, due func(store.AuditEntry, time.Time) bool) error {
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

// listAudit is the audit log, newest first; of one actor (its name, or the id of its
// session or API token) or about one node when they are named.
func (a *accountAPI) listAudit(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	actor, node, config := c.QueryParam("actor"), c.QueryParam("node_id"), c.QueryParam("config_id")
	a.audit.settle()
	var entries []store.AuditEntry
	if err := a.db.View(func(tx *store.Tx) (err error) {
		entries, err = tx.Audit(before, limit+1, func(e store.AuditEntry) bool {
			return (actor == "" || e.Actor == actor || e.ActorID == actor) && (node == "" || e.Concerns("node_id", node)) &&
				(config == "" || e.Concerns("config_id", config))
		})
		return err
	}); err != nil {
		return err
	}
	entries, next := wire.Cut(entries, limit, func(e store.AuditEntry) string { return strconv.FormatUint(e.Seq, 10) })
	return wire.RespondList(c, entries, next)
}

// exportedAtATime bounds the lines that are read from the store at a time, so that a slow client
// holds no transaction.
const exportedAtATime = 500

// exportAudit is the whole audit log as a download, oldest first and with a closing line, for
// `wfm audit verify` and for keeping.
func (a *accountAPI) exportAudit(c echo.Context) error {
	a.audit.settle()
	var newest []store.AuditEntry
	if err := a.db.View(func(tx *store.Tx) (err error) {
		newest, err = tx.Audit(0, 1, func(store.AuditEntry) bool { return true })
		return err
	}); err != nil {
		return err
	}
	w := wire.StartDownload(a.stopping, c, "application/x-ndjson", "wfm-audit-"+time.Now().UTC().Format("20060102-150405")+".jsonl", -1)
	var end store.AuditEnd
	var last, until uint64
	if len(newest) > 0 {
		until = newest[0].Seq
	}
	for last < until {
		var lines [][]byte
		if err := a.db.View(func(tx *store.Tx) error {
			lines, last = tx.AuditLines(last, exportedAtATime)
			return nil
		}); err != nil {
			return err
		}
		for _, line := range lines {
			if err := end.Add(line); err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(append(end.Line(), '\n'))
	return err
}
