package wgconf

import (
	"fmt"
	"net/netip"
	"slices"
)

// lineMessages are the texts of the warnings about single lines, in the order they are given; %s is
// the list of findings.
var lineMessages = []struct{ code, message string }{
	{CodeCutAtHash, "A part of the tunnel config is not read, since a # begins a comment wherever it stands: %s. Write the value without a #; in a hook, " +
		"printf '\\043' prints one."},
	{CodeOpenQuote, "A hook ends within a quote, and the tool will fail there: %s. Close the quote on the same line."},
	{CodeEmptyValue, "These keys have no value and so set nothing: %s. Remove the lines, or give the values that are missing."},
	{CodeNoPresharedKey, "A PresharedKey is all zeros, which the tools take for none: %s. Make one with wg genpsk, or remove the line."},
	{CodeAWGValues, "Not every tool takes these values of AmneziaWG as they are meant: %s."},
}

// lineWarnings returns the warnings about single lines, one for each kind.
func (c Config) lineWarnings() []Warning {
	var all []Warning
	for _, m := range lineMessages {
		var found []string
		line := 0
		for _, n := range c.notes {
			if n.code != m.code {
				continue
			}
			if found == nil {
				line = n.line
			}
			found = append(found, n.text)
		}
		if found != nil {
			all = append(all, Warning{Code: m.code, Line: line, Message: fmt.Sprintf(m.message, list(found))})
		}
	}
	return all
}

func (c Config) noPrivateKey() Warning {
	if c.Interface.HasPrivateKey || c.Interface.KeptLine != 0 || slices.ContainsFunc(c.Interface.Hooks, func(h Hook) bool { return h.SetsPrivateKey }) {
		return Warning{}
	}
	return Warning{
		Code: CodeNoPrivateKey, Line: c.Interface.Line,
		Message: fmt.Sprintf("The [Interface] on line %d has no PrivateKey: the tunnel comes up, and no peer can reach it until the node sets a key. "+
			"Add PrivateKey (wg genkey makes one), or for a key that stays on the node PostUp = wg set %%i private-key FILE.", c.Interface.Line),
	}
}

// isOwn reports whether a peer has the node's own key. The tools skip it.
func (c Config) isOwn(p Peer) bool { return p.PublicKey != "" && p.PublicKey == c.Interface.PublicKey }

func (c Config) ownKey() Warning {
	i := slices.IndexFunc(c.Peers, c.isOwn)
	if i < 0 {
		return Warning{}
	}
	return Warning{
		Code: CodeOwnKey, Line: c.Peers[i].Line,
		Message: fmt.Sprintf("The peer on line %d has the public key of this node itself, and the tools skip it. Give it the other side's key, "+
			"or remove it.", c.Peers[i].Line),
	}
}

func (c Config) mtuWithoutIPv6() Warning {
	iface := c.Interface
	if iface.MTU == 0 || iface.MTU >= leastIPv6 || !slices.ContainsFunc(iface.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		return Warning{}
	}
	return Warning{
		Code: CodeMTUWithoutIPv6, Line: iface.AddressLine,
		Message: fmt.Sprintf("With MTU = %d the kernel takes the IPv6 addresses off the tunnel: IPv6 needs %d. Raise the MTU, or remove the "+
			"IPv6 addresses.", iface.MTU, leastIPv6),
	}
}

func (c Config) searchWithoutDNS() Warning {
	if len(c.Interface.SearchDomains) == 0 || len(c.Interface.DNS) > 0 {
		return Warning{}
	}
	return Warning{
		Code: CodeSearchWithoutDNS, Line: c.Interface.DNSLine,
		Message: fmt.Sprintf("DNS (line %d) has search domains and no server: wg-quick sets neither then. Add the address of a DNS server, or "+
			"remove the line.", c.Interface.DNSLine),
	}
}
