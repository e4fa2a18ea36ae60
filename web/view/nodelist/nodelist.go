package nodelist

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"wfm/presence"
	"wfm/store"
	"wfm/web/view"
)

// Node is a node in a list.
type Node struct {
	view.Facts
	Addresses []netip.Addr // in the tunnel
}

// ReadAddresses sets the node's addresses.
func (l *Node) ReadAddresses(tx *store.Tx) error {
	all, err := view.AddressesOf(tx, l.Config, l.Node)
	l.Addresses = nil
	for _, p := range all {
		l.Addresses = append(l.Addresses, p.Addr())
	}
	return err
}

// Public returns the public addresses of the node.
func (l Node) Public() (all []string) {
	for _, a := range []string{l.Node.IPv4Address, l.Node.IPv6Address} {
		if a != "" {
			all = append(all, a)
		}
	}
	return all
}

// Contains reports whether a name, an address, a key or an id of the node contains the query, in upper
// or lower case.
func (l Node) Contains(query string) bool {
	query = strings.ToLower(query)
	texts := append([]string{l.Node.Name, l.Node.InterfaceName, l.Node.ID, l.Node.PublicKey}, l.Public()...)
	if l.Node.Client != nil {
		texts = append(texts, l.Node.Client.Hostname)
	}
	for _, a := range l.Addresses {
		texts = append(texts, a.String())
	}
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), query) })
}

// The orders of a list of nodes.
const (
	ByName    = "name"
	ByAddress = "address"
	ByPublic  = "public"
	ByState   = "state"
	ByTunnel  = "tunnel"
	ByText    = "sync"
	ByTags    = "tags"
	BySeen    = "seen" // newest first
)

// Sort sorts the nodes by one of their values, and those with the same one by name. Nodes without
// the value are last, in both directions.
func Sort(all []*Node, by string, descending bool) {
	slices.SortStableFunc(all, func(a, b *Node) int {
		order, lacking := a.compare(b, by)
		if descending && !lacking {
			order = -order
		}
		return cmp.Or(order, Natural(a.Node.Name, b.Node.Name))
	})
}

// compare compares the values by which a list is sorted. lacking: a node has none.
func (l *Node) compare(o *Node, by string) (order int, lacking bool) {
	switch by {
	case ByName:
		return Natural(l.Node.Name, o.Node.Name), false
	case ByAddress:
		return compareFirst(l.Addresses, o.Addresses, netip.Addr.Compare)
	case ByPublic:
		return compareFirst(l.Public(), o.Public(), Natural)
	case ByTags:
		return compareFirst(l.Node.Tags, o.Node.Tags, Natural)
	case ByState:
		return rank(l.State(), view.States()) - rank(o.State(), view.States()), false
	case ByTunnel:
		tunnels := []presence.Tunnel{presence.TunnelRunning, presence.TunnelStopped, presence.TunnelUnknown}
		return rank(l.Presence.Tunnel, tunnels) - rank(o.Presence.Tunnel, tunnels), false
	case ByText:
		return rank(l.TextState(), view.TextStates()) - rank(o.TextState(), view.TextStates()), l.TextState() == "" || o.TextState() == ""
	case BySeen:
		a, b := l.Evidence.ReachableAt, o.Evidence.ReachableAt
		return b.Compare(a), a.IsZero() || b.IsZero()
	}
	return 0, false
}

// rank returns the place of v in the order; an unknown one is last.
func rank[T comparable](v T, order []T) int {
	if i := slices.Index(order, v); i >= 0 {
		return i
	}
	return len(order)
}

// compareFirst compares two lists by their first entries. An empty list comes last.
func compareFirst[T any](a, b []T, compare func(T, T) int) (order int, lacking bool) {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(min(len(b), 1), min(len(a), 1)), true
	}
	return compare(a[0], b[0]), false
}

// Natural compares texts as people order them: numbers within them by their value, and letters without
// regard to upper and lower case.
func Natural(a, b string) int {
	x, y := strings.ToLower(a), strings.ToLower(b)
	for x != "" && y != "" {
		m, n := digits(x), digits(y)
		if m > 0 && n > 0 {
			u, v := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if order := cmp.Or(len(u)-len(v), strings.Compare(u, v)); order != 0 {
				return order
			}
			x, y = x[m:], y[n:]
			continue
		}
		if x[0] != y[0] {
			return strings.Compare(x, y)
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(len(x)-len(y), strings.Compare(a, b))
}

// digits returns the number of digits that s begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
