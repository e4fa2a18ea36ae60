package link

import (
	"fmt"
	"net/http"
	"time"

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

// briefNode is a node in answers about links.
type briefNode struct {
	NodeID    string `json:"node_id"`
	Name      string `json:"name"`
	Enabled   bool   `json:"enabled"`
	NodeType  string `json:"node_type"`
	VirtualIP string `json:"virtual_ip"` // without the length of its prefix; "" if there is none
}

func briefOf(n store.Node) briefNode {
	v := briefNode{NodeID: n.ID, Name: n.Name, Enabled: n.Enabled, NodeType: string(n.Type)}
	if n.VirtualIP.IsValid() {
		v.VirtualIP = n.VirtualIP.Addr().String()
	}
	return v
}

type draftView struct {
	LocalNode         briefNode      `json:"local_node"`
	PeerNode          briefNode      `json:"peer_node"`
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
		v.LocalNode, v.PeerNode = briefOf(n), briefOf(peer)
		v.Forward, v.Reverse, v.Warnings = view.DirectionOf(d.Link.Forward), view.DirectionOf(d.Link.Reverse), append(v.Warnings, d.Warnings...)
		return err
	})
	if err != nil {
		return err
	}
	return wire.Respond(c, v)
}

type workspaceView struct {
	Node        briefNode    `json:"node"`
	Connections []connection `json:"connections"`
	Validation  reportView   `json:"validation"` // of the node and its links
}

// connection is a link as seen from one node: its forward direction is that node's.
type connection struct {
	LinkGroupID string    `json:"link_group_id"`
	PeerNode    briefNode `json:"peer_node"`
	Enabled     bool      `json:"enabled"`
	Manual      bool      `json:"manual"`
	view.LinkSecret
	Notes            string         `json:"notes"`
	UpdatedAt        *time.Time     `json:"updated_at"`
	Forward          connectionHalf `json:"forward"`
	Reverse          connectionHalf `json:"reverse"`
	IntegrityStatus  string         `json:"integrity_status"` // healthy or broken
	IntegrityMessage string         `json:"integrity_message"`
	Readonly         bool           `json:"readonly"`
	PeerDisabled     bool           `json:"peer_disabled"`
}

// connectionHalf is a direction with the words that a page shows.
type connectionHalf struct {
	LinkID           string `json:"link_id"`
	EndpointSummary  string `json:"endpoint_summary"` // "" if the peer makes the connection
	KeepaliveDisplay string `json:"keepalive_display"`
	view.Direction
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
		v = workspaceView{Node: briefOf(n), Connections: []connection{}}
		for _, l := range links {
			mine[l.ID] = true
			one, err := connect(tx, m, l, n.ID, access.MayWrite(access.LoginOf(c)))
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
	v.Validation = reportOf(mesh.Report{Findings: about})
	return wire.Respond(c, v)
}

// connect returns the link as seen from the node.
func connect(tx *store.Tx, m *mesh.Mesh, l store.Link, nodeID string, secrets bool) (connection, error) {
	here, there, names := l.Forward, l.Reverse, [2]string{"forward", "reverse"}
	if here.LocalNodeID != nodeID {
		here, there, names = there, here, [2]string{"reverse", "forward"}
	}
	peer, err := tx.Node(here.PeerNodeID)
	if err != nil {
		return connection{}, err
	}
	half := func(name string, d store.Direction) connectionHalf {
		v := connectionHalf{LinkID: l.ID + ":" + name, EndpointSummary: m.Endpoint(d), KeepaliveDisplay: "off", Direction: view.DirectionOf(d)}
		if d.PersistentKeepalive > 0 {
			v.KeepaliveDisplay = fmt.Sprintf("every %d s", d.PersistentKeepalive)
		}
		return v
	}
	v := connection{
		LinkGroupID: l.ID, PeerNode: briefOf(peer), Enabled: l.Enabled, Manual: l.Manual, LinkSecret: view.LinkSecretOf(l, secrets), Notes: l.Notes,
		UpdatedAt: wire.When(l.UpdatedAt), Forward: half(names[0], here), Reverse: half(names[1], there), IntegrityStatus: "healthy",
		PeerDisabled: !peer.Enabled,
	}
	if err := m.CheckLink(l); err != nil {
		v.IntegrityStatus, v.IntegrityMessage = "broken", err.Error()
	}
	return v, nil
}

// reportView has the findings about a mesh.
type reportView struct {
	Valid    bool           `json:"valid"`
	Messages []string       `json:"messages"` // of the errors
	Errors   []mesh.Finding `json:"errors"`
	Warnings []mesh.Finding `json:"warnings"`
}

func reportOf(r mesh.Report) reportView {
	v := reportView{
		Valid: r.Valid(), Messages: []string{}, Errors: append([]mesh.Finding{}, r.Of(mesh.SeverityError)...),
		Warnings: append([]mesh.Finding{}, r.Of(mesh.SeverityWarning)...),
	}
	for _, f := range v.Errors {
		v.Messages = append(v.Messages, f.Message)
	}
	return v
}
