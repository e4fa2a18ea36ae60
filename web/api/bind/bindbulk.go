package bind

import (
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) bindbulkRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/bind-commands", Access: wire.Session, Handle: a.bindCommands, OneWrite: true,
			Summary: "Bind commands for up to 1,000 nodes, all or none; without node_ids page by page for those that have no agent yet.",
			Body:    "? node_ids strings, server_url", Data: []nodeBindCommand{}, Paged: true,
			Codes: "NODE_DISABLED MQTT_DISABLED MQTT_TLS_CA_NOT_READY",
		},
	}
}

type nodeBindCommand struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	bindCommandView
}

// bindCommands makes bind commands for many nodes in one transaction. For named nodes it makes all
// or none and names every fault; without names it goes page by page through the nodes that can have
// an agent and have none.
func (a *API) bindCommands(c echo.Context) error {
	limit, after, pageErr := wire.ReadPage(c)
	body, err := wire.ReadOptionalBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	ids := body.Texts("node_ids", wire.BulkRows, wire.Line(1, protocol.MaxIDLength))
	given := body.Text("server_url", reach.ServerURL)
	if err := errors.Join(pageErr, body.Err()); err != nil {
		return err
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	way, err := a.Directory.WayForAgents(c.Request(), given)
	if err != nil {
		return err
	}
	if err := a.Directory.Cover(c, way.URL.Hostname()); err != nil {
		return err
	}
	var rows []nodeBindCommand
	var next string
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		rows, next = nil, ""
		nodes, err := nodesToBind(tx, c.Param("config_id"), ids, after, limit)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			nodes, next = wire.Cut(nodes, limit, func(n store.Node) string { return n.Name })
		}
		for _, n := range nodes {
			token, expires, err := tx.IssueBindToken(n.ID, bindTokenTTL)
			if err != nil {
				return err
			}
			rows = append(rows, nodeBindCommand{n.ID, n.Name, a.bindCommandView(c.Request(), way, token, expires)})
		}
		named := make([]string, len(rows))
		for i, row := range rows {
			named[i] = row.NodeID
		}
		access.NoteIDs(c, "node_ids", named)
		return nil
	}); err != nil {
		return err
	}
	a.Log.Info("bind commands issued", "config_id", c.Param("config_id"), "count", len(rows), "by", access.LoginOf(c).Username)
	return wire.RespondList(c, rows, next)
}

// nodesToBind returns the nodes with the ids. Without ids it returns up to limit+1 nodes without an
// agent, in the order of their names and after the name after. Errors: [store.ErrConfigNotFound];
// *[wire.InvalidError], which names every node that cannot be bound.
func nodesToBind(tx *store.Tx, configID string, ids []string, after string, limit int) ([]store.Node, error) {
	if len(ids) > 0 {
		nodes, cfg, err := view.NamedNodes(tx, configID, ids)
		if err != nil {
			return nil, err
		}
		faults := &wire.Fields{}
		for _, n := range nodes {
			at := wire.Indexed("node_ids", slices.Index(ids, n.ID))
			switch {
			case n.Type == store.NodeStatic:
				faults.Reject(at, "is a static node, which has no agent")
			case !n.Enabled || !cfg.Enabled:
				faults.Reject(at, "is disabled, or its mesh is")
			}
		}
		return nodes, faults.Err()
	}
	cfg, err := tx.Config(configID)
	switch {
	case err != nil:
		return nil, err
	case !cfg.Enabled:
		return nil, store.ErrNodeDisabled
	}
	var free []store.Node
	for len(free) <= limit {
		nodes, err := tx.Nodes(configID, after, wire.BulkRows)
		if err != nil || len(nodes) == 0 {
			return free, err
		}
		for _, n := range nodes {
			if after = n.Name; n.Enabled && n.Type == store.NodeDynamic && n.Client == nil && len(free) <= limit {
				free = append(free, n)
			}
		}
	}
	return free, nil
}
