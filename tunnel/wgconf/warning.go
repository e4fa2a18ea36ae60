package wgconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The codes of warnings. A config gets each of them at most once.
const (
	CodeRouteToAppliance    = "ROUTE_TO_APPLIANCE"    // the tunnel takes over the path to the appliance
	CodeDNSOfAppliance      = "DNS_OF_APPLIANCE"      // the appliance's name can be resolved through the tunnel only
	CodeEndpointInTunnel    = "ENDPOINT_IN_TUNNEL"    // the tunnel takes over the path to its own peer
	CodeDuplicateAllowedIPs = "DUPLICATE_ALLOWED_IPS" // two peers share a network
	CodeNoAllowedIPs        = "NO_ALLOWED_IPS"        // a peer has no AllowedIPs
	CodeHooks               = "HOOKS"                 // commands run as root
	CodeSaveConfig          = "SAVE_CONFIG"           // the tool will overwrite the text
	CodeEmptyValue          = "EMPTY_VALUE"           // keys without a value, without effect
	CodeCutAtHash           = "CUT_AT_HASH"           // a # cuts a value short
	CodeOpenQuote           = "OPEN_QUOTE"            // a hook is an incomplete shell command
	CodeNoPrivateKey        = "NO_PRIVATE_KEY"        // neither the text nor a hook sets one
	CodeNoPresharedKey      = "NO_PRESHARED_KEY"      // a preshared key is all zeros, which means none
	CodeOwnKey              = "OWN_KEY"               // a peer has the node's own key
	CodeSearchWithoutDNS    = "SEARCH_WITHOUT_DNS"    // search domains without a server have no effect
	CodeMTUWithoutIPv6      = "MTU_WITHOUT_IPV6"      // the MTU removes the IPv6 addresses
	CodeAWGValues           = "AWG_VALUES"            // values of AmneziaWG that not all tools accept, or that have little effect
	CodeSlow                = "SLOW"                  // the quick tool needs long for the text
)

// Reach is the address of the appliance's MQTT listener for the node.
type Reach struct {
	Host      string       // a name or an address, as handed out at bind
	Addresses []netip.Addr // the resolved name; may be empty
}

// Warning is a fact that an operator should know before a config is pushed.
type Warning struct {
	Code    string
	Line    int    // from 1; the first line to look at
	Message string // the effect, and what to do
	CutsOff bool   // the node may lose the appliance: ask before pushing
}

// Warnings returns the facts that an operator should know before the config is pushed; those that
// cut the node off come first.
func (c Config) Warnings(r Reach) []Warning {
	var all []Warning
	for _, w := range []Warning{
		c.routeToAppliance(r), c.dnsOfAppliance(r),
		c.endpointInTunnel(), c.duplicateAllowedIPs(), c.noAllowedIPs(), c.hooks(), c.saveConfig(),
		c.noPrivateKey(), c.ownKey(), c.mtuWithoutIPv6(), c.searchWithoutDNS(), c.slow(),
	} {
		if w.Code != "" {
			all = append(all, w)
		}
	}
	return append(all, c.lineWarnings()...)
}

// target returns the addresses of the node's packets to the appliance, and whether it must resolve
// a name first.
//
// Loopback addresses are left out: the kernel's local table comes before every route of a tunnel,
// so they are never cut off. A name that leads only to loopback is this machine's view of itself
// (Debian gives every host 127.0.1.1), and says nothing about the node's view.
func (r Reach) target() (addrs []netip.Addr, named bool) {
	host := strings.TrimSuffix(strings.TrimPrefix(lower(r.Host), "["), "]")
	known := slices.Clone(r.Addresses)
	if addr, err := netip.ParseAddr(host); err == nil {
		known = append(known, addr)
	} else {
		host = strings.TrimSuffix(host, ".")
		named = host != "" && host != "localhost" && !strings.HasSuffix(host, ".localhost")
	}
	for _, addr := range known {
		addr = addr.Unmap().WithZone("")
		if addr.IsValid() && !addr.IsLoopback() && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, named
}

// route is a network that the node routes into the tunnel.
type route struct {
	key    string // Address or AllowedIPs
	prefix netip.Prefix
	line   int
}

func (r route) String() string { return fmt.Sprintf("%s %s (line %d)", r.key, r.prefix, r.line) }

// routes returns the routes that wg-quick and the kernel set up: the network of each Address is on
// the interface with any Table.
func (c Config) routes() []route {
	var all []route
	for _, prefix := range c.Interface.Addresses {
		all = append(all, route{"Address", prefix, c.Interface.AddressLine})
	}
	if c.Interface.Table == "off" {
		return all
	}
	for _, peer := range c.Peers {
		if c.isOwn(peer) {
			continue
		}
		for _, prefix := range peer.AllowedIPs {
			all = append(all, route{"AllowedIPs", prefix, peer.AllowedIPsLine})
		}
	}
	return all
}

// takesNearlyAll reports whether a route covers most public addresses: it is larger than the
// largest private networks, 10.0.0.0/8 and fc00::/7. That is so for the default routes, for their
// halves, and for lists of "everything but".
func (r route) takesNearlyAll() bool {
	if r.prefix.Addr().Is4() {
		return r.prefix.Bits() < 8
	}
	return r.prefix.Bits() < 7
}

func (c Config) routeToAppliance(r Reach) Warning {
	addrs, named := r.target()
	var taking []route
	for _, way := range c.routes() {
		if slices.ContainsFunc(addrs, way.prefix.Contains) || named && len(addrs) == 0 && way.takesNearlyAll() {
			taking = append(taking, way)
		}
	}
	if len(taking) == 0 {
		return Warning{}
	}
	where := list(addrs)
	if len(addrs) == 0 {
		where = strconv.Quote(r.Host) + ", whose address is not known here"
	}
	return Warning{
		Code: CodeRouteToAppliance, Line: taking[0].line, CutsOff: true,
		Message: fmt.Sprintf("The node would reach the appliance (%s) through the tunnel, because of %s. Unless the tunnel "+
			"leads there, the node loses the appliance once the tunnel is up. Leave the appliance's address out of these networks, or set Table = off "+
			"and add the routes of AllowedIPs yourself.", where, list(taking)),
	}
}

func (c Config) dnsOfAppliance(r Reach) Warning {
	iface := c.Interface
	ways := c.routes()
	// A resolver on the node itself, even at the tunnel's own address, needs no tunnel.
	outside := func(server netip.Addr) bool {
		own := slices.ContainsFunc(iface.Addresses, func(p netip.Prefix) bool { return p.Addr() == server })
		return own || server.IsLoopback() || !slices.ContainsFunc(ways, func(way route) bool { return way.prefix.Contains(server) })
	}
	// One server outside is enough: the resolver asks the next one if the first is silent.
	if _, named := r.target(); !named || len(iface.DNS) == 0 || slices.ContainsFunc(iface.DNS, outside) {
		return Warning{}
	}
	return Warning{
		Code: CodeDNSOfAppliance, Line: iface.DNSLine, CutsOff: true,
		Message: fmt.Sprintf("The node asks DNS (%s, line %d) through the tunnel, also for the appliance, %s: when the tunnel "+
			"fails, the node can no longer find the appliance. Add a DNS server outside AllowedIPs, or hand out the "+
			"appliance's address instead of its name.", list(iface.DNS), iface.DNSLine, strconv.Quote(r.Host)),
	}
}

// finding is an item that a warning lists.
type finding struct {
	line int
	text string
}

func (f finding) String() string { return f.text }

func (c Config) endpointInTunnel() Warning {
	// Another table needs a rule before it affects any packet.
	if table := c.Interface.Table; table != "" && table != "auto" && table != "off" {
		return Warning{}
	}
	ways := c.routes()
	var found []finding
	for _, peer := range c.Peers {
		endpoint, err := netip.ParseAddrPort(peer.Endpoint)
		if err != nil {
			continue // none, or a name
		}
		for _, way := range ways {
			// wg-quick excludes the tunnel's own packets from 0.0.0.0/0 and ::/0 only.
			if way.prefix.Bits() > 0 && way.prefix.Contains(endpoint.Addr().Unmap().WithZone("")) {
				found = append(found, finding{peer.Line, fmt.Sprintf("%s of the peer on line %d by %s", peer.Endpoint, peer.Line, way)})
				break
			}
		}
	}
	if found == nil {
		return Warning{}
	}
	return Warning{
		Code: CodeEndpointInTunnel, Line: found[0].line,
		Message: fmt.Sprintf("The tunnel routes its own endpoint into itself: %s. Its packets then go in a circle, unless "+
			"the node has a narrower route. Leave the endpoint out of these networks.", list(found)),
	}
}

func (c Config) duplicateAllowedIPs() Warning {
	type place struct{ peer, line int }
	first := map[netip.Prefix]place{}
	var found []finding
	for i, peer := range c.Peers {
		if c.isOwn(peer) {
			continue
		}
		for _, prefix := range peer.AllowedIPs {
			before, again := first[prefix]
			first[prefix] = place{i, peer.AllowedIPsLine}
			if !again || before.peer == i {
				continue
			}
			found = append(found, finding{peer.AllowedIPsLine, fmt.Sprintf("%s (lines %d and %d)", prefix, before.line, peer.AllowedIPsLine)})
		}
	}
	if found == nil {
		return Warning{}
	}
	return Warning{
		Code: CodeDuplicateAllowedIPs, Line: found[0].line,
		Message: fmt.Sprintf("Two peers have the same AllowedIPs: %s. Each network moves to the last one, and the one before "+
			"gets none of its traffic. Give each network to one peer.", list(found)),
	}
}

func (c Config) noAllowedIPs() Warning {
	var found []finding
	for _, peer := range c.Peers {
		if len(peer.AllowedIPs) == 0 {
			found = append(found, finding{peer.Line, fmt.Sprintf("line %d", peer.Line)})
		}
	}
	if found == nil {
		return Warning{}
	}
	return Warning{
		Code: CodeNoAllowedIPs, Line: found[0].line,
		Message: fmt.Sprintf("A peer has no AllowedIPs (%s): nothing is sent to it, and all it sends is dropped. Give it the "+
			"addresses that are behind it.", list(found)),
	}
}

func (c Config) hooks() Warning {
	if len(c.Interface.Hooks) == 0 {
		return Warning{}
	}
	return Warning{
		Code: CodeHooks, Line: c.Interface.Hooks[0].Line,
		Message: fmt.Sprintf("The tunnel config has commands that run as root on the node: %s. Push it only if you trust them; what "+
			"they do to routes and firewall is not checked here.", list(c.Interface.Hooks)),
	}
}

func (h Hook) String() string { return fmt.Sprintf("%s (line %d)", h.Key, h.Line) }

func (c Config) saveConfig() Warning {
	if !c.Interface.SaveConfig {
		return Warning{}
	}
	return Warning{
		Code: CodeSaveConfig, Line: c.Interface.SaveConfigLine,
		Message: "SaveConfig = true lets the tool overwrite this tunnel config when the tunnel stops: the node will show as drifted. " +
			"Remove the line and change the tunnel config here.",
	}
}

// list names the first few items of all.
func list[T any](all []T) string {
	const most = 5
	var b strings.Builder
	for i, item := range all[:min(len(all), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, item)
	}
	if more := len(all) - most; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
