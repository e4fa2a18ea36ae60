package link

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

const (
	pathForwards   = "/api/v1/tools/port-forwards"
	forwardMembers = "from_node_id!, from_port! 1..65535, to_node_id!, to_port! 1..65535, to_platform, protocol, enabled bool"
	forwardCodes   = mesh.CodeInvalidPortForward + " PORT_FORWARD_EXISTS " + textCodes
)

func (a *API) forwardRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: pathForwards + "/configs/:config_id", Access: wire.Session, Handle: a.listForwards,
			Summary: "The port forwards of a mesh.",
			Data:    []forwardView{},
		},
		{
			Method: http.MethodPost, Path: pathForwards + "/configs/:config_id", Access: wire.Session, Handle: a.createForward, OneWrite: true,
			Summary: "Forwards a port of the entry (to_node_id) to a service on another node (from_node_id).",
			Body:    forwardMembers, Data: forwardView{}, Codes: forwardCodes,
		},
		{
			Method: http.MethodPut, Path: pathForwards + "/:rule_id/enabled", Access: wire.Session, Handle: a.enableForward, OneWrite: true,
			Summary: "Switches a port forward on or off.",
			Body:    "enabled! bool", Data: forwardView{}, Codes: "PORT_FORWARD_NOT_FOUND " + forwardCodes,
		},
		{
			Method: http.MethodDelete, Path: pathForwards + "/:rule_id", Access: wire.Session, Handle: a.deleteForward, OneWrite: true,
			Summary: "Deletes a port forward.",
			Data:    deletedForward{}, Codes: "PORT_FORWARD_NOT_FOUND " + textCodes,
		},
	}
}

type forwardView struct {
	ID         string     `json:"id"`
	ConfigID   string     `json:"config_id"`
	FromNodeID string     `json:"from_node_id"`
	FromPort   int        `json:"from_port"`
	ToNodeID   string     `json:"to_node_id"`
	ToPort     int        `json:"to_port"`
	ToPlatform string     `json:"to_platform"`
	Protocol   string     `json:"protocol"`
	Enabled    bool       `json:"enabled"`
	CreatedAt  *time.Time `json:"created_at"`
	UpdatedAt  *time.Time `json:"updated_at"`
	view.Effect
}

func forwardOf(f store.PortForward) forwardView {
	return forwardView{
		ID: f.ID, ConfigID: f.ConfigID, FromNodeID: f.FromNodeID, FromPort: f.FromPort, ToNodeID: f.ToNodeID, ToPort: f.ToPort, ToPlatform: f.ToPlatform,
		Protocol: string(f.Protocol), Enabled: f.Enabled, CreatedAt: wire.When(f.CreatedAt), UpdatedAt: wire.When(f.UpdatedAt),
	}
}

func (a *API) listForwards(c echo.Context) error {
	forwards, err := store.Read(a.DB, func(tx *store.Tx) ([]store.PortForward, error) {
		if _, err := tx.Config(c.Param("config_id")); err != nil {
			return nil, err
		}
		return tx.PortForwards(c.Param("config_id"))
	})
	if err != nil {
		return err
	}
	views := make([]forwardView, len(forwards))
	for i, f := range forwards {
		views[i] = forwardOf(f)
	}
	return wire.Respond(c, views)
}

func readForward(f *wire.Fields) store.PortForward {
	port := func(name string) int {
		n := f.Number(name, 1, 65535)
		f.Require(name, n != nil)
		return wire.Or(n, 0)
	}
	id := wire.Line(1, protocol.MaxIDLength)
	return store.PortForward{
		FromNodeID: f.Need("from_node_id", id), FromPort: port("from_port"), ToNodeID: f.Need("to_node_id", id), ToPort: port("to_port"),
		ToPlatform: wire.Or(f.Text("to_platform", wire.OneOf("linux", "darwin")), "linux"),
		Protocol: store.ForwardProtocol(wire.Or(f.Text("protocol",
			wire.OneOf(string(store.ForwardTCP), string(store.ForwardUDP), string(store.ForwardAll))), string(store.ForwardTCP))),
		Enabled: wire.Or(f.Flag("enabled"), true),
	}
}

func (a *API) createForward(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	asked := readForward(body)
	if err := body.Err(); err != nil {
		return err
	}
	asked.ID, asked.ConfigID = protocol.NewID("pf"), c.Param("config_id")
	return a.putForward(c, asked.ConfigID, "port forward made", func(tx *store.Tx) (store.PortForward, error) {
		_, err := tx.Config(asked.ConfigID)
		access.NoteID(c, "rule_id", asked.ID)
		return asked, err
	})
}

func (a *API) enableForward(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	enabled := body.Flag("enabled")
	body.Require("enabled", enabled != nil)
	if err := body.Err(); err != nil {
		return err
	}
	f, err := a.pathForward(c)
	if err != nil {
		return err
	}
	return a.putForward(c, f.ConfigID, "port forward switched", func(tx *store.Tx) (store.PortForward, error) {
		f, err := tx.PortForward(f.ID)
		f.Enabled = *enabled
		return f, err
	})
}

// putForward writes the port forward that read returns, and answers with it.
func (a *API) putForward(c echo.Context, configID, done string, read func(*store.Tx) (store.PortForward, error)) error {
	var f store.PortForward
	changed, err := a.change(c, configID, func(e *mesh.Edit, tx *store.Tx) (err error) {
		if f, err = read(tx); err != nil {
			return err
		}
		return e.PutPortForward(&f)
	})
	if err != nil {
		return err
	}
	a.Log.Info(done, "config_id", f.ConfigID, "rule_id", f.ID, "enabled", f.Enabled, "by", access.LoginOf(c).Username)
	v := forwardOf(f)
	v.Effect = view.EffectOf(changed)
	return wire.Respond(c, v)
}

// pathForward returns the port forward of the path. Error: store.ErrForwardNotFound.
func (a *API) pathForward(c echo.Context) (store.PortForward, error) {
	return store.Read(a.DB, func(tx *store.Tx) (store.PortForward, error) { return tx.PortForward(c.Param("rule_id")) })
}

type deletedForward struct {
	Message string `json:"message"`
	RuleID  string `json:"rule_id"`
	view.Effect
}

func (a *API) deleteForward(c echo.Context) error {
	f, err := a.pathForward(c)
	if err != nil {
		return err
	}
	changed, err := a.change(c, f.ConfigID, func(e *mesh.Edit, _ *store.Tx) error { return e.DeletePortForward(f.ID) })
	if err != nil {
		return err
	}
	a.Log.Info("port forward deleted", "config_id", f.ConfigID, "rule_id", f.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, deletedForward{"The port forward was deleted.", f.ID, view.EffectOf(changed)})
}
