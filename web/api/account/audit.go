package account

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (a *API) auditRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/audit", Access: wire.Session, Handle: a.listAudit,
			Summary: "The audit log, newest first. Each entry's hash covers the entry and the hash before it.",
			Query:   "actor node_id config_id", Data: []store.AuditEntry{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/audit/export", Access: wire.Session, Handle: a.exportAudit,
			Summary: "The whole audit log, oldest first, one entry a line, with a closing line of their number and the last hash; wfm audit verify checks it.",
			Bare:    "application/x-ndjson",
		},
	}
}

// listAudit answers the audit log, newest first. The query can limit it to one actor (by name, or
// by the id of a session or API token) or to one node.
func (a *API) listAudit(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	actor, node, config := c.QueryParam("actor"), c.QueryParam("node_id"), c.QueryParam("config_id")
	a.Audit.Settle()
	var entries []store.AuditEntry
	if err := a.DB.View(func(tx *store.Tx) (err error) {
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

// exportedAtATime is the number of lines that one transaction reads, so that a slow client holds no
// transaction open.
const exportedAtATime = 500

// exportAudit answers the whole audit log as a download, oldest first and with a closing line, for
// `wfm audit verify` and for archives.
func (a *API) exportAudit(c echo.Context) error {
	a.Audit.Settle()
	var newest []store.AuditEntry
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		newest, err = tx.Audit(0, 1, func(store.AuditEntry) bool { return true })
		return err
	}); err != nil {
		return err
	}
	w := wire.StartDownload(a.Stopping, c, "application/x-ndjson", "wfm-audit-"+time.Now().UTC().Format("20060102-150405")+".jsonl", -1)
	var end store.AuditEnd
	var last, until uint64
	if len(newest) > 0 {
		until = newest[0].Seq
	}
	for last < until {
		var lines [][]byte
		if err := a.DB.View(func(tx *store.Tx) error {
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
