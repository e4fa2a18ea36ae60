package mesh

import (
	"fmt"
	"net/netip"
	"strings"

	"wfm/protocol"
	"wfm/store"
)

// managedMark ends each hook of ours. The tools cut it off before they run the hook.
const managedMark = " # managed by WFM: "

// IsManaged reports whether a hook, as it stands in a tunnel config, is one that this package made.
func IsManaged(hook string) bool { return strings.Contains(hook, managedMark) }

// hooks are commands that set something up, and those that undo it.
type hooks struct{ up, down []string }

func (h *hooks) add(what, up, down string) {
	if up != "" {
		h.up = append(h.up, up+managedMark+what)
	}
	if down != "" {
		h.down = append(h.down, down+managedMark+what)
	}
}

// The systems for which hooks are made.
const (
	platformLinux  = "linux"
	platformDarwin = "darwin"
)

// platform returns the system of the node, as far as hooks go; "" if none are made for it.
func (m *Mesh) platform(n *member) string {
	if n.Client != nil && n.Client.Platform != "" {
		return systemOf(n.Client.Platform)
	}
	for _, f := range m.forwards[n.ID] {
		if f.ToPlatform == platformDarwin {
			return platformDarwin
		}
	}
	return platformLinux
}

// systemOf is like platform, for the platform that an agent reported.
func systemOf(platform string) string {
	switch p := strings.ToLower(platform); {
	case strings.HasPrefix(p, platformDarwin), strings.HasPrefix(p, "macos"):
		return platformDarwin
	case strings.HasPrefix(p, "windows"):
		return ""
	}
	return platformLinux
}

// SameHooks reports whether nodes get the same hooks with agents of the two platforms.
func SameHooks(platform, other string) bool { return systemOf(platform) == systemOf(other) }

// managedHooks returns the hooks that the appliance adds for the node. Each can run twice. The last
// ones undo exactly the changes of the first ones.
func (m *Mesh) managedHooks(n *member) hooks {
	var h hooks
	v4, v6 := m.forwardsFor(n)
	nat := m.natOf(n)
	switch p := m.platform(n); {
	case !protocol.ValidInterfaceName(n.InterfaceName):
	case p == platformLinux:
		h.forwardLinux(v4, v6)
		h.natLinux(nat, n.InterfaceName)
	case p == platformDarwin:
		h.forwardDarwin(v4, v6)
		h.natDarwin(nat, n.InterfaceName)
	}
	return h
}

// nat has the translations of a node, for IPv4 and IPv6.
type nat [2]struct {
	from, to []netip.Prefix // packets from the mesh to networks behind the node
	ports    []portRule
}

// portRule is one port of the node that leads to a service elsewhere in the mesh.
type portRule struct {
	protocol string // tcp or udp
	port     int
	target   netip.AddrPort
}

func (m *Mesh) natOf(n *member) nat {
	var t nat
	if n.Masquerade {
		for _, route := range n.Routes {
			f := familyOf(route.Addr())
			t[f].to = append(t[f].to, route)
		}
		// Only from its peers' AllowedIPs can a packet come out of the tunnel.
		sources := m.subnets()
		for _, networks := range m.allowed(n) {
			sources = append(sources, networks...)
		}
		for _, source := range disjoint(sources) {
			f := familyOf(source.Addr())
			t[f].from = append(t[f].from, source)
		}
		for f := range t {
			t[f].to = disjoint(t[f].to)
			if len(t[f].from) == 0 { // the mesh has no addresses of the family; nft refuses an empty set
				t[f].to = nil
			}
		}
	}
	for _, e := range m.entering(n) {
		protocols := []string{string(e.Protocol)}
		if e.Protocol == store.ForwardAll {
			protocols = []string{"tcp", "udp"}
		}
		for _, target := range e.targets {
			for _, p := range protocols {
				f := familyOf(target)
				t[f].ports = append(t[f].ports, portRule{p, e.ToPort, netip.AddrPortFrom(target, uint16(e.FromPort))}) //nolint:gosec // Validate bounds ports
			}
		}
	}
	return t
}

// forwardLinux switches forwarding on. Several tunnels of one machine share the switch: the last of
// them that goes down puts it back, if one of them had to turn it.
func (h *hooks) forwardLinux(v4, v6 bool) {
	const up = `d=/run/wfm-forward%[1]s; mkdir -p $d && touch $d/%%i; if [ "$(sysctl -n %[2]s)" = 0 ]; then touch $d/.off; %[3]ssysctl -q -w %[2]s=1; fi`
	const down = `d=/run/wfm-forward%[1]s; rm -f $d/%%i; if [ -d $d ] && [ -z "$(ls $d)" ]; then ` +
		`if [ -e $d/.off ]; then sysctl -q -w %[2]s=0; fi; %[3]srm -rf $d; fi`
	if v4 {
		const key = "net.ipv4.ip_forward"
		h.add("forwarding of IPv4", fmt.Sprintf(up, "4", key, ""), fmt.Sprintf(down, "4", key, ""))
	}
	if v6 {
		// A machine that forwards no longer takes its own default route from router advertisements,
		// unless accept_ra is 2.
		const acceptRA = `for f in /proc/sys/net/ipv6/conf/*/accept_ra; do if [ "$(cat $f)" = 1 ]; then echo 2 >$f && echo $f >>$d/.ra; fi; done; `
		const formerRA = `if [ -e $d/.ra ]; then while read -r f; do if [ -e $f ]; then echo 1 >$f; fi; done <$d/.ra; fi; `
		const key = "net.ipv6.conf.all.forwarding"
		h.add("forwarding of IPv6", fmt.Sprintf(up, "6", key, acceptRA), fmt.Sprintf(down, "6", key, formerRA))
	}
}

func (h *hooks) forwardDarwin(v4, v6 bool) {
	const up = `d=/var/run/wfm-forward%[1]s; mkdir -p $d && touch $d/%%i; if [ "$(sysctl -n %[2]s)" = 0 ]; then touch $d/.off; sysctl -w %[2]s=1; fi`
	const down = `d=/var/run/wfm-forward%[1]s; rm -f $d/%%i; if [ -d $d ] && [ -z "$(ls $d)" ]; then if [ -e $d/.off ]; then sysctl -w %[2]s=0; fi; rm -rf $d; fi`
	if v4 {
		h.add("forwarding of IPv4", fmt.Sprintf(up, "4", "net.inet.ip.forwarding"), fmt.Sprintf(down, "4", "net.inet.ip.forwarding"))
	}
	if v6 {
		h.add("forwarding of IPv6", fmt.Sprintf(up, "6", "net.inet6.ip6.forwarding"), fmt.Sprintf(down, "6", "net.inet6.ip6.forwarding"))
	}
}

// commaList joins the items of a list for nft, iptables or pf.
func commaList[T fmt.Stringer](all []T, separator string) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = v.String()
	}
	return strings.Join(words, separator)
}
