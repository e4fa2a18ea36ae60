package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (a *nodeAPI) confhistoryRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/conf-history", Access: wire.Session, Handle: a.confHistory,
			Summary: "The versions of a node's tunnel config, newest first.",
			Data:    []confVersionView{}, Paged: true,
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/conf-history/:version", Access: wire.Session, Handle: a.confVersion,
			Summary: "A version, and how it differs from the one before or from against.",
			Query:   "against", Data: confTextView{}, Codes: "CONFIG_VERSION_NOT_FOUND VALIDATION_ERROR",
		},
		{
			Method: http.MethodPost, Path: wire.PathNode + "/conf-history/:version/restore", Access: wire.Session, Handle: a.restoreConf, OneWrite: true,
			Summary: "Saves a former version as a new one.",
			Body:    "? " + wishMembers, Data: savedView{}, Codes: wishing + " CONFIG_VERSION_NOT_FOUND",
		},
	}
}

type confVersionView struct {
	Version   int        `json:"version"`
	SHA256    string     `json:"sha256"`
	Author    string     `json:"author"`
	CreatedAt *time.Time `json:"created_at"`
	Source    string     `json:"source"`
	Size      int        `json:"size"`
	Note      string     `json:"note"`
	// Whether the version is the one that is desired, staged, confirmed.
	Desired   bool `json:"desired"`
	Staged    bool `json:"staged"`
	Confirmed bool `json:"confirmed"`
}

func (f facts) versionView(v store.ConfVersion) confVersionView {
	return confVersionView{
		Version: v.Version, SHA256: v.SHA256, Author: v.Author, CreatedAt: wire.When(v.At), Source: v.Source, Size: v.Size, Note: v.Note,
		Desired: v.Version == f.conf.Desired.Version, Staged: v.Version == f.conf.Staged.Version, Confirmed: v.Version == f.conf.Confirmed.Version,
	}
}

// confHistory are the versions of the node's config, newest first.
func (a *nodeAPI) confHistory(c echo.Context) error {
	limit, before, err := wire.ReadCountedPage(c)
	if err != nil {
		return err
	}
	var versions []store.ConfVersion
	f, err := a.reader.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		versions, err = tx.ConfVersions(f.node.ID, before, limit+1)
		return err
	})
	if err != nil {
		return err
	}
	versions, next := wire.Cut(versions, limit, func(v store.ConfVersion) string { return strconv.Itoa(v.Version) })
	views := make([]confVersionView, len(versions))
	for i, v := range versions {
		views[i] = f.versionView(v)
	}
	return wire.RespondList(c, views, next)
}

type confTextView struct {
	confVersionView
	Content       string `json:"content"`
	ContentHidden bool   `json:"content_hidden"`
	// Against is the version the diff begins from; 0 when there is none to compare with.
	Against int    `json:"against"`
	Diff    string `json:"diff"` // unified
}

// confVersion is one version with its text and what it changed: against the version before it, or
// the one that ?against names.
func (a *nodeAPI) confVersion(c echo.Context) error {
	version, err := versionParam(c)
	if err != nil {
		return err
	}
	against, err := readAgainst(c)
	if err != nil {
		return err
	}
	v, err := a.reader.readConfVersion(c, version, against)
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

// readConfVersion reads the version of the node the path names; against is 0 for the one before it.
func (r *reader) readConfVersion(c echo.Context, version, against int) (v confTextView, err error) {
	var former string
	f, err := r.pathFacts(c, func(tx *store.Tx, f facts) error {
		this, err := tx.ConfVersion(f.node.ID, version)
		if err != nil {
			return err
		}
		v = confTextView{confVersionView: f.versionView(this), ContentHidden: !mayWrite(loginOf(c))}
		if v.ContentHidden {
			return nil
		}
		if v.Content, err = tx.ConfText(f.node.ID, this.SHA256); err != nil {
			return err
		}
		other, err := compared(tx, f.node.ID, version, against)
		if err != nil || other.Version == 0 {
			return err
		}
		v.Against = other.Version
		former, err = tx.ConfText(f.node.ID, other.SHA256)
		return err
	})
	if err != nil {
		return v, err
	}
	if !v.ContentHidden {
		r.audit.noteKeyRead(c, f.node.ID, version, v.Against)
	}
	if v.Against != 0 {
		v.Diff, err = diff(fmt.Sprint("version ", v.Against), former, fmt.Sprint("version ", version), v.Content)
	}
	return v, err
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

// compared is the version named, or else the newest before version; the zero value when there is
// none.
func compared(tx *store.Tx, nodeID string, version, named int) (store.ConfVersion, error) {
	if named != 0 {
		return tx.ConfVersion(nodeID, named)
	}
	before, err := tx.ConfVersions(nodeID, uint64(version), 1) //nolint:gosec // versions count up from 1
	if err != nil || len(before) == 0 {
		return store.ConfVersion{}, err
	}
	return before[0], nil
}

func diff(fromName, from, toName, to string) (string, error) {
	return udiff.ToUnified(fromName, toName, from, udiff.Lines(from, to), udiff.DefaultContextLines)
}

// restoreConf makes the text of an older version the desired one again, as a new version, with all
// that saving checks.
func (a *nodeAPI) restoreConf(c echo.Context) error {
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
	if _, err := a.reader.pathFacts(c, func(tx *store.Tx, f facts) error {
		v, err := tx.ConfVersion(f.node.ID, version)
		if err != nil {
			return err
		}
		o.Wish.Text, err = tx.ConfText(f.node.ID, v.SHA256)
		return err
	}); err != nil {
		return err
	}
	return a.saveDesired(c, o, false)
}

// versionParam is the version the path names; what is no number names none.
func versionParam(c echo.Context) (int, error) {
	n, err := strconv.Atoi(c.Param("version"))
	if err != nil || n < 1 {
		return 0, store.ErrConfVersionNotFound
	}
	return n, nil
}
