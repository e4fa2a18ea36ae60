package system

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (a *API) openapiRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/openapi.json", Access: wire.Guarded, Handle: a.openAPI,
			Summary: "This description.",
			Bare:    "application/json",
		},
	}
}

// openAPI answers the description of the API in OpenAPI 3.0.
func (a *API) openAPI(c echo.Context) error {
	raw, err := a.Document()
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, raw)
}
