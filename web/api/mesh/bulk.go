package mesh

import (
	"errors"
	"fmt"
	"net/http"

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
