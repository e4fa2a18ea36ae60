package node

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) confhistoryRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/conf-history", Access: wire.Session, Handle: a.confHistory,
			Summary: "The versions of a node's tunnel config, newest first.",
			Data:    []view.ConfVersion{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/conf-history/:version", Access: wire.Session, Handle: a.confVersion,
			Summary: "A version, with its diff from the version before it, or from the one in against.",
			Query:   "against", Data: view.ConfText{}, Codes: "CONFIG_VERSION_NOT_FOUND VALIDATION_ERROR",
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/conf-history/:version/restore", Access: wire.Session, Handle: a.restoreConf, OneWrite: true,
			Summary: "Saves a former version as a new one.",
			Body:    "? " + wishMembers, Data: savedView{}, Codes: wishing + " CONFIG_VERSION_NOT_FOUND",
		},
	}
}

// confHistory answers the versions of the node's config, newest first.
func (a *API) confHistory(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var versions []store.ConfVersion
	f, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		versions, err = tx.ConfVersions(f.Node.ID, before, limit+1)
		return err
	})
	if err != nil {
		return err
	}
	versions, next := wire.Cut(versions, limit, func(v store.ConfVersion) string { return strconv.Itoa(v.Version) })
	views := make([]view.ConfVersion, len(versions))
	for i, v := range versions {
		views[i] = f.VersionView(v)
	}
	return wire.RespondList(c, views, next)
}

// confVersion answers one version with its text and its diff against the version before it, or
// against the one in the query.
func (a *API) confVersion(c echo.Context) error {
	version, err := versionParam(c)
	if err != nil {
		return err
	}
	against, err := readAgainst(c)
	if err != nil {
		return err
	}
	v, err := a.Reader.ReadConfVersion(c, version, against)
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

func readAgainst(c echo.Context) (int, error) {
	raw := c.QueryParam("against")
	if raw == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 {
		f := &wire.Fields{}
		f.Reject("against", "must be the number of a version")
		return 0, f.Err()
	}
	return n, nil
}

// restoreConf saves the text of an older version as a new desired version, with all checks of
// saving.
func (a *API) restoreConf(c echo.Context) error {
	version, err := versionParam(c)
	if err != nil {
		return err
	}
	body, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	o := readWish(c, body, store.ConfRestored(version))
	if err := body.Err(); err != nil {
		return err
	}
	if _, err := a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) error {
		v, err := tx.ConfVersion(f.Node.ID, version)
		if err != nil {
			return err
		}
		o.Wish.Text, err = tx.ConfText(f.Node.ID, v.SHA256)
		return err
	}); err != nil {
		return err
	}
	return a.saveDesired(c, o, false)
}

// versionParam returns the version of the path. A value that is not a number is an unknown version.
func versionParam(c echo.Context) (int, error) {
	n, err := strconv.Atoi(c.Param("version"))
	if err != nil || n < 1 {
		return 0, store.ErrConfVersionNotFound
	}
	return n, nil
}
