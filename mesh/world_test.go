package mesh_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// world is a mesh that a test builds.
type world struct {
	config   store.Config
	nodes    []mesh.Node
	links    []store.Link
	forwards []store.PortForward
	at       time.Time // of the next record
}

// newWorld returns a mesh without nodes; its subnets are those given.
func newWorld(subnets ...string) *world {
	w := &world{
		config: store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard},
		at:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for i, s := range subnets {
		*[]*netip.Prefix{&w.config.VirtualSubnet, &w.config.VirtualSubnet6}[i] = prefix(s)
	}
	return w
}

func (w *world) now() time.Time {
	w.at = w.at.Add(time.Second)
	return w.at
}

// madeKeys are those of keysOf; many tests have the same names.
var madeKeys sync.Map

// keysOf returns keys that belong to the name.
func keysOf(name string) mesh.Keys {
	if keys, ok := madeKeys.Load(name); ok {
		return keys.(mesh.Keys)
	}
	sum := sha256.Sum256([]byte(name))
	keys, err := mesh.NewKeys(bytes.NewReader(sum[:]))
	if err != nil {
		panic(err)
	}
	madeKeys.Store(name, keys)
	return keys
}

// add adds an enabled node with keys and the next addresses. Its id is its name.
func (w *world) add(name string, change ...func(*mesh.Node)) {
	keys := keysOf(name)
	n := mesh.Node{Node: store.Node{
		ID: name, ConfigID: w.config.ID, Name: name, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0", CreatedAt: w.now(),
		NodeSettings: store.NodeSettings{ConfigSource: store.SourceMesh, PublicKey: keys.Public, PrivateKey: keys.Private},
	}}
	for _, s := range []struct{ subnet, to *netip.Prefix }{{&w.config.VirtualSubnet, &n.VirtualIP}, {&w.config.VirtualSubnet6, &n.VirtualIP6}} {
		if s.subnet.IsValid() {
			var taken []netip.Addr
			for _, other := range w.nodes {
				taken = append(taken, other.VirtualIP.Addr(), other.VirtualIP6.Addr())
			}
			next, err := mesh.NextAddress(*s.subnet, taken)
			if err != nil {
				panic(err)
			}
			*s.to = next
		}
	}
	for _, c := range change {
		c(&n)
	}
	w.nodes = append(w.nodes, n)
}

// public gives a node a public IPv4 address.
func public(address string) func(*mesh.Node) {
	return func(n *mesh.Node) { n.IPv4Address = address }
}

func routes(networks ...string) func(*mesh.Node) {
	return func(n *mesh.Node) {
		for _, s := range networks {
			n.Routes = append(n.Routes, prefix(s))
		}
	}
}

func disabled(n *mesh.Node) { n.Enabled = false }

// node returns the node, to be changed.
func (w *world) node(id string) *mesh.Node {
	for i := range w.nodes {
		if w.nodes[i].ID == id {
			return &w.nodes[i]
		}
	}
	panic("no node " + id)
}

// link adds the link that is drafted for the two nodes.
func (w *world) link(tb testing.TB, local, peer string, change ...func(*store.Link)) string {
	tb.Helper()
	d, err := w.mesh().Draft(local, peer, "")
	if err != nil {
		tb.Fatal(err)
	}
	d.Link.ID, d.Link.CreatedAt = "link_"+local+"_"+peer, w.now()
	for _, c := range change {
		c(&d.Link)
	}
	w.links = append(w.links, d.Link)
	return d.Link.ID
}

func (w *world) mesh() *mesh.Mesh {
	return mesh.New(w.config, slices.Clone(w.nodes), slices.Clone(w.links), slices.Clone(w.forwards))
}

// carries sets AllowedIPs of both directions of a link.
func carries(forward, reverse string) func(*store.Link) {
	return func(l *store.Link) {
		l.Forward.AllowedIPs, l.Reverse.AllowedIPs = prefixes(forward), prefixes(reverse)
	}
}

func prefixes(list string) []netip.Prefix {
	var all []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		all = append(all, prefix(s))
	}
	return all
}

// parse reads each text of the mesh.
func (w *world) parse(tb testing.TB) map[string]wgconf.Config {
	tb.Helper()
	all := map[string]wgconf.Config{}
	for id, text := range w.mesh().Texts() {
		c, err := tunnel.Read(w.config, id, text)
		if err != nil {
			tb.Fatalf("the text of %s is refused: %v\n%s", id, err, text)
		}
		all[id] = c
	}
	return all
}

// counter makes ids.
func counter(name string) func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("%s_%d", name, n) }
}

// noPrefix is an address or network that was not given.
var noPrefix netip.Prefix

// noReach is an appliance whose address is unknown.
var noReach wgconf.Reach
