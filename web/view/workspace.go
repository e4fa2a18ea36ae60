package view

import (
	"fmt"
	"time"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/wire"
)

// BriefNode is a node in answers about links.
type BriefNode struct {
	NodeID    string `json:"node_id"`
	Name      string `json:"name"`
	Enabled   bool   `json:"enabled"`
	NodeType  string `json:"node_type"`
	VirtualIP string `json:"virtual_ip"` // without the length of its prefix; "" if there is none
}

// BriefOf is the node in short.
func BriefOf(n store.Node) BriefNode {
	v := BriefNode{NodeID: n.ID, Name: n.Name, Enabled: n.Enabled, NodeType: string(n.Type)}
	if n.VirtualIP.IsValid() {
		v.VirtualIP = n.VirtualIP.Addr().String()
	}
	return v
}

// Connection is a link as seen from one node: its forward direction is that node's.
type Connection struct {
	LinkGroupID string    `json:"link_group_id"`
	PeerNode    BriefNode `json:"peer_node"`
	Enabled     bool      `json:"enabled"`
	Manual      bool      `json:"manual"`
	LinkSecret
	Notes            string         `json:"notes"`
	UpdatedAt        *time.Time     `json:"updated_at"`
	Forward          ConnectionHalf `json:"forward"`
	Reverse          ConnectionHalf `json:"reverse"`
	IntegrityStatus  string         `json:"integrity_status"` // healthy or broken
	IntegrityMessage string         `json:"integrity_message"`
	Readonly         bool           `json:"readonly"`
	PeerDisabled     bool           `json:"peer_disabled"`
}

// ConnectionHalf is a direction with the words that a page shows.
type ConnectionHalf struct {
	LinkID           string `json:"link_id"`
	EndpointSummary  string `json:"endpoint_summary"` // "" if the peer makes the connection
	KeepaliveDisplay string `json:"keepalive_display"`
	Direction
}

// ConnectionOf returns the link as seen from the node. m has at least the two nodes of the link.
func ConnectionOf(tx *store.Tx, m *mesh.Mesh, l store.Link, nodeID string, secrets bool) (Connection, error) {
	here, there, names := l.Forward, l.Reverse, [2]string{"forward", "reverse"}
	if here.LocalNodeID != nodeID {
		here, there, names = there, here, [2]string{"reverse", "forward"}
	}
	peer, err := tx.Node(here.PeerNodeID)
	if err != nil {
		return Connection{}, err
	}
	half := func(name string, d store.Direction) ConnectionHalf {
		v := ConnectionHalf{LinkID: l.ID + ":" + name, EndpointSummary: m.Endpoint(d), KeepaliveDisplay: "off", Direction: DirectionOf(d)}
		if d.PersistentKeepalive > 0 {
			v.KeepaliveDisplay = fmt.Sprintf("every %d s", d.PersistentKeepalive)
		}
		return v
	}
	v := Connection{
		LinkGroupID: l.ID, PeerNode: BriefOf(peer), Enabled: l.Enabled, Manual: l.Manual, LinkSecret: LinkSecretOf(l, secrets), Notes: l.Notes,
		UpdatedAt: wire.When(l.UpdatedAt), Forward: half(names[0], here), Reverse: half(names[1], there), IntegrityStatus: "healthy",
		PeerDisabled: !peer.Enabled,
	}
	if err := m.CheckLink(l); err != nil {
		v.IntegrityStatus, v.IntegrityMessage = "broken", err.Error()
	}
	return v, nil
}

// Who says which side of the link makes the connection.
func (c Connection) Who() string {
	here, there := c.Forward.EndpointSummary, c.Reverse.EndpointSummary
	switch {
	case here != "" && there != "":
		return "either side, to " + here
	case here != "":
		return "this node, to " + here
	case there != "":
		return c.PeerNode.Name + ", to " + there
	}
	return ""
}
