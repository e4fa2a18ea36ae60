package importconf

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"wfm/mesh"
)

// difference says how a text that the mesh makes differs from a file.
type difference struct {
	why      []string       // sentences; none if both mean the same
	networks []netip.Prefix // that peers have in only one of them
	adds     bool           // the text has hooks for forwarding that the file does not have
}

func (d *difference) add(differs bool, format string, args ...any) {
	if differs {
		d.why = append(d.why, fmt.Sprintf(format, args...))
	}
}

// compare compares the text that the mesh makes for the node with its file.
func (p *planner) compare(m *mesh.Mesh, n *node) difference {
	made, err := read(p.plan.Config, File{Name: n.File, Text: m.Text(n.ID)})
	if err != nil {
		return difference{why: []string{"What the mesh makes of it cannot be pushed."}}
	}
	return compare(n.conf, made)
}

// compare compares what two texts mean, but for comments and the order of peers and networks.
func compare(file, made *conf) difference {
	var d difference
	a, b := file.Interface, made.Interface
	d.add(file.private != made.private || (a.KeptLine != 0) != (b.KeptLine != 0), "Its PrivateKey would be another one.")
	d.add(!sameSet(a.Addresses, b.Addresses), "Its addresses (line %d) would be others.", a.AddressLine)
	d.add(a.ListenPort != b.ListenPort, "The mesh would give it the ListenPort %d instead of %d.", b.ListenPort, a.ListenPort)
	d.add(a.MTU != b.MTU, "The mesh would give it the MTU %d instead of %d.", b.MTU, a.MTU)
	d.add(!slices.Equal(file.dns, made.dns), "The mesh would give it other DNS servers.")
	for _, key := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		d.add(!slices.Equal(file.hooks[key], made.hooks[key]), "Its %s would differ.", key)
	}
	d.compareManaged(file, made)
	for _, f := range awgFields {
		d.add(file.meant(f.key) != made.meant(f.key), "Its %s would differ.", f.key)
	}
	d.comparePeers(file, made)
	return d
}

func (d *difference) compareManaged(file, made *conf) {
	isForwarding := func(hook string) bool { return strings.Contains(hook, "managed by WFM: forwarding of ") }
	for _, hook := range file.managed {
		if !slices.Contains(made.managed, hook) {
			d.add(true, "It has hooks of an appliance that the mesh would not make.")
			break
		}
	}
	for _, hook := range made.managed {
		if slices.Contains(file.managed, hook) {
			continue
		}
		if !isForwarding(hook) {
			d.add(true, "The mesh would add hooks to it.")
			break
		}
		d.adds = true
	}
}

func (d *difference) comparePeers(file, made *conf) {
	others := map[string]peer{}
	for _, pr := range made.peers {
		others[pr.PublicKey] = pr
	}
	for _, pr := range file.peers {
		other, ok := others[pr.PublicKey]
		delete(others, pr.PublicKey)
		if !ok {
			d.add(true, "Its peer on line %d would be missing.", pr.Line)
			continue
		}
		d.add(pr.presharedKey != other.presharedKey, "The PresharedKey of the peer on line %d would differ.", pr.Line)
		d.add(endpointMeant(pr.Endpoint) != endpointMeant(other.Endpoint), "The endpoint of the peer on line %d would differ.", pr.Line)
		d.add(pr.PersistentKeepalive != other.PersistentKeepalive, "The keepalive of the peer on line %d would differ.", pr.Line)
		differing := slices.Concat(without(pr.AllowedIPs, other.AllowedIPs), without(other.AllowedIPs, pr.AllowedIPs))
		d.networks = append(d.networks, differing...)
		d.add(len(differing) > 0, "The AllowedIPs of the peer on line %d would differ.", pr.Line)
	}
	d.add(len(others) > 0, "It would get peers that it does not have.")
	for _, pr := range others {
		d.networks = append(d.networks, pr.AllowedIPs...)
	}
}

func endpointMeant(endpoint string) string {
	host, port := splitEndpoint(endpoint)
	if host == "" {
		return ""
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.Itoa(port))
}

func sameSet(a, b []netip.Prefix) bool { return len(without(a, b)) == 0 && len(without(b, a)) == 0 }

// without returns the networks of a that b does not have.
func without(a, b []netip.Prefix) []netip.Prefix {
	in := make(map[netip.Prefix]bool, len(b))
	for _, p := range b {
		in[p] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return in[p] })
}
