package mesh

import (
	"net/netip"
	"strings"

	rules "wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// settingsMembers are the members of a mesh from which tunnel configs are made. virtual_subnet and
// virtual_subnet6 may be null.
const settingsMembers = "auto_sync bool, virtual_subnet, virtual_subnet6, default_listen_port 0..65535, default_mtu 0..65535, default_dns, " +
	wire.AWGMeshMembers

// awgOfMesh are the members of a mesh that have a meaning for AmneziaWG only.
var awgOfMesh = []string{"awg_s1", "awg_s2", "awg_s3", "awg_s4", "awg_h1", "awg_h2", "awg_h3", "awg_h4", "awg_options", "awg_node_updates"}

// settingsPatch holds the changes that a request makes to the settings of a mesh. Nil members do not
// change.
type settingsPatch struct {
	subnet, subnet6 *netip.Prefix // the zero prefix takes the subnet away
	listenPort, mtu *int
	dns             *string
	autoSync        *bool
	awg             func(*store.AWGMesh)
	err             error // of a subnet
}

func readSettingsPatch(f *wire.Fields) settingsPatch {
	p := settingsPatch{
		listenPort: f.Number("default_listen_port", 0, 65535),
		mtu:        f.Number("default_mtu", 0, 65535),
		dns:        f.Text("default_dns", wire.Line(0, 1000)),
		autoSync:   f.Flag("auto_sync"),
		awg:        wire.ReadAWGMesh(f),
	}
	p.subnet = p.readSubnet(f, "virtual_subnet")
	p.subnet6 = p.readSubnet(f, "virtual_subnet6")
	return p
}

// readSubnet reads a network; null and "" stand for none.
func (p *settingsPatch) readSubnet(f *wire.Fields, name string) *netip.Prefix {
	v := f.Text(name, wire.Line(0, 100))
	switch {
	case v == nil && f.Null(name), v != nil && *v == "":
		return &netip.Prefix{}
	case v == nil:
		return nil
	}
	subnet, err := rules.ParseSubnet(name, *v)
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return nil
	}
	return &subnet
}

// apply applies the patch to c, whose tunnel protocol is set. Error: an *rules.Error.
func (p settingsPatch) apply(c *store.Config) error {
	if p.err != nil {
		return p.err
	}
	before := c.MeshSettings
	c.VirtualSubnet = wire.Or(p.subnet, c.VirtualSubnet)
	c.VirtualSubnet6 = wire.Or(p.subnet6, c.VirtualSubnet6)
	c.DefaultListenPort = wire.Or(p.listenPort, c.DefaultListenPort)
	c.DefaultMTU = wire.Or(p.mtu, c.DefaultMTU)
	c.DefaultDNS = wire.Or(p.dns, c.DefaultDNS)
	c.AutoSync = wire.Or(p.autoSync, c.AutoSync)
	if protocol.ToolFamily(c.TunnelProtocol) == "awg" {
		p.awg(&c.AWG)
	}
	if c.MeshSettings == before {
		return nil
	}
	var faults []string
	code := rules.CodeInvalidValue
	for _, f := range rules.New(*c, nil, nil, nil).Validate(rules.Surroundings{}).Of(rules.SeverityError) {
		faults = append(faults, f.Message)
		if f.Code == rules.CodeInvalidSubnet {
			code = f.Code
		}
	}
	if len(faults) > 0 {
		return &rules.Error{Code: code, Message: strings.Join(faults, " ")}
	}
	return nil
}

// ignored returns a sentence for each member of the request that has no effect on the mesh.
func (p settingsPatch) ignored(f *wire.Fields, c store.Config) []string {
	var members []string
	if protocol.ToolFamily(c.TunnelProtocol) != "awg" {
		members = awgOfMesh
	}
	return f.Ignored(members)
}
