package status

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) historyRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/endpoint/history", Access: wire.Session, Handle: a.endpointHistory,
			Summary: "The changes of a node's presence with their reasons, newest first, and figures about them.",
			Data:    historyView{}, Paged: true,
		},
	}
}

type historyView struct {
	NodeID      string            `json:"node_id"`
	Summary     presence.Summary  `json:"summary"`
	Transitions []view.Transition `json:"transitions"`
	// Gaps lists the times in which the appliance did not run, oldest first. The node's state at
	// these times is not known.
	Gaps []store.Gap `json:"gaps"`
}

// endpointHistory answers the history of the node's presence, newest first.
func (a *API) endpointHistory(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	v := historyView{Transitions: []view.Transition{}, Gaps: []store.Gap{}}
	var page []store.Transition
	if _, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		v.NodeID = f.Node.ID
		if page, err = tx.Transitions(f.Node.ID, before, limit+1); err != nil {
			return err
		}
		gaps, err := tx.Gaps()
		if err != nil {
			return err
		}
		v.Gaps = append(v.Gaps, gaps...)
		all, err := store.Collect(tx.EachTransition(f.Node.ID))
		if err == nil {
			v.Summary = presence.Summarize(all, gaps, tx.Now())
		}
		return err
	}); err != nil {
		return err
	}
	page, next := wire.Cut(page, limit, func(t store.Transition) string { return strconv.FormatUint(t.ID, 10) })
	for _, t := range page {
		v.Transitions = append(v.Transitions, view.Transition{ID: t.ID, At: wire.When(t.At), From: t.From, To: t.To, Reason: t.Reason})
	}
	return wire.RespondPage(c, v, next)
}
