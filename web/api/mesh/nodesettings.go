package mesh

import (
	"net/netip"

	rules "wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// nodeSettingsMembers are the members of a node from which tunnel configs are made.
const nodeSettingsMembers = "auto_sync bool, config_source, key_holder, public_key, private_key, virtual_ip, virtual_ip6, ipv4_address, ipv6_address, " +
	"listen_port 0..65535, mtu 0..65535, dns, routes strings, masquerade bool, pre_up strings, post_up strings, pre_down strings, post_down strings, " +
	wire.AWGNodeMembers

// The bounds of a node's lists.
const (
	maxRoutes = 64
	maxHooks  = 32
)

// The members of a node that have no effect on one whose tunnel config somebody writes,
// and in a mesh that is not one of AmneziaWG.
var (
	ignoredOfText = []string{
		"private_key", "virtual_ip", "virtual_ip6", "listen_port", "mtu", "dns", "masquerade", "pre_up", "post_up", "pre_down", "post_down", "key_holder",
	}
	awgOfNode = []string{"awg_jc", "awg_jmin", "awg_jmax", "awg_i1", "awg_i2", "awg_i3", "awg_i4", "awg_i5", "awg_options"}
)

// nodeSettingsPatch holds the changes that a request makes to the settings of a node. Nil members do
// not change.
type nodeSettingsPatch struct {
	source, keyHolder       *string
	publicKey, privateKey   *string
	address, address6       *netip.Prefix // the zero prefix takes the address away
	public4, public6, dns   *string
	listenPort, mtu         *int
	routes                  []netip.Prefix
	masquerade, autoSync    *bool
	preUp, postUp           []string
	preDown, postDown       []string
	awg                     func(*store.AWGNode)
	badAddress, badAddress6 error
}

func readNodeSettingsPatch(f *wire.Fields) nodeSettingsPatch {
	hooks := func(name string) []string { return f.Texts(name, maxHooks, wire.Line(1, 1000)) }
	p := nodeSettingsPatch{
		source:     f.Text("config_source", wire.OneOf("mesh", "text")),
		keyHolder:  f.Text("key_holder", wire.OneOf("appliance", "node")),
		publicKey:  f.Text("public_key", wire.Line(0, 200)),
		privateKey: f.Text("private_key", wire.Line(0, 200)),
		public4:    f.Text("ipv4_address", wire.Line(0, 253)),
		public6:    f.Text("ipv6_address", wire.Line(0, 253)),
		dns:        f.Text("dns", wire.Line(0, 1000)),
		listenPort: f.Number("listen_port", 0, 65535),
		mtu:        f.Number("mtu", 0, 65535),
		masquerade: f.Flag("masquerade"),
		autoSync:   f.Flag("auto_sync"),
		preUp:      hooks("pre_up"), postUp: hooks("post_up"), preDown: hooks("pre_down"), postDown: hooks("post_down"),
		awg: wire.ReadAWGNode(f),
	}
	p.address, p.badAddress = readAddress(f, "virtual_ip")
	p.address6, p.badAddress6 = readAddress(f, "virtual_ip6")
	if routes := f.Texts("routes", maxRoutes, wire.Network); routes != nil {
		p.routes = make([]netip.Prefix, len(routes))
		for i, text := range routes {
			p.routes[i], _ = netip.ParsePrefix(text)
		}
	}
	return p
}

// readAddress reads an address in the tunnel; "" stands for none.
func readAddress(f *wire.Fields, name string) (*netip.Prefix, error) {
	v := f.Text(name, wire.Line(0, 100))
	switch {
	case v == nil:
		return nil, nil
	case *v == "":
		return &netip.Prefix{}, nil
	}
	address, err := rules.ParseAddress(name, *v)
	if err != nil {
		return nil, err
	}
	return &address, nil
}

// apply applies the patch to n. What has no effect on a node whose tunnel config somebody writes, or
// in a mesh that is not one of AmneziaWG, is left out. Error: an *rules.Error.
func (p nodeSettingsPatch) apply(cfg store.Config, n *store.Node) error {
	switch wire.Or(p.source, "") {
	case "mesh":
		n.ConfigSource = store.SourceMesh
	case "text":
		n.ConfigSource = store.SourceText
	}
	n.AutoSync = wire.Or(p.autoSync, n.AutoSync)
	n.IPv4Address, n.IPv6Address = wire.Or(p.public4, n.IPv4Address), wire.Or(p.public6, n.IPv6Address)
	if p.routes != nil {
		n.Routes = p.routes
	}
	if p.publicKey != nil && *p.publicKey != n.PublicKey {
		if *p.publicKey != "" && !rules.ValidKey(*p.publicKey) {
			return &rules.Error{
				Code: rules.CodeInvalidKey, Message: "public_key is not a key; give 32 bytes in base64, 44 characters, as wg pubkey prints them.",
			}
		}
		n.PublicKey = *p.publicKey
		if p.privateKey == nil {
			n.PrivateKey = "" // the device has it
		}
	}
	if n.ConfigSource == store.SourceText {
		return nil
	}
	for _, err := range []error{p.badAddress, p.badAddress6} {
		if err != nil {
			return err
		}
	}
	switch wire.Or(p.keyHolder, "") {
	case "appliance":
		n.KeyHolder, n.KeyChosen = store.KeyAtAppliance, true
	case "node":
		n.KeyHolder, n.KeyChosen = store.KeyAtNode, true
	}
	n.VirtualIP, n.VirtualIP6 = wire.Or(p.address, n.VirtualIP), wire.Or(p.address6, n.VirtualIP6)
	n.DNS, n.ListenPort, n.MTU = wire.Or(p.dns, n.DNS), wire.Or(p.listenPort, n.ListenPort), wire.Or(p.mtu, n.MTU)
	n.Masquerade = wire.Or(p.masquerade, n.Masquerade)
	for to, commands := range map[*[]string][]string{&n.PreUp: p.preUp, &n.PostUp: p.postUp, &n.PreDown: p.preDown, &n.PostDown: p.postDown} {
		if commands != nil {
			*to = commands
		}
	}
	if protocol.ToolFamily(cfg.TunnelProtocol) == "awg" {
		p.awg(&n.AWG)
	}
	if p.privateKey != nil && *p.privateKey != n.PrivateKey {
		n.PrivateKey = *p.privateKey
		n.KeyChosen = n.KeyChosen || n.PrivateKey != "" // a key that is given is to be used
		if p.publicKey == nil {
			n.PublicKey = "" // derived, or made anew
		}
	}
	return nil
}

// ignored returns a sentence for each member of the request that has no effect on the node.
func (p nodeSettingsPatch) ignored(f *wire.Fields, cfg store.Config, n store.Node) []string {
	var members []string
	if n.ConfigSource == store.SourceText {
		members = append(members, ignoredOfText...)
	}
	if n.ConfigSource == store.SourceText || protocol.ToolFamily(cfg.TunnelProtocol) != "awg" {
		members = append(members, awgOfNode...)
	}
	return f.Ignored(members)
}
