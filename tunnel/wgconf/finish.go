package wgconf

import (
	"net/netip"
	"slices"
	"strings"
)

// finish makes the checks that need the whole text.
func (p *parser) finish() {
	iface := p.iface()
	if iface.Line == 0 && !p.astray {
		p.fault(0, "there is no [Interface] section")
	}
	for i, peer := range p.config.Peers {
		if !p.named[i] {
			p.fault(peer.Line, "this [Peer] has no PublicKey; add the other side's, as wg pubkey prints it")
		}
	}
	p.checkMTU()
	p.checkMainTable()
	p.checkAWG()
}

// leastIPv6 is the least MTU for IPv6, in bytes: below it the kernel removes IPv6 from an
// interface.
const leastIPv6 = 1280

// checkMTU refuses routes that the kernel will not accept. It silently drops a mere IPv6 address,
// see [Config.Warnings].
func (p *parser) checkMTU() {
	iface := p.iface()
	if iface.MTU == 0 || iface.MTU >= leastIPv6 || iface.Table == "off" {
		return
	}
	for _, peer := range p.config.Peers {
		if slices.ContainsFunc(peer.AllowedIPs, func(n netip.Prefix) bool { return n.Addr().Is6() }) {
			p.fault(p.mtuLine, "MTU: %d is too small for IPv6, which AllowedIPs on line %d have; give %d or more, or leave out the IPv6 networks",
				iface.MTU, peer.AllowedIPsLine, leastIPv6)
			return
		}
	}
}

// checkMainTable refuses routes that exist already: the kernel adds the network of each IPv4
// Address to the main table, and wg-quick, if it has to use a table, adds that of AllowedIPs
// without a check.
func (p *parser) checkMainTable() {
	if table := p.iface().Table; table != "main" && table != "254" {
		return
	}
	for _, peer := range p.config.Peers {
		for _, network := range peer.AllowedIPs {
			if same := slices.IndexFunc(p.iface().Addresses, func(a netip.Prefix) bool {
				return a.Addr().Is4() && a.Bits() < 32 && a.Masked() == network
			}); same >= 0 {
				p.fault(peer.AllowedIPsLine, "AllowedIPs: with Table = %s, the route to %s is added twice, since Address %s has the same network; "+
					"leave out Table, or give the Address as a /32", p.iface().Table, network, p.iface().Addresses[same])
			}
		}
	}
}

// hookSetsKey reports whether a hook gives the interface a private key, like "wg set %i private-key
// /etc/wireguard/%i.key". That only works once the interface exists.
func hookSetsKey(key, command string) bool {
	if key != "PostUp" {
		return false
	}
	set := false
	for word := range strings.FieldsSeq(command) {
		switch {
		case word == "set":
			set = true
		case word == "private-key" && set:
			return strings.Contains(command, "wg ")
		}
	}
	return false
}

// openQuote returns the quote that a shell command leaves open, or 0.
func openQuote(command string) byte {
	var open byte
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case c == '\\' && open != '\'':
			i++
		case open == 0 && (c == '\'' || c == '"'):
			open = c
		case c == open:
			open = 0
		}
	}
	return open
}

// noteCut warns if the tools read less of a line than its author may expect: they cut at any #,
// even within quotes.
func (p *parser) noteCut(k key, value string, after comment) {
	quoteOpen := k.hook && openQuote(value) != 0
	switch {
	case after.follows && quoteOpen:
		p.note(CodeCutAtHash, "line %d: the tools read only up to the #: %s ends within a quote there", p.line, k.name)
	case quoteOpen:
		p.note(CodeOpenQuote, "%s on line %d", k.name, p.line)
	case after.glued && value != "":
		p.note(CodeCutAtHash, "line %d: the tools read only up to the #: the rest of %s is a comment", p.line, k.name)
	}
}
