package reach

import (
	"net"
	"net/netip"
)

// OwnNetworks returns the addresses of the machine's interfaces, each with its network. It returns
// none if the system does not tell them.
func OwnNetworks() []netip.Prefix {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var all []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p)
		}
	}
	return all
}
