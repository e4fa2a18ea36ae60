package wgconf

import (
	"net/netip"
	"strings"
)

// key is one key of the grammar.
type key struct {
	name string
	in   section
	list bool // it may be repeated, and adds up
	awg  bool // of AmneziaWG only
	set  func(p *parser, value string) error
}

// keyList is the grammar of wg(8) and wg-quick(8); awgKeys adds AmneziaWG's.
var keyList = append([]key{
	{name: "PrivateKey", in: interfaceSection, set: setPrivateKey},
	{name: "ListenPort", in: interfaceSection, set: func(p *parser, v string) error {
		n, err := number(v, 0, 65535)
		p.iface().ListenPort = int(n)
		return err
	}},
	{name: "FwMark", in: interfaceSection, set: setFwMark},
	{name: "Address", in: interfaceSection, list: true, set: setAddress},
	{name: "DNS", in: interfaceSection, list: true, set: setDNS},
	// 68 is the least IPv4 works with; the tools give whatever they get to the system.
	{name: "MTU", in: interfaceSection, set: func(p *parser, v string) error {
		n, err := number(v, 68, 65535)
		p.iface().MTU = int(n)
		return err
	}},
	{name: "Table", in: interfaceSection, set: setTable},
	{name: "SaveConfig", in: interfaceSection, set: setSaveConfig},
	hookKey("PreUp"), hookKey("PostUp"), hookKey("PreDown"), hookKey("PostDown"),

	{name: "PublicKey", in: peerSection, set: setPublicKey},
	{name: "PresharedKey", in: peerSection, set: func(p *parser, v string) error {
		p.peer().HasPresharedKey = true
		_, err := decodeKey(v)
		return err
	}},
	{name: "Endpoint", in: peerSection, set: func(p *parser, v string) error {
		p.peer().Endpoint = v
		return checkEndpoint(v)
	}},
	{name: "AllowedIPs", in: peerSection, list: true, set: setAllowedIPs},
	{name: "PersistentKeepalive", in: peerSection, set: func(p *parser, v string) error {
		if lower(v) == "off" {
			return nil
		}
		n, err := number(v, 0, 65535)
		p.peer().PersistentKeepalive = int(n)
		return err
	}},
}, awgKeys...)

// keys finds a key by its name in lower case.
var keys = func() map[string]key {
	m := make(map[string]key, len(keyList))
	for _, k := range keyList {
		m[lower(k.name)] = k
	}
	return m
}()

func setPrivateKey(p *parser, v string) error {
	secret, err := decodeKey(v)
	if err != nil {
		return err
	}
	if p.iface().PublicKey, err = publicKey(secret); err != nil {
		return err
	}
	p.iface().HasPrivateKey = true
	return nil
}

func setPublicKey(p *parser, v string) error {
	if _, err := decodeKey(v); err != nil {
		return err
	}
	if first, again := p.peers[v]; again {
		return problem("the peer with this key stands on line %d already; give each peer once", first)
	}
	p.peers[v] = p.line
	p.peer().PublicKey = v
	return nil
}

func setFwMark(p *parser, v string) error {
	p.iface().FwMark = v
	return checkFwMark(v)
}

func setTable(p *parser, v string) error {
	p.iface().Table = v
	return checkTable(v)
}

func setSaveConfig(p *parser, v string) error {
	p.iface().SaveConfigLine = p.line
	switch lower(v) {
	case "true":
		p.iface().SaveConfig = true
	case "false":
	default:
		return problem("%s is neither true nor false", quote(v))
	}
	return nil
}

func hookKey(name string) key {
	return key{name: name, in: interfaceSection, list: true, set: func(p *parser, _ string) error {
		p.iface().Hooks = append(p.iface().Hooks, Hook{name, p.line})
		return nil
	}}
}

// words splits at commas and spaces, as wg-quick does for its own lists.
func words(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

func setAddress(p *parser, v string) error {
	if p.iface().AddressLine == 0 {
		p.iface().AddressLine = p.line
	}
	for _, s := range words(v) {
		prefix, err := parsePrefix(s)
		if err != nil {
			return err
		}
		p.iface().Addresses = append(p.iface().Addresses, prefix)
	}
	return nil
}

func setDNS(p *parser, v string) error {
	if p.iface().DNSLine == 0 {
		p.iface().DNSLine = p.line
	}
	for _, s := range words(v) {
		// wg-quick's own test of what is a server.
		if strings.Trim(s, "0123456789.") != "" && !strings.Contains(s, ":") {
			if !validDomain(s) {
				return problem("%s is neither an address nor a search domain", quote(s))
			}
			p.iface().SearchDomains = append(p.iface().SearchDomains, s)
			continue
		}
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return problem("%s is no address", quote(s))
		}
		p.iface().DNS = append(p.iface().DNS, addr)
	}
	return nil
}

// setAllowedIPs splits at commas only: wg drops spaces, and takes "10.0.0.1 10.0.0.2" for one word.
func setAllowedIPs(p *parser, v string) error {
	peer := p.peer()
	if peer.AllowedIPsLine == 0 {
		peer.AllowedIPsLine = p.line
	}
	for s := range strings.SplitSeq(v, ",") {
		prefix, err := parsePrefix(strings.Trim(s, " \t"))
		if err != nil {
			return err
		}
		peer.AllowedIPs = append(peer.AllowedIPs, prefix.Masked())
	}
	return nil
}
