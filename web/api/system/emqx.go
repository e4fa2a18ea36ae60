package system

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) emqxRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: "/api/v1/system/mqtt/reconcile", Access: wire.Session, Handle: a.reconcileAccounts,
			Summary: "Compares all accounts with those that an external EMQX has now, and repairs the differences.",
			Data:    view.AccountsStatus{}, Codes: "MQTT_DISABLED MQTT_EMBEDDED MQTT_CONTROL_UNAVAILABLE",
		},
	}
}

// reconcileAccounts compares all accounts with EMQX's now and repairs the differences.
func (a *API) reconcileAccounts(c echo.Context) error {
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	if a.Reconcile == nil {
		return wire.ErrEmbeddedBroker
	}
	if err := a.Reconcile(c.Request().Context()); err != nil {
		return err
	}
	a.Log.Info("accounts reconciled", "by", access.LoginOf(c).Username)
	return wire.Respond(c, a.Reader.BrokerStatus().Accounts)
}
