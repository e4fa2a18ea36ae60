package mesh

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	rules "wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) bulkRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes/bulk", Access: wire.Session, Handle: a.createNodes, OneWrite: true,
			Summary: "Makes up to 1,000 nodes, all or none; detail.fields has the faults of each by its index.",
			Body:    "nodes! objects", Items: "name!, " + nodeMembers, Objects: nodeObjects, Data: createdNodes{}, Codes: nodeCodes,
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes/bulk-update", Access: wire.Session, Handle: a.updateNodes, OneWrite: true,
			Summary: "Enables, disables or tags up to 5,000 nodes, all or none.",
			Body:    "node_ids! strings, enabled bool, add_tags strings, remove_tags strings", Data: updatedNodes{},
			Codes: "TOO_MANY_TAGS " + nodeCodes,
		},
	}
}

type createdNodes struct {
	CreatedCount int         `json:"created_count"`
	Nodes        []view.Node `json:"nodes"` // in the order of the request
	view.Effect
}

// newNode is one row of a call that makes many nodes.
type newNode struct {
	id     string
	patch  nodePatch
	fields *wire.Fields
}

// createNodes makes many nodes in one transaction. It makes all or none, and then names every fault
// of every row.
func (a *API) createNodes(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	rows := readNewNodes(body)
	if len(rows) == 0 {
		return body.Err()
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.id
	}
	v := createdNodes{CreatedCount: len(rows)}
	changed, err := a.change(c, c.Param("config_id"), func(e *rules.Edit, tx *store.Tx) error {
		cfg, err := tx.Config(c.Param("config_id"))
		if err != nil {
			return err
		}
		if err := checkNewNodes(tx, cfg, rows, body); err != nil {
			return err
		}
		for i, row := range rows {
			n, err := e.NewNode(row.id)
			if err != nil {
				return err
			}
			if err = row.patch.apply(tx, cfg, &n); err == nil {
				err = e.PutNode(&n)
			}
			if faults, ok := errors.AsType[*rules.Error](err); ok {
				return &rules.Error{Code: faults.Code, Message: wire.Indexed("nodes", i) + ": " + faults.Message}
			}
			if err != nil {
				return err
			}
		}
		access.NoteIDs(c, "node_ids", ids)
		return nil
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		f, err := a.facts(row.id)
		if err != nil {
			return err
		}
		one := f.ViewChanged(row.patch.settings.ignored(row.fields, f.Config, f.Node), rules.Changed{})
		one.PrivateKey = nil // as in every list
		v.Nodes = append(v.Nodes, one)
	}
	v.Effect = view.EffectOf(changed)
	a.Log.Info("nodes created", "config_id", c.Param("config_id"), "count", len(rows), "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// readNewNodes reads the rows and rejects in body the faults of each row and of the rows together.
func readNewNodes(body *wire.Fields) []newNode {
	var rows []newNode
	first := make(map[string]int) // row by name
	for i, f := range body.Objects("nodes", wire.BulkRows) {
		if f == nil { // already rejected; the other rows keep their indices
			rows = append(rows, newNode{})
			continue
		}
		row := newNode{protocol.NewID("node"), readNodePatch(f), f}
		f.Require("name", row.patch.name != nil)
		if name := row.patch.name; name != nil {
			if j, twice := first[*name]; twice {
				f.Reject("name", fmt.Sprintf("is also the name of nodes[%d]", j))
			} else {
				first[*name] = i
			}
		}
		body.Absorb("nodes", i, f.Faults())
		rows = append(rows, row)
	}
	return rows
}

// checkNewNodes returns every fault of the rows: those in body, and their conflicts with the mesh.
func checkNewNodes(tx *store.Tx, cfg store.Config, rows []newNode, body *wire.Fields) error {
	all := &wire.Fields{}
	for name, problem := range body.Faults() {
		all.Reject(name, problem)
	}
	for i, row := range rows {
		if row.id == "" {
			continue
		}
		if name := row.patch.name; name != nil && tx.NodeNamed(cfg.ID, *name) != "" {
			all.Reject(wire.Indexed("nodes", i)+".name", "is already the name of another node of this mesh")
		}
		var invalid *wire.InvalidError
		if err := row.patch.fits(store.Node{}); errors.As(err, &invalid) {
			all.Absorb("nodes", i, invalid.Fields)
		}
	}
	return all.Err()
}

type updatedNodes struct {
	Message        string   `json:"message"`
	UpdatedCount   int      `json:"updated_count"`
	UnchangedCount int      `json:"unchanged_count"` // nodes that were so before
	UpdatedNodeIDs []string `json:"updated_node_ids"`
	view.Effect
}

// bulkPatch holds a change of many nodes. Nil members do not change.
type bulkPatch struct {
	enabled             *bool
	addTags, removeTags []string
}

// updateNodes changes many nodes in one transaction: all, or none.
func (a *API) updateNodes(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	ids := body.Texts("node_ids", importRows, wire.Line(1, protocol.MaxIDLength))
	body.Require("node_ids", len(ids) > 0)
	patch := bulkPatch{
		body.Flag("enabled"), body.Texts("add_tags", store.MaxNodeTags, wire.Line(1, maxTag)), body.Texts("remove_tags", store.MaxNodeTags, wire.Line(1, maxTag)),
	}
	if patch.enabled == nil && len(patch.addTags)+len(patch.removeTags) == 0 {
		body.Reject("enabled", "must be given, or add_tags or remove_tags")
	}
	if err := body.Err(); err != nil {
		return err
	}
	v := updatedNodes{}
	configID := c.Param("config_id")
	changed, err := a.change(c, configID, func(e *rules.Edit, tx *store.Tx) error {
		v = updatedNodes{UpdatedNodeIDs: []string{}}
		nodes, _, err := view.NamedNodes(tx, configID, ids)
		if err != nil {
			return err
		}
		if err := patch.fits(nodes, ids); err != nil {
			return err
		}
		for _, tag := range patch.addTags {
			if err := tx.KeepTag(configID, tag); err != nil {
				return err
			}
		}
		for _, n := range nodes {
			differs, err := patch.apply(e, tx, n)
			if err != nil {
				return err
			}
			if differs {
				v.UpdatedNodeIDs = append(v.UpdatedNodeIDs, n.ID)
			} else {
				v.UnchangedCount++
			}
		}
		access.NoteIDs(c, "node_ids", ids)
		return nil
	})
	if err != nil {
		return err
	}
	v.UpdatedCount, v.Effect = len(v.UpdatedNodeIDs), view.EffectOf(changed)
	v.Message = fmt.Sprintf("Changed %s.", nodeCount(v.UpdatedCount))
	if v.UnchangedCount > 0 {
		v.Message += fmt.Sprintf(" %d had this already.", v.UnchangedCount)
	}
	a.Log.Info("nodes changed", "config_id", configID, "count", v.UpdatedCount, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// tags returns the tags that the node gets.
func (p bulkPatch) tags(n store.Node) []string {
	tags := slices.DeleteFunc(slices.Clone(n.Tags), func(tag string) bool { return slices.Contains(p.removeTags, tag) })
	for _, tag := range p.addTags {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// fits returns a *[wire.InvalidError] that names each node with too many tags.
func (p bulkPatch) fits(nodes []store.Node, ids []string) error {
	f := &wire.Fields{}
	for _, n := range nodes {
		if got := p.tags(n); len(got) > store.MaxNodeTags && len(got) > len(n.Tags) {
			f.Reject(wire.Indexed("node_ids", slices.Index(ids, n.ID)),
				fmt.Sprintf("(%s) would have %d tags, more than %d; remove some first", n.Name, len(got), store.MaxNodeTags))
		}
	}
	return f.Err()
}

// apply changes the node, and reports whether it was another one before.
func (p bulkPatch) apply(e *rules.Edit, tx *store.Tx, n store.Node) (differs bool, err error) {
	if tags := p.tags(n); !slices.Equal(tags, n.Tags) {
		differs = true
		if n, err = tx.SetTags(n.ID, tags); err != nil {
			return true, err
		}
	}
	if p.enabled == nil || *p.enabled == n.Enabled {
		return differs, nil
	}
	n.Enabled = *p.enabled
	return true, e.PutNode(&n)
}
