package link

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

const (
	pathLink  = "/api/v1/peer-links/:link_group_id"
	linkBody  = "reverse object, preshared_key, notes, enabled bool"
	direction = "allowed_ips, persistent_keepalive 0..65535, endpoint_mode, endpoint_ref_family, endpoint_manual_host, endpoint_port_mode, " +
		"endpoint_manual_port 0..65535"
	linkCodes = mesh.CodeInvalidPeerLink + " " + textCodes
)

var linkObjects = map[string]string{
	"forward": "local_node_id, peer_node_id, " + direction, "reverse": "local_node_id, peer_node_id, " + direction,
}

func (a *API) linkRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: wire.PathConfig + "/peer-links", Access: wire.Session, Handle: a.listLinks,
			Summary: "The links of a mesh, each as its two directions.",
			Data:    []view.LinkRow{},
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/peer-links", Access: wire.Session, Handle: a.createLink, OneWrite: true,
			Summary: "Links two nodes. Absent members, and an absent direction, are as peer-link-draft proposes them.",
			Body:    "forward! object, " + linkBody, Objects: linkObjects, Data: groupView{}, Codes: linkCodes,
		},
		{
			Method: http.MethodPut, Path: pathLink, Access: wire.Session, Handle: a.updateLink, OneWrite: true,
			Summary: "Changes a link; absent members stay as they are. The directions are matched by their nodes.",
			Body:    "forward object, " + linkBody, Objects: linkObjects, Data: groupView{}, Codes: "PEER_LINK_NOT_FOUND " + linkCodes,
		},
		{
			Method: http.MethodDelete, Path: pathLink, Access: wire.Session, Handle: a.deleteLink, OneWrite: true,
			Summary: "Deletes a link.",
			Data:    deletedLink{}, Codes: "PEER_LINK_NOT_FOUND " + textCodes,
		},
	}
}

// groupView is a link.
type groupView struct {
	LinkGroupID string `json:"link_group_id"`
	ConfigID    string `json:"config_id"`
	Enabled     bool   `json:"enabled"`
	Manual      bool   `json:"manual"`
	view.LinkSecret
	Notes     string         `json:"notes"`
	Forward   view.Direction `json:"forward"`
	Reverse   view.Direction `json:"reverse"`
	CreatedAt *time.Time     `json:"created_at"`
	UpdatedAt *time.Time     `json:"updated_at"`
	view.Effect
}

func groupOf(l store.Link) groupView {
	return groupView{
		LinkGroupID: l.ID, ConfigID: l.ConfigID, Enabled: l.Enabled, Manual: l.Manual, LinkSecret: view.LinkSecretOf(l, true), Notes: l.Notes,
		Forward: view.DirectionOf(l.Forward), Reverse: view.DirectionOf(l.Reverse), CreatedAt: wire.When(l.CreatedAt), UpdatedAt: wire.When(l.UpdatedAt),
	}
}

// linkPatch holds the changes that a request makes to a link. Nil members do not change.
type linkPatch struct {
	halves              []halfPatch // forward and reverse, as far as they are given
	presharedKey, notes *string
	enabled             *bool
}

// halfPatch holds the changes to one direction.
type halfPatch struct {
	name                 string
	local, peer          *string
	allowed              []netip.Prefix
	keepalive, port      *int
	mode, family, ported *string
	host                 *string
}

func readLinkPatch(f *wire.Fields) linkPatch {
	p := linkPatch{
		presharedKey: f.Text("preshared_key", wire.Line(0, 200)), notes: f.Text("notes", wire.Prose(1000)), enabled: f.Flag("enabled"),
	}
	for _, name := range []string{"forward", "reverse"} {
		if o := f.Object(name); o != nil {
			p.halves = append(p.halves, readHalf(name, o))
			f.AbsorbObject(name, o.Faults())
		}
	}
	return p
}

func readHalf(name string, f *wire.Fields) halfPatch {
	id := wire.Line(1, protocol.MaxIDLength)
	p := halfPatch{
		name: name, local: f.Text("local_node_id", id), peer: f.Text("peer_node_id", id),
		keepalive: f.Number("persistent_keepalive", 0, 65535), port: f.Number("endpoint_manual_port", 0, 65535),
		mode:   f.Text("endpoint_mode", wire.OneOf(string(store.EndpointAuto), string(store.EndpointManual), string(store.EndpointNone))),
		family: f.Text("endpoint_ref_family", wire.OneOf(string(store.EndpointIPv4), string(store.EndpointIPv6))),
		ported: f.Text("endpoint_port_mode", wire.OneOf(string(store.PortOfPeer), string(store.PortManual))),
		host:   f.Text("endpoint_manual_host", wire.Line(0, 253)),
	}
	if text := f.Text("allowed_ips", wire.Line(0, 10000)); text != nil {
		p.allowed = []netip.Prefix{}
		for network := range strings.SplitSeq(*text, ",") {
			if strings.TrimSpace(network) == "" {
				continue
			}
			clean, problem := wire.Network(network)
			if problem != "" {
				f.Reject("allowed_ips", "each entry "+problem)
				break
			}
			prefix, _ := netip.ParsePrefix(clean)
			p.allowed = append(p.allowed, prefix)
		}
	}
	return p
}

// apply applies the patch to l, whose directions are those of the pair. Error: a *mesh.Error if the
// request is about other nodes.
func (p linkPatch) apply(l *store.Link) error {
	for _, h := range p.halves {
		d := &l.Forward
		if h.name == "reverse" {
			d = &l.Reverse
		}
		if h.local != nil && *h.local != d.LocalNodeID { // in a request, either direction may come first
			d = map[*store.Direction]*store.Direction{&l.Forward: &l.Reverse, &l.Reverse: &l.Forward}[d]
		}
		if wire.Or(h.local, d.LocalNodeID) != d.LocalNodeID || wire.Or(h.peer, d.PeerNodeID) != d.PeerNodeID {
			return &mesh.Error{
				Code:    mesh.CodeInvalidPeerLink,
				Message: h.name + ": local_node_id and peer_node_id have to be the two nodes of the link, which never change; make another link for other nodes.",
			}
		}
		h.apply(d)
	}
	l.PresharedKey, l.Notes, l.Enabled = wire.Or(p.presharedKey, l.PresharedKey), wire.Or(p.notes, l.Notes), wire.Or(p.enabled, l.Enabled)
	return nil
}

func (h halfPatch) apply(d *store.Direction) {
	if h.allowed != nil {
		d.AllowedIPs = h.allowed
	}
	d.PersistentKeepalive = wire.Or(h.keepalive, d.PersistentKeepalive)
	d.EndpointMode = store.EndpointMode(wire.Or(h.mode, string(d.EndpointMode)))
	d.EndpointRefFamily = store.EndpointFamily(wire.Or(h.family, string(d.EndpointRefFamily)))
	d.EndpointPortMode = store.PortMode(wire.Or(h.ported, string(d.EndpointPortMode)))
	d.EndpointManualHost, d.EndpointManualPort = wire.Or(h.host, d.EndpointManualHost), wire.Or(h.port, d.EndpointManualPort)
}

func (a *API) listLinks(c echo.Context) error {
	links, err := store.Read(a.DB, func(tx *store.Tx) ([]store.Link, error) {
		if _, err := tx.Config(c.Param("config_id")); err != nil {
			return nil, err
		}
		return tx.Links(c.Param("config_id"))
	})
	if err != nil {
		return err
	}
	rows := []view.LinkRow{}
	for _, l := range links {
		rows = append(rows, view.LinkRows(l, access.MayWrite(access.LoginOf(c)))...)
	}
	return wire.Respond(c, rows)
}

func (a *API) createLink(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readLinkPatch(f)
	f.Require("forward", f.Given("forward"))
	if len(patch.halves) > 0 && patch.halves[0].name == "forward" {
		for name, id := range map[string]*string{"local_node_id": patch.halves[0].local, "peer_node_id": patch.halves[0].peer} {
			if id == nil {
				f.Reject("forward."+name, "is required")
			}
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	forward := patch.halves[0]
	var l store.Link
	changed, err := a.change(c, c.Param("config_id"), func(e *mesh.Edit, tx *store.Tx) error {
		m, err := mesh.Load(tx, c.Param("config_id"))
		if err != nil {
			return err
		}
		draft, err := m.Draft(*forward.local, *forward.peer, store.EndpointFamily(wire.Or(forward.family, "")))
		if err != nil {
			return err
		}
		l = draft.Link
		l.ID, l.Manual = protocol.NewID("link"), true
		if err := patch.apply(&l); err != nil {
			return err
		}
		access.NoteID(c, "link_group_id", l.ID)
		return e.PutLink(&l)
	})
	if err != nil {
		return err
	}
	a.Log.Info("link made", "config_id", l.ConfigID, "link_id", l.ID, "by", access.LoginOf(c).Username)
	v := groupOf(l)
	v.Effect = view.EffectOf(changed)
	return wire.Respond(c, v)
}

// pathLink returns the link of the path. Error: store.ErrLinkNotFound.
func (a *API) pathLink(c echo.Context) (store.Link, error) {
	return store.Read(a.DB, func(tx *store.Tx) (store.Link, error) { return tx.Link(c.Param("link_group_id")) })
}

func (a *API) updateLink(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	patch := readLinkPatch(f)
	if err := f.Err(); err != nil {
		return err
	}
	l, err := a.pathLink(c)
	if err != nil {
		return err
	}
	changed, err := a.change(c, l.ConfigID, func(e *mesh.Edit, tx *store.Tx) (err error) {
		if l, err = tx.Link(l.ID); err != nil {
			return err
		}
		if err := patch.apply(&l); err != nil {
			return err
		}
		l.Manual = true
		return e.PutLink(&l)
	})
	if err != nil {
		return err
	}
	a.Log.Info("link changed", "config_id", l.ConfigID, "link_id", l.ID, "by", access.LoginOf(c).Username)
	v := groupOf(l)
	v.Effect = view.EffectOf(changed)
	return wire.Respond(c, v)
}

type deletedLink struct {
	Message     string `json:"message"`
	LinkGroupID string `json:"link_group_id"`
	view.Effect
}

func (a *API) deleteLink(c echo.Context) error {
	l, err := a.pathLink(c)
	if err != nil {
		return err
	}
	changed, err := a.change(c, l.ConfigID, func(e *mesh.Edit, _ *store.Tx) error { return e.DeleteLink(l.ID) })
	if err != nil {
		return err
	}
	a.Log.Info("link deleted", "config_id", l.ConfigID, "link_id", l.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, deletedLink{"The link was deleted.", l.ID, view.EffectOf(changed)})
}
