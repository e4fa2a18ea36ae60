package tunnel

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// resolveTimeout limits how long a check waits for the broker's addresses.
const resolveTimeout = 2 * time.Second

// Read parses the text with the grammar of the mesh's tools, and checks that a push of it fits into
// a message. The error is a *wgconf.Error.
func Read(cfg store.Config, nodeID, text string) (wgconf.Config, error) {
	if over := pushSize(cfg.ID, nodeID, text) - protocol.MaxMessageSize; over > 0 {
		return wgconf.Config{}, wgconf.NewError(fmt.Sprintf("the tunnel config is %d bytes too large for a message to the node, of %d bytes in all: "+
			"leave out comments (%d bytes) and peers that are not needed, or spread the peers over two nodes", over, protocol.MaxMessageSize, commentSize(text)))
	}
	return wgconf.Parse(text, Family(cfg))
}

// checkKey refuses a config whose private key the node's agent cannot put in. The error is a
// *wgconf.Error. The agent of a node that is not bound yet may be able to.
func checkKey(conf wgconf.Config, n store.Node) error {
	line, named := conf.Interface.KeptLine, conf.Interface.PublicKey
	problem := ""
	switch {
	case line == 0 || n.Client == nil:
		return nil
	case !n.Can(protocol.CapabilityNodeKey):
		problem = "PrivateKey: the agent of this node has no key of its own; update the agent, or give the node's private key"
	case named == "" || n.Client.PublicKey == "" || named == n.Client.PublicKey:
		return nil
	default:
		problem = "PrivateKey: the node has another key now than the one that this line names; take the node's latest tunnel config"
	}
	return &wgconf.Error{Faults: []wgconf.Fault{{Line: line, Problem: problem}}}
}

// commentSize returns how many bytes of the text are comments, including lines that contain nothing
// else.
func commentSize(text string) int {
	size := 0
	for line := range strings.Lines(text) {
		value, comment, found := strings.Cut(line, "#")
		switch {
		case found && strings.TrimSpace(value) == "":
			size += len(line)
		case found:
			size += len(comment)
		}
	}
	return size
}

// pushSize returns the largest size, in bytes, that a push of the text can have.
func pushSize(configID, nodeID, text string) int {
	topic := protocol.Topic{ConfigID: configID, NodeID: nodeID, Kind: protocol.KindPush}
	longest := protocol.Push{
		Action: protocol.ActionPush, TunnelProtocol: protocol.TunnelAmneziaWG2, PreviousTunnelProtocol: protocol.TunnelAmneziaWG2,
		InterfaceName: strings.Repeat("x", 15), ConfigVersion: math.MaxInt, ConfigSHA256: strings.Repeat("x", 64), AWGVersion: "2.0",
		ConfigText: text,
	}
	env, err := protocol.NewEnvelope(topic, strings.Repeat("x", 128), longest, time.Now())
	if err != nil {
		return math.MaxInt
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return math.MaxInt
	}
	return len(raw)
}

// Warnings returns the warnings for the operator before the config is given to the node, whose
// agent reaches the broker as r describes.
func Warnings(conf wgconf.Config, n store.Node, r wgconf.Reach) []wgconf.Warning {
	all := conf.Warnings(r)
	if n.Type == store.NodeStatic { // it has no agent to be cut off
		all = slices.DeleteFunc(all, func(w wgconf.Warning) bool { return w.CutsOff })
	}
	return all
}

// CutsOff reports whether one of the warnings says that the node may lose the appliance.
func CutsOff(warnings []wgconf.Warning) bool {
	return slices.ContainsFunc(warnings, func(w wgconf.Warning) bool { return w.CutsOff })
}

// BrokerHost returns the host at which the node's agent reaches the broker: the one from bind, or
// fallback.
func BrokerHost(n store.Node, fallback string) string {
	if n.Client != nil && n.Client.MQTTHost != "" {
		return n.Client.MQTTHost
	}
	return fallback
}

// Reach resolves the broker's host, which takes up to two seconds. A nil resolver is the system's.
// The node may resolve a name differently, so only warnings may rest on the result. A name that
// cannot be resolved has no addresses.
func Reach(ctx context.Context, resolver *net.Resolver, host string) wgconf.Reach {
	r := wgconf.Reach{Host: host}
	if addr, err := netip.ParseAddr(host); err == nil {
		r.Addresses = []netip.Addr{addr}
		return r
	}
	if host == "" {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addresses, _ := resolver.LookupNetIP(ctx, "ip", host)
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, a.Unmap())
	}
	return r
}
