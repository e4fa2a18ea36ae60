package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"wfm/tunnel/wgconf"
)

// endpoints returns the addresses at which the peers of a running tunnel were seen last, by public key.
// It returns none if the tool does not say.
func (t *tunnels) endpoints(ctx context.Context, family, iface string) map[string]netip.AddrPort {
	if family == "" {
		return nil
	}
	res := runTool(ctx, t.forceLimit, family, "show", iface, "endpoints")
	if res.err != nil {
		return nil
	}
	seen := make(map[string]netip.AddrPort)
	for line := range strings.Lines(res.stdout.String()) {
		if key, at, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			if endpoint, err := netip.ParseAddrPort(at); err == nil {
				seen[key] = endpoint
			}
		}
	}
	return seen
}

// setEndpoints tells a tunnel that was restarted where its peers were, for those to which its config
// gives no endpoint. Without that, a peer behind a router that only sends keepalives would not be
// reached until it makes a new session by itself, up to two minutes later. It is no fault if that fails.
func (t *tunnels) setEndpoints(ctx context.Context, family, iface string, seen map[string]netip.AddrPort) {
	if len(seen) == 0 {
		return
	}
	stored, err := t.configs.Read(iface)
	if err != nil {
		return
	}
	c, err := wgconf.Parse(string(stored.Text), family)
	if err != nil {
		return
	}
	args := []string{"set", iface}
	for _, p := range c.Peers { // a key that is not among them would become a new peer
		if at, ok := seen[p.PublicKey]; ok && p.Endpoint == "" {
			args = append(args, "peer", p.PublicKey, "endpoint", at.String())
		}
	}
	const own, most = 2, 4 * 1000 // words; a command line has its limits
	for some := range slices.Chunk(args[own:], most) {
		runTool(ctx, t.forceLimit, family, append(args[:own:own], some...)...)
	}
}
