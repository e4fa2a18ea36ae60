package mesh

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) tagRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/tags", Access: wire.Session, Handle: a.listTags,
			Summary: "The tags of a mesh, by name, and how many nodes have each.",
			Data:    []store.Tag{},
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/tags", Access: wire.Session, Handle: a.createTag, OneWrite: true,
			Summary: "Adds a tag to a mesh, which keeps it while no node has it.",
			Body:    "name!", Data: store.Tag{}, Codes: "TOO_MANY_TAGS",
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/tags/apply", Access: wire.Session, Handle: a.applyTag, OneWrite: true,
			Summary: "Adds the tag to nodes; the answer has these nodes.",
			Body:    "tag!, node_ids! strings", Data: []view.Node{}, Codes: "TOO_MANY_TAGS",
		},
		{
			Method: http.MethodDelete, Path: wire.PathConfig + "/tags/:tag", Access: wire.Session, Handle: a.deleteTag, OneWrite: true,
			Summary: "Removes a tag from a mesh and all its nodes.",
			Data:    deletedTag{}, Codes: "TAG_NOT_FOUND",
		},
		{
			Method: http.MethodPut, Path: "/api/v1/nodes/:node_id/tags", Access: wire.Session, Handle: a.putNodeTags, OneWrite: true,
			Summary: "Replaces the tags of a node.",
			Body:    "tags! strings", Data: view.Node{},
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/nodes/:node_id/tags/:tag", Access: wire.Session, Handle: a.deleteNodeTag, OneWrite: true,
			Summary: "Removes a tag from a node.",
			Data:    view.Node{}, Codes: "TAG_NOT_FOUND",
		},
	}
}

func (a *API) listTags(c echo.Context) error {
	tags, err := store.Read(a.DB, func(tx *store.Tx) ([]store.Tag, error) { return tx.Tags(c.Param("config_id")) })
	if err != nil {
		return err
	}
	return wire.Respond(c, tags)
}

func (a *API) createTag(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	tag := store.Tag{Name: body.Need("name", wire.Line(1, maxTag))}
	if err := body.Err(); err != nil {
		return err
	}
	configID := c.Param("config_id")
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		if err := tx.KeepTag(configID, tag.Name); err != nil {
			return err
		}
		tags, err := tx.Tags(configID)
		if i := slices.IndexFunc(tags, func(t store.Tag) bool { return t.Name == tag.Name }); i >= 0 {
			tag = tags[i]
		}
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("tag kept", "config_id", configID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, tag)
}

// applyTag adds the tag to all of the nodes, or to none.
func (a *API) applyTag(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	tag := body.Need("tag", wire.Line(1, maxTag))
	ids := body.Texts("node_ids", wire.BulkRows, wire.Line(1, protocol.MaxIDLength))
	body.Require("node_ids", ids != nil)
	if err := body.Err(); err != nil {
		return err
	}
	configID, views := c.Param("config_id"), []view.Node{}
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		views = views[:0]
		nodes, cfg, err := view.NamedNodes(tx, configID, ids)
		if err != nil {
			return err
		}
		if err := tx.KeepTag(configID, tag); err != nil {
			return err
		}
		for _, n := range nodes {
			if n, err = tx.SetTags(n.ID, append(slices.Clone(n.Tags), tag)); err != nil {
				return err
			}
			f, err := a.Reader.Facts(tx, cfg, n)
			if err != nil {
				return err
			}
			views = append(views, f.View())
		}
		access.NoteIDs(c, "node_ids", ids)
		return nil
	}); err != nil {
		return err
	}
	a.Log.Info("tag applied", "config_id", configID, "nodes", len(views), "by", access.LoginOf(c).Username)
	return wire.Respond(c, views)
}

type deletedTag struct {
	Message      string `json:"message"`
	RemovedCount int    `json:"removed_count"` // nodes that had it
}

func (a *API) deleteTag(c echo.Context) error {
	configID, tag := c.Param("config_id"), tagOf(c)
	v := deletedTag{Message: "The tag was deleted."}
	if err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		v.RemovedCount, err = tx.DeleteTag(configID, tag)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("tag deleted", "config_id", configID, "nodes", v.RemovedCount, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

func (a *API) putNodeTags(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	tags := body.Texts("tags", store.MaxNodeTags, wire.Line(1, maxTag))
	body.Require("tags", tags != nil)
	if err := body.Err(); err != nil {
		return err
	}
	return a.changeTags(c, func([]string) ([]string, error) { return tags, nil })
}

func (a *API) deleteNodeTag(c echo.Context) error {
	return a.changeTags(c, func(tags []string) ([]string, error) {
		i := slices.Index(tags, tagOf(c))
		if i < 0 {
			return nil, store.ErrTagNotFound
		}
		return slices.Delete(slices.Clone(tags), i, i+1), nil
	})
}

// changeTags changes the tags of the node in the path, and answers with the node.
func (a *API) changeTags(c echo.Context, change func(tags []string) ([]string, error)) error {
	var f view.Facts
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		tags, err := change(n.Tags)
		if err != nil {
			return err
		}
		if n, err = tx.SetTags(n.ID, tags); err != nil {
			return err
		}
		f, err = a.Reader.Facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("tags changed", "node_id", f.Node.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, f.View())
}

// tagOf returns the tag in the path, which may hold any character except controls.
func tagOf(c echo.Context) string {
	raw := c.Param("tag")
	if tag, err := url.PathUnescape(raw); err == nil && c.Request().URL.RawPath != "" {
		return tag
	}
	return raw
}
