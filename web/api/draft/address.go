package draft

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) addressRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes/suggest-ip", Access: wire.Session, Handle: a.suggestAddress, Harmless: true,
			Summary: "The next free address in the tunnel, of each subnet of the mesh. Nothing is reserved.",
			Data:    suggestedAddress{}, Codes: mesh.CodeInvalidSubnet + " " + mesh.CodeIPPoolExhausted,
		},
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/nodes/validate-ip", Access: wire.Session, Handle: a.checkAddress, Harmless: true,
			Summary: "Whether a node can have an address in the tunnel. node_id is the node, if it exists already; its own address is free for it.",
			Body:    "virtual_ip!, node_id", Data: checkedAddress{},
		},
	}
}

type suggestedAddress struct {
	IP  string  `json:"ip"`  // with the length of its prefix
	IP6 *string `json:"ip6"` // of virtual_subnet6; null if the mesh has none
}

func (a *API) suggestAddress(c echo.Context) error {
	cfg, owners, err := a.owners(c.Param("config_id"))
	if err != nil {
		return err
	}
	if !cfg.VirtualSubnet.IsValid() {
		return &mesh.Error{Code: mesh.CodeInvalidSubnet, Message: "virtual_subnet: the mesh has none; give it one, or give the node a virtual_ip of your own."}
	}
	taken := make([]netip.Addr, 0, len(owners))
	for address := range owners {
		taken = append(taken, address)
	}
	next, err := mesh.NextAddress(cfg.VirtualSubnet, taken)
	if err != nil {
		return err
	}
	v := suggestedAddress{IP: next.String()}
	if cfg.VirtualSubnet6.IsValid() {
		next6, err := mesh.NextAddress(cfg.VirtualSubnet6, taken)
		if err != nil {
			return err
		}
		text := next6.String()
		v.IP6 = &text
	}
	return wire.Respond(c, v)
}

type checkedAddress struct {
	Valid bool `json:"valid"`
	// Warning is the fault of an invalid address, or an unexpected effect of a valid one; null if
	// there is neither.
	Warning *string `json:"warning"`
}

func (a *API) checkAddress(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	text := f.Need("virtual_ip", wire.Line(1, 100))
	self := wire.Or(f.Text("node_id", wire.Line(0, protocol.MaxIDLength)), "")
	if err := f.Err(); err != nil {
		return err
	}
	cfg, owners, err := a.owners(c.Param("config_id"))
	if err != nil {
		return err
	}
	address, err := mesh.ParseAddress("virtual_ip", text)
	var warning string
	if err == nil {
		warning, err = mesh.CheckAddress(address, []netip.Prefix{cfg.VirtualSubnet, cfg.VirtualSubnet6}, func(addr netip.Addr) (name string, taken bool) {
			i := slices.IndexFunc(owners[addr], func(o owner) bool { return o.id != self })
			if i < 0 {
				return "", false
			}
			return owners[addr][i].name, true
		})
	}
	v := checkedAddress{Valid: err == nil}
	if err != nil {
		warning = err.Error()
	}
	if warning != "" {
		v.Warning = &warning
	}
	return wire.Respond(c, v)
}

// owner is a node that has an address.
type owner struct{ id, name string }

// owners returns the mesh, and the nodes by their addresses in the tunnel.
func (a *API) owners(configID string) (cfg store.Config, owners map[netip.Addr][]owner, err error) {
	owners = map[netip.Addr][]owner{}
	err = a.DB.View(func(tx *store.Tx) error {
		if cfg, err = tx.Config(configID); err != nil {
			return err
		}
		nodes, err := tx.Nodes(cfg.ID, "", 0)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			addresses, err := view.AddressesOf(tx, cfg, n)
			if err != nil {
				return err
			}
			for _, p := range addresses {
				owners[p.Addr()] = append(owners[p.Addr()], owner{n.ID, n.Name})
			}
		}
		return nil
	})
	return cfg, owners, err
}
