package link

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) workspaceRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathNode + "/peer-link-draft", Access: wire.Session, Handle: a.draft, Query: "peer_node_id endpoint_ref_family",
			Summary: "A link of the node with peer_node_id as the appliance would make it. It is not kept.",
			Data:    draftView{}, Codes: mesh.CodeInvalidPeerLink + " VALIDATION_ERROR",
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/mesh-workspace", Access: wire.Session, Handle: a.workspace,
			Summary: "A node with its links, as seen from the node, and the findings about them.",
			Data:    workspaceView{},
		},
	}
}

type draftView struct {
	LocalNode         view.BriefNode `json:"local_node"`
	PeerNode          view.BriefNode `json:"peer_node"`
	EndpointRefFamily string         `json:"endpoint_ref_family"`
	Forward           view.Direction `json:"forward"`
	Reverse           view.Direction `json:"reverse"`
	Warnings          []string       `json:"warnings"`
}

func (a *API) draft(c echo.Context) error {
	family := c.QueryParam("endpoint_ref_family")
	f := &wire.Fields{}
	if c.QueryParam("peer_node_id") == "" {
		f.Reject("peer_node_id", "is required")
	}
	if family != "" && family != string(store.EndpointIPv4) && family != string(store.EndpointIPv6) {
		f.Reject("endpoint_ref_family", "must be one of ipv4, ipv6")
	}
	if err := f.Err(); err != nil {
		return err
	}
	v := draftView{EndpointRefFamily: family, Warnings: []string{}}
	if family == "" {
		v.EndpointRefFamily = string(store.EndpointIPv4)
	}
	err := a.DB.View(func(tx *store.Tx) error {
		_, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		m, err := mesh.Load(tx, n.ConfigID)
		if err != nil {
			return err
		}
		d, err := m.Draft(n.ID, c.QueryParam("peer_node_id"), store.EndpointFamily(family))
		if err != nil {
			return err
		}
		peer, err := tx.Node(d.Link.Forward.PeerNodeID)
		v.LocalNode, v.PeerNode = view.BriefOf(n), view.BriefOf(peer)
		v.Forward, v.Reverse, v.Warnings = view.DirectionOf(d.Link.Forward), view.DirectionOf(d.Link.Reverse), append(v.Warnings, d.Warnings...)
		return err
	})
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

type workspaceView struct {
	Node        view.BriefNode    `json:"node"`
	Connections []view.Connection `json:"connections"`
	Validation  view.Report       `json:"validation"` // of the node and its links
}

func (a *API) workspace(c echo.Context) error {
	var v workspaceView
	var m *mesh.Mesh
	mine := map[string]bool{}
	var nodeID string
	if err := a.DB.View(func(tx *store.Tx) error {
		_, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		nodeID = n.ID
		if m, err = mesh.Load(tx, n.ConfigID); err != nil {
			return err
		}
		links, err := tx.LinksOfNode(n.ID)
		if err != nil {
			return err
		}
		v = workspaceView{Node: view.BriefOf(n), Connections: []view.Connection{}}
		for _, l := range links {
			mine[l.ID] = true
			one, err := view.ConnectionOf(tx, m, l, n.ID, access.MayWrite(access.LoginOf(c)))
			if err != nil {
				return err
			}
			v.Connections = append(v.Connections, one)
		}
		return nil
	}); err != nil {
		return err
	}
	around, err := a.surroundings(c, nodeID)
	if err != nil {
		return err
	}
	report := m.Validate(around)
	var about []mesh.Finding
	for _, f := range report.Findings {
		if f.NodeID == nodeID || mine[f.LinkID] {
			about = append(about, f)
		}
	}
	v.Validation = view.ReportOf(mesh.Report{Findings: about})
	return wire.Respond(c, v)
}
