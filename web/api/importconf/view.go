package importconf

import (
	"net/netip"

	rules "wfm/mesh/importconf"
	"wfm/store"
	"wfm/web/view"
)

// confImportView is the plan of an import, or its result.
type confImportView struct {
	DryRun       bool             `json:"dry_run"`
	Valid        bool             `json:"valid"` // no problems
	Message      string           `json:"message"`
	CreatedCount int              `json:"created_count"`
	Settings     []string         `json:"settings"` // what the mesh takes from the files
	Nodes        []confImportNode `json:"nodes"`
	Links        []confImportLink `json:"links"`
	OneSided     []rules.Remark   `json:"one_sided"` // peers for which no link is made
	Problems     []rules.Remark   `json:"problems"`
	Notes        []rules.Remark   `json:"notes"`
	view.Effect
}

type confImportNode struct {
	NodeID        string         `json:"node_id"` // "" if it was not made
	Name          string         `json:"name"`
	File          string         `json:"file"` // "" if it is known only as a peer
	NodeType      store.NodeType `json:"node_type"`
	InterfaceName string         `json:"interface_name"` // "" if one is made up
	ConfigSource  string         `json:"config_source"`  // mesh or text
	Why           []string       `json:"why"`            // the text is kept
	PublicKey     string         `json:"public_key"`
	Addresses     []string       `json:"addresses"` // in the tunnel
	IPv4Address   string         `json:"ipv4_address"`
	IPv6Address   string         `json:"ipv6_address"`
	ListenPort    int            `json:"listen_port"` // 0: none, or in the text
	Routes        []string       `json:"routes"`
}

type confImportLink struct {
	LinkGroupID     string         `json:"link_group_id"` // "" if it was not made
	Local           string         `json:"local_node"`    // its name
	Peer            string         `json:"peer_node"`
	HasPresharedKey bool           `json:"has_preshared_key"`
	Forward         view.Direction `json:"forward"`
	Reverse         view.Direction `json:"reverse"`
}

// viewOf returns the view of the plan, with ids if it was carried out.
func viewOf(p rules.Plan, made bool) confImportView {
	v := confImportView{
		DryRun: !made,
		Valid:  len(p.Problems) == 0, Settings: append([]string{}, p.Settings...), Nodes: []confImportNode{}, Links: []confImportLink{},
		OneSided: remarks(p.OneSided), Problems: remarks(p.Problems), Notes: remarks(p.Notes),
	}
	names := map[string]string{}
	for _, n := range p.Nodes {
		names[n.ID] = n.Name
		one := confImportNode{
			Name: n.Name, File: n.File, NodeType: n.Type, InterfaceName: n.InterfaceName, ConfigSource: "text",
			Why: append([]string{}, n.Why...), PublicKey: n.Key, Addresses: texts(n.Addresses), IPv4Address: n.IPv4Address, IPv6Address: n.IPv6Address,
			ListenPort: n.ListenPort, Routes: texts(n.Routes),
		}
		if made {
			one.NodeID = n.ID
		}
		if n.ConfigSource == store.SourceMesh {
			one.ConfigSource = "mesh"
		}
		v.Nodes = append(v.Nodes, one)
	}
	for _, l := range p.Links {
		one := confImportLink{
			Local: names[l.Forward.LocalNodeID], Peer: names[l.Forward.PeerNodeID], HasPresharedKey: l.PresharedKey != "",
			Forward: view.DirectionOf(l.Forward), Reverse: view.DirectionOf(l.Reverse),
		}
		if made {
			one.LinkGroupID = l.ID
		} else {
			one.Forward.LocalNodeID, one.Forward.PeerNodeID, one.Reverse.LocalNodeID, one.Reverse.PeerNodeID = "", "", "", ""
		}
		v.Links = append(v.Links, one)
	}
	return v
}

func remarks(all []rules.Remark) []rules.Remark { return append([]rules.Remark{}, all...) }

func texts(all []netip.Prefix) []string {
	list := make([]string, len(all))
	for i, p := range all {
		list[i] = p.String()
	}
	return list
}
