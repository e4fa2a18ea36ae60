package rollout

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/apply"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) applyRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/apply", Access: wire.Session, Handle: a.plan,
			Summary: "What applying a mesh would do: the nodes that do not have their latest tunnel config, by name, each with the difference, whether its tunnel " +
				"is restarted, and why it cannot get the config. plan_hash, message and the counts are about all nodes.",
			Data: view.Plan{}, Paged: true,
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/apply", Access: wire.Session, Handle: a.apply,
			Summary: "Applies a mesh: stages the latest tunnel configs, and begins a rollout that pushes them to the nodes that do not have them, gateways last. " +
				"Nodes that are away get theirs once they are back. With plan_hash, nothing is done if the plan is another one by now. " +
				"wave_size is 10 and max_failures 1 unless given. With start, tunnels that were never started or stopped are started, too.",
			Body: "? plan_hash, node_ids strings, wave_size 1..256, max_failures 1..10000, force bool, start bool", Data: appliedView{},
			Codes: "MQTT_DISABLED NODE_DISABLED PLAN_CHANGED " + mesh.CodeTopologyInvalid + " CONFIG_WOULD_CUT_OFF/409 ROLLOUT_ACTIVE/409",
		},
	}
}

// host returns the broker's host for nodes whose bind recorded none.
func (a *API) host(c echo.Context) string {
	return a.Directory.HostFor(wire.RequestHost(c.Request().Host))
}

func (a *API) plan(c echo.Context) error {
	limit, after, err := wire.ReadPage(c)
	if err != nil {
		return err
	}
	p, err := a.Applier.Plan(c.Request().Context(), c.Param("config_id"), a.host(c))
	if err != nil {
		return err
	}
	begin, found := slices.BinarySearchFunc(p.Nodes, after, func(n apply.Node, name string) int { return strings.Compare(n.Name, name) })
	if found {
		begin++
	}
	nodes, next := wire.Cut(p.Nodes[begin:], limit, func(n apply.Node) string { return n.Name })
	v, err := view.PlanOf(a.Applier, p, nodes)
	if err != nil {
		return err
	}
	return wire.RespondPage(c, v, next)
}

// appliedView is the result of applying a mesh.
type appliedView struct {
	Message  string `json:"message"`
	PlanHash string `json:"plan_hash"` // of the plan that was carried out
	// Rollout is null, and RolloutID empty, if no node needed one.
	RolloutID string          `json:"rollout_id"`
	Rollout   *view.Rollout   `json:"rollout"`
	Left      []view.PlanNode `json:"left"` // nodes that were left out, with the reasons
}

// maxHash bounds the length of a plan's hash.
const maxHash = 64

func (a *API) apply(c echo.Context) error {
	body, err := wire.ReadOptionalBody(c, rolloutBodyLimit)
	if err != nil {
		return err
	}
	o := apply.Order{
		ConfigID: c.Param("config_id"), By: access.LoginOf(c).Username, Host: a.host(c),
		PlanHash:    wire.Or(body.Text("plan_hash", wire.Line(0, maxHash)), ""),
		NodeIDs:     body.Texts("node_ids", maxRolloutNodes, wire.Line(1, protocol.MaxIDLength)),
		WaveSize:    wire.Or(body.Number("wave_size", 1, maxWaveSize), 0),
		MaxFailures: wire.Or(body.Number("max_failures", 1, maxRolloutNodes), 0),
		Force:       wire.Or(body.Flag("force"), false),
		Start:       wire.Or(body.Flag("start"), false),
	}
	if err := body.Err(); err != nil {
		return err
	}
	if err := a.canRollOut(); err != nil {
		return err
	}
	if o.NodeIDs != nil {
		if err := a.DB.View(func(tx *store.Tx) error {
			_, _, err := view.NamedNodes(tx, o.ConfigID, o.NodeIDs)
			return err
		}); err != nil {
			return err
		}
	}
	done, err := a.Applier.Apply(c.Request().Context(), o)
	if err != nil {
		return err
	}
	if done.Rollout.ID != "" {
		access.NoteID(c, "rollout_id", done.Rollout.ID)
	}
	return wire.Respond(c, appliedOf(done))
}

func appliedOf(d apply.Done) appliedView {
	v := appliedView{PlanHash: d.Plan.Hash, Left: make([]view.PlanNode, len(d.Left)), Message: "There was nothing to apply."}
	for i, n := range d.Left {
		v.Left[i] = view.PlanNodeOf(n)
	}
	if d.Rollout.ID == "" {
		return v
	}
	r := view.RolloutOf(d.Rollout)
	v.Rollout, v.RolloutID = &r, r.ID
	v.Message = fmt.Sprintf("The rollout to %d nodes has begun.", r.Counts.Total)
	if r.Counts.Total == 1 {
		v.Message = "The rollout to 1 node has begun."
	}
	return v
}
