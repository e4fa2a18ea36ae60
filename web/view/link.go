package view

import (
	"strings"
	"time"

	"wfm/store"
	"wfm/web/wire"
)

// Direction is one half of a link: the peer section in the tunnel config of the local node.
type Direction struct {
	LocalNodeID         string               `json:"local_node_id"`
	PeerNodeID          string               `json:"peer_node_id"`
	AllowedIPs          string               `json:"allowed_ips"` // networks, with commas
	PersistentKeepalive *int                 `json:"persistent_keepalive"`
	EndpointMode        store.EndpointMode   `json:"endpoint_mode"`
	EndpointRefFamily   store.EndpointFamily `json:"endpoint_ref_family"`
	EndpointManualHost  *string              `json:"endpoint_manual_host"`
	EndpointPortMode    store.PortMode       `json:"endpoint_port_mode"`
	EndpointManualPort  *int                 `json:"endpoint_manual_port"`
}

// DirectionOf is the view of the direction.
func DirectionOf(d store.Direction) Direction {
	networks := make([]string, len(d.AllowedIPs))
	for i, p := range d.AllowedIPs {
		networks[i] = p.String()
	}
	v := Direction{
		LocalNodeID: d.LocalNodeID, PeerNodeID: d.PeerNodeID, AllowedIPs: strings.Join(networks, ", "),
		PersistentKeepalive: positiveOrNull(d.PersistentKeepalive), EndpointMode: d.EndpointMode, EndpointRefFamily: d.EndpointRefFamily,
		EndpointManualHost: orNull(d.EndpointManualHost), EndpointPortMode: d.EndpointPortMode, EndpointManualPort: positiveOrNull(d.EndpointManualPort),
	}
	if v.EndpointRefFamily == "" {
		v.EndpointRefFamily = store.EndpointIPv4
	}
	if v.EndpointPortMode == "" {
		v.EndpointPortMode = store.PortOfPeer
	}
	return v
}

// LinkRow is one direction of a link with the values of both.
type LinkRow struct {
	ID          string `json:"id"`
	ConfigID    string `json:"config_id"`
	LinkGroupID string `json:"link_group_id"`
	Direction   string `json:"direction"` // forward or reverse
	Enabled     bool   `json:"enabled"`
	Manual      bool   `json:"manual"` // a person made or changed the link
	LinkSecret
	Notes     string     `json:"notes"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
	Half
}

// Half embeds [Direction] beside the member direction of a row.
type Half = Direction

// LinkSecret is the preshared key of a link, for those who may write.
type LinkSecret struct {
	HasPresharedKey bool    `json:"has_preshared_key"`
	PresharedKey    *string `json:"preshared_key,omitempty"`
}

// LinkSecretOf is the view of the key.
func LinkSecretOf(l store.Link, secrets bool) LinkSecret {
	v := LinkSecret{HasPresharedKey: l.PresharedKey != ""}
	if secrets {
		v.PresharedKey = orNull(l.PresharedKey)
	}
	return v
}

// LinkRows are the directions of the link, forward first.
func LinkRows(l store.Link, secrets bool) []LinkRow {
	row := func(name string, d store.Direction) LinkRow {
		return LinkRow{
			ID: l.ID + ":" + name, ConfigID: l.ConfigID, LinkGroupID: l.ID, Direction: name, Enabled: l.Enabled, Manual: l.Manual,
			LinkSecret: LinkSecretOf(l, secrets), Notes: l.Notes, CreatedAt: wire.When(l.CreatedAt), UpdatedAt: wire.When(l.UpdatedAt), Half: DirectionOf(d),
		}
	}
	return []LinkRow{row("forward", l.Forward), row("reverse", l.Reverse)}
}
