package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// What the errors of the calls have in common.
const (
	rolling = "MQTT_DISABLED ROLLOUT_NOT_FOUND ROLLOUT_ENDED ROLLOUT_ACTIVE/409"
)

// rolloutAPI answers the calls about rollouts.
type rolloutAPI struct {
	db        *store.DB
	reader    *reader
	directory *directory
	rollouts  Rollouts
}

func (a *rolloutAPI) rolloutRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/endpoint/control-batch", Access: wire.Session, Handle: a.controlBatch, OneWrite: true,
			Summary: "Begins a rollout: a command to the nodes named, or those with the tag, wave after wave. A push takes the version that is " +
				"desired at each node's turn, unless staged or version names another, and skips a node that has it already unless forced.",
			Body: "action!, node_ids strings, tag, wave_size 1..256, max_failures 1..10000, " + wire.Choosing, Data: rolloutDetail{},
			Paged: true, Codes: controlling + " INVALID_ACTION NODE_NOT_FOUND NODE_CONFIG_MISMATCH NO_STAGED_CONFIG ROLLOUT_ACTIVE/409",
		},
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/rollouts", Access: wire.Session, Handle: a.listRollouts,
			Summary: "The rollouts of a mesh, newest first.",
			Data:    []rolloutView{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/rollouts/:rollout_id", Access: wire.Session, Handle: a.getRollout,
			Summary: "A rollout, and page by page its nodes.",
			Data:    rolloutDetail{}, Paged: true, Codes: "ROLLOUT_NOT_FOUND",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/pause", Access: wire.Session, Handle: a.pauseRollout, OneWrite: true,
			Summary: "Holds a rollout before its next wave.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/resume", Access: wire.Session, Handle: a.resumeRollout, OneWrite: true,
			Summary: "Lets a rollout go on.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/rollouts/:rollout_id/cancel", Access: wire.Session, Handle: a.cancelRollout, OneWrite: true,
			Summary: "Ends a rollout.",
			Data:    rolloutDetail{}, Paged: true, Codes: rolling,
		},
	}
}

// Bounds of a rollout.
const (
	maxRolloutNodes  = 10_000
	maxWaveSize      = 256
	rolloutBodyLimit = 1 << 20 // that many ids of the greatest length fit in
	// With the defaults, the first node that fails is the last that is touched. A greater wave is
	// faster, but all of its nodes have their command before the first failure is known.
	defaultWaveSize    = 1
	defaultMaxFailures = 1
)

// Rollouts carries actions out on many nodes, wave after wave.
type Rollouts interface {
	// Begin writes a rollout of r's config, action, author and bounds over the nodes, in this order,
	// and begins with it. Errors: store.ErrConfigNotFound, ErrNodeNotFound, *store.RolloutActiveError.
	Begin(ctx context.Context, r store.Rollout, nodeIDs []string) (store.Rollout, error)
	// Pause, Resume and Cancel change an active rollout. Errors: store.ErrRolloutNotFound,
	// refusal.ErrRolloutEnded.
	Pause(ctx context.Context, id, by string) (store.Rollout, error)
	Resume(ctx context.Context, id, by string) (store.Rollout, error)
	Cancel(ctx context.Context, id, by string) (store.Rollout, error)
}

// rolloutView is a rollout without its nodes.
type rolloutView struct {
	ID          string          `json:"id"`
	RolloutID   string          `json:"rollout_id"`
	ConfigID    string          `json:"config_id"`
	Action      protocol.Action `json:"action"`
	RequestedBy string          `json:"requested_by"`
	// What a push takes: the version desired at each node's turn, unless staged or version (0: none).
	Staged      bool               `json:"staged"`
	Version     int                `json:"version"`
	Force       bool               `json:"force"`
	State       store.RolloutState `json:"state"`
	Reason      string             `json:"reason"`
	WaveSize    int                `json:"wave_size"`
	MaxFailures int                `json:"max_failures"`
	Wave        int                `json:"wave"`
	Waves       int                `json:"waves"`
	Counts      rolloutCounts      `json:"counts"`
	CreatedAt   *time.Time         `json:"created_at"`
	UpdatedAt   *time.Time         `json:"updated_at"`
	FinishedAt  *time.Time         `json:"finished_at"`
}

// rolloutCounts says how many nodes have each outcome.
type rolloutCounts struct {
	Total      int `json:"total"`
	Waiting    int `json:"waiting"`
	Sent       int `json:"sent"`
	Confirming int `json:"confirming"`
	Done       int `json:"done"`
	Failed     int `json:"failed"`
	Skipped    int `json:"skipped"`
	Cancelled  int `json:"cancelled"`
}

func viewRollout(r store.Rollout) rolloutView {
	counts := rolloutCounts{
		Waiting: r.Counts[store.RolloutNodeWaiting], Sent: r.Counts[store.RolloutNodeSent],
		Confirming: r.Counts[store.RolloutNodeConfirming], Done: r.Counts[store.RolloutNodeDone],
		Failed: r.Counts[store.RolloutNodeFailed], Skipped: r.Counts[store.RolloutNodeSkipped],
		Cancelled: r.Counts[store.RolloutNodeCancelled],
	}
	for _, n := range r.Counts {
		counts.Total += n
	}
	return rolloutView{
		ID: r.ID, RolloutID: r.ID, ConfigID: r.ConfigID, Action: r.Action, RequestedBy: r.RequestedBy, Staged: r.Staged, Version: r.Version, Force: r.Force,
		State: r.State, Reason: r.Reason, WaveSize: r.WaveSize, MaxFailures: r.MaxFailures, Wave: r.Wave, Waves: r.Waves,
		Counts: counts, CreatedAt: wire.When(r.CreatedAt), UpdatedAt: wire.When(r.UpdatedAt), FinishedAt: wire.When(r.FinishedAt),
	}
}

type rolloutNodeView struct {
	NodeID    string               `json:"node_id"`
	NodeName  string               `json:"node_name"` // when the rollout was made
	Wave      int                  `json:"wave"`
	Outcome   store.RolloutOutcome `json:"outcome"`
	RequestID string               `json:"request_id"`
	// ConfigVersion is the version that a push took, or that the node had already; 0 before its turn.
	ConfigVersion int        `json:"config_version"`
	Detail        string     `json:"detail"`
	SentAt        *time.Time `json:"sent_at"`
	AppliedAt     *time.Time `json:"applied_at"`
	DecidedAt     *time.Time `json:"decided_at"`
}

func viewRolloutNode(n store.RolloutNode) rolloutNodeView {
	return rolloutNodeView{
		NodeID: n.NodeID, NodeName: n.Name, Wave: n.Wave, Outcome: n.Outcome, RequestID: n.RequestID,
		ConfigVersion: n.ConfigVersion, Detail: n.Detail,
		SentAt: wire.When(n.SentAt), AppliedAt: wire.When(n.AppliedAt), DecidedAt: wire.When(n.DecidedAt),
	}
}

// rolloutDetail is a rollout with a page of its nodes, in the order of their turns.
type rolloutDetail struct {
	rolloutView
	Nodes []rolloutNodeView `json:"nodes"`
}

type rolloutPayload struct {
	configRef
	Rollout rolloutView `json:"rollout"`
}

// controlBatch begins a rollout.
func (a *rolloutAPI) controlBatch(c echo.Context) error {
	body, err := wire.ReadBody(c, rolloutBodyLimit)
	if err != nil {
		return err
	}
	r := store.Rollout{
		ConfigID: c.Param("config_id"), RequestedBy: loginOf(c).Username,
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
		r.BrokerHost = a.directory.mqttHost(wire.RequestHost(c.Request().Host))
	}
	var ids []string
	if err := a.db.View(func(tx *store.Tx) (err error) {
		ids, err = choice.nodes(tx, r.ConfigID, body)
		return err
	}); err != nil {
		return err
	}
	if r, err = a.rollouts.Begin(c.Request().Context(), r, ids); err != nil {
		return err
	}
	return a.respondRollout(c, r.ID, wire.DefaultPage, 0)
}

// selection names the nodes of a rollout, by id or by a tag.
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

// nodes are the ids of the nodes of the config that v means, in the order of their turns: as they
// were named, or by name for a tag. What is wrong is rejected in f.
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
	known := make(map[string]bool, len(all)) // true until it is named
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
			f.Reject("node_ids", fmt.Sprintf("must name nodes of this mesh; entry %d is none", i+1))
		case !free:
			f.Reject("node_ids", fmt.Sprintf("must name each node once; entry %d is named before", i+1))
		}
		known[id] = false
	}
	return v.ids, f.Err()
}

// canRollOut returns [refusal.ErrMQTTDisabled] while there is nothing to carry a rollout out with.
func (a *rolloutAPI) canRollOut() error {
	if a.rollouts == nil {
		return refusal.ErrMQTTDisabled
	}
	return a.reader.mqtt()
}

func (a *rolloutAPI) pauseRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Pause) }

func (a *rolloutAPI) resumeRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Resume) }

func (a *rolloutAPI) cancelRollout(c echo.Context) error { return a.changeRollout(c, Rollouts.Cancel) }

func (a *rolloutAPI) changeRollout(c echo.Context, change func(r Rollouts, ctx context.Context, id, by string) (store.Rollout, error)) error {
	if err := a.canRollOut(); err != nil {
		return err
	}
	r, err := change(a.rollouts, c.Request().Context(), c.Param("rollout_id"), loginOf(c).Username)
	if err != nil {
		return err
	}
	return a.respondRollout(c, r.ID, wire.DefaultPage, 0)
}

// getRollout is the rollout with its nodes, page by page.
func (a *rolloutAPI) getRollout(c echo.Context) error {
	limit, after, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	return a.respondRollout(c, c.Param("rollout_id"), limit, after)
}

func (a *rolloutAPI) respondRollout(c echo.Context, id string, limit int, after uint64) error {
	var r store.Rollout
	var nodes []store.RolloutNode
	if err := a.db.View(func(tx *store.Tx) (err error) {
		if r, err = tx.Rollout(id); err != nil {
			return err
		}
		nodes, err = tx.RolloutNodes(id, after, limit+1)
		return err
	}); err != nil {
		return err
	}
	nodes, next := wire.Cut(nodes, limit, func(n store.RolloutNode) string { return strconv.FormatUint(n.Position, 10) })
	v := rolloutDetail{viewRollout(r), make([]rolloutNodeView, len(nodes))}
	for i, n := range nodes {
		v.Nodes[i] = viewRolloutNode(n)
	}
	return wire.RespondPage(c, v, next)
}

// listRollouts are the config's rollouts, newest first.
func (a *rolloutAPI) listRollouts(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var all []store.Rollout
	if err := a.db.View(func(tx *store.Tx) error {
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
	views := make([]rolloutView, len(all))
	for i, r := range all {
		views[i] = viewRollout(r)
	}
	return wire.RespondList(c, views, next)
}
