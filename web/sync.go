package web

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel"
	"wfm/web/wire"
)

func (a *nodeAPI) syncRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/sync-status", Access: wire.Session, Handle: a.configSyncStatus,
			Summary: "Whether each node of a mesh has its latest tunnel config.",
			Data:    []syncView{},
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/sync-all", Access: wire.Session, Handle: a.syncAll, OneWrite: true,
			Summary: "Stages the latest tunnel config of every node of the mesh that has another one staged.",
			Data:    syncAllView{},
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/sync-status", Access: wire.Session, Handle: a.syncStatus,
			Summary: "Whether a node has its latest tunnel config.",
			Data:    syncView{},
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/sync", Access: wire.Session, Handle: a.syncNode, OneWrite: true,
			Summary: "Stages what is desired, to be pushed.",
			Body:    "? force bool", Data: stagedView{}, Codes: "NO_DESIRED_CONFIG INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409",
		},
	}
}

// syncRefs are the versions on their way to the node. A version of 0 is none. With
// reported_local_at null, what is on the node's disk is not known; with an empty hash, nothing is.
type syncRefs struct {
	DesiredVersion       int        `json:"desired_version"`
	DesiredSHA256        string     `json:"desired_sha256"`
	StagedVersion        int        `json:"staged_version"`
	StagedSHA256         string     `json:"staged_sha256"`
	ConfirmedVersion     int        `json:"confirmed_version"`
	ConfirmedSHA256      string     `json:"confirmed_sha256"`
	ConfirmedAt          *time.Time `json:"confirmed_at"`
	ReportedLocalVersion int        `json:"reported_local_version"`
	ReportedLocalSHA256  string     `json:"reported_local_sha256"`
	ReportedLocalAt      *time.Time `json:"reported_local_at"`
}

type syncView struct {
	NodeID   string         `json:"node_id"`
	NodeName string         `json:"node_name"`
	NodeType store.NodeType `json:"node_type"`
	syncRefs
	Status store.SyncStatus `json:"status"`
}

func (f facts) sync() store.SyncStatus {
	return tunnel.Sync(f.conf, f.node.Type, tunnel.Family(f.config))
}

func (f facts) syncRefs() syncRefs {
	s := f.conf
	return syncRefs{
		DesiredVersion: s.Desired.Version, DesiredSHA256: s.Desired.SHA256,
		StagedVersion: s.Staged.Version, StagedSHA256: s.Staged.SHA256,
		ConfirmedVersion: s.Confirmed.Version, ConfirmedSHA256: s.Confirmed.SHA256, ConfirmedAt: wire.When(s.ConfirmedAt),
		ReportedLocalVersion: s.Reported.Version, ReportedLocalSHA256: s.Reported.SHA256, ReportedLocalAt: wire.When(s.ReportedAt),
	}
}

func (f facts) syncView() syncView {
	return syncView{f.node.ID, f.node.Name, f.node.Type, f.syncRefs(), f.sync()}
}

// noSyncYet counts no node in any sync state.
func noSyncYet() map[store.SyncStatus]int {
	return map[store.SyncStatus]int{store.SyncLatest: 0, store.SyncPending: 0, store.SyncDrifted: 0}
}

func (a *nodeAPI) syncStatus(c echo.Context) error {
	f, err := a.reader.pathFacts(c)
	if err != nil {
		return err
	}
	return wire.Respond(c, f.syncView())
}

func (a *nodeAPI) configSyncStatus(c echo.Context) error {
	views := []syncView{}
	all, err := a.reader.nodesFacts(c.Param("config_id"))
	if err != nil {
		return err
	}
	for _, f := range all {
		views = append(views, f.syncView())
	}
	return wire.Respond(c, views)
}

func (r *reader) nodesFacts(configID string) (all []facts, err error) {
	err = r.db.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(configID)
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, "", 0)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			f, err := r.facts(tx, cfg, n)
			if err != nil {
				return err
			}
			all = append(all, f)
		}
		return nil
	})
	return all, err
}

type stagedView struct {
	Message       string           `json:"message"`
	StagedVersion int              `json:"staged_version"`
	StagedSHA256  string           `json:"staged_sha256"`
	SyncStatus    store.SyncStatus `json:"sync_status"`
}

// syncNode stages the node's desired config.
func (a *nodeAPI) syncNode(c echo.Context) error {
	body, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	force := wire.Or(body.Flag("force"), false)
	if err := body.Err(); err != nil {
		return err
	}
	f, err := a.reader.pathFacts(c)
	if err != nil {
		return err
	}
	t, err := a.stage(c, f.node.ID, force)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("Version %d is staged; push it to the node.", t.Ref.Version)
	switch {
	case f.node.Type == store.NodeStatic:
		message = fmt.Sprintf("Version %d is staged; copy it to the device, which has no agent.", t.Ref.Version)
	case !t.Staged:
		message = fmt.Sprintf("Version %d was staged already.", t.Ref.Version)
	}
	f.config, f.node, f.conf = t.Config, t.Node, t.State
	a.log.Info("config staged", "node_id", f.node.ID, "version", f.conf.Staged.Version, "by", loginOf(c).Username)
	return wire.Respond(c, stagedView{message, f.conf.Staged.Version, f.conf.Staged.SHA256, f.sync()})
}

// stage stages what is desired for the node.
func (a *nodeAPI) stage(c echo.Context, nodeID string, force bool) (tunnel.Taken, error) {
	o := tunnel.Order{Force: force, Host: a.directory.mqttHost(wire.RequestHost(c.Request().Host))}
	return a.door().Stage(c.Request().Context(), nodeID, o)
}

func (r *reader) nodeFacts(tx *store.Tx, nodeID string) (facts, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return facts{}, err
	}
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return facts{}, err
	}
	return r.facts(tx, cfg, n)
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

// syncAll stages the desired config of every node that is not staged yet. One node's refusal is no
// reason to spare the others.
func (a *nodeAPI) syncAll(c echo.Context) error {
	all, err := a.reader.nodesFacts(c.Param("config_id"))
	if err != nil {
		return err
	}
	var todo []store.Node
	var ids []string
	for _, f := range all {
		if f.conf.Desired.Version != 0 && !tunnel.StagedNow(f.conf, tunnel.Family(f.config)) {
			todo, ids = append(todo, f.node), append(ids, f.node.ID)
		}
	}
	outcomes, err := a.door().StageAll(c.Request().Context(), ids, a.directory.mqttHost(wire.RequestHost(c.Request().Host)))
	if err != nil {
		return err
	}
	v := syncAllView{Synced: []syncedView{}, Failed: []syncFailedView{}}
	for i, t := range outcomes {
		n := todo[i]
		switch {
		case t.Err == nil:
			v.Synced = append(v.Synced, syncedView{n.ID, n.Name, t.State.Staged.Version})
		case errors.Is(t.Err, store.ErrNodeNotFound): // deleted meanwhile
		default:
			told := wire.Translate(t.Err)
			if told.Code == wire.CodeInternal {
				a.log.Error("staging failed", "node_id", n.ID, "request_id", wire.RequestIDOf(c), "err", t.Err)
			}
			v.Failed = append(v.Failed, syncFailedView{n.ID, n.Name, told.Code, told.Message})
		}
	}
	v.SyncedCount, v.FailedCount = len(v.Synced), len(v.Failed)
	v.Message = fmt.Sprintf("%d staged, %d failed; all others were staged already or have no tunnel config.", v.SyncedCount, v.FailedCount)
	a.log.Info("configs staged", "config_id", c.Param("config_id"), "synced", v.SyncedCount, "failed", v.FailedCount, "by", loginOf(c).Username)
	return wire.Respond(c, v)
}
