package status

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) logRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/logs", Access: wire.Session, Handle: a.endpointLogs,
			Summary: "The log of a node, newest first: its commands, and with action event their output and the node's events.",
			Data:    []view.Log{}, Paged: true,
		},
	}
}

// actionEvent is the action of a row of a node's log that is not a command: an event, or the output
// of a command.
const actionEvent protocol.Action = "event"

// eventState is the state of such a row. The event has happened, so its status is acked.
const eventState store.CommandState = "recorded"

// logPosition is the position in a node's log before which a page begins: the counters of a command
// and of an event. The zero value is the newest end.
type logPosition struct{ command, event uint64 }

func (p logPosition) String() string { return fmt.Sprintf("%d.%d", p.command, p.event) }

// readLogPage is like wire.ReadPage for a node's log.
func readLogPage(c echo.Context) (limit int, at logPosition, err error) {
	limit, key, err := wire.ReadPage(c)
	if err != nil || key == "" {
		return limit, at, err
	}
	if _, err := fmt.Sscanf(key, "%d.%d", &at.command, &at.event); err != nil || at.String() != key {
		f := &wire.Fields{}
		f.Reject("cursor", "must be the next_cursor of a former answer")
		return limit, at, f.Err()
	}
	return limit, at, nil
}

// endpointLogs answers the log of a node, newest first: its commands with their output, and its
// journal.
func (a *API) endpointLogs(c echo.Context) error {
	limit, at, err := readLogPage(c)
	if err != nil {
		return err
	}
	var rows []view.Log
	next := ""
	if _, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) error {
		var more bool
		rows, at, more, err = readLog(tx, f.Node, at, limit)
		if more {
			next = wire.CursorOf(at.String())
		}
		return err
	}); err != nil {
		return err
	}
	return wire.RespondList(c, rows, next)
}

// readLog returns up to limit rows before at, the position after them, and whether there are more.
// A command and its output form a group: a page ends before a group rather than within it, unless
// the group is its first.
func readLog(tx *store.Tx, n store.Node, at logPosition, limit int) (rows []view.Log, end logPosition, more bool, err error) {
	commands, err := tx.Commands(n.ID, at.command, limit+1)
	if err != nil {
		return nil, at, false, err
	}
	entries, err := tx.Journal(n.ID, at.event, limit+1)
	if err != nil {
		return nil, at, false, err
	}
	if at == (logPosition{}) { // later events belong to no further page
		at = logPosition{1, 1}
		if len(commands) > 0 {
			at.command = commands[0].Seq + 1
		}
		if len(entries) > 0 {
			at.event = entries[0].ID + 1
		}
	}
	for len(commands)+len(entries) > 0 {
		var group []view.Log
		ahead := at
		isCommand := len(entries) == 0 || (len(commands) > 0 && !commands[0].CreatedAt.Before(entries[0].At))
		if isCommand {
			if group, err = logOfCommand(tx, commands[0]); err != nil {
				return nil, at, false, err
			}
			ahead.command = commands[0].Seq
		} else {
			group = []view.Log{viewEvent(n, entries[0])}
			ahead.event = entries[0].ID
		}
		if len(rows) > 0 && len(rows)+len(group) > limit {
			return rows, at, true, nil
		}
		rows, at = append(rows, group...), ahead
		if isCommand {
			commands = commands[1:]
		} else {
			entries = entries[1:]
		}
	}
	return rows, at, false, nil
}

// logOfCommand returns the command's row, after those of its output, which are newer.
func logOfCommand(tx *store.Tx, c store.Command) (rows []view.Log, err error) {
	output, err := tx.Output(c.RequestID)
	for i, o := range slices.Backward(output) {
		row := eventRow(c.ConfigID, c.NodeID, o.At)
		row.ID, row.RequestID, row.RequestedBy = fmt.Sprintf("%s-%d", c.RequestID, i+1), c.RequestID, c.RequestedBy
		row.Summary = view.PrintedBy(c, o)
		if row.Detail = o.Output; row.Detail == "" {
			row.Detail = o.Message
		}
		rows = append(rows, row)
	}
	return append(rows, view.LogOf(c)), err
}

func viewEvent(n store.Node, e store.JournalEntry) view.Log {
	row := eventRow(n.ConfigID, n.ID, e.At)
	row.ID, row.RequestID, row.RequestedBy = fmt.Sprintf("%s-%d", n.ID, e.ID), e.RequestID, "node"
	row.Summary, row.Detail = e.Event, e.Message
	if e.Level == "error" {
		row.Status = "failed"
	}
	return row
}

// eventRow returns a row with the fields that all events share.
func eventRow(configID, nodeID string, at time.Time) view.Log {
	return view.Log{
		ConfigID: configID, NodeID: nodeID, Action: actionEvent, Status: view.CommandStatus(store.CommandApplied), State: eventState,
		RequestedAt: wire.When(at), AckAt: wire.When(at), CreatedAt: wire.When(at), UpdatedAt: wire.When(at),
	}
}
