package status

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) statusRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/endpoint/runtime-snapshot", Access: wire.Session, Handle: a.runtimeSnapshot,
			Summary: "The state of each node of a mesh.",
			Data:    []snapshotRow{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/status", Access: wire.Session, Handle: a.endpointStatus,
			Summary: "The status of a node, with the evidence for it.",
			Data:    view.EndpointStatus{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/events", Access: wire.Session, Handle: a.endpointEvents,
			Summary: "The events of a node, newest first.",
			Data:    []store.JournalEntry{}, Paged: true,
		},
	}
}

func (a *API) endpointStatus(c echo.Context) error {
	var v view.EndpointStatus
	if _, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		v, err = a.Reader.Status(tx, f, a.Reader.MQTTService())
		return err
	}); err != nil {
		return err
	}
	return wire.Respond(c, v)
}

type snapshotRow struct {
	NodeID              string `json:"node_id"`
	NodeName            string `json:"node_name"`
	NodeType            string `json:"node_type"`
	Enabled             bool   `json:"enabled"`
	ClientInitialized   bool   `json:"client_initialized"`
	ClientPresenceState string `json:"client_presence_state"`
	view.Runtime
}

func (a *API) runtimeSnapshot(c echo.Context) error {
	rows := []snapshotRow{}
	if err := a.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		probing, err := view.OpenProbes(tx, "")
		if err != nil {
			return err
		}
		return a.Reader.EachFacts(tx, cfg, func(f view.Facts) {
			n := f.Node
			rows = append(rows, snapshotRow{
				n.ID, n.Name, string(n.Type), n.Enabled, n.Client != nil, string(f.Presence.State), f.Runtime(probing[n.ID]),
			})
		})
	}); err != nil {
		return err
	}
	return wire.Respond(c, rows)
}

// endpointEvents lists the node's journal, newest first.
func (a *API) endpointEvents(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var entries []store.JournalEntry
	if _, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		entries, err = tx.Journal(f.Node.ID, before, limit+1)
		return err
	}); err != nil {
		return err
	}
	entries, next := wire.Cut(entries, limit, func(e store.JournalEntry) string { return strconv.FormatUint(e.ID, 10) })
	return wire.RespondList(c, entries, next)
}
