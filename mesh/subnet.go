package mesh

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// The largest and smallest networks that a mesh may have, as lengths of their prefixes.
const (
	widestIPv4, narrowestIPv4 = 8, 30
	widestIPv6, narrowestIPv6 = 32, 126
)

// ParseSubnet reads the network of a mesh. field is its name for the refusal, an [*Error].
func ParseSubnet(field, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(s))
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, refuse(CodeInvalidSubnet, "%s %q is not a network; write one like 10.66.0.0/24 or fd00:66::/64.", field, s)
	}
	widest, narrowest := widestIPv4, narrowestIPv4
	if p.Addr().Is6() {
		widest, narrowest = widestIPv6, narrowestIPv6
	}
	switch {
	case p.Bits() < widest || p.Bits() > narrowest:
		return netip.Prefix{}, refuse(CodeInvalidSubnet, "%s %s has the length /%d; give one from /%d to /%d.", field, p, p.Bits(), widest, narrowest)
	case p != p.Masked():
		return netip.Prefix{}, refuse(CodeInvalidSubnet, "%s %s is an address in a network; write the network, %s.", field, p, p.Masked())
	case !usable(p.Addr()):
		return netip.Prefix{}, refuse(CodeInvalidSubnet, "%s %s has addresses that no node can have; take a private network like 10.66.0.0/24.", field, p)
	}
	return p, nil
}

// usable reports whether a node can have the address, as far as its kind goes.
func usable(a netip.Addr) bool {
	reserved := a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240)
	return !a.IsMulticast() && !a.IsLoopback() && !a.IsUnspecified() && !reserved
}

// ParseAddress reads the address of a node in the tunnel, with or without the length of a prefix:
// without one, it stands for itself alone. field is its name for the refusal, an [*Error].
func ParseAddress(field, s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	p, err := netip.ParsePrefix(s)
	if a, alone := netip.ParseAddr(s); alone == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || p.Addr().Is4In6() || !usable(p.Addr()) {
		return netip.Prefix{}, refuse(CodeInvalidVirtualIP, "%s %q is not an address that a node can have; write one like 10.66.0.5/32.", field, s)
	}
	return p, nil
}

// NextAddress returns the lowest free address of the subnet, as a prefix of its own. Addresses
// outside of the subnet do not count as taken. Error: an [*Error].
func NextAddress(subnet netip.Prefix, taken []netip.Addr) (netip.Prefix, error) {
	subnet = subnet.Masked()
	first := subnet.Addr()
	if hasEdges(subnet) {
		first = first.Next()
	}
	used := make([]bool, len(taken)+1) // by distance from first: one of so many must be free
	for _, a := range taken {
		if d, near := distance(first, a); near && d < uint64(len(used)) && subnet.Contains(a) {
			used[d] = true
		}
	}
	next := further(first, uint64(slices.Index(used, false))) //nolint:gosec // there is one
	if !subnet.Contains(next) || isBroadcast(subnet, next) {
		return netip.Prefix{}, refuse(CodeIPPoolExhausted,
			"virtual_subnet %s has no free address left; give the mesh a larger one, or give the node a virtual_ip outside of it.", subnet)
	}
	return netip.PrefixFrom(next, next.BitLen()), nil
}

// distance returns how many addresses after from a is; near is false if that is before from, or more
// than fits.
func distance(from, a netip.Addr) (d uint64, near bool) {
	if from.Is4() != a.Is4() {
		return 0, false
	}
	f, t := from.As16(), a.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(t[8:]), binary.BigEndian.Uint64(f[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(t[:8]), binary.BigEndian.Uint64(f[:8]), borrow)
	return low, high == 0
}

// further returns the address d after from, or the zero Addr after the last one.
func further(from netip.Addr, d uint64) netip.Addr {
	b := from.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), d, 0)
	high, over := bits.Add64(binary.BigEndian.Uint64(b[:8]), 0, carry)
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	switch a := netip.AddrFrom16(b); {
	case from.Is4() && a.Is4In6():
		return a.Unmap()
	case from.Is4() || over != 0:
		return netip.Addr{}
	default:
		return a
	}
}

// hasEdges reports whether the first address of the subnet names the network itself, and, for IPv4,
// the last one all hosts.
func hasEdges(subnet netip.Prefix) bool { return subnet.Bits() < subnet.Addr().BitLen()-1 }

func isBroadcast(subnet netip.Prefix, a netip.Addr) bool {
	return a.Is4() && hasEdges(subnet) && a == lastAddress(subnet)
}

// lastAddress returns the highest address of the network.
func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		switch host := (i+1)*8 - p.Bits(); { // bits of this byte that are not of the network
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// CheckAddress returns a warning for a virtual_ip that works, but may surprise; "" is none. subnets
// are those of the mesh, of either family. owner returns the name of the node that has the address.
// Error: an [*Error] for an address that the node cannot have.
func CheckAddress(address netip.Prefix, subnets []netip.Prefix, owner func(netip.Addr) (name string, taken bool)) (warning string, err error) {
	a := address.Addr()
	if name, taken := owner(a); taken {
		return "", refuse(CodeInvalidVirtualIP, "virtual_ip %s is taken by %s; choose a free one.", a, name)
	}
	for _, subnet := range subnets {
		switch {
		case !subnet.IsValid() || subnet.Addr().Is4() != a.Is4():
			continue
		case !subnet.Contains(a):
			warning = fmt.Sprintf("virtual_ip %s is outside of the mesh's subnet %s: links that carry the subnet do not reach it by themselves.", a, subnet)
		case hasEdges(subnet) && a == subnet.Masked().Addr():
			return "", refuse(CodeInvalidVirtualIP, "virtual_ip %s is the address of the network %s itself; choose another one.", a, subnet)
		case isBroadcast(subnet, a):
			return "", refuse(CodeInvalidVirtualIP, "virtual_ip %s is the broadcast address of %s; choose another one.", a, subnet)
		default:
			return "", nil
		}
	}
	return warning, nil
}

// The networks that are offered: each /24 from the first up to the end of 10.0.0.0/8.
var (
	firstOffered = netip.MustParseAddr("10.66.0.0")
	offeredFrom  = netip.MustParsePrefix("10.0.0.0/8")
)

// OfferSubnet returns the first /24 from 10.66.0.0/24 that overlaps none of the networks in use: of
// other meshes, and of the appliance itself. Error: an [*Error].
func OfferSubnet(inUse []netip.Prefix) (netip.Prefix, error) {
	used := make([]netip.Prefix, 0, len(inUse))
	for _, p := range inUse {
		if p.IsValid() && p.Addr().Is4() && p.Overlaps(offeredFrom) && p.Bits() > 0 {
			used = append(used, p.Masked())
		}
	}
	slices.SortFunc(used, netip.Prefix.Compare)
	next := firstOffered
	for _, p := range used {
		if netip.PrefixFrom(next, 24).Overlaps(p) {
			next = nextNetwork(lastAddress(p))
		}
	}
	if !offeredFrom.Contains(next) {
		return netip.Prefix{}, refuse(CodeIPPoolExhausted, "No /24 from 10.66.0.0 to 10.255.255.0 is free; give a virtual_subnet.")
	}
	return netip.PrefixFrom(next, 24), nil
}

// nextNetwork returns the first address of the /24 after that of a.
func nextNetwork(a netip.Addr) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])&^0xff+0x100)
	return netip.AddrFrom4(b)
}

// Taken is a network that something else uses.
type Taken struct {
	Network netip.Prefix
	By      string // for a person, like "mesh office" or "the appliance"
}

// CheckSubnet returns a warning for a subnet that overlaps a network in use; "" is none. Meshes that
// overlap work as long as no device is in both.
func CheckSubnet(subnet netip.Prefix, taken []Taken) (warning string) {
	for _, t := range taken {
		if t.Network.IsValid() && t.Network.Bits() > 0 && subnet.Overlaps(t.Network) {
			return fmt.Sprintf("virtual_subnet %s overlaps %s of %s: a device that is in both cannot tell them apart. Choose another virtual_subnet.",
				subnet, t.Network, t.By)
		}
	}
	return ""
}

// NewULA returns a random /64 of the unique local addresses (RFC 4193).
func NewULA(random io.Reader) (netip.Prefix, error) {
	b := [16]byte{0xfd}
	if _, err := io.ReadFull(random, b[1:6]); err != nil {
		return netip.Prefix{}, fmt.Errorf("random network: %w", err)
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64), nil
}
