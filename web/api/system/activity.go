package system

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) activityRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/system/activity", Access: wire.Session, Handle: a.systemActivity,
			Summary: "Samples of the last hour: messages, commands, requests, connections. A restart clears them.",
			Data:    activityView{},
		},
	}
}

type activityView struct {
	IntervalSeconds int                   `json:"interval_seconds"`
	Samples         []view.ActivitySample `json:"samples"` // oldest first, an hour at most
}

func (a *API) systemActivity(c echo.Context) error {
	return wire.Respond(c, activityView{int(view.ActivityInterval / time.Second), a.Recent.Recent()})
}
