package node

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) commandRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/commands/:request_id", Access: wire.Session, Handle: a.getCommand,
			Summary: "A command and its course.",
			Data:    view.Command{}, Codes: "CONTROL_LOG_NOT_FOUND",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/commands/:request_id/cancel", Access: wire.Session, Handle: a.cancelCommand, OneWrite: true,
			Summary: "Cancels a command that has not ended.",
			Data:    view.Command{}, Codes: "CONTROL_LOG_NOT_FOUND COMMAND_ENDED MQTT_DISABLED",
		},
	}
}

func (a *API) getCommand(c echo.Context) error {
	cmd, err := a.command(c)
	if err != nil {
		return err
	}
	return a.respondCommand(c, cmd)
}

// command returns the command of the path.
func (a *API) command(c echo.Context) (store.Command, error) {
	return store.Read(a.DB, func(tx *store.Tx) (store.Command, error) { return tx.Command(c.Param("request_id")) })
}

func (a *API) cancelCommand(c echo.Context) error {
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	cmd, err := a.command(c)
	if err != nil {
		return err
	}
	access.NoteID(c, "node_id", cmd.NodeID)
	cmd, err = a.Commands.Cancel(c.Request().Context(), c.Param("request_id"), access.LoginOf(c).Username)
	if err != nil {
		return err
	}
	a.Log.Info("command cancelled", "node_id", cmd.NodeID, "command_id", cmd.RequestID, "by", access.LoginOf(c).Username)
	return a.respondCommand(c, cmd)
}

func (a *API) respondCommand(c echo.Context, cmd store.Command) error {
	output, err := a.output(cmd.RequestID)
	if err != nil {
		return err
	}
	return wire.Respond(c, view.CommandOf(cmd, output))
}
