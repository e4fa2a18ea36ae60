package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// Surroundings are the networks and addresses that a mesh must not collide with.
type Surroundings struct {
	// Addresses are the appliance's own.
	Addresses []netip.Addr
	// Reach returns how the agent of the node reaches the appliance; nil: that is not known.
	Reach func(store.Node) wgconf.Reach
}

// Report has the faults of a mesh.
type Report struct{ Findings []Finding }

// Valid reports whether the mesh can be applied.
func (r Report) Valid() bool { return len(r.Of(SeverityError)) == 0 }

// Of returns the findings of the severity.
func (r Report) Of(s Severity) []Finding {
	var all []Finding
	for _, f := range r.Findings {
		if f.Severity == s {
			all = append(all, f)
		}
	}
	return all
}

// Topology returns the errors for which no tunnel config made from the mesh is staged. A config that
// would cut its node off is not among them: an operator may want it nevertheless, see tunnel.CutOffError.
func (r Report) Topology() []Finding {
	return slices.DeleteFunc(r.Of(SeverityError), func(f Finding) bool { return f.Code == CodeCutsOff })
}

// Refusal returns the *[Error] for a mesh that has errors, nil for one that has none. undone is the word
// for the operation: applied or staged.
func (r Report) Refusal(undone string) error {
	all := r.Topology()
	switch len(all) {
	case 0:
		return nil
	case 1:
		return refuse(CodeTopologyInvalid, "Nothing was %s, since the mesh is not valid: %s", undone, all[0].Message)
	}
	return refuse(CodeTopologyInvalid, "Nothing was %s, since the mesh has %d errors; POST mesh/validate lists them all. The first: %s",
		undone, len(all), all[0].Message)
}

// validator collects findings about a mesh.
type validator struct {
	*Mesh
	around   Surroundings
	findings []Finding
	wrong    map[*member]bool // its fields have findings: its text is not looked at
}

func (v *validator) add(severity Severity, code string, n *member, l *store.Link, format string, args ...any) {
	f := Finding{Code: code, Severity: severity, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		f.NodeID = n.ID
	}
	if l != nil {
		f.LinkID = l.ID
	}
	v.findings = append(v.findings, f)
}

// Validate finds the faults of the mesh, including those of the texts made from it. It takes O(n
// log n + links) for n nodes, and the time to parse the texts.
func (m *Mesh) Validate(around Surroundings) Report {
	v := &validator{Mesh: m, around: around, wrong: map[*member]bool{}}
	v.settings()
	v.subnetsTaken()
	v.nodeFields()
	v.keys()
	v.addresses()
	v.routesOfNodes()
	v.publicAddresses()
	v.linkRecords()
	v.portForwards()
	for _, n := range m.nodes {
		if n.Enabled {
			v.peersOf(n)
			v.waysFrom(n)
			v.textOf(n)
		}
	}
	return Report{v.findings}
}

// settings checks the fields of the mesh itself.
func (v *validator) settings() {
	if v.family() == "awg" {
		for _, problem := range CheckAWGMesh(v.config) {
			v.add(SeverityError, CodeInvalidValue, nil, nil, "%s", problem)
		}
	}
	for _, f := range []struct{ field, key, value string }{
		{"default_listen_port", "ListenPort", orNone(v.config.DefaultListenPort)},
		{"default_mtu", "MTU", orNone(v.config.DefaultMTU)},
		{"default_dns", "DNS", v.config.DefaultDNS},
	} {
		if f.value != "" {
			if problem := v.valueProblem(f.key, f.value); problem != "" {
				v.add(SeverityError, CodeInvalidValue, nil, nil, "%s: %s.", f.field, problem)
			}
		}
	}
	for _, s := range []struct {
		field  string
		subnet netip.Prefix
	}{{"virtual_subnet", v.config.VirtualSubnet}, {"virtual_subnet6", v.config.VirtualSubnet6}} {
		if s.subnet.IsValid() {
			if _, err := ParseSubnet(s.field, s.subnet.String()); err != nil {
				v.add(SeverityError, CodeInvalidSubnet, nil, nil, "%s", err)
			}
		}
	}
	if v.config.VirtualSubnet6.IsValid() && v.config.VirtualSubnet6.Addr().Is4() {
		v.add(SeverityError, CodeInvalidSubnet, nil, nil, "virtual_subnet6 %s is a network of IPv4; write it into virtual_subnet.", v.config.VirtualSubnet6)
	}
}

// orNone is a number as it stands in a config; "" for the zero value, which means none.
func orNone(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// subnetsTaken finds addresses in the subnets that must be reached outside of the tunnel.
func (v *validator) subnetsTaken() {
	inMesh := map[netip.Addr]bool{}
	for _, n := range v.nodes {
		for _, p := range n.Addresses() {
			inMesh[p.Addr()] = true
		}
	}
	// The appliance may run on a node of the mesh, and then has the node's address itself.
	appliance := slices.DeleteFunc(slices.Clone(v.around.Addresses), func(a netip.Addr) bool { return inMesh[a.Unmap()] })
	if v.around.Reach != nil {
		for _, n := range v.nodes {
			appliance = append(appliance, v.around.Reach(n.Node.Node).Addresses...)
		}
	}
	slices.SortFunc(appliance, netip.Addr.Compare)
	for _, subnet := range v.subnets() {
		for _, a := range slices.Compact(appliance) {
			if subnet.Contains(a.Unmap()) {
				v.add(SeverityError, CodeSubnetTaken, nil, nil,
					"virtual_subnet %s has the address of the appliance, %s: nodes would look for it in the tunnel. Choose another virtual_subnet.", subnet, a)
				break
			}
		}
		for _, n := range v.nodes {
			for _, s := range []string{n.IPv4Address, n.IPv6Address} {
				if a, err := netip.ParseAddr(s); err == nil && subnet.Contains(a.Unmap()) {
					v.add(SeverityError, CodeSubnetTaken, n, nil,
						"virtual_subnet %s has the public address of %s, %s: the others would look for it in the tunnel. Choose another virtual_subnet, or correct the address.",
						subnet, n.Name, a)
				}
			}
		}
	}
}

// nodeFields checks the fields of each node.
func (v *validator) nodeFields() {
	for _, n := range v.nodes {
		for _, problem := range v.fieldProblems(n) {
			v.wrong[n] = true
			v.add(SeverityError, CodeInvalidValue, n, nil, "%s: %s", n.Name, problem)
		}
		if n.fromText() && n.Text.awg != nil {
			if keys := v.differsInAWG(n.Text); len(keys) > 0 {
				v.add(SeverityError, CodeAWGDiffers, n, nil,
					"The tunnel config of %s, which is written by hand, does not have the mesh's %s, and all nodes need the same; correct the config.",
					n.Name, strings.Join(keys, ", "))
			}
		}
		if n.Masquerade && len(n.Routes) == 0 {
			v.add(SeverityWarning, CodeNothingToMask, n, nil,
				"%s: masquerade does nothing without routes; give the networks behind the node in routes, or switch it off.", n.Name)
		}
	}
}

// CheckNode returns the faults of the node's fields, each a sentence that begins with the field. It
// does not look at other nodes.
func (m *Mesh) CheckNode(n Node) []string { return m.fieldProblems(&member{Node: n}) }

func (m *Mesh) fieldProblems(n *member) []string {
	var problems []string
	check := func(field, key, value string) {
		if value == "" {
			return
		}
		if problem := m.valueProblem(key, value); problem != "" {
			problems = append(problems, fmt.Sprintf("%s: %s.", field, problem))
		}
	}
	for _, f := range []struct{ field, host string }{{"ipv4_address", n.IPv4Address}, {"ipv6_address", n.IPv6Address}} {
		problems = append(problems, m.hostProblem(f.field, f.host)...)
	}
	if n.ConfigSource == store.SourceText {
		return problems
	}
	check("listen_port", "ListenPort", orNone(n.ListenPort))
	check("mtu", "MTU", orNone(n.MTU))
	check("dns", "DNS", n.DNS)
	for _, h := range []struct {
		field, key string
		commands   []string
	}{{"pre_up", "PreUp", n.PreUp}, {"post_up", "PostUp", n.PostUp}, {"pre_down", "PreDown", n.PreDown}, {"post_down", "PostDown", n.PostDown}} {
		for _, command := range h.commands {
			check(h.field, h.key, cmp.Or(command, " "))
		}
	}
	for _, route := range n.Routes {
		if !route.IsValid() || route != route.Masked() || route.Addr().Is4In6() {
			problems = append(problems, fmt.Sprintf("routes: %s is not a network; write it like 192.168.1.0/24.", route))
		} else if a := route.Addr(); a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			problems = append(problems, fmt.Sprintf("routes: %s never leaves a machine or its own network; give a network that can be routed.", route))
		}
	}
	for _, p := range []netip.Prefix{n.VirtualIP, n.VirtualIP6} {
		if p.IsValid() {
			if _, err := ParseAddress("virtual_ip", p.String()); err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	if n.VirtualIP6.IsValid() && n.VirtualIP6.Addr().Is4() {
		problems = append(problems, fmt.Sprintf("virtual_ip6 %s is an address of IPv4; write it into virtual_ip.", n.VirtualIP6))
	}
	if m.family() == "awg" {
		problems = append(problems, CheckAWGNode(m.config, n.AWG)...)
	}
	return problems
}

// hostProblem checks a public address: an address of the field's IP version, or a host name.
func (m *Mesh) hostProblem(field, host string) []string {
	if host == "" {
		return nil
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && (a.Is4() != (field == "ipv4_address") || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast()):
	case err != nil && m.valueProblem("Endpoint", endpointOf(host, 1)) != "":
	default:
		return nil
	}
	example := map[string]string{"ipv4_address": "192.0.2.1", "ipv6_address": "2001:db8::1"}[field]
	return []string{fmt.Sprintf("%s: %q is neither such an address nor a host name; give one like %s or vpn.example.org, without a port.", field, host, example)}
}

// keys finds keys that are missing, wrong, or those of two nodes.
func (v *validator) keys() {
	owner := map[string]*member{}
	for _, n := range v.nodes {
		v.keyOf(n)
		key := n.Key()
		if key == "" {
			continue
		}
		if first := owner[key]; first != nil {
			v.add(SeverityError, CodeKeyTwice, n, nil, "%s and %s have the same public_key, so others cannot tell them apart; make new keys for one of them.",
				first.Name, n.Name)
			continue
		}
		owner[key] = n
	}
}

func (v *validator) keyOf(n *member) {
	held := n.ConfigSource == store.SourceMesh && n.KeyHolder == store.KeyAtAppliance
	var public string
	var err error
	if n.PrivateKey != "" {
		public, err = PublicKey(n.PrivateKey)
	}
	switch {
	case held && n.PrivateKey == "":
		v.add(SeverityError, CodeNoKey, n, nil, "%s has no private_key; make keys for it, or set key_holder to node.", n.Name)
	case held && err != nil:
		v.wrong[n] = true
		v.add(SeverityError, CodeInvalidValue, n, nil, "%s: %s", n.Name, err)
	case n.Key() == "" && n.KeyHolder == store.KeyAtNode:
		v.add(SeverityWarning, CodeNoKey, n, nil, "%s has not told its public key yet: its links rest until its agent is bound.", n.Name)
	case n.Key() == "":
		v.add(SeverityWarning, CodeNoKey, n, nil, "The public key of %s is not known: its links rest. Give its public_key, or a tunnel config with a PrivateKey.",
			n.Name)
	case !ValidKey(n.Key()):
		v.wrong[n] = true
		v.add(SeverityError, CodeInvalidValue, n, nil, "%s: public_key is not a key; give 32 bytes in base64, 44 characters, as wg pubkey prints them.", n.Name)
	case held && public != n.PublicKey:
		v.add(SeverityError, CodeKeyMismatch, n, nil, "%s: public_key does not belong to private_key; leave public_key out, and it is derived.", n.Name)
	}
}

// addresses finds those that two nodes have, and those outside of the subnets.
func (v *validator) addresses() {
	owner := map[netip.Addr]*member{}
	subnets := v.subnets()
	for _, n := range v.nodes {
		if len(n.Addresses()) == 0 && n.ConfigSource == store.SourceMesh {
			v.add(SeverityError, CodeNoAddress, n, nil, "%s has no address in the tunnel; give it a virtual_ip.", n.Name)
		}
		for _, p := range n.Addresses() {
			a := p.Addr()
			if first := owner[a]; first != nil {
				v.add(SeverityError, CodeAddressTwice, n, nil, "virtual_ip %s belongs to %s and to %s; give one of them another one.", a, first.Name, n.Name)
				continue
			}
			owner[a] = n
			if warning, err := CheckAddress(p, subnets, free); err != nil {
				v.add(SeverityError, CodeInvalidVirtualIP, n, nil, "%s: %s", n.Name, err)
			} else if warning != "" {
				v.add(SeverityWarning, CodeAddressOutside, n, nil, "%s: %s", n.Name, warning)
			}
		}
	}
}

func free(netip.Addr) (string, bool) { return "", false }

// publicAddresses finds nodes that others would mistake for each other.
func (v *validator) publicAddresses() {
	owner := map[string]*member{}
	for _, n := range v.nodes {
		if !n.Enabled || v.port(n) == 0 {
			continue
		}
		for _, host := range slices.Compact([]string{n.IPv4Address, n.IPv6Address}) {
			if host == "" {
				continue
			}
			at := endpointOf(host, v.port(n))
			if first := owner[at]; first != nil && first != n {
				v.add(SeverityError, CodePublicTwice, n, nil,
					"%s and %s are both reached at %s; give one of them another listen_port, and forward that port to it if both are behind one "+
						"router.", first.Name, n.Name, at)
				continue
			}
			owner[at] = n
		}
	}
}

// textOf reports the faults that the parser and the rules of package tunnel find in the node's
// text.
func (v *validator) textOf(n *member) {
	if v.wrong[n] || !v.Generated(n.ID) {
		return
	}
	conf, err := tunnel.Read(v.config, n.ID, v.text(n))
	if invalid, ok := errors.AsType[*wgconf.Error](err); ok {
		v.add(SeverityError, CodeInvalidText, n, nil, "The tunnel config of %s: %s.", n.Name, invalid.Error())
		return
	}
	reach := wgconf.Reach{}
	if v.around.Reach != nil {
		reach = v.around.Reach(n.Node.Node)
	}
	for _, w := range tunnel.Warnings(conf, n.Node.Node, reach) {
		switch {
		case w.CutsOff:
			v.add(SeverityError, CodeCutsOff, n, nil, "%s: %s", n.Name, w.Message)
		case w.Code == wgconf.CodeEndpointInTunnel:
			v.add(SeverityWarning, CodeEndpointInTunnel, n, nil, "%s: %s", n.Name, w.Message)
		case w.Code == wgconf.CodeSlow, w.Code == wgconf.CodeAWGValues:
			v.add(SeverityWarning, w.Code, n, nil, "%s: %s", n.Name, w.Message)
		}
	}
}
