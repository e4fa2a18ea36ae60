package node

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) syncRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/sync-status", Access: wire.Session, Handle: a.configSyncStatus,
			Summary: "Whether each node of a mesh has its latest tunnel config.",
			Data:    []view.Sync{},
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/sync-all", Access: wire.Session, Handle: a.syncAll, OneWrite: true,
			Summary: "Stages the latest tunnel config of every node of the mesh that has another one staged.",
			Data:    syncAllView{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/sync-status", Access: wire.Session, Handle: a.syncStatus,
			Summary: "Whether a node has its latest tunnel config.",
			Data:    view.Sync{},
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/sync", Access: wire.Session, Handle: a.syncNode, OneWrite: true,
			Summary: "Stages the latest tunnel config, for a push.",
			Body:    "? force bool", Data: stagedView{}, Codes: "NO_DESIRED_CONFIG TOPOLOGY_INVALID INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409",
		},
	}
}

func (a *API) syncStatus(c echo.Context) error {
	f, err := a.Reader.PathFacts(c)
	if err != nil {
		return err
	}
	return wire.Respond(c, f.SyncView())
}

func (a *API) configSyncStatus(c echo.Context) error {
	views := []view.Sync{}
	all, err := a.Reader.ConfigFacts(c.Param("config_id"))
	if err != nil {
		return err
	}
	for _, f := range all {
		views = append(views, f.SyncView())
	}
	return wire.Respond(c, views)
}

type stagedView struct {
	Message       string           `json:"message"`
	StagedVersion int              `json:"staged_version"`
	StagedSHA256  string           `json:"staged_sha256"`
	SyncStatus    store.SyncStatus `json:"sync_status"`
}

// syncNode stages the node's desired config.
func (a *API) syncNode(c echo.Context) error {
	body, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	force := wire.Or(body.Flag("force"), false)
	if err := body.Err(); err != nil {
		return err
	}
	f, err := a.Reader.PathFacts(c)
	if err != nil {
		return err
	}
	t, err := a.stage(c, f.Node.ID, force)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("Version %d is staged; push it to the node.", t.Ref.Version)
	switch {
	case f.Node.Type == store.NodeStatic:
		message = fmt.Sprintf("Version %d is staged; copy it to the device, which has no agent.", t.Ref.Version)
	case !t.Staged:
		message = fmt.Sprintf("Version %d was staged already.", t.Ref.Version)
	}
	f.Config, f.Node, f.Conf = t.Config, t.Node, t.State
	a.Log.Info("config staged", "node_id", f.Node.ID, "version", f.Conf.Staged.Version, "by", access.LoginOf(c).Username)
	return wire.Respond(c, stagedView{message, f.Conf.Staged.Version, f.Conf.Staged.SHA256, f.Sync()})
}

// stage stages the node's desired config.
func (a *API) stage(c echo.Context, nodeID string, force bool) (tunnel.Taken, error) {
	o := tunnel.Order{Force: force, Host: a.Directory.HostFor(wire.RequestHost(c.Request().Host))}
	return a.door().Stage(c.Request().Context(), nodeID, o)
}

type syncedView struct {
	NodeID        string `json:"node_id"`
	NodeName      string `json:"node_name"`
	StagedVersion int    `json:"staged_version"`
}

type syncFailedView struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	Code     string `json:"code"`
	Message  string `json:"message"`
}

type syncAllView struct {
	Message     string           `json:"message"`
	SyncedCount int              `json:"synced_count"`
	FailedCount int              `json:"failed_count"`
	Synced      []syncedView     `json:"synced"`
	Failed      []syncFailedView `json:"failed"`
}

// syncAll stages the desired config of every node that is not staged yet. One node's refusal does
// not stop the others.
func (a *API) syncAll(c echo.Context) error {
	all, err := a.Reader.ConfigFacts(c.Param("config_id"))
	if err != nil {
		return err
	}
	var todo []store.Node
	var ids []string
	for _, f := range all {
		if f.Conf.Desired.Version != 0 && !tunnel.StagedNow(f.Conf, tunnel.Family(f.Config)) {
			todo, ids = append(todo, f.Node), append(ids, f.Node.ID)
		}
	}
	outcomes, err := a.door().StageAll(c.Request().Context(), ids, tunnel.Order{Host: a.Directory.HostFor(wire.RequestHost(c.Request().Host))})
	if err != nil {
		return err
	}
	v := syncAllView{Synced: []syncedView{}, Failed: []syncFailedView{}}
	for i, t := range outcomes {
		n := todo[i]
		switch {
		case t.Err == nil:
			v.Synced = append(v.Synced, syncedView{n.ID, n.Name, t.State.Staged.Version})
		case errors.Is(t.Err, store.ErrNodeNotFound): // deleted in the meantime
		default:
			told := wire.Translate(t.Err)
			if told.Code == wire.CodeInternal {
				a.Log.Error("staging failed", "node_id", n.ID, "request_id", wire.RequestIDOf(c), "err", t.Err)
			}
			v.Failed = append(v.Failed, syncFailedView{n.ID, n.Name, told.Code, told.Message})
		}
	}
	v.SyncedCount, v.FailedCount = len(v.Synced), len(v.Failed)
	v.Message = fmt.Sprintf("%d staged, %d failed; all others were staged already or have no tunnel config.", v.SyncedCount, v.FailedCount)
	a.Log.Info("configs staged", "config_id", c.Param("config_id"), "synced", v.SyncedCount, "failed", v.FailedCount, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}
