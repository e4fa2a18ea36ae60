package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
)

func (s *Server) tagRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: pathConfig + "/tags", access: accessSession, handle: s.listTags,
			summary: "The tags of a config, by name, and how many nodes have each.",
			data:    []store.Tag{},
		},
		{
			method: http.MethodPost, path: pathConfig + "/tags", access: accessSession, handle: s.createTag, oneWrite: true,
			summary: "Keeps a tag, also while no node has it.",
			body:    "name!", data: store.Tag{}, codes: "TOO_MANY_TAGS",
		},
		{
			method: http.MethodPost, path: pathConfig + "/tags/apply", access: accessSession, handle: s.applyTag, oneWrite: true,
			summary: "Gives nodes the tag beside those they have; the answer is those nodes.",
			body:    "tag!, node_ids! strings", data: []nodeView{}, codes: "TOO_MANY_TAGS",
		},
		{
			method: http.MethodDelete, path: pathConfig + "/tags/:tag", access: accessSession, handle: s.deleteTag, oneWrite: true,
			summary: "Takes a tag from a config and all its nodes.",
			data:    deletedTag{}, codes: "TAG_NOT_FOUND",
		},
		{
			method: http.MethodPut, path: "/api/v1/nodes/:node_id/tags", access: accessSession, handle: s.putNodeTags, oneWrite: true,
			summary: "Replaces the tags of a node.",
			body:    "tags! strings", data: nodeView{},
		},
		{
			method: http.MethodDelete, path: "/api/v1/nodes/:node_id/tags/:tag", access: accessSession, handle: s.deleteNodeTag, oneWrite: true,
			summary: "Takes a tag from a node.",
			data:    nodeView{}, codes: "TAG_NOT_FOUND",
		},
	}
}

func (s *Server) listTags(c echo.Context) error {
	tags, err := store.Read(s.opts.Store, func(tx *store.Tx) ([]store.Tag, error) { return tx.Tags(c.Param("config_id")) })
	if err != nil {
		return err
	}
	return respond(c, tags)
}

func (s *Server) createTag(c echo.Context) error {
	body, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	tag := store.Tag{Name: body.need("name", line(1, maxTag))}
	if err := body.err(); err != nil {
		return err
	}
	configID := c.Param("config_id")
	if err := s.update(c, func(tx *store.Tx) error {
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
	s.log.Info("tag kept", "config_id", configID, "by", loginOf(c).Username)
	return respond(c, tag)
}

// applyTag gives the tag to all of the nodes, or to none.
func (s *Server) applyTag(c echo.Context) error {
	body, err := readBody(c, bulkBodyLimit)
	if err != nil {
		return err
	}
	tag := body.need("tag", line(1, maxTag))
	ids := body.texts("node_ids", bulkRows, line(1, protocol.MaxIDLength))
	body.require("node_ids", ids != nil || body.bad["node_ids"] != "")
	if err := body.err(); err != nil {
		return err
	}
	configID, views := c.Param("config_id"), []nodeView{}
	if err := s.update(c, func(tx *store.Tx) error {
		views = views[:0]
		nodes, cfg, err := namedNodes(tx, configID, ids)
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
			f, err := s.facts(tx, cfg, n)
			if err != nil {
				return err
			}
			views = append(views, f.view())
		}
		noteIDs(c, "node_ids", ids)
		return nil
	}); err != nil {
		return err
	}
	s.log.Info("tag applied", "config_id", configID, "nodes", len(views), "by", loginOf(c).Username)
	return respond(c, views)
}

// namedNodes returns the config's nodes with the ids, each once and in their order. Errors:
// [store.ErrConfigNotFound]; *[invalidError], which names every id that is none of the config's.
func namedNodes(tx *store.Tx, configID string, ids []string) (nodes []store.Node, cfg store.Config, err error) {
	if cfg, err = tx.Config(configID); err != nil {
		return nil, cfg, err
	}
	faults := &fields{}
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		n, err := tx.Node(id)
		switch {
		case err == nil && n.ConfigID == configID:
			nodes = append(nodes, n)
		case err == nil || errors.Is(err, store.ErrNodeNotFound):
			faults.reject(indexed("node_ids", i), "is no node of this mesh")
		default:
			return nil, cfg, err
		}
	}
	return nodes, cfg, faults.err()
}

type deletedTag struct {
	Message      string `json:"message"`
	RemovedCount int    `json:"removed_count"` // nodes that had it
}

func (s *Server) deleteTag(c echo.Context) error {
	configID, tag := c.Param("config_id"), tagOf(c)
	v := deletedTag{Message: "The tag was deleted."}
	if err := s.update(c, func(tx *store.Tx) (err error) {
		v.RemovedCount, err = tx.DeleteTag(configID, tag)
		return err
	}); err != nil {
		return err
	}
	s.log.Info("tag deleted", "config_id", configID, "nodes", v.RemovedCount, "by", loginOf(c).Username)
	return respond(c, v)
}

func (s *Server) putNodeTags(c echo.Context) error {
	body, err := readBody(c, bodyLimit)
	if err != nil {
		return err
	}
	tags := body.texts("tags", store.MaxNodeTags, line(1, maxTag))
	body.require("tags", tags != nil || body.bad["tags"] != "")
	if err := body.err(); err != nil {
		return err
	}
	return s.changeTags(c, func([]string) ([]string, error) { return tags, nil })
}

func (s *Server) deleteNodeTag(c echo.Context) error {
	return s.changeTags(c, func(tags []string) ([]string, error) {
		i := slices.Index(tags, tagOf(c))
		if i < 0 {
			return nil, store.ErrTagNotFound
		}
		return slices.Delete(slices.Clone(tags), i, i+1), nil
	})
}

// changeTags changes the tags of the node that the path names, and answers the node.
func (s *Server) changeTags(c echo.Context, change func(tags []string) ([]string, error)) error {
	var f facts
	if err := s.update(c, func(tx *store.Tx) error {
		cfg, n, err := nodeOf(tx, c)
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
		f, err = s.facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	s.log.Info("tags changed", "node_id", f.node.ID, "by", loginOf(c).Username)
	return respond(c, f.view())
}

// tagOf is the tag that the path names, which may hold any character but a control.
func tagOf(c echo.Context) string {
	raw := c.Param("tag")
	if tag, err := url.PathUnescape(raw); err == nil && c.Request().URL.RawPath != "" {
		return tag
	}
	return raw
}
