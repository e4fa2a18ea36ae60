package node

import (
	"math"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// Parts that several calls' bodies and errors share.
const (
	wishMembers = "note, force bool, base_version 0..2147483647"
	wishing     = "CLIENT_BIND_STATIC_NODE INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409 CONFIG_CONFLICT"
)

func (a *API) desiredRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/applied-conf", Access: wire.Session, Handle: a.appliedConf,
			Summary: "The latest tunnel config of a node. Its text is left out for logins that may only read.",
			Data:    appliedConfView{},
		},
		{
			Method: http.MethodPut, Path: wire.PathNode + "/applied-conf", Access: wire.Session, Handle: a.putAppliedConf, OneWrite: true,
			Summary: "Saves a tunnel config as the latest, and stages it unless stage is false. With push, it also pushes it, or does nothing at all. " +
				"base_version is the version it was made from; force saves and pushes a config that may cut the node off. " +
				"The line PrivateKey = (hidden) keeps the private key of the latest version.",
			Body: "content!, stage bool, push bool, " + wishMembers, Data: savedView{},
			Codes: wishing + " " + wire.Commanding + " TOO_MANY_COMMANDS",
		},
	}
}

type appliedConfView struct {
	Exists  bool   `json:"exists"`
	Content string `json:"content"`
	// ContentHidden reports that there is a text which the request's login may not see.
	ContentHidden bool   `json:"content_hidden"`
	Source        string `json:"source"` // desired; "" if there is none
	view.SyncRefs
	Status store.SyncStatus `json:"status"`
}

// appliedConf answers the node's desired config.
func (a *API) appliedConf(c echo.Context) error {
	var text string
	f, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		if f.Conf.Desired.Version != 0 && access.MayWrite(access.LoginOf(c)) {
			text, err = tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256)
		}
		return err
	})
	if err != nil {
		return err
	}
	v := appliedConfView{Exists: f.Conf.Desired.Version != 0, Content: text, SyncRefs: f.SyncRefs(), Status: f.Sync()}
	if v.Exists {
		v.Source, v.ContentHidden = "desired", !access.MayWrite(access.LoginOf(c))
		if !v.ContentHidden {
			a.Audit.NoteKeyRead(c, f.Node.ID, f.Conf.Desired.Version, 0)
		}
	}
	return wire.Respond(c, v)
}

// readWish reads the order to save a text that comes from source: its author, note and base
// version, and force.
func readWish(c echo.Context, f *wire.Fields, source string) tunnel.Order {
	return tunnel.Order{
		Wish: &tunnel.Wish{
			Author: access.LoginOf(c).Username, Source: source,
			Note: wire.Or(f.Text("note", wire.Line(0, 200)), ""),
			Base: f.Number("base_version", 0, math.MaxInt32),
		},
		Force: wire.Or(f.Flag("force"), false),
	}
}

// putAppliedConf saves a text as the desired one. By default it also stages it, so that a script
// can push it next.
func (a *API) putAppliedConf(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.ConfBodyLimit)
	if err != nil {
		return err
	}
	o := readWish(c, f, store.ConfEdited)
	o.Wish.Text = f.Need("content", wire.ConfText)
	stage, push := wire.Or(f.Flag("stage"), true), wire.Or(f.Flag("push"), false)
	if push && !stage {
		f.Reject("stage", "must not be false together with push, which stages the config")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if o.Wish.Text, err = a.Reader.WithKey(c, o.Wish.Text); err != nil {
		return err
	}
	if push {
		return a.savePushed(c, o)
	}
	return a.saveDesired(c, o, stage)
}

type savedView struct {
	view.Sync
	Warnings []wire.WarningView `json:"warnings"`
	// Push is the push of the saved version, if the request asked for one.
	Push *controlView `json:"push,omitempty"`
}

// saveDesired saves the order's text for the node of the path.
func (a *API) saveDesired(c echo.Context, o tunnel.Order, stage bool) error {
	node, err := a.orderFor(c, &o)
	if err != nil {
		return err
	}
	t, err := a.door().Save(c.Request().Context(), node, o, stage)
	if err != nil {
		return err
	}
	return a.respondSaved(c, t, o, nil)
}

// savePushed saves the order's text and pushes it, or does neither.
func (a *API) savePushed(c echo.Context, o tunnel.Order) error {
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	node, err := a.orderFor(c, &o)
	if err != nil {
		return err
	}
	v, t, err := a.push(c, node, o)
	if err != nil {
		return err
	}
	return a.respondSaved(c, t, o, &v)
}

func (a *API) respondSaved(c echo.Context, t tunnel.Taken, o tunnel.Order, push *controlView) error {
	a.Log.Info("desired config saved", "node_id", t.Node.ID, "version", t.Ref.Version, "source", o.Wish.Source,
		"forced", o.Force && tunnel.CutsOff(t.Warnings), "by", access.LoginOf(c).Username)
	f := view.Facts{Config: t.Config, Node: t.Node, Conf: t.State}
	return wire.Respond(c, savedView{f.SyncView(), wire.ViewWarnings(t.Warnings), push})
}

// door returns the door that saves and stages configs.
func (a *API) door() tunnel.Door {
	d := mesh.Door(a.DB, a.Resolver)
	d.Topology = a.Applier.Stageable
	return d
}

// orderFor returns the id of the path's node. It sets in o the host of the broker for an agent that
// binds by this request.
func (a *API) orderFor(c echo.Context, o *tunnel.Order) (nodeID string, err error) {
	o.Host = a.Directory.HostFor(wire.RequestHost(c.Request().Host))
	f, err := a.Reader.PathFacts(c)
	return f.Node.ID, err
}
