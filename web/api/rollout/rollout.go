package rollout

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"wfm/apply"
	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// Parts that several calls' errors share.
const (
	rolling = "MQTT_DISABLED ROLLOUT_NOT_FOUND ROLLOUT_ENDED ROLLOUT_ACTIVE/409"
)

// API answers the calls about rollouts.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB        *store.DB
	Reader    *view.Reader
	Directory *reach.Directory
	Rollouts  Rollouts
	Applier   *apply.Applier
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.applyRoutes(), []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/endpoint/control-batch", Access: wire.Session, Handle: a.controlBatch, OneWrite: true,
			Summary: "Begins a rollout: a command to the named nodes, or to those with the tag, wave after wave. A push is of the version that is " +
				"desired at each node's turn, unless staged or version selects another; it skips a node that has the version already, unless forced.",
			Body: "action!, node_ids strings, tag, wave_size 1..256, max_failures 1..10000, " + wire.Choosing, Data: rolloutDetail{},
			Paged: true, Codes: wire.Commanding + " INVALID_ACTION NODE_NOT_FOUND NODE_CONFIG_MISMATCH NO_STAGED_CONFIG ROLLOUT_ACTIVE/409",
		},
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/rollouts", Access: wire.Session, Handle: a.listRollouts,
			Summary: "The rollouts of a mesh, newest first.",
			Data:    []view.Rollout{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/rollouts/:rollout_id", Access: wire.Session, Handle: a.getRollout,
			Summary: "A rollout, with a page of its nodes.",
			Data:    rolloutDetail{}, Paged: true, Codes: "ROLLOUT_NOT_FOUND",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/pause", Access: wire.Session, Handle: a.pauseRollout, OneWrite: true,
			Summary: "Pauses a rollout before its next wave.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/resume", Access: wire.Session, Handle: a.resumeRollout, OneWrite: true,
			Summary: "Resumes a rollout.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/cancel", Access: wire.Session, Handle: a.cancelRollout, OneWrite: true,
			Summary: "Cancels a rollout.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
	})
}

// The limits of a rollout.
const (
	maxRolloutNodes  = 10_000
	maxWaveSize      = 256
	rolloutBodyLimit = 1 << 20 // room for that many ids of the greatest length
	// With the defaults, the first failed node is the last one touched. A larger wave is faster,
	// but all of its nodes have their command before the first failure is known.
	defaultWaveSize    = 1
	defaultMaxFailures = 1
)

// Rollouts applies actions to many nodes, wave after wave.
type Rollouts interface {
	// Begin writes a rollout with r's config, action, author and bounds over the nodes, in this
	// order, and begins it. Errors: store.ErrConfigNotFound, ErrNodeNotFound,
	// *store.RolloutActiveError.
	Begin(ctx context.Context, r store.Rollout, nodeIDs []string) (store.Rollout, error)
	// Pause, Resume and Cancel change an active rollout. Errors: store.ErrRolloutNotFound,
	// refusal.ErrRolloutEnded.
	Pause(ctx context.Context, id, by string) (store.Rollout, error)
	Resume(ctx context.Context, id, by string) (store.Rollout, error)
	Cancel(ctx context.Context, id, by string) (store.Rollout, error)
}

// rolloutDetail is a rollout with a page of its nodes, in the order of the turns.
type rolloutDetail struct {
	view.Rollout
	Nodes []view.RolloutNode `json:"nodes"`
}

// controlBatch begins a rollout.
func (a *API) controlBatch(c echo.Context) error {
	body, err := wire.ReadBody(c, rolloutBodyLimit)
	if err != nil {
		return err
	}
	r := store.Rollout{
		ConfigID: c.Param("config_id"), RequestedBy: access.LoginOf(c).Username,
		Action:      protocol.Action(body.Need("action", wire.Line(1, 64))),
		WaveSize:    wire.Or(body.Number("wave_size", 1, maxWaveSize), defaultWaveSize),
		MaxFailures: wire.Or(body.Number("max_failures", 1, maxRolloutNodes), defaultMaxFailures),
	}
	choice, order := readSelection(body), wire.ReadOrder(body)
	if err := body.Err(); err != nil {
		return err
	}
	if !r.Action.Spec().InRollouts {
		return wire.ErrRolloutAction
	}
	if err := a.canRollOut(); err != nil {
		return err
	}
	if r.Action == protocol.ActionPush {
		r.Staged, r.Version, r.Force = order.Staged, order.Version, order.Force
		r.BrokerHost = a.Directory.HostFor(wire.RequestHost(c.Request().Host))
	}
	var ids []string
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		ids, err = choice.nodes(tx, r.ConfigID, body)
		return err
	}); err != nil {
		return err
	}
	if r, err = a.Rollouts.Begin(c.Request().Context(), r, ids); err != nil {
		return err
	}
	return a.respondRollout(c, r.ID, wire.DefaultPage, 0)
}

// selection chooses the nodes of a rollout, by id or by a tag.
type selection struct {
	ids []string
	tag *string
}

func readSelection(f *wire.Fields) selection {
	v := selection{f.Texts("node_ids", maxRolloutNodes, wire.Line(1, protocol.MaxIDLength)), f.Text("tag", wire.Line(1, 32))}
	switch {
	case f.Err() != nil:
	case v.ids != nil && v.tag != nil:
		f.Reject("node_ids", "must not be given together with tag")
	case v.ids == nil && v.tag == nil:
		f.Reject("node_ids", "is required, unless tag names the nodes")
	case v.tag == nil && len(v.ids) == 0:
		f.Reject("node_ids", "must name at least one node")
	}
	return v
}

// nodes returns the ids of the selected nodes of the config, in the order of their turns: the given
// order, or by name for a tag. It rejects faults in f.
func (v selection) nodes(tx *store.Tx, configID string, f *wire.Fields) ([]string, error) {
	cfg, err := tx.Config(configID)
	if err != nil {
		return nil, err
	}
	if !cfg.Enabled {
		return nil, store.ErrNodeDisabled
	}
	all, err := tx.Nodes(configID, "", 0)
	if err != nil {
		return nil, err
	}
	var tagged []string
	known := make(map[string]bool, len(all)) // true until it is listed
	for _, n := range all {
		known[n.ID] = true
		if v.tag != nil && slices.Contains(n.Tags, *v.tag) {
			tagged = append(tagged, n.ID)
		}
	}
	if v.tag != nil {
		switch {
		case len(tagged) == 0:
			f.Reject("tag", "is on no node of this mesh")
		case len(tagged) > maxRolloutNodes:
			f.Reject("tag", fmt.Sprintf("is on more than %d nodes", maxRolloutNodes))
		}
		return tagged, f.Err()
	}
	for i, id := range v.ids {
		switch free, ok := known[id]; {
		case !ok:
			f.Reject("node_ids", fmt.Sprintf("must name nodes of this mesh; entry %d is not one", i+1))
		case !free:
			f.Reject("node_ids", fmt.Sprintf("must name each node once; entry %d is a repetition", i+1))
		}
		known[id] = false
	}
	return v.ids, f.Err()
}

// canRollOut returns [refusal.ErrMQTTDisabled] if rollouts are impossible.
func (a *API) canRollOut() error {
	if a.Rollouts == nil {
		return refusal.ErrMQTTDisabled
	}
	return a.Reader.MQTT()
}

func (a *API) pauseRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Pause) }

func (a *API) resumeRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Resume) }

func (a *API) cancelRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Cancel) }

func (a *API) changeRollout(c echo.Context, change func(r Rollouts, ctx context.Context, id, by string) (store.Rollout, error)) error {
	if err := a.canRollOut(); err != nil {
		return err
	}
	r, err := change(a.Rollouts, c.Request().Context(), c.Param("rollout_id"), access.LoginOf(c).Username)
	if err != nil {
		return err
	}
	return a.respondRollout(c, r.ID, wire.DefaultPage, 0)
}

// getRollout shows the rollout with its nodes, page by page.
func (a *API) getRollout(c echo.Context) error {
	limit, after, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	return a.respondRollout(c, c.Param("rollout_id"), limit, after)
}

func (a *API) respondRollout(c echo.Context, id string, limit int, after uint64) error {
	var r store.Rollout
	v := rolloutDetail{}
	var next string
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		if r, err = tx.Rollout(id); err != nil {
			return err
		}
		nodes, err := tx.RolloutNodes(id, after, limit+1)
		if err != nil {
			return err
		}
		nodes, next = wire.Cut(nodes, limit, func(n store.RolloutNode) string { return strconv.FormatUint(n.Position, 10) })
		v.Rollout = view.RolloutOf(r)
		v.Nodes, err = view.RolloutNodes(tx, nodes)
		return err
	}); err != nil {
		return err
	}
	return wire.RespondPage(c, v, next)
}

// listRollouts lists the config's rollouts, newest first.
func (a *API) listRollouts(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var all []store.Rollout
	if err := a.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		all, err = tx.Rollouts(cfg.ID, before, limit+1)
		return err
	}); err != nil {
		return err
	}
	all, next := wire.Cut(all, limit, func(r store.Rollout) string { return strconv.FormatUint(r.Seq, 10) })
	views := make([]view.Rollout, len(all))
	for i, r := range all {
		views[i] = view.RolloutOf(r)
	}
	return wire.RespondList(c, views, next)
}
